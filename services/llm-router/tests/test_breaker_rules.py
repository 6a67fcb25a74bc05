"""Redis and a process without it follow the same rules: what `shared.lua` decides is what `state.py` does."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
import redis.asyncio as redis
from prometheus_client import CollectorRegistry

from kit.router.breaker_pods import DOWN
from kit.router.breaker_valkey import Valkey
from llm_router.breaker.shared import BreakerUpdate, SharedBreakerState
from llm_router.breaker.state import BreakerState, Failure, Verdict
from llm_router.breaker.window import Totals
from llm_router.errors import CredentialRefused, ProviderRateLimited
from llm_router.metrics import Metrics

STATE = "{spillway:breaker}:state:t"
FAILURES = [
    DOWN,
    CredentialRefused("x", http_status=401),
    *(ProviderRateLimited("x", retry_after=seconds) for seconds in (None, 2.0, 3.0, 20.0, 3600.0)),
]


class FixedJitter(random.Random):
    """Draws the same factor each time."""

    def uniform(self, a: float, b: float) -> float:
        """Return a factor between the bounds."""
        return 0.25 * a + 0.75 * b


@pytest.fixture(name="shared")
async def _shared(redis_server: Valkey, store: redis.Redis) -> AsyncIterator[SharedBreakerState]:
    shared = SharedBreakerState.connect(redis_server.url, Metrics(CollectorRegistry()), FixedJitter())
    yield shared
    await shared.close()


def draw_verdict(rng: random.Random, state: BreakerState) -> Verdict:
    """Return something that may happen in `state`."""
    if state.is_open and rng.random() < 0.4:
        return "healthy"
    return Failure.of(rng.choice(FAILURES))


@pytest.mark.parametrize("seed", range(12))
async def test_redis_decides_as_a_process_without_it(shared: SharedBreakerState, store: redis.Redis, seed: int) -> None:
    """After any sequence of failures, closings and pauses, state, reason, backoff and rest are the same."""
    rng, jitter = random.Random(seed), FixedJitter().uniform(1, 1.2)
    expected = BreakerState()
    for epoch in range(30):
        verdict = draw_verdict(rng, expected)
        replies = await shared.exchange([BreakerUpdate("t", epoch, 0, verdict=verdict)], 10.0)
        assert replies is not None
        expected, actual = expected.after(verdict, jitter), replies[0]

        assert (epoch + 1, True) == (actual.epoch, actual.is_own)
        assert (expected.is_open, expected.reason) == (actual.state.is_open, actual.state.reason)
        assert expected.backoff_seconds == actual.state.backoff_seconds
        assert expected.rest_seconds == pytest.approx(actual.state.rest_seconds, abs=0.002)
        pause = rng.choice((0, 1, 20, 50, 70))
        await store.hincrby(STATE, "until_ms", -1000 * pause)
        rest = int(await store.hget(STATE, "until_ms") or 0) - await milliseconds(store)
        expected = BreakerState(expected.is_open, expected.reason, expected.backoff_seconds, rest / 1000)


@pytest.mark.parametrize(("attempts", "failures"), [(4, 4), (5, 5), (5, 3), (5, 2), (6, 3), (100, 49), (100, 50)])
async def test_redis_has_the_threshold_of_a_process_without_it(
    shared: SharedBreakerState, attempts: int, failures: int
) -> None:
    """The breaker opens for the same outcomes, reported at once or one by one."""
    totals = Totals(attempts, failures)
    replies = await shared.exchange([BreakerUpdate("t", 0, 0, counts=totals)], 10.0)

    assert replies is not None
    assert totals.exceeds_threshold is replies[0].state.is_open
    assert ("failure_ratio" if totals.exceeds_threshold else "") == replies[0].state.reason


async def test_outcomes_that_come_with_a_closing_are_those_of_the_new_window(shared: SharedBreakerState) -> None:
    """Those that come with an opening are not."""
    opening = BreakerUpdate("t", 0, 0, counts=Totals(5, 5))
    closing = BreakerUpdate("t", 1, 0, counts=Totals(1, 0), verdict="healthy")
    replies = [await shared.exchange([update], 10.0) for update in (opening, closing)]

    assert [[Totals(0, 0)], [Totals(1, 0)]] == [[each.totals for each in reply or ()] for reply in replies]


async def test_a_lease_is_granted_in_the_present_state_only(shared: SharedBreakerState, store: redis.Redis) -> None:
    """A router that knows an older state has to learn of the present one first."""
    await shared.exchange([BreakerUpdate("t", 0, 0, verdict=Failure.of(DOWN))], 10.0)
    await store.hset(STATE, "until_ms", 0)
    late = await shared.exchange([BreakerUpdate("t", 0, 0, acquire="late")], 10.0)
    present = await shared.exchange([BreakerUpdate("t", 1, 0, acquire="present")], 10.0)

    assert [[False], [True]] == [[each.is_leased for each in reply or ()] for reply in (late, present)]


async def milliseconds(store: redis.Redis) -> int:
    """Return the time of Redis."""
    seconds, microseconds = await store.time()
    return int(seconds) * 1000 + int(microseconds) // 1000
