"""What was measured, what it means for so many streams, and where the walls are, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.report import figure
from bench.scale.model import (
    EXCHANGES_PER_SECOND,
    MONTH_DAYS,
    ORDINARY,
    RETENTION_MONTHS,
    STEPS,
    Needs,
    Workload,
    table_of,
    tenant_shards,
)
from bench.scale.plot import rounded
from bench.scale.slopes import Slopes
from bench.scale.walls import Wall, walls


def measured(slopes: Slopes) -> str:
    """Return the slopes: what, how much, of how it was found."""
    lines = [f"| {what} | {much} | {how} |" for what, much, how in _measured(slopes)]
    return "\n".join(["| what | measured | how |", "|---|---:|---|", *lines]) + "\n"


def _measured(slopes: Slopes) -> Iterator[tuple[str, str, str]]:
    first, last = slopes.open_streams[0].streams, slopes.open_streams[-1].streams
    for part in ("edge", "llm-router"):
        of_part = "router" if part == "llm-router" else part
        kib, files = slopes.per_stream("pss_kib", part), slopes.per_stream("files", part)
        without = slopes.base_kib(part) / 1024
        yield (
            f"memory of the {of_part}, an open stream that says next to nothing",
            f"{kib:.0f} KiB",
            f"PSS, {first} to {last} streams; {without:.0f} MiB without any",
        )
        yield f"open files of the {of_part}, a stream", f"{files:.2f}", "the same"
    yield "connections between an edge and a router", f"{slopes.open_streams[-1].connections}", f"with {last} streams"
    for part in ("edge", "llm-router"):
        of_part = "router" if part == "llm-router" else part
        yield (
            f"CPU of the {of_part}, an answer and each further chunk",
            f"{slopes.request_ms(part):.2f} ms, {slopes.chunk_us(part):.0f} µs",
            ", ".join(f"{answer.cell}" for answer in slopes.answers),
        )
    yield "bytes to the client, a chunk", f"{slopes.bytes_per_chunk:.0f}", "`/v1/chat/completions`, without TLS"
    shard = slopes.shard
    yield "Valkey's CPU, a request: its two events", f"{shard.stream_us:.0f} µs", "added, read, acknowledged, removed"
    yield "the same with a budget that all share", f"{shard.stream_and_global_budget_us:.0f} µs", "as from the start"
    yield "Valkey's CPU, a request: its tenant's keys", f"{shard.tenant_us:.0f} µs", "a window and a budget"
    yield "with all kinds of limits", f"{shard.tenant_full_us:.0f} µs", "8 windows, 2 leases, 2 budgets"
    yield "Valkey's CPU, a request: cache", f"{shard.cache_us:.0f} µs", "looked up, stored"
    for each in slopes.commands:
        parts = ", ".join(f"{part} {count:.1f}" for part, count in each.by_process.items())
        yield f"Valkey, an answer in a whole system, {each.what}", f"{each.cpu_us:.0f} µs CPU", f"commands: {parts}"
    held = slopes.redis_bytes
    yield "Valkey's memory: a cost event", f"{held.event:.0f} B", "of the running system, settled and admitted"
    yield (
        "a running request, in each of its budgets",
        f"{held.running_request:.0f} B",
        "until the ledger has counted it",
    )
    yield (
        "a window of a limit",
        f"{held.quiet_window} to {held.full_window} B",
        "one request in it, or one in each part",
    )
    yield "a stream's lease", f"{held.stream_lease:.0f} B", "where a limit counts streams"
    yield "a budget's figure", f"{held.budget_figure} B", "with one request"
    for kind, words in (
        ("cache_entry", "a cached answer"),
        ("idempotency_key", "an `Idempotency-Key` with its answer"),
    ):
        few, many = getattr(held, kind).items()
        yield words, f"{few[1]:,} to {many[1]:,} B", f"{few[0]} to {many[0]} chunks; kept for a day"
    yield "an API key of the ledger", f"{held.api_key:.0f} B", f"in each edge {slopes.edge_key_bytes:.0f} B"
    books = slopes.books
    yield (
        "events that a core of the ledger records a second",
        f"{books.events_per_ledger_core:,.0f}",
        f"{books.requests:,} requests; a core of PostgreSQL {books.events_per_postgres_core:,.0f}",
    )
    yield "PostgreSQL's disk, a request", f"{books.bytes_per_request:,.0f} B", "one attempt, indexes included"
    yield (
        "its write-ahead log, a request",
        f"{books.wal_bytes_per_request:,.0f} B",
        "full pages after checkpoints included",
    )
    spent = slopes.figures
    yield (
        "publishing what somebody has spent",
        f"{spent.figure_ms:.2f} ms, {spent.row_us:.2f} µs",
        "a figure, and each row of its tenant in `spend_daily` that day",
    )
    yield "Valkey's CPU, an exchange of a router", f"{shard.breakers_us:.0f} µs", "about four breakers, five a second"
    pods = ORDINARY.utilisation * 1e6 / (EXCHANGES_PER_SECOND * shard.breakers_us)
    yield "routers whose exchanges alone fill a core of Valkey to 70 %", f"{pods:,.0f}", "computed from the row above"
    for part, at_rest in slopes.idle.items():
        name = "router" if part == "llm-router" else part
        yield (
            f"at rest: {name}",
            f"{at_rest.redis_commands:.1f} Redis commands a second",
            f"{at_rest.cpu_ms:.1f} ms CPU a second" + (", four targets" if name == "router" else ""),
        )
    per_command = slopes.idle_valkey_cpu_us_per_command
    yield (
        "Valkey's CPU for such a command",
        f"{per_command:.0f} µs",
        "without what Valkey does at rest; uncertain",
    )


def computed(slopes: Slopes, work: Workload) -> str:
    """Return what each number of streams needs."""
    table = table_of(slopes, work)
    rows = [f"| {what} | {' | '.join(cells)} |" for what, cells in _computed(slopes, work, table)]
    head = f"| {work.name} | {' | '.join(f'{streams:,} streams' for streams in STEPS)} |"
    return "\n".join([head, f"|---|{'---:|' * len(STEPS)}", *rows]) + "\n"


def _computed(slopes: Slopes, work: Workload, table: Sequence[Needs]) -> Iterator[tuple[str, list[str]]]:
    yield "requests a second", [_count(need.requests_per_second) for need in table]
    yield (
        "chunks a second; Gbit/s to clients",
        [f"{_count(need.chunks_per_second)}; {figure(need.gigabit_per_second)}" for need in table],
    )
    yield "active users; tenants", [f"{_count(need.users)}; {_count(need.tenants)}" for need in table]
    yield "edge pods", [_count(need.edges) for need in table]
    yield "router pods", [_count(need.routers) for need in table]
    yield "connections between edges and routers", [_count(need.edge_to_router_connections) for need in table]
    yield "ledger pods", [_count(need.ledgers) for need in table]
    yield (
        "Valkey, key of the cost events: cores; without a budget of all",
        [f"{figure(need.stream_cores)}; {figure(need.stream_alone_cores)}" for need in table],
    )
    yield "Valkey, routers' breakers: cores", [figure(need.breaker_cores) for need in table]
    yield "Valkey, all tenants' limits and budgets: cores", [figure(need.tenant_cores) for need in table]
    yield (
        "of these the largest tenant; with all limits",
        [f"{figure(need.largest_tenant_cores)}; {figure(need.largest_full_tenant_cores)}" for need in table],
    )
    yield "shards for the tenants", [_shards(need, work) for need in table]
    yield "Valkey, cache: cores", [figure(need.cache_cores) for need in table]
    yield "Valkey, cache of a day: GiB", [_count(need.cache_gib) for need in table]
    yield "Valkey, cost events of an hour without PostgreSQL: GiB", [figure(need.backlog_gib) for need in table]
    yield "Valkey, limits and budgets: GiB", [figure(need.running_gib) for need in table]
    yield (
        "budget figures in use; seconds to publish them",
        [f"{_count(need.figures)}; {_count(need.turn_seconds)}" for need in table],
    )
    yield "requests that end between two publications, by ledger", [_count(need.uncounted_per_turn) for need in table]
    yield "PostgreSQL: cores", [figure(need.postgres_cores) for need in table]
    yield "connections to it, at most", [_count(need.postgres_connections) for need in table]
    yield (
        f"its disk: GiB a day; TiB a month; with the {RETENTION_MONTHS} months before",
        [_disk(need) for need in table],
    )
    yield "its write-ahead log: MiB/s", [figure(need.wal_mib_per_second) for need in table]


def _disk(need: Needs) -> str:
    month = need.disk_gib_per_day * MONTH_DAYS / 1024
    return f"{_count(need.disk_gib_per_day)}; {figure(month)}; {figure(month * (RETENTION_MONTHS + 1))}"


def _shards(need: Needs, work: Workload) -> str:
    found = tenant_shards(need, work)
    return "no number does" if found is None else str(found)


def met(slopes: Slopes, first: Workload, second: Workload) -> str:
    """Return the walls in order, for two workloads."""
    others = {(wall.name, wall.unit): wall for wall in walls(slopes, second)}
    rows = [_met(place, wall, others[wall.name, wall.unit]) for place, wall in enumerate(walls(slopes, first), 1)]
    head = f"| | what is full | streams, {first.kind} | streams, {second.kind} | more of the same helps |"
    return "\n".join([head, "|---:|---|---:|---:|---|", *rows]) + "\n"


def _met(place: int, wall: Wall, other: Wall) -> str:
    helps = "yes" if wall.can_be_spread else "**no**"
    return f"| {place} | {wall.name}: {wall.unit} | {rounded(wall.streams)} | {rounded(other.streams)} | {helps} |"


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 or isinstance(number, int) else figure(number)
