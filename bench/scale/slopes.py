"""What was measured on one machine: how much of each resource one stream, request, event, user or pod needs.

Nothing in here is computed from anything but measurements; what larger systems need is computed in `model`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.record import FOLDER

FILE = FOLDER / "scale.json"


@dataclass(frozen=True)
class OpenStreams:
    """Edge and router with so many streams open that say next to nothing."""

    streams: int
    pss_kib: Mapping[str, float]
    """By part, with the processes below it."""
    files: Mapping[str, int]
    """Open files of the part's own process."""
    connections: int
    """TCP connections between edge and router."""


@dataclass(frozen=True)
class Answer:
    """CPU milliseconds of one answer by part, with so many chunks."""

    cell: str
    chunks: int
    cpu_ms: Mapping[str, float]
    others_cores: float
    """How many cores something else took on this machine meanwhile."""


@dataclass(frozen=True)
class Commands:
    """What one answer costs Valkey in a whole running system."""

    what: str
    by_process: Mapping[str, float]
    """Commands of each process per answer, those inside its scripts included."""
    cpu_us: float


@dataclass(frozen=True)
class Shard:
    """What one request costs the Valkey that has keys of one kind, in CPU microseconds, when it has much to do."""

    stream_us: float
    """Both events of a request added, read and removed, without any budget."""
    stream_and_global_budget_us: float
    """The same with one budget that all requests are charged to, as from the start."""
    tenant_us: float
    """One window and one budget: what a request of a tier has from the start."""
    tenant_full_us: float
    """Four windows and a lease for the user and for the tenant, two budgets."""
    cache_us: float
    """A look-up in vain, and an answer of 400 chunks stored."""
    breakers_us: float
    """Not a request: one exchange of a router about four targets."""
    at_rest_us: float
    """Not a request: one second without any command."""


@dataclass(frozen=True)
class RedisBytes:
    """Memory in Valkey."""

    event: float
    """One entry of the stream of cost events, settled or admitted."""
    running_request: float
    """What one budget holds of a request that runs, or that the ledger has not counted yet."""
    quiet_window: int
    """A window of requests in which there was one."""
    full_window: int
    """A window of requests with something in each of its parts."""
    stream_lease: float
    budget_figure: int
    cache_entry: Mapping[str, int]
    """By chunks of the answer."""
    idempotency_key: Mapping[str, int]
    """By chunks of the answer, which is kept with it."""
    api_key: float
    """One API key of the ledger, as published."""


@dataclass(frozen=True)
class Books:
    """The ledger on one core, and PostgreSQL."""

    requests: int
    """How many were recorded, begin and end in different batches, as with real streams."""
    events_per_second: float
    events_per_ledger_core: float
    events_per_postgres_core: float
    bytes_per_request: float
    """On disk: tables and indexes."""
    wal_bytes_per_request: float


@dataclass(frozen=True)
class Figures:
    """What the ledger publishes for budgets to be decided by: what somebody has spent."""

    figure_ms: float
    """For one of them, by the clock, one after the other."""
    row_us: float
    """For each row that the tenant has in `spend_daily` that day."""


@dataclass(frozen=True)
class Idle:
    """What one process does a second when nothing is asked."""

    redis_commands: float
    """Those inside its scripts included. A router's grow with its targets: here it has four."""
    cpu_ms: float


@dataclass(frozen=True)
class Slopes:
    """All of it, and on what it was measured."""

    date: str
    version: str
    machine: Mapping[str, str]
    open_streams: Sequence[OpenStreams]
    answers: Sequence[Answer]
    bytes_per_chunk: float
    """That a client receives, HTTP framing included."""
    commands: Sequence[Commands]
    shard: Shard
    redis_bytes: RedisBytes
    books: Books
    figures: Figures
    idle: Mapping[str, Idle]
    idle_valkey_cpu_us_per_command: float
    edge_key_bytes: float
    """Memory of an edge for one API key of the ledger."""

    def per_stream(self, figure: str, part: str) -> float:
        """Return how much of `pss_kib` or `files` of a part one more open stream takes, from the fewest to the most."""
        first, last = self.open_streams[0], self.open_streams[-1]
        more: float = getattr(last, figure)[part] - getattr(first, figure)[part]
        return more / (last.streams - first.streams)

    def base_kib(self, part: str) -> float:
        """Return what a part would have without any stream."""
        first = self.open_streams[0]
        return first.pss_kib[part] - first.streams * self.per_stream("pss_kib", part)

    def request_ms(self, part: str) -> float:
        """Return the CPU time of a part for an answer of one chunk."""
        return min(self.answers, key=lambda answer: answer.chunks).cpu_ms[part]

    def chunk_us(self, part: str) -> float:
        """Return the CPU time of a part for each further chunk of an answer."""
        short, long = sorted(self.answers, key=lambda answer: answer.chunks)
        return max(long.cpu_ms[part] - short.cpu_ms[part], 0.0) * 1000 / (long.chunks - short.chunks)

    def stored_bytes(self, kind: str, chunks: int) -> float:
        """Return the memory of `cache_entry` or `idempotency_key` for an answer of so many chunks."""
        sizes = {int(of): size for of, size in getattr(self.redis_bytes, kind).items()}
        (few, small), *_, (many, large) = sorted(sizes.items())
        return float(small + (large - small) / (many - few) * (chunks - few))


def encoded(slopes: Slopes) -> bytes:
    """Return it as JSON for people."""
    return orjson.dumps(_rounded(asdict(slopes)), option=orjson.OPT_INDENT_2) + b"\n"


def decoded(document: bytes) -> Slopes:
    """Read what was written; KeyError or TypeError when it has other fields."""
    found: dict[str, Any] = orjson.loads(document)
    return Slopes(
        **{
            **found,
            "open_streams": [OpenStreams(**each) for each in found["open_streams"]],
            "answers": [Answer(**each) for each in found["answers"]],
            "commands": [Commands(**each) for each in found["commands"]],
            "shard": Shard(**found["shard"]),
            "redis_bytes": RedisBytes(**found["redis_bytes"]),
            "books": Books(**found["books"]),
            "figures": Figures(**found["figures"]),
            "idle": {part: Idle(**each) for part, each in found["idle"].items()},
        }
    )


def read(file: Path = FILE) -> Slopes:
    """Return what was measured last."""
    return decoded(file.read_bytes())


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
