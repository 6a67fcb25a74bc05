"""Breakers of one process: when they open, when they probe, what closes them."""

from __future__ import annotations

import pytest

from kit.router.breaker_pods import DOWN, Pod
from llm_router.breaker.breakers import Permit
from llm_router.errors import (
    ContextTooLong,
    CredentialRefused,
    ModelMissing,
    ProviderError,
    ProviderRateLimited,
    ProviderTimeout,
    RequestRejected,
    RequestUntranslatable,
    StreamBroken,
    TargetUnreachable,
)
from llm_router.target import Target

BLAMED = [
    DOWN,
    TargetUnreachable("x"),
    ProviderTimeout("x"),
    StreamBroken("x"),
    ProviderRateLimited("x", retry_after=None),
    ProviderRateLimited("x", retry_after=2.0),
]
ALIVE = [RequestRejected("x"), ModelMissing("x"), ContextTooLong("x")]
REFUSED = CredentialRefused("x", http_status=401)


@pytest.fixture
def pod() -> Pod:
    """Return a process without a share."""
    return Pod()


@pytest.mark.parametrize("error", BLAMED, ids=lambda error: error.code)
async def test_half_of_the_attempts_failing_opens(pod: Pod, error: ProviderError) -> None:
    """Ten attempts of which the last five fail: the breaker opens with the fifth failure."""
    await pod.succeeds(5)
    await pod.fails(4, error)
    assert not await pod.is_open()
    await pod.fails(1, error)

    assert await pod.is_open()
    assert 1 == pod.counted("llm_router_breaker_open", target="t")
    assert 1 == pod.counted("llm_router_breaker_openings_total", target="t", reason="failure_ratio")


async def test_few_failures_do_not_open(pod: Pod) -> None:
    """Four failures are chance, and failures of half a minute ago are history."""
    await pod.fails(4)
    assert not await pod.is_open()
    pod.clock.advance(31)
    await pod.fails(4)

    assert not await pod.is_open()
    assert 0 == pod.counted("llm_router_breaker_open", target="t")


@pytest.mark.parametrize("error", [*ALIVE, RequestUntranslatable("x")], ids=lambda error: error.code)
async def test_a_callers_error_counts_neither_way(pod: Pod, error: ProviderError) -> None:
    """A client that sends nonsense neither shuts a target nor dilutes its failures."""
    await pod.fails(100, error)
    assert not await pod.is_open()
    await pod.fails(5)

    assert await pod.is_open()


async def test_an_abandoned_attempt_counts_neither_way(pod: Pod) -> None:
    """Clients that leave say nothing about the target, however the permit ended, and only its first end counts."""
    for _ in range(50):
        with await pod.admitted():
            pass
        permit = await pod.admitted()
        permit.abandoned()
        permit.failed(DOWN)
    assert not await pod.is_open()
    await pod.fails(4)
    (await pod.admitted()).abandoned()
    assert not await pod.is_open()
    await pod.fails(1)

    assert await pod.is_open()


async def test_an_end_counts_once(pod: Pod) -> None:
    """Said twice it is still one failure; said inside `with` it is not undone by the end of the block."""
    permit = await pod.admitted()
    for _ in range(10):
        permit.failed(DOWN)
    for _ in range(3):
        with await pod.admitted() as permit:
            permit.failed(DOWN)
    assert not await pod.is_open()
    with await pod.admitted() as permit:
        permit.failed(DOWN)

    assert await pod.is_open()


async def test_probes_keep_doubling_their_distance(pod: Pod) -> None:
    """1, 2, 4 ... seconds with a fifth of jitter at most, never more than 60, and one probe at a time."""
    await pod.fails(5)
    for least in (1, 2, 4, 8, 16, 32):
        probe = await pod.rest(least)
        assert await pod.breakers.admit("t") is None
        probe.failed(DOWN)
    for _ in range(2):
        pod.clock.advance(59.9)
        assert await pod.breakers.admit("t") is None
        pod.clock.advance(0.2)
        (await pod.admitted()).failed(DOWN)

    assert 8 == pod.counted("llm_router_breaker_probes_total", target="t", outcome="failed")
    assert 1 == pod.counted("llm_router_breaker_openings_total", target="t", reason="failure_ratio")


async def test_content_in_a_probe_closes_at_once(pod: Pod) -> None:
    """Nobody waits for the end of the answer; the window begins anew, and the probe's own end is counted in it."""
    await pod.fails(5)
    probe = await pod.rest(1)
    probe.first_content()
    assert 0 == pod.counted("llm_router_breaker_open", target="t")
    assert not (await pod.admitted()).is_probe
    await pod.fails(4)
    assert not await pod.is_open()
    probe.failed(StreamBroken("cut"))

    assert await pod.is_open()
    assert 1 == pod.counted("llm_router_breaker_probes_total", target="t", outcome="ok")
    assert None is pod.counted("llm_router_breaker_probes_total", target="t", outcome="failed")


@pytest.mark.parametrize("error", ALIVE, ids=lambda error: error.code)
async def test_a_target_that_finds_fault_with_the_request_is_alive(pod: Pod, error: ProviderError) -> None:
    """A probe that meets a caller's error has shown that the target works."""
    await pod.fails(5)
    (await pod.rest(1)).failed(error)

    assert not await pod.is_open()
    assert 1 == pod.counted("llm_router_breaker_probes_total", target="t", outcome="ok")


@pytest.mark.parametrize("error", [None, RequestUntranslatable("x")])
async def test_a_probe_without_a_verdict_makes_room_for_the_next(pod: Pod, error: ProviderError | None) -> None:
    """A client that left, or a request that never reached the target, costs neither the rest nor the lease."""
    await pod.fails(5)
    with await pod.rest(1) as probe:
        if error:
            probe.failed(error)

    assert (await pod.admitted()).is_probe
    assert 1 == pod.counted("llm_router_breaker_probes_total", target="t", outcome="abandoned")


async def test_a_flapping_target_goes_on_with_the_doubled_distance(pod: Pod) -> None:
    """What opens again within a minute of its closing does not start at one second again; later it does."""
    await pod.fails(5)
    probe = await pod.rest(1)
    for least in (2, 4, 8):
        probe.succeeded()
        pod.clock.advance(59)
        await pod.fails(5)
        probe = await pod.rest(least)
    probe.succeeded()
    pod.clock.advance(61)
    await pod.fails(5)

    (await pod.rest(1)).abandoned()


async def test_a_refused_credential_opens_at_once(pod: Pod) -> None:
    """Every other call would be refused as well; half a minute later the key may have been exchanged."""
    await pod.fails(1, REFUSED)
    assert 1 == pod.counted("llm_router_breaker_openings_total", target="t", reason="credential_refused")
    (await pod.rest(30)).failed(REFUSED)
    pod.clock.advance(59.9)
    assert await pod.breakers.admit("t") is None
    pod.clock.advance(0.2)
    (await pod.admitted()).succeeded()

    assert not await pod.is_open()


@pytest.mark.parametrize(("retry_after", "least", "most"), [(2.1, 2.1, 2.52), (20, 20, 24), (3600, 59.9, 60)])
async def test_a_long_retry_after_is_obeyed(pod: Pod, retry_after: float, least: float, most: float) -> None:
    """The provider says when it may be asked again; more than a minute is not believed without a look."""
    for _ in range(2):
        (await pod.admitted()).failed(ProviderRateLimited("x", retry_after=retry_after))
        pod.clock.advance(least - 0.01)
        assert await pod.breakers.admit("t") is None
        pod.clock.advance(most - least + 0.02)

    (await pod.admitted()).succeeded()
    assert 1 == pod.counted("llm_router_breaker_openings_total", target="t", reason="rate_limited")


@pytest.mark.parametrize("error", [DOWN, REFUSED, ProviderRateLimited("x", retry_after=60)], ids=lambda e: e.code)
async def test_openings_and_probes_are_counted_in_series_that_were_there(pod: Pod, error: ProviderError) -> None:
    """One that begins with 1 has never risen for Prometheus, and the panel of openings would be empty for ever."""
    pod.metrics.export_zeros([], [Target(name="t", provider="openai", model="m")])
    shown = series(pod)
    for _ in range(5):
        if not await pod.is_open():
            await pod.fails(1, error)
    for end in (Permit.abandoned, lambda probe: probe.failed(error), Permit.succeeded):
        pod.clock.advance(100)
        end(await pod.admitted())

    assert 1 == pod.counted("llm_router_breaker_probes_total", target="t", outcome="ok")
    assert shown == series(pod)


def series(pod: Pod) -> set[tuple[str, ...]]:
    """Return the series of openings and probes that there are."""
    names = {"llm_router_breaker_openings_total", "llm_router_breaker_probes_total"}
    samples = [sample for metric in pod.registry.collect() for sample in metric.samples]
    return {(each.name, *each.labels.values()) for each in samples if each.name in names}


async def test_the_last_target_is_never_taken_away(pod: Pod) -> None:
    """Whoever insists gets a permit while the breaker is open; its failure changes nothing, its content closes."""
    await pod.fails(5)
    for _ in range(10):
        pod.breakers.insist("t").failed(DOWN)
    pod.breakers.insist("t").failed(REFUSED)
    assert await pod.is_open()
    (await pod.rest(1)).failed(DOWN)
    permit = pod.breakers.insist("t")
    assert not permit.is_probe
    permit.first_content()

    assert not await pod.is_open()


async def test_insisting_is_counted_while_the_breaker_is_closed(pod: Pod) -> None:
    """The route with one target tells the others that share it."""
    for _ in range(5):
        pod.breakers.insist("t").failed(DOWN)

    assert await pod.is_open()


async def test_what_began_before_the_closing_is_no_news(pod: Pod) -> None:
    """Attempts that hung since before the opening do not open the breaker again when they time out at last."""
    hanging = [await pod.admitted() for _ in range(20)]
    await pod.fails(5)
    (await pod.rest(1)).succeeded()
    for permit in hanging:
        permit.failed(ProviderTimeout("x"))

    assert not await pod.is_open()


async def test_targets_that_are_gone_are_forgotten(pod: Pod) -> None:
    """After a reload known targets keep their breakers, gone ones leave no series behind, running attempts may end."""
    pod.breakers.keep(["t", "gone"])
    await pod.fails(5)
    await pod.fails(5, target="gone")
    running = pod.breakers.insist("gone")
    pod.breakers.keep(["t", "new"])
    running.succeeded()

    assert await pod.is_open("t")
    assert None is pod.counted("llm_router_breaker_open", target="gone")
    assert 0 == pod.counted("llm_router_breaker_open", target="new")
    assert not await pod.is_open("gone")


async def test_without_a_share_there_is_nothing_to_keep_shared(pod: Pod) -> None:
    """The background task of a process of its own ends by itself."""
    await pod.breakers.keep_shared()
