"""No cost event is lost: Redis takes it, or the spool does, or nothing is spent; and no answer waits for Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis

from edge.events.emitter import Emitter
from edge.events.redis import COST_EVENTS, RedisAway, RedisStore
from edge.events.spool import Spool
from edge.metrics import Metrics
from edge.problems import Problem
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

from .scripted_redis import FakeRedis, OwnValkey, redis_client

pytestmark = pytest.mark.integration

FAST = 0.05
PATIENT = 10.0
NOWHERE = "redis://127.0.0.1:1/0"
Counted = Callable[..., float]


def event(name: str) -> ledgerpb.CostEvent:
    """Make an event that can be told from others."""
    return ledgerpb.CostEvent(event_id=name)


async def recorded(client: redis.Redis) -> list[str]:
    """Return the ids of the events on the stream, in order."""
    entries: Any = await client.xrange(COST_EVENTS)
    return [ledgerpb.CostEvent.FromString(fields[b"event"]).event_id for _, fields in entries]


async def waiting(spool: Spool) -> list[str]:
    """Return the ids of the events in the spool, in order."""
    return [ledgerpb.CostEvent.FromString(payload).event_id for _, payload in await spool.oldest(1000)]


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.005)


@pytest.fixture(name="emitter")
async def _emitter(valkey: redis.Redis, spool: Spool, metrics: Metrics) -> Emitter:
    """Return an emitter in front of a Redis that works."""
    return Emitter(RedisStore(valkey, PATIENT), spool, metrics)


@pytest.fixture(name="away")
async def _away(spool: Spool, metrics: Metrics) -> AsyncIterator[Emitter]:
    """Yield an emitter in front of a Redis that nobody runs."""
    async with redis_client(NOWHERE) as client:
        yield Emitter(RedisStore(client, PATIENT), spool, metrics)


@pytest.fixture(name="fake")
async def _fake(redis_url: str, valkey: redis.Redis) -> AsyncIterator[FakeRedis]:
    """Yield a Redis that can fall silent."""
    async with FakeRedis(redis_url).listening() as fake:
        yield fake


@pytest.fixture(name="fake_client")
async def _fake_client(fake: FakeRedis) -> AsyncIterator[redis.Redis]:
    async with redis_client(fake.url) as client:
        yield client


async def test_a_command_travels_beside_the_settled_event(emitter: Emitter, valkey: redis.Redis) -> None:
    """In the same round trip."""
    assert await emitter.settle(event("one"), [("SET", "k", b"answer", "EX", 100)])

    assert (b"answer", 100) == (await valkey.get("k"), await valkey.ttl("k"))
    assert ["one"] == await recorded(valkey)


async def test_without_a_command_only_the_event_is_recorded(emitter: Emitter, valkey: redis.Redis) -> None:
    """Nothing else appears in Redis."""
    assert await emitter.settle(event("one"))

    assert [COST_EVENTS.encode()] == await valkey.keys()


async def test_while_redis_is_away_events_wait_in_the_spool(away: Emitter, spool: Spool, counted: Counted) -> None:
    """Settlement goes on and says that the command beside it was not run; it is counted."""
    assert not await away.settle(event("one"))
    assert not await away.settle(event("two"), [("SET", "k", b"answer")])
    await away.replay()

    assert ["one", "two"] == await waiting(spool)
    assert (2, 2) == (counted("edge_cost_events_spooled_total"), counted("edge_spool_events"))


async def test_when_redis_is_back_events_are_replayed_in_order(
    away: Emitter, emitter: Emitter, valkey: redis.Redis, spool: Spool, counted: Counted
) -> None:
    """More than one batch of them, then the spool is empty."""
    names = [f"e{number}" for number in range(450)]
    for name in names:
        await away.settle(event(name))
    await emitter.replay()

    assert names == await recorded(valkey)
    assert ([], 0, 0) == (await waiting(spool), spool.depth, counted("edge_spool_events"))


async def test_the_spool_of_an_earlier_process_is_replayed(
    tmp_path: Path, valkey: redis.Redis, metrics: Metrics
) -> None:
    """A restart during an outage loses nothing."""
    before = Spool(tmp_path / "restart.sqlite")
    await before.append(event("before").SerializeToString())
    await before.close()

    after = Spool(tmp_path / "restart.sqlite")
    await Emitter(RedisStore(valkey, PATIENT), after, metrics).replay()
    assert (["before"], 0) == (await recorded(valkey), after.depth)
    await after.close()


async def test_nothing_may_be_spent_that_cannot_be_recorded(away: Emitter, spool: Spool) -> None:
    """Redis away and the disk full: the request is refused with 503, and may come again."""
    spool._connection.execute("PRAGMA max_page_count = 1")
    await away.settle(event("fills the last page" * 10_000))
    with pytest.raises(Problem) as caught:
        await away.spool_admitted(event("one" * 10_000).SerializeToString())

    assert ("spend_unrecordable", 503, True) == (
        caught.value.code,
        caught.value.kind.status,
        caught.value.kind.retryable,
    )


async def test_what_waits_in_the_spool_is_told_before_the_process_ends(
    emitter: Emitter, away: Emitter, spool: Spool, valkey: redis.Redis
) -> None:
    """Redis was slow for the last event of an edge that ends, and its spool may go with it: Redis has it in the end."""
    await away.settle(event("last"))
    assert ["last"] == await waiting(spool)
    await emitter.close()

    assert ["last"] == await recorded(valkey)
    assert 0 == spool.depth


async def test_a_redis_that_is_away_does_not_keep_the_process(away: Emitter, spool: Spool) -> None:
    """The edge ends after some seconds, and the event is in the file."""
    await away.settle(event("last"))
    async with asyncio.timeout(60):
        await away.close()

    assert ["last"] == await waiting(spool)


async def is_admitted(emitter: Emitter, admitted: ledgerpb.CostEvent) -> bool:
    """Tell whether a request may run."""
    try:
        await emitter.spool_admitted(admitted.SerializeToString())
    except Problem:
        return False
    return True


async def test_what_has_begun_can_still_be_recorded_when_nothing_may_begin(
    tmp_path: Path, metrics: Metrics, counted: Counted
) -> None:
    """The last room of the spool is for settled events: who was told `done` is on record."""
    small = Spool(tmp_path / "small.sqlite", 256 * 1024)
    async with redis_client(NOWHERE) as client:
        emitter = Emitter(RedisStore(client, PATIENT), small, metrics)
        admitted = 0
        while await is_admitted(emitter, event("one" * 200)):
            admitted += 1
        for _ in range(10):
            await emitter.settle(event("the end of a request that was running"))

    assert admitted > 100
    assert (admitted + 10, 0) == (small.depth, counted("edge_cost_events_lost_total"))
    await small.close()


async def test_a_settled_event_that_nobody_takes_is_counted(away: Emitter, spool: Spool, counted: Counted) -> None:
    """The admitted one is recorded, so the ledger shows the request as unsettled; the answer is out already."""
    spool._connection.execute("PRAGMA max_page_count = 1")

    assert not await away.settle(event("one" * 10_000))
    assert 1 == counted("edge_cost_events_lost_total")


async def test_a_redis_that_never_answers_is_bypassed(
    fake: FakeRedis, fake_client: redis.Redis, spool: Spool, metrics: Metrics
) -> None:
    """It accepts the connection and says nothing; the event goes to the spool, the request goes on."""
    fake.answers.clear()
    emitter = Emitter(RedisStore(fake_client, FAST), spool, metrics)
    async with asyncio.timeout(5):
        assert not await emitter.settle(event("one"))

    assert ["one"] == await waiting(spool)


async def test_after_a_failure_redis_rests(
    fake: FakeRedis, fake_client: redis.Redis, spool: Spool, metrics: Metrics
) -> None:
    """The next requests do not wait for the same timeout again: they do not even connect."""
    fake.answers.clear()
    store = RedisStore(fake_client, FAST)
    emitter = Emitter(store, spool, metrics)
    await emitter.settle(event("one"))
    connections = fake.connections
    for number in range(20):
        assert not await emitter.settle(event(f"e{number}"))
        with pytest.raises(RedisAway):
            await store.evaluate(store.script("return 1"), [], [])

    assert connections == fake.connections
    assert 21 == spool.depth


async def test_after_the_rest_redis_is_asked_again(
    fake: FakeRedis, fake_client: redis.Redis, valkey: redis.Redis, spool: Spool, metrics: Metrics
) -> None:
    """No restart is needed, and what waited is replayed."""
    fake.answers.clear()
    store = RedisStore(fake_client, FAST)
    emitter = Emitter(store, spool, metrics)
    await emitter.settle(event("one"))
    await valkey.delete(COST_EVENTS)
    fake.answers.set()
    async with asyncio.timeout(20):
        while spool.depth:
            await emitter.replay()
            await asyncio.sleep(0.02)

    assert ["one"] == await recorded(valkey)


async def test_a_late_reply_is_never_taken_for_another_requests(
    fake: FakeRedis, fake_client: redis.Redis, valkey: redis.Redis
) -> None:
    """A look-up that was given up must not leave its answer on the connection for the next tenant."""
    await valkey.mset({f"k{number}": f"answer {number}" for number in range(6)})

    async def look_up(patience: float, number: int) -> bytes:
        store = RedisStore(fake_client, patience)
        found: bytes = await store.evaluate(store.script("return redis.call('GET', KEYS[1])"), [f"k{number}"], [])
        return found

    for number in range(0, 6, 2):
        assert f"answer {number}".encode() == await look_up(PATIENT, number)
        fake.answers.clear()
        with pytest.raises(RedisAway):
            await look_up(FAST, number)
        fake.answers.set()

        assert f"answer {number + 1}".encode() == await look_up(PATIENT, number + 1)


async def test_a_stream_that_refuses_events_sends_them_to_the_spool(
    emitter: Emitter, valkey: redis.Redis, spool: Spool
) -> None:
    """An error reply, as of a Redis out of memory, is as good as no Redis."""
    await valkey.set(COST_EVENTS, "not a stream")

    assert not await emitter.settle(event("one"))
    assert ["one"] == await waiting(spool)


async def test_a_settlement_goes_on_when_its_caller_is_cancelled(
    fake: FakeRedis, fake_client: redis.Redis, valkey: redis.Redis, spool: Spool, metrics: Metrics
) -> None:
    """On shutdown, at any moment; `close` waits for it."""
    await fake_client.ping()
    fake.answers.clear()
    emitter = Emitter(RedisStore(fake_client, PATIENT), spool, metrics)
    settling = asyncio.create_task(emitter.settle(event("one"), [("SET", "k", b"answer")]))
    await asyncio.sleep(0)
    settling.cancel()
    await asyncio.wait((settling,))
    assert settling.cancelled()

    closing = asyncio.create_task(emitter.close())
    await asyncio.sleep(0.02)
    assert not closing.done()
    fake.answers.set()
    await asyncio.wait_for(closing, 20)
    assert ["one"] == await recorded(valkey) + await waiting(spool)


@pytest.fixture(name="own_valkey")
def _own_valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    """Yield a Valkey of the test's own, which it may kill and whose file it may cut."""
    own = OwnValkey(tmp_path / "valkey")
    own.start()
    yield own
    own.kill()


async def test_events_that_a_restarted_redis_lost_are_resent(
    own_valkey: OwnValkey, spool: Spool, metrics: Metrics, counted: Counted
) -> None:
    """A node without power: the last writes never reached the disk. In order, what came before the loss, too."""
    async with redis_client(own_valkey.url) as client:
        emitter = Emitter(RedisStore(client, PATIENT), spool, metrics)
        await emitter.replay()
        before = own_valkey.written_bytes()
        for name in ("one", "two", "three"):
            await emitter.settle(event(name))
        await emitter.settle(event("four"))
        own_valkey.kill()
        own_valkey.cut(before)
        own_valkey.start()
        assert [] == await recorded_after_restart(client)

        await replayed(emitter, counted, 4)
        assert ["one", "two", "three", "four"] == await recorded(client)
        for _ in range(2):
            await emitter.replay()
        assert 4 == await client.xlen(COST_EVENTS)


async def test_resent_events_are_resent_again_after_the_next_restart(
    own_valkey: OwnValkey, spool: Spool, metrics: Metrics, counted: Counted
) -> None:
    """Also what came out of the spool."""
    async with redis_client(own_valkey.url) as client:
        emitter = Emitter(RedisStore(client, PATIENT), spool, metrics)
        await emitter.replay()
        before = own_valkey.written_bytes()
        await spool.append(event("spooled").SerializeToString())
        await emitter.replay()
        for round_ in (1, 2):
            own_valkey.kill()
            own_valkey.cut(before)
            own_valkey.start()
            assert [] == await recorded_after_restart(client)
            await replayed(emitter, counted, round_)
            assert ["spooled"] == await recorded(client)


async def test_nothing_is_resent_to_a_redis_that_did_not_restart(
    emitter: Emitter, valkey: redis.Redis, counted: Counted
) -> None:
    """However often it is asked."""
    await emitter.replay()
    await emitter.settle(event("one"))
    for _ in range(3):
        await emitter.replay()

    assert (["one"], 0) == (await recorded(valkey), counted("edge_cost_events_resent_total"))


async def recorded_after_restart(client: redis.Redis) -> list[str]:
    """Return what is on the stream of a server that has just been started: old connections are cut off first."""
    await client.connection_pool.disconnect()
    return await recorded(client)


async def replayed(emitter: Emitter, counted: Counted, resent: int) -> None:
    """Do what the edge does every second until that many events were resent."""
    async with asyncio.timeout(20):
        while counted("edge_cost_events_resent_total") < resent:
            await emitter.replay()
            await asyncio.sleep(0.02)


async def test_health_is_asked_afresh(valkey: redis.Redis) -> None:
    """A ping tells whether Redis is there, without an exception."""
    assert await RedisStore(valkey, FAST).is_reachable()
    async with redis_client(NOWHERE) as client:
        assert not await RedisStore(client, FAST).is_reachable()
