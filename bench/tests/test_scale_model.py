"""Larger systems follow from measured slopes by rules that can be checked."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import replace

import pytest
from redis.crc import key_slot

from bench.scale.model import (
    ACTIVE_SECONDS,
    BETWEEN_TURNS_SECONDS,
    CACHE_SECONDS,
    CHAT,
    CONNECTIONS_PER_LEDGER,
    EXCHANGES_PER_SECOND,
    MAX_ACTIVE_FIGURES,
    MAX_KEYS_PER_EDGE,
    MAX_PAUSE_SECONDS,
    MAX_STREAMS_PER_EDGE,
    MAX_STREAMS_PER_ROUTER,
    MAX_TAKEN,
    PAUSE_FACTOR,
    REASONING,
    RETENTION_MONTHS,
    STEPS,
    TURN_SECONDS,
    needs,
    tenant_shards,
)
from bench.scale.slopes import (
    Answer,
    Books,
    Commands,
    Figures,
    Idle,
    OpenStreams,
    RedisBytes,
    Shard,
    Slopes,
    decoded,
    encoded,
)
from bench.scale.tenants import concentration, hottest, largest_share, shards_for, shares, slot_of
from bench.scale.walls import walls
from cost_ledger.budgets import publish
from cost_ledger.connections import ACCOUNTS_POOL_SIZE
from cost_ledger.recording.chores import _PUBLISH_INTERVAL_SECONDS
from cost_ledger.settings import Settings as LedgerSettings
from edge.cache.exact import TTL_SECONDS
from edge.guard.recorded_keys import MAX_KEYS
from edge.settings import Settings as EdgeSettings
from llm_router.breaker.breakers import _BUSY_INTERVAL_SECONDS
from llm_router.settings import Settings as RouterSettings

PARTS = ("edge", "llm-router", "cost-ledger")


def some_slopes() -> Slopes:
    """Return round figures."""

    def opened(streams: int) -> OpenStreams:
        pss = {"edge": 100 * 1024 + 40.0 * streams, "llm-router": 80 * 1024 + 30.0 * streams}
        return OpenStreams(streams, pss, {"edge": 30 + streams, "llm-router": 20 + streams}, 1)

    return Slopes(
        date="2026-01-31",
        version="abc",
        machine={"cores": "2", "processor": "P"},
        open_streams=[opened(20), opened(400)],
        answers=[
            Answer("one", 1, dict.fromkeys(PARTS, 1.0), 0.5),
            Answer("long", 64, dict.fromkeys(PARTS, 7.3), 0.5),
        ],
        bytes_per_chunk=250.0,
        commands=[Commands("as it comes", dict.fromkeys(PARTS, 3.0), 200.0)],
        shard=Shard(40.0, 80.0, 70.0, 250.0, 25.0, 60.0, 1500.0),
        redis_bytes=RedisBytes(
            300.0, 200.0, 150, 1500, 110.0, 350, {"1": 400, "64": 904}, {"1": 1000, "64": 17000}, 270.0
        ),
        books=Books(10_000, 4000.0, 12_000.0, 30_000.0, 1300.0, 3000.0),
        figures=Figures(0.5, 0.2),
        idle={"edge": Idle(5.0, 10.0), "llm-router": Idle(70.0, 10.0), "cost-ledger": Idle(11.0, 20.0)},
        idle_valkey_cpu_us_per_command=40.0,
        edge_key_bytes=500.0,
    )


def test_slopes_come_back_as_they_were_written() -> None:
    """What is computed from the file is computed from what was measured."""
    assert some_slopes() == decoded(encoded(some_slopes()))


def test_a_slope_is_what_one_more_takes() -> None:
    """Neither what a process has at rest nor the fixed cost of an answer is in it."""
    slopes = some_slopes()

    assert 40.0 == pytest.approx(slopes.per_stream("pss_kib", "edge"))
    assert 1.0 == slopes.per_stream("files", "llm-router")
    assert 100 * 1024 == pytest.approx(slopes.base_kib("edge"))
    assert 1.0 == slopes.request_ms("edge")
    assert 100.0 == pytest.approx(slopes.chunk_us("edge"))
    assert 400 + 8 * 399 == pytest.approx(slopes.stored_bytes("cache_entry", 400))


def test_the_bounds_are_those_of_the_code() -> None:
    """A bound that is moved in a service moves the wall."""
    ledger = LedgerSettings(postgres_url="postgresql://a@b/c", redis_url="redis://a")

    assert EdgeSettings().max_concurrent_requests == MAX_STREAMS_PER_EDGE
    assert RouterSettings().max_concurrent_calls == MAX_STREAMS_PER_ROUTER
    assert (publish._MAX_ACTIVE, publish._ACTIVE_SECONDS) == (MAX_ACTIVE_FIGURES, ACTIVE_SECONDS)
    assert publish._MAX_MEMBERS == MAX_TAKEN
    assert MAX_KEYS == MAX_KEYS_PER_EDGE
    assert TTL_SECONDS == CACHE_SECONDS
    assert ledger.retention_months == RETENTION_MONTHS
    assert ledger.pool_size + ledger.read_pool_size + ACCOUNTS_POOL_SIZE == CONNECTIONS_PER_LEDGER
    assert (publish._DEADLINE_SECONDS, publish._PAUSE_FACTOR, publish._MAX_PAUSE_SECONDS) == (
        TURN_SECONDS,
        PAUSE_FACTOR,
        MAX_PAUSE_SECONDS,
    )
    assert _PUBLISH_INTERVAL_SECONDS == BETWEEN_TURNS_SECONDS
    assert 1 / _BUSY_INTERVAL_SECONDS == EXCHANGES_PER_SECOND


def test_needs_by_hand() -> None:
    """1,100 chats of 11 s: 100 requests and 40,000 chunks a second."""
    need = needs(some_slopes(), CHAT, 1100)

    assert 100.0 == need.requests_per_second
    assert 40_000.0 == pytest.approx(need.chunks_per_second)
    assert (6000, 60) == (need.users, need.tenants)
    # 0.1 cores for what is fixed and 4 for the chunks, at 70 %.
    assert math.ceil(4.1 / 0.7) == need.edges == need.routers
    assert 1 == need.ledgers
    assert 100 * 70e-6 == pytest.approx(need.tenant_cores)
    assert 100 * 86_400 * 1300 / 2**30 == pytest.approx(need.disk_gib_per_day)
    assert 100 * 86_400 * (400 + 8 * 399) / 2**30 == pytest.approx(need.cache_gib)
    assert 6 * 5 + 1 * 11 == pytest.approx((need.stream_cores - 100 * 80e-6) / 40e-6)


def test_more_streams_need_no_less_of_anything() -> None:
    """No wall is passed by growing."""
    table = [needs(some_slopes(), CHAT, streams) for streams in STEPS]

    for small, large in itertools.pairwise(table):
        assert small.edges < large.edges
        assert small.stream_cores < large.stream_cores
        assert small.largest_tenant_cores < large.largest_tenant_cores
        assert small.running_gib < large.running_gib


def test_streams_that_say_little_are_bound_by_their_number() -> None:
    """A pod of slow streams is full by memory, or by what it takes at once."""
    slow = replace(REASONING, interval_ms=60_000.0)

    by_number = needs(some_slopes(), slow, 10_000).edges
    large = replace(some_slopes(), open_streams=[replace(each) for each in some_slopes().open_streams])
    heavy = replace(
        large,
        open_streams=[
            replace(each, pss_kib={"edge": 10 * 1024.0 * each.streams, "llm-router": 1.0})
            for each in large.open_streams
        ],
    )

    assert 10 == by_number
    assert math.ceil(10_000 * 10 / 512) == needs(heavy, slow, 10_000).edges


def test_walls_are_where_one_is_no_longer_enough() -> None:
    """Just before it one does, from there on it does not; the first that is met comes first."""
    slopes = some_slopes()
    found = walls(slopes, CHAT)

    assert sorted(wall.streams for wall in found) == [wall.streams for wall in found]
    for wall in found:
        assert wall.used(needs(slopes, CHAT, int(wall.streams))) > 1
        assert wall.used(needs(slopes, CHAT, int(wall.streams * 0.98) - 1)) <= 1


def test_a_tenant_is_on_the_slot_that_redis_computes() -> None:
    """Otherwise the busiest shard would be another one."""
    for tag in ("spillway:limits:acme", "spillway:cost-events", "spillway:limits:ü"):
        assert key_slot(f"{{{tag}}}".encode()) == slot_of(tag)


def test_tenants_are_unequal_as_zipf_says() -> None:
    """The second has half of the first, and the tail counts as if it were summed."""
    of_all = shares(5000, 1.0)

    assert 1.0 == pytest.approx(sum(of_all))
    assert of_all[0] / 2 == pytest.approx(of_all[1])
    assert concentration(5000, 1.0) == pytest.approx(sum(share**2 for share in of_all), rel=1e-3)
    assert largest_share(5000, 1.0) == pytest.approx(of_all[0], rel=1e-4)
    assert largest_share(5000, 1.2) == pytest.approx(shares(5000, 1.2)[0], rel=1e-3)


def test_the_busiest_shard_has_at_least_its_largest_tenant() -> None:
    """More shards help until that one alone is too much."""
    loads = Counter({shards: hottest(1000, 1.0, shards) for shards in (1, 3, 10, 100)})

    assert 1.0 == pytest.approx(loads[1])
    assert loads[1] > loads[3] > loads[10] >= loads[100] >= shares(1000, 1.0)[0]
    assert shards_for(1000, 1.0, 1.0, 100) == 1
    assert shards_for(1000, 1.0, shares(1000, 1.0)[0] * 0.9, 100) is None
    found = shards_for(1000, 1.0, 0.3, 100)
    assert found is not None
    assert hottest(1000, 1.0, found) <= 0.3 < hottest(1000, 1.0, found - 1)


def test_shards_are_computed_the_same_each_time() -> None:
    """The same slopes give the same table."""
    need = needs(some_slopes(), CHAT, 1_000_000)

    assert tenant_shards(need, CHAT) == tenant_shards(need, CHAT)
