"""One of several routers holds the lease of a probe, over a real Valkey: each `Pod` stands for a process."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import redis.asyncio as redis
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
    shows_open,
    transitions,
    until_probes_are_due,
)
from llm_router.breaker.shared import LEASE_SECONDS, BreakerUpdate


async def test_one_pod_holds_the_lease_of_the_probe(pods: Pods) -> None:
    """Six pods ask for it at the same moment: one gets it; once it is released, another one can."""
    several = [pods() for _ in range(6)]
    await several[0].fails(5)
    await exchange(*several)
    await next_probe(several[0])
    await exchange(several[0])
    await asyncio.sleep(0.3)  # all clocks agree by now that the probe is due

    permits = [permit for permit in await asyncio.gather(*(pod.breakers.admit("t") for pod in several)) if permit]
    assert [True] == [permit.is_probe for permit in permits]
    assert [None] * 6 == await asyncio.gather(*(pod.breakers.admit("t") for pod in several))
    permits[0].abandoned()
    await exchange(*several)
    assert await next_probe(several[5]) < PATIENCE_SECONDS


async def test_a_failed_probe_is_known_before_its_lease_is_free(pods: Pods, store: redis.Redis) -> None:
    """A pod that does not know of the failure asks for the lease and learns that the next probe is not due."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await until_probes_are_due()
    probe = await probe_of(first)
    assert await second.breakers.admit("t") is None
    probe.failed(DOWN)
    await asyncio.sleep(0.25)
    assert await second.breakers.admit("t") is None
    await exchange(first)
    async with asyncio.timeout(PATIENCE_SECONDS):
        before = after = await exchanges_with(store)
        while after == before:
            assert await second.breakers.admit("t") is None
            after = await exchanges_with(store)
    assert await next_probe(second) > 1.4
    assert await exchanges_with(store) - after <= 2  # at most one more than the one that was granted


async def test_a_refused_lease_is_not_taken_by_renewing_it(pods: Pods, store: redis.Redis) -> None:
    """An exchange while the lease is asked for and refused leaves it free."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await until_probes_are_due()
    (await probe_of(first)).failed(DOWN)
    await exchange(first)
    permit, _ = await asyncio.gather(second.breakers.admit("t"), second.breakers.exchange())

    assert permit is None
    assert 0 == await store.exists("{spillway:breaker}:probe:t")


async def test_a_pod_that_asks_for_the_lease_learns_of_the_closing(pods: Pods) -> None:
    """The pod that is late with its probe learns that the breaker is closed: its attempt is an ordinary one."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await until_probes_are_due()
    (await probe_of(first)).succeeded()
    await exchange(first)

    assert shows_open(second)
    assert not (await second.admitted()).is_probe
    assert not shows_open(second)
    assert 1.9 < await opening_of(second) < 2.5  # its past is known, too


async def test_a_refused_pod_does_not_ask_for_the_lease_at_every_request(pods: Pods, store: redis.Redis) -> None:
    """While another pod probes, a hundred requests cost a few exchanges."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await until_probes_are_due()
    await probe_of(first)
    before = await exchanges_with(store)
    for _ in range(100):
        assert await second.breakers.admit("t") is None

    assert 1 <= await exchanges_with(store) - before <= 20


async def test_the_lease_of_a_dead_pod_is_soon_free(pods: Pods, store: redis.Redis) -> None:
    """A pod that stops while it probes keeps the others from probing for five seconds, not longer."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await until_probes_are_due()
    await probe_of(first)
    left = await store.pttl("{spillway:breaker}:probe:t")
    assert 0 < left <= LEASE_SECONDS * 1000

    assert left / 1000 - 1.0 < await next_probe(second) < PATIENCE_SECONDS


async def test_a_probe_keeps_its_lease_while_it_runs(pods: Pods, store: redis.Redis) -> None:
    """Each exchange of its holder renews it; an exchange of another pod does neither renew nor take it."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await until_probes_are_due()
    probe = await probe_of(first)
    await store.pexpire("{spillway:breaker}:probe:t", 2000)
    assert await second.breakers.admit("t") is None
    await exchange(second)
    assert await store.pttl("{spillway:breaker}:probe:t") <= 2000
    await exchange(first)
    assert await store.pttl("{spillway:breaker}:probe:t") > 2000
    probe.abandoned()
    await exchange(first)

    assert 0 == await store.exists("{spillway:breaker}:probe:t")


async def test_of_two_failed_probes_one_counts(pods: Pods, store: redis.Redis) -> None:
    """A probe whose lease another pod has taken changes nothing when it fails after that pod's."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await until_probes_are_due()
    probe = await probe_of(first)
    await store.delete("{spillway:breaker}:probe:t")
    (await probe_of(second)).failed(DOWN)
    await exchange(second, first)
    with capture_logs() as lines:
        probe.failed(DOWN)

    assert [] == transitions(lines)


async def test_a_lease_is_renewed_and_released_by_its_holder_only(pods: Pods, store: redis.Redis) -> None:
    """A probe that went out while Redis was away takes a free lease, and leaves a held one as it is."""
    shared = pods().shared
    assert shared is not None
    await store.set("{spillway:breaker}:probe:t", "first", px=2000)
    await shared.exchange([BreakerUpdate("t", 0, 0, renew="second", release=["third"])], 5.0)
    assert 0 < await store.pttl("{spillway:breaker}:probe:t") <= 2000
    await shared.exchange([BreakerUpdate("t", 0, 0, release=["first"])], 5.0)
    await shared.exchange([BreakerUpdate("t", 0, 0, renew="second")], 5.0)

    assert b"second" == await store.get("{spillway:breaker}:probe:t")


async def test_a_slow_redis_delays_no_request(pods: Pods, redis_server: Valkey) -> None:
    """A due probe goes out without its lease after 50 ms, later requests do not wait, and it is counted once."""
    first = pods(is_patient=False)
    await first.fails(5)
    await exchange(first)
    await asyncio.sleep(1.25)
    with redis_server.hanging():
        started = time.monotonic()
        probe = await first.admitted()
        probe.abandoned()
        asked = time.monotonic() - started
        started = time.monotonic()
        (await first.admitted()).succeeded()
        for _ in range(1000):
            (await first.admitted()).succeeded()
        not_asked = time.monotonic() - started

    assert probe.is_probe
    assert 0.04 < asked < 2.0
    assert not_asked < 2.0
    assert 1 == first.counted(FAILURES)


async def test_a_request_cancelled_while_it_waits_for_the_lease_leaves_nothing_behind(
    pods: Pods, redis_server: Valkey
) -> None:
    """The next request may probe, here and elsewhere."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await asyncio.sleep(1.25)
    with redis_server.hanging():
        waiting = asyncio.create_task(first.breakers.admit("t"))
        for _ in range(10):
            await asyncio.sleep(0)  # the request for the lease is out
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        assert waiting.cancelled()
    await exchange(first)

    assert await next_probe(first) < PATIENCE_SECONDS
    await exchange(first)
    assert await next_probe(second) < PATIENCE_SECONDS
