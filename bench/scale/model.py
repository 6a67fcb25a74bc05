"""What so many concurrent streams need, computed from measured slopes and from assumptions that are written down here.

Everything that is not in `Slopes` is in `Workload` and `Sizes`: who asks how often, how long answers are, how large a
node is, how full it may be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.scale.slopes import Slopes
from bench.scale.tenants import concentration, largest_share, shards_for

_DAY_SECONDS, MONTH_DAYS = 24 * 60 * 60, 30
_GIB = 2**30
# What the code sets; bench/tests/test_scale_model.py holds them against it.
MAX_STREAMS_PER_EDGE = 1000
MAX_STREAMS_PER_ROUTER = 1000
MAX_ACTIVE_FIGURES = 50_000
MAX_TAKEN = 50_000
MAX_KEYS_PER_EDGE = 200_000
RETENTION_MONTHS = 25
CACHE_SECONDS = 24 * 60 * 60
ACTIVE_SECONDS = 120
# What a ledger may open: COST_LEDGER_POOL_SIZE, COST_LEDGER_READ_POOL_SIZE and two for accounts.
CONNECTIONS_PER_LEDGER = 14
# A turn of the budgets' publication has this long; after it comes a pause, and then a second.
TURN_SECONDS, MAX_PAUSE_SECONDS, PAUSE_FACTOR, BETWEEN_TURNS_SECONDS = 10.0, 10.0, 4, 1.0
EXCHANGES_PER_SECOND = 5.0
"""Of a busy router, about its breakers."""
# The chart's costLedger.replicas: each of them publishes.
MIN_LEDGERS = 2
# PostgreSQL's own default, without the three that are for superusers.
POSTGRES_CONNECTIONS = 97


@dataclass(frozen=True)
class Workload:
    """Who asks, and what they get."""

    kind: str
    chunks: int
    interval_ms: float
    wait_seconds: float
    """Until the first content."""
    seconds_between_requests: float = 60.0
    """Of one active user, from one request to the next."""
    users_per_tenant: int = 100
    """On average, of those that are active."""
    zipf_exponent: float = 1.0
    """How unequal tenants are: the second has 1/2 of the first, the third 1/3, and so on."""
    repeated_share: float = 0.0
    """Of the requests: answered from the cache."""

    @property
    def name(self) -> str:
        """What it is, for a table."""
        pace = f"{self.chunks} chunks, one each {self.interval_ms:g} ms after {self.wait_seconds:g} s"
        return f"{self.kind}: {pace}"

    @property
    def stream_seconds(self) -> float:
        """How long a stream is open."""
        return self.wait_seconds + self.chunks * self.interval_ms / 1000

    def requests_per_second(self, streams: int) -> float:
        """As many begin as end."""
        return streams / self.stream_seconds

    def users(self, streams: int) -> int:
        """How many are active at a time."""
        return max(math.ceil(self.requests_per_second(streams) * self.seconds_between_requests), 1)

    def tenants(self, streams: int) -> int:
        """How many are active at a time."""
        return max(self.users(streams) // self.users_per_tenant, 1)


@dataclass(frozen=True)
class Sizes:
    """What one of each is, and how full it may be."""

    utilisation: float = 0.7
    """Of a core: the chart's autoscaling.targetCPUUtilizationPercentage, and the same for stores."""
    pod_memory_mib: int = 512
    """The chart's resources.limits.memory of edge and router."""
    valkey_gib: int = 64
    """Of a node, for data."""
    disk_tib: float = 4.0
    """Of a PostgreSQL server, for a month of requests and attempts."""
    outage_seconds: float = 3600.0
    """Of PostgreSQL, that Redis must have memory for."""


ORDINARY = Sizes()
CHAT = Workload("chat", 400, 25.0, 1.0)
REASONING = Workload("reasoning", 300, 100.0, 30.0)
STEPS = (1_000, 10_000, 100_000, 1_000_000)
_MAX_SHARDS = 1000


@dataclass(frozen=True)
class Needs:
    """What so many streams need."""

    streams: int
    requests_per_second: float
    chunks_per_second: float
    gigabit_per_second: float
    """To the clients."""
    users: int
    tenants: int
    edges: int
    routers: int
    ledgers: int
    stream_cores: float
    """Of the one Valkey that has the cost events, what is global, and the background of all edges and ledgers."""
    stream_alone_cores: float
    """The same without any budget that all requests are charged to."""
    breaker_cores: float
    """Of the Valkey that has the breakers of all routers."""
    largest_tenant_cores: float
    largest_full_tenant_cores: float
    """With all kinds of limits for each user and for the tenant."""
    tenant_cores: float
    """Of all tenants together."""
    cache_cores: float
    cache_gib: float
    """Of a day's answers."""
    backlog_gib: float
    """Of cost events, after an outage of PostgreSQL."""
    running_gib: float
    """Of limits and budgets: users, streams, and requests that the ledger has not counted, while it keeps up."""
    postgres_cores: float
    postgres_connections: int
    disk_gib_per_day: float
    wal_mib_per_second: float
    figures: int
    turn_seconds: float
    """For which the ledger publishes them once; what does not fit into `TURN_SECONDS` is not published."""
    uncounted_per_turn: float
    """Requests that end between two publications, and have to be taken out of the budget that all share; by ledger."""
    keys: int
    """If each active user has a key of the ledger."""
    edge_to_router_connections: int


def needs(slopes: Slopes, work: Workload, streams: int, sizes: Sizes = ORDINARY) -> Needs:
    """Compute it."""
    per_second = work.requests_per_second(streams)
    chunks = streams * (1 - work.wait_seconds / work.stream_seconds) * 1000 / work.interval_ms
    users, tenants = work.users(streams), work.tenants(streams)
    edges = _pods(slopes, "edge", per_second, chunks, streams, MAX_STREAMS_PER_EDGE, sizes)
    routers = _pods(slopes, "llm-router", per_second, chunks, streams, MAX_STREAMS_PER_ROUTER, sizes)
    events = 2 * per_second
    ledgers = math.ceil(events / (slopes.books.events_per_ledger_core * sizes.utilisation))
    background = sum(
        count * slopes.idle[part].redis_commands for part, count in (("edge", edges), ("cost-ledger", ledgers))
    )
    background_cores = background * slopes.idle_valkey_cpu_us_per_command / 1e6
    tenant_cores = per_second * slopes.shard.tenant_us / 1e6
    share = largest_share(tenants, work.zipf_exponent)
    entry, per_event = slopes.stored_bytes("cache_entry", work.chunks), slopes.redis_bytes.event
    figures = round(users * ACTIVE_SECONDS / max(work.seconds_between_requests, ACTIVE_SECONDS)) + 1
    turn = _turn_seconds(slopes, work, users, tenants, figures)
    cycle = min(turn, TURN_SECONDS) + min(turn * PAUSE_FACTOR, MAX_PAUSE_SECONDS) + BETWEEN_TURNS_SECONDS
    # What has ended stays until the figure is published once more.
    held = streams + per_second * cycle
    window, figure = slopes.redis_bytes.quiet_window, slopes.redis_bytes.budget_figure
    return Needs(
        streams=streams,
        requests_per_second=per_second,
        chunks_per_second=chunks,
        gigabit_per_second=chunks * slopes.bytes_per_chunk * 8 / 1e9,
        users=users,
        tenants=tenants,
        edges=edges,
        routers=routers,
        ledgers=ledgers,
        stream_cores=per_second * slopes.shard.stream_and_global_budget_us / 1e6 + background_cores,
        stream_alone_cores=per_second * slopes.shard.stream_us / 1e6 + background_cores,
        breaker_cores=routers * EXCHANGES_PER_SECOND * slopes.shard.breakers_us / 1e6,
        largest_tenant_cores=tenant_cores * share,
        largest_full_tenant_cores=per_second * slopes.shard.tenant_full_us / 1e6 * share,
        tenant_cores=tenant_cores,
        cache_cores=per_second * slopes.shard.cache_us / 1e6,
        cache_gib=per_second * (1 - work.repeated_share) * CACHE_SECONDS * entry / _GIB,
        backlog_gib=events * sizes.outage_seconds * per_event / _GIB,
        running_gib=(users * (window + figure) + 2 * held * slopes.redis_bytes.running_request) / _GIB,
        postgres_cores=events / slopes.books.events_per_postgres_core,
        postgres_connections=ledgers * CONNECTIONS_PER_LEDGER,
        disk_gib_per_day=per_second * _DAY_SECONDS * slopes.books.bytes_per_request / _GIB,
        wal_mib_per_second=per_second * slopes.books.wal_bytes_per_request / 2**20,
        figures=figures,
        turn_seconds=turn,
        uncounted_per_turn=per_second * cycle / max(ledgers, MIN_LEDGERS),
        keys=users,
        edge_to_router_connections=edges * routers,
    )


def _pods(
    slopes: Slopes, part: str, per_second: float, chunks: float, streams: int, most_streams: int, sizes: Sizes
) -> int:
    """Return how many pods of a part there must be for their CPU, their memory and their bound on streams."""
    cores = (per_second * slopes.request_ms(part) / 1e3) + chunks * slopes.chunk_us(part) / 1e6
    room_kib = sizes.pod_memory_mib * 1024 - slopes.base_kib(part)
    by_memory = streams * slopes.per_stream("pss_kib", part) / room_kib
    return math.ceil(max(cores / sizes.utilisation, by_memory, streams / most_streams))


def _turn_seconds(slopes: Slopes, work: Workload, users: int, tenants: int, figures: int) -> float:
    """Each figure of a user is summed over the rows of its tenant, that of all over all rows; a row for each user."""
    rows = float(users) ** 2 * concentration(tenants, work.zipf_exponent) + users
    return figures * slopes.figures.figure_ms / 1e3 + rows * slopes.figures.row_us / 1e6


def tenant_shards(need: Needs, work: Workload, sizes: Sizes = ORDINARY) -> int | None:
    """Return how many shards of a Redis Cluster the tenants need; None: the largest alone is too much for one."""
    bearable = min(sizes.utilisation / need.tenant_cores, 1.0)
    return shards_for(need.tenants, work.zipf_exponent, bearable, _MAX_SHARDS)


def table_of(slopes: Slopes, work: Workload, steps: Sequence[int] = STEPS) -> list[Needs]:
    """Return what each number of streams needs."""
    return [needs(slopes, work, streams) for streams in steps]
