"""Breakers that several routers share over a real Valkey: each `Pod` stands for a process."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress

import pytest
import redis.asyncio as redis
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from structlog.testing import capture_logs

from kit.router.breaker_pods import DOWN
from kit.router.breaker_valkey import (
    FAILURES,
    PATIENCE_SECONDS,
    Pods,
    Valkey,
    exchange,
    exchanges_with,
    next_probe,
    opening_of,
    probe_of,
    shared,
    shows_open,
    transitions,
    until,
)
from llm_router.breaker.breaker import Breaker
from llm_router.breaker.shared import BreakerReply
from llm_router.breaker.state import BreakerState
from llm_router.breaker.window import NO_ATTEMPTS, Totals
from llm_router.errors import CredentialRefused, ProviderTimeout
from llm_router.metrics import Metrics
from llm_router.settings import Settings


async def test_the_others_learn_of_an_opening_and_of_a_closing(pods: Pods) -> None:
    """One pod has the failures and makes the probe; the other refuses and admits without an attempt of its own."""
    first, second = pods(), pods()
    async with shared(first, second):
        with capture_logs() as lines:
            await first.fails(5)
            await until(lambda: shows_open(second))
        assert await second.breakers.admit("t") is None
        assert [("breaker_opened", False), ("breaker_opened", True)] == transitions(lines)
        assert None is second.counted("llm_router_breaker_openings_total", target="t", reason="failure_ratio")

        probe = await probe_of(first)
        with capture_logs() as lines:
            probe.mark_alive()
            await until(lambda: not shows_open(second))
        assert not (await second.admitted()).is_probe
        assert [("breaker_closed", False), ("breaker_closed", True)] == transitions(lines)


async def test_an_opening_is_known_within_a_fraction_of_a_second(pods: Pods) -> None:
    """The fastest of five openings is known to the other pod in 250 ms."""
    first, second = pods(targets=("t", *"abcde")), pods(targets=("t", *"abcde"))
    took = []
    async with shared(first, second):
        await exchange(first, second)
        for target in "abcde":
            await first.fails(5, target=target)
            started = time.monotonic()
            await until(lambda name=target: second.counted("llm_router_breaker_open", target=name) == 1)  # type: ignore[misc]
            took.append(time.monotonic() - started)

    assert min(took) < 0.25


async def test_the_outcomes_of_all_make_one_window(pods: Pods) -> None:
    """Three failures here and two there open the breaker; a pod without attempts learns of it as well."""
    first, second, third = pods(), pods(), pods()
    await exchange(first, second, third)
    await first.fails(3)
    await exchange(first)
    await second.fails(2)
    await exchange(second, third, first)

    assert [True] * 3 == [shows_open(pod) for pod in (first, second, third)]


async def test_successes_elsewhere_count_against_failures_here(pods: Pods) -> None:
    """Five failures of this pod are not half of all."""
    first, second = pods(), pods()
    await second.succeeds(6)
    await exchange(second, first)
    await first.fails(5)
    await exchange(first, second)
    assert [False, False] == [shows_open(pod) for pod in (first, second)]
    assert not await first.is_open()
    await first.fails(1)

    assert await first.is_open()
    await exchange(first)
    assert shows_open(first)


async def test_pods_that_open_at_once_agree_on_one_opening(pods: Pods, store: redis.Redis) -> None:
    """The first to report wins: there is one transition, and all have the same time of the next probe."""
    several = [pods() for _ in range(4)]
    for pod in several:
        await pod.fails(5)
    await exchange(*several, *several)

    assert b"1" == await store.hget("{spillway:breaker}:state:t", "epoch")


@pytest.fixture
def breaker() -> Breaker:
    """Return a breaker whose exchanges the test makes itself."""
    return Breaker(
        "t",
        Metrics(CollectorRegistry()),
        clock=time.monotonic,
        rng=random.Random(7),
        report_soon=lambda: None,
    )


OPENED = BreakerState(is_open=True, reason="failure_ratio", backoff_seconds=1.0, rest_seconds=1.0)
CLOSED = BreakerState()


def reply(epoch: int, state: BreakerState, totals: Totals = NO_ATTEMPTS, *, is_own: bool = False) -> BreakerReply:
    """Return what Redis decided."""
    return BreakerReply(epoch, state, totals, is_own=is_own, is_leased=False)


def fail(breaker: Breaker, times: int) -> None:
    """Count failed attempts of the present state."""
    for _ in range(times):
        breaker.count(DOWN, breaker.generation)


async def test_a_late_reply_of_redis_changes_nothing(breaker: Breaker) -> None:
    """The reply to an update that was made before the last reply was known is older than it."""
    late, early = breaker.update(), breaker.update()
    breaker.learn(early, reply(3, OPENED))
    breaker.learn(late, reply(0, CLOSED))
    assert breaker.is_open
    following = breaker.update()

    assert (3, None) == (following.epoch, following.restore)


async def test_a_change_while_redis_is_given_the_state_is_given_next(breaker: Breaker) -> None:
    """A breaker that closes while its opening is on the way restores its closing; older outcomes are not mixed in."""
    fail(breaker, 5)
    assert breaker.is_open
    update = breaker.update()
    breaker.mark_healthy()
    breaker.learn(update, reply(1, OPENED, Totals(9, 9), is_own=True))
    assert not breaker.is_open
    following = breaker.update()

    assert following.restore is not None
    assert (1, False) == (following.epoch, following.restore.is_open)


async def test_before_redis_has_the_present_state_this_process_decides(breaker: Breaker) -> None:
    """A credential that is refused meanwhile opens the breaker at once, and Redis is given that."""
    fail(breaker, 5)
    update = breaker.update()
    breaker.mark_healthy()
    breaker.learn(update, reply(1, OPENED, is_own=True))
    breaker.count(CredentialRefused("x", http_status=401), breaker.generation)
    assert breaker.is_open
    following = breaker.update()

    assert following.restore is not None
    assert (True, "credential_refused", None) == (
        following.restore.is_open,
        following.restore.reason,
        following.verdict,
    )


async def test_no_probe_goes_out_before_redis_has_decided_on_the_last_one(breaker: Breaker) -> None:
    """The rest that a failed probe brings is not known yet."""
    breaker.learn(breaker.update(), reply(1, BreakerState(is_open=True, reason="failure_ratio", backoff_seconds=1.0)))
    assert breaker.may_probe
    breaker.fail_probe(DOWN)
    assert not breaker.may_probe
    breaker.learn(breaker.update(), reply(2, OPENED, is_own=True))

    assert not breaker.may_probe


async def test_an_answer_that_ends_with_the_closing_is_reported_with_it(breaker: Breaker) -> None:
    """Its outcome belongs to the new window, though Redis has not decided yet."""
    breaker.learn(breaker.update(), reply(1, OPENED))
    breaker.count(None, breaker.mark_healthy())
    update = breaker.update()

    assert (1, "healthy", Totals(1, 0)) == (update.epoch, update.verdict, update.counts)


async def test_redis_decides_where_it_is_there(breaker: Breaker) -> None:
    """Failures that should open the breaker keep attempts back; what the breaker becomes is what Redis says."""
    breaker.learn(breaker.update(), reply(0, CLOSED))
    fail(breaker, 5)
    assert (False, False) == (breaker.is_open, breaker.admits)
    breaker.learn(breaker.update(), reply(0, CLOSED, Totals(12, 5)))

    assert (False, True) == (breaker.is_open, breaker.admits)


async def test_without_a_reply_this_process_decides_on_what_redis_was_asked(breaker: Breaker) -> None:
    """An exchange that fails takes neither the failures nor the content that it carried with it."""
    breaker.learn(breaker.update(), reply(0, CLOSED))
    fail(breaker, 5)
    breaker.update()
    assert not breaker.is_open
    breaker.lose_redis()
    assert breaker.is_open
    breaker.learn(breaker.update(), reply(1, OPENED, is_own=True))
    breaker.mark_healthy()
    breaker.update()
    assert breaker.is_open
    breaker.lose_redis()

    assert not breaker.is_open


async def test_content_that_came_while_redis_decided_otherwise_is_reported_next(breaker: Breaker) -> None:
    """A target that has answered is not kept away by a failure that was reported before."""
    breaker.learn(breaker.update(), reply(1, OPENED))
    breaker.fail_probe(DOWN)
    update = breaker.update()
    breaker.mark_healthy()
    breaker.learn(update, reply(2, OPENED, is_own=True))

    following = breaker.update()
    assert (2, "healthy") == (following.epoch, following.verdict)


async def test_a_redis_that_came_to_another_state_by_the_same_number_is_right(breaker: Breaker) -> None:
    """After Redis lost its data, numbers begin anew; all routers follow what it says then."""
    breaker.learn(breaker.update(), reply(1, OPENED))
    breaker.learn(breaker.update(), reply(1, CLOSED))

    assert not breaker.is_open


async def test_a_target_that_is_down_for_days_is_probed_four_times_a_minute(breaker: Breaker) -> None:
    """The rest does not grow with the number of failed probes."""
    fail(breaker, 5)
    for _ in range(1100):
        breaker.fail_probe(DOWN)
    restore = breaker.update().restore

    assert restore is not None
    assert 15 == restore.backoff_seconds
    assert 14.9 < restore.rest_seconds <= 15


async def test_redis_is_called_a_few_times_a_second(pods: Pods, store: redis.Redis) -> None:
    """A transition is reported once; the pod then waits for the next interval like any other."""
    first = pods()
    async with shared(first):
        await first.fails(5)
        before = await exchanges_with(store)
        await asyncio.sleep(1.0)

        assert 1 <= await exchanges_with(store) - before <= 10


async def test_late_reports_from_before_the_closing_do_not_count(pods: Pods) -> None:
    """Failures before the closing that another pod reports after it are no part of the new window."""
    first, second = pods(), pods()
    await exchange(first, second)
    await second.fails(4)
    await first.fails(5)
    await exchange(first)
    (await probe_of(first)).mark_alive()
    await exchange(first, second, first)
    await first.fails(4)
    await exchange(first, second)
    assert [False, False] == [shows_open(pod) for pod in (first, second)]
    assert not await second.is_open()
    await second.fails(1)

    assert await second.is_open()
    await exchange(second)
    assert shows_open(second)


@pytest.mark.parametrize("reported", ["with the fifth failure", "before the fifth failure", "after the closing"])
async def test_the_window_begins_anew_with_a_closing(pods: Pods, reported: str) -> None:
    """Failures that opened the breaker do not open it again, wherever and whenever they were counted."""
    first = pods()
    is_shared = reported != "after the closing"
    if is_shared:
        await exchange(first)
    await first.fails(4)
    if reported == "before the fifth failure":
        await exchange(first)
    await first.fails(1)
    assert await first.is_open()
    if is_shared:
        await exchange(first)
    assert shows_open(first)
    first.breakers.insist("t").mark_alive()
    await exchange(first)
    assert not shows_open(first)
    await first.fails(4)
    assert not await first.is_open()
    await exchange(first)
    assert not shows_open(first)
    await first.fails(1)
    assert await first.is_open()
    await exchange(first)

    assert shows_open(first)


async def test_a_new_pod_knows_what_the_others_know(pods: Pods) -> None:
    """A pod that starts while a breaker is open refuses before its own first attempt."""
    first = pods()
    await first.fails(5)
    await exchange(first)
    second = pods()
    await exchange(second)

    assert await second.breakers.admit("t") is None


async def test_flapping_is_known_to_all(pods: Pods) -> None:
    """The pod that opens the breaker again continues with the rest that another one closed it with."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first)
    (await probe_of(first)).succeeded()
    await exchange(first, second)

    assert 1.9 < await opening_of(second) < 2.5


async def test_nothing_stays_for_ever(pods: Pods, store: redis.Redis) -> None:
    """Every key has a time to live."""
    first = pods(targets=("t", "counted"))
    await first.fails(2, target="counted")
    await first.fails(5)
    await exchange(first)
    await probe_of(first)
    keys = [key async for key in store.scan_iter("*")]

    assert {b"state:t", b"probe:t", b"outcomes:counted"} == {key.removeprefix(b"{spillway:breaker}:") for key in keys}
    assert all([0 < await store.ttl(key) <= 700 for key in keys])


async def test_without_redis_each_pod_goes_by_what_it_sees(redis_server: Valkey, pods: Pods) -> None:
    """While Valkey is stopped a pod opens and probes by itself, which is counted, and logged once; later it reports."""
    first, second = pods(), pods()
    async with shared(first, second):
        await first.succeeds(20)
        await exchange(first)
        with capture_logs() as lines:
            redis_server.stop()
            await until(lambda: (first.counted(FAILURES) or 0) >= 2 and (second.counted(FAILURES) or 0) >= 2)
            await first.fails(20)
            assert shows_open(first)
            await next_probe(first)
            assert not shows_open(second)
            redis_server.start()
            await until(lambda: shows_open(second))

    lost = [line["event"] for line in lines if line["event"].startswith("breaker_share")]
    assert ["breaker_share_lost"] * 2 + ["breaker_share_restored"] * 2 == sorted(lost)
    assert (first.counted(FAILURES) or 0) < PATIENCE_SECONDS


async def test_outcomes_that_redis_did_not_accept_count_here(pods: Pods, redis_server: Valkey) -> None:
    """While Redis hangs, failures before and after an exchange that failed make one window."""
    first = pods(is_patient=False)
    await first.succeeds(1)
    await exchange(first)
    with redis_server.hanging():
        await first.fails(3)
        await exchange(first)
        assert not shows_open(first)
        await first.fails(1)

    assert shows_open(first)
    assert 1 == first.counted(FAILURES)


async def test_what_redis_lost_is_restored(pods: Pods, store: redis.Redis) -> None:
    """An emptied Redis neither closes an open breaker nor keeps a closed one from opening."""
    first, second, third = pods(targets=("t", "u")), pods(targets=("t", "u")), pods(targets=("t", "u"))
    await first.fails(5)
    await first.fails(5, target="u")
    await exchange(first, second)
    await next_probe(first)
    (await first.admitted("u")).succeeded()
    await exchange(first, second)
    await store.flushall()
    await exchange(second, first, second, third)
    assert [True] * 3 == [shows_open(pod) for pod in (first, second, third)]
    await third.fails(5, target="u")
    await exchange(third, first)

    assert 1 == first.counted("llm_router_breaker_open", target="u")


async def test_routers_share_a_target_only_with_the_same_fingerprint(pods: Pods) -> None:
    """One that has the new key already is not held back by those that still have the old one, whoever began."""
    first, second, third = pods(), pods(), pods()
    for pod, fingerprint in ((first, "old"), (second, "new"), (third, "old")):
        pod.breakers.keep({"t": fingerprint})
    await first.fails(5)
    await exchange(first, second, third)
    assert [1, 0, 1] == [pod.counted("llm_router_breaker_open", target="t") for pod in (first, second, third)]

    first.breakers.keep({"t": "new"})
    await exchange(first, second, third)

    assert [0, 0, 1] == [pod.counted("llm_router_breaker_open", target="t") for pod in (first, second, third)]


async def test_the_exchange_ends_whenever_it_is_cancelled(pods: Pods) -> None:
    """It stops at whichever step of connecting, writing and reading it is cancelled."""
    for steps in range(40):
        pod = pods()
        for _ in range(2):  # with a new connection, and with one that is there
            task = asyncio.create_task(pod.breakers.keep_shared())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=PATIENCE_SECONDS)
            assert done
            pod.breakers.keep({"t": ""})


async def test_a_redis_whose_clock_went_back_does_not_keep_a_breaker_open(pods: Pods, store: redis.Redis) -> None:
    """A rest that is longer than any rest is taken as over."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first)
    await store.hincrby("{spillway:breaker}:state:t", "until_ms", 3_600_000)
    await exchange(second)

    assert await next_probe(second) < 5.0


async def test_outcomes_of_long_ago_leave_the_shared_window(pods: Pods, store: redis.Redis) -> None:
    """A bucket that is older than the window is neither counted nor kept."""
    first = pods()
    seconds, _ = await store.time()
    bucket = int(seconds) // 3
    await store.hset("{spillway:breaker}:outcomes:t", mapping={f"a{bucket - 11}": 50, f"f{bucket - 11}": 50})
    await first.fails(4)
    await exchange(first)

    assert not shows_open(first)
    kept = {key[:1] for key in await store.hkeys("{spillway:breaker}:outcomes:t")}
    assert ({b"a", b"f"}, 2) == (kept, await store.hlen("{spillway:breaker}:outcomes:t"))


async def test_garbage_in_redis_is_as_good_as_no_redis(pods: Pods, store: redis.Redis) -> None:
    """A key of another type makes the exchange fail, which is counted; the pod decides by itself."""
    first = pods()
    await store.set("{spillway:breaker}:state:t", b"\xff garbage")
    await exchange(first)
    await first.fails(5, ProviderTimeout("x"))

    assert shows_open(first)
    assert 1 == first.counted(FAILURES)


@pytest.mark.parametrize("address", ["", "somewhere", "http://127.0.0.1/0", "redis://127.0.0.1:port/0"])
def test_a_malformed_address_is_refused_at_the_start(address: str) -> None:
    """The process does not start with a Redis that it can never call."""
    with pytest.raises(ValidationError, match="redis_url"):
        Settings(redis_url=address)


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_all_agree_in_the_end(pods: Pods, store: redis.Redis, seed: int) -> None:
    """Four pods fail, succeed, probe, close and exchange in any order, and Redis forgets; then all say the same."""
    several = [pods() for _ in range(4)]
    chance = random.Random(seed)
    for _ in range(150):
        pod = chance.choice(several)
        match chance.choices(["fail", "succeed", "close", "exchange", "race", "forget"], [12, 3, 2, 6, 2, 0.3])[0]:
            case "fail":
                pod.breakers.insist("t").failed(DOWN)
            case "succeed":
                with suppress(AssertionError):
                    (await pod.admitted()).succeeded()
            case "close":
                pod.breakers.insist("t").mark_alive()
            case "exchange":
                await exchange(pod)
            case "race":
                exchanges = [asyncio.create_task(exchange(other)) for other in several]
                await asyncio.sleep(0)
                pod.breakers.insist("t").mark_alive()
                await asyncio.gather(*exchanges)
            case _:
                await store.flushall()
    await exchange(*several, *several, *several)

    said = {shows_open(pod) for pod in several}
    shared_state = await store.hget("{spillway:breaker}:state:t", "is_open") or b"0"
    assert {shared_state == b"1"} == said
