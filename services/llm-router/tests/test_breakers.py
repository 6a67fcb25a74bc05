"""Breakers of one process: when they open, when they probe, what closes them."""

from __future__ import annotations

import pytest

from kit.router.breaker_pods import DOWN, Pod
from llm_router.breaker.permit import Permit
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
HEALTHY = [RequestRejected("x"), ModelMissing("x"), ContextTooLong("x")]
REFUSED = CredentialRefused("x", http_status=401)


@pytest.fixture
def pod() -> Pod:
    """Return a process without Redis."""
    return Pod()


@pytest.mark.parametrize("error", BLAMED, ids=lambda error: error.code)
async def test_half_of_the_attempts_failing_opens(pod: Pod, error: ProviderError) -> None:
    """Of ten attempts the last five fail: the breaker opens with the fifth failure."""
    await pod.succeeds(5)
    await pod.fails(4, error)
    assert not await pod.is_open()
    await pod.fails(1, error)

    assert await pod.is_open()
    assert 1 == pod.counted("llm_router_breaker_open", target="t")
    assert 1 == pod.counted("llm_router_breaker_openings_total", target="t", reason="failure_ratio")


async def test_few_failures_do_not_open(pod: Pod) -> None:
    """Four failures are too few, and failures of half a minute ago are forgotten."""
    await pod.fails(4)
    assert not await pod.is_open()
    pod.clock.advance(31)
    await pod.fails(4)

    assert not await pod.is_open()
    assert 0 == pod.counted("llm_router_breaker_open", target="t")


@pytest.mark.parametrize("error", [*HEALTHY, RequestUntranslatable("x")], ids=lambda error: error.code)
async def test_a_callers_error_counts_neither_way(pod: Pod, error: ProviderError) -> None:
    """A client that sends nonsense neither opens a breaker nor dilutes the failures of a target."""
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
    """Reported twice it is one failure; reported inside `with` it is kept at the end of the block."""
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


async def test_failed_probes_double_the_rest(pod: Pod) -> None:
    """1, 2, 4 ... seconds with a fifth of jitter at most, never more than 15, and one probe at a time."""
    await pod.fails(5)
    for least in (1, 2, 4, 8):
        probe = await pod.rest(least)
        assert await pod.breakers.admit("t") is None
        probe.failed(DOWN)
    for _ in range(2):
        pod.clock.advance(14.9)
        assert await pod.breakers.admit("t") is None
        pod.clock.advance(0.2)
        (await pod.admitted()).failed(DOWN)

    assert 6 == pod.counted("llm_router_breaker_probes_total", target="t", outcome="failed")
    assert 1 == pod.counted("llm_router_breaker_openings_total", target="t", reason="failure_ratio")


async def test_content_in_a_probe_closes_at_once(pod: Pod) -> None:
    """Nobody waits for the end of the answer; the window begins anew, and the probe's own end is counted in it."""
    await pod.fails(5)
    probe = await pod.rest(1)
    probe.mark_alive()
    assert 0 == pod.counted("llm_router_breaker_open", target="t")
    assert not (await pod.admitted()).is_probe
    await pod.fails(4)
    assert not await pod.is_open()
    probe.failed(StreamBroken("cut"))

    assert await pod.is_open()
    assert 1 == pod.counted("llm_router_breaker_probes_total", target="t", outcome="ok")
    assert None is pod.counted("llm_router_breaker_probes_total", target="t", outcome="failed")


@pytest.mark.parametrize("error", HEALTHY, ids=lambda error: error.code)
async def test_a_target_that_rejects_a_request_is_healthy(pod: Pod, error: ProviderError) -> None:
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


async def test_a_flapping_target_continues_with_the_doubled_rest(pod: Pod) -> None:
    """A breaker that opens again within a minute of its closing does not begin at one second again; later it does."""
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
    """Every other call would be refused as well; half a minute later the key may have been replaced."""
    await pod.fails(1, REFUSED)
    assert 1 == pod.counted("llm_router_breaker_openings_total", target="t", reason="credential_refused")
    (await pod.rest(30)).failed(REFUSED)
    pod.clock.advance(59.9)
    assert await pod.breakers.admit("t") is None
    pod.clock.advance(0.2)
    (await pod.admitted()).succeeded()

    assert not await pod.is_open()


async def test_a_plain_failure_ends_the_long_rest_of_a_refused_credential(pod: Pod) -> None:
    """Once the key is accepted again, a target that is down is probed as often as any other."""
    await pod.fails(1, REFUSED)
    (await pod.rest(30)).failed(DOWN)
    pod.clock.advance(14.9)
    assert await pod.breakers.admit("t") is None
    pod.clock.advance(0.2)

    assert (await pod.admitted()).is_probe


async def test_a_target_that_asks_for_a_pause_again_and_again_gets_no_longer_one(pod: Pod) -> None:
    """The rest is what the provider asked for, or 15 s when failed probes have doubled it further than that."""
    for _ in range(10):
        (await pod.admitted()).failed(ProviderRateLimited("x", retry_after=3))
        pod.clock.advance(15.1)

    assert (await pod.admitted()).is_probe


@pytest.mark.parametrize(("retry_after", "least", "most"), [(2.1, 2.1, 2.52), (20, 20, 24), (3600, 59.9, 60)])
async def test_a_long_retry_after_is_obeyed(pod: Pod, retry_after: float, least: float, most: float) -> None:
    """The provider says when it may be called again; after a minute it is probed however long it asked for."""
    for _ in range(2):
        (await pod.admitted()).failed(ProviderRateLimited("x", retry_after=retry_after))
        pod.clock.advance(least - 0.01)
        assert await pod.breakers.admit("t") is None
        pod.clock.advance(most - least + 0.02)

    (await pod.admitted()).succeeded()
    assert 1 == pod.counted("llm_router_breaker_openings_total", target="t", reason="rate_limited")


@pytest.mark.parametrize("error", [DOWN, REFUSED, ProviderRateLimited("x", retry_after=60)], ids=lambda e: e.code)
async def test_openings_and_probes_are_counted_in_series_that_were_there(pod: Pod, error: ProviderError) -> None:
    """Prometheus sees no increase in one that begins with 1, and the panel of openings would stay empty."""
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
    """Return the exported series of openings and probes."""
    names = {"llm_router_breaker_openings_total", "llm_router_breaker_probes_total"}
    samples = [sample for metric in pod.registry.collect() for sample in metric.samples]
    return {(each.name, *each.labels.values()) for each in samples if each.name in names}


async def test_the_last_target_is_never_taken_away(pod: Pod) -> None:
    """An insisted permit is given while the breaker is open; its failure changes nothing, its content closes."""
    await pod.fails(5)
    for _ in range(10):
        pod.breakers.insist("t").failed(DOWN)
    pod.breakers.insist("t").failed(REFUSED)
    assert await pod.is_open()
    (await pod.rest(1)).failed(DOWN)
    permit = pod.breakers.insist("t")
    assert not permit.is_probe
    permit.mark_alive()

    assert not await pod.is_open()


async def test_an_insisted_attempt_is_counted_while_the_breaker_is_closed(pod: Pod) -> None:
    """A route with one target reports for the other routes that share it."""
    for _ in range(5):
        pod.breakers.insist("t").failed(DOWN)

    assert await pod.is_open()


async def test_attempts_from_before_the_closing_do_not_count(pod: Pod) -> None:
    """Attempts that hung since before the opening do not open the breaker again when they time out."""
    hanging = [await pod.admitted() for _ in range(20)]
    await pod.fails(5)
    (await pod.rest(1)).succeeded()
    for permit in hanging:
        permit.failed(ProviderTimeout("x"))

    assert not await pod.is_open()


async def test_removed_targets_are_forgotten(pod: Pod) -> None:
    """After a reload known targets keep their breakers, removed ones leave no series, running attempts may end."""
    pod.breakers.keep({"t": "", "gone": ""})
    await pod.fails(5)
    await pod.fails(5, target="gone")
    running = pod.breakers.insist("gone")
    pod.breakers.keep({"t": "", "new": ""})
    running.succeeded()

    assert await pod.is_open("t")
    assert None is pod.counted("llm_router_breaker_open", target="gone")
    assert 0 == pod.counted("llm_router_breaker_open", target="new")
    assert not await pod.is_open("gone")


async def test_without_redis_there_is_nothing_to_keep_shared(pod: Pod) -> None:
    """The background task of a process without Redis ends by itself."""
    await pod.breakers.keep_shared()
