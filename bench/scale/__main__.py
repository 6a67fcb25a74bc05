"""`make scale`: measures what each stream, request, event, user and pod needs, and computes larger systems from it.

`python -m bench.scale --compute` computes anew from what was measured last, without measuring.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from bench.cells import cell_of, models_of
from bench.scale import books, keys, shard, streams, system
from bench.scale.record import write
from bench.scale.slopes import (
    FILE,
    Answer,
    Books,
    Commands,
    Figures,
    Idle,
    OpenStreams,
    RedisBytes,
    Shard,
    Slopes,
    encoded,
    read,
)
from bench.subjects import ROOT, SPILLWAY, Subject, machine, running_provider, running_spillway
from bench.variants import VARIANTS
from bench.wire import Plan
from spillway_local.postgres import running_postgres
from spillway_local.valkey import running_valkey

_OPEN_FILES = 8192
_FULL = "spillway+limits"


@dataclass
class _Progress:
    """Lines that say what was found, and after how long."""

    began: float

    def __call__(self, line: str) -> None:
        print(f"scale: {time.monotonic() - self.began:4.0f} s: {line}", flush=True)  # noqa: T201 - the output


@dataclass(frozen=True)
class _Whole:
    """What a whole running system has shown."""

    version: str
    open_streams: Sequence[OpenStreams]
    answers: Sequence[Answer]
    idle: dict[str, Idle]
    cpu_us_per_command: float
    commands: Commands
    cached: dict[str, int]
    kept: dict[str, int]
    bytes_per_chunk: float
    event_bytes: float


@dataclass(frozen=True)
class _Stores:
    """What Valkey and PostgreSQL alone have shown."""

    shard: Shard
    running_bytes: float
    windows: tuple[int, int, float, int]
    published_key: float
    edge_key: float
    books: Books
    figures: Figures


def main() -> int:
    """Measure, write slopes, tables and plot."""
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    parser.add_argument("--compute", action="store_true", help="measure nothing, compute anew")
    parser.add_argument("--rounds", type=int, default=3, help="of the CPU time of an answer (default: %(default)s)")
    arguments = parser.parse_args()
    if not arguments.compute:
        signal.signal(signal.SIGTERM, _interrupt)
        _allow_many_files()
        try:
            FILE.write_bytes(encoded(_measured(arguments.rounds, _Progress(time.monotonic()))))
        except KeyboardInterrupt:
            return 130
    write(read())
    return 0


def _measured(rounds: int, say: Callable[[str], None]) -> Slopes:
    with tempfile.TemporaryDirectory(prefix="spillway-scale-") as name:
        folder = Path(name)
        stores = _stores(folder, say)
        whole, full = _systems(folder, rounds, stores.shard.at_rest_us, say)
    quiet, window, lease, figure = stores.windows
    return Slopes(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        version=whole.version,
        machine=machine(),
        open_streams=whole.open_streams,
        answers=whole.answers,
        bytes_per_chunk=whole.bytes_per_chunk,
        commands=[whole.commands, full],
        shard=stores.shard,
        redis_bytes=RedisBytes(
            whole.event_bytes,
            stores.running_bytes,
            quiet,
            window,
            lease,
            figure,
            whole.cached,
            whole.kept,
            stores.published_key,
        ),
        books=stores.books,
        figures=stores.figures,
        idle=whole.idle,
        idle_valkey_cpu_us_per_command=whole.cpu_us_per_command,
        edge_key_bytes=stores.edge_key,
    )


def _stores(folder: Path, say: Callable[[str], None]) -> _Stores:
    with running_valkey(folder / "valkey") as url:
        found, running_bytes = shard.measure(url, say)
        windows = shard.windows_and_leases(url)
        published, held = keys.bytes_per_key(url)
        say(f"bytes of an API key: {published:.0f} in Valkey, {held:.0f} in each edge; window, lease, figure {windows}")
    with running_postgres(folder / "postgres") as postgres_url, running_valkey(folder / "books-valkey") as url:
        recorded, published_figures = asyncio.run(books.measure(folder, postgres_url, url, say))
    return _Stores(found, running_bytes, windows, published, held, recorded, published_figures)


def _systems(folder: Path, rounds: int, at_rest_us: float, say: Callable[[str], None]) -> tuple[_Whole, Commands]:
    with running_provider(folder) as provider:
        with _running(SPILLWAY, folder, provider, say) as subject:
            idle, per_command = asyncio.run(system.idle(subject, at_rest_us, say))
            opened = asyncio.run(streams.open_streams(subject, say))
            answers = asyncio.run(system.answers(subject, provider, rounds, say))
            cached, kept, per_chunk = asyncio.run(system.stored(subject, say))
            event_bytes = asyncio.run(system.event_bytes(subject, say))
            asked = asyncio.run(system.commands(subject, "as it comes", idle, say))
        with _running(_FULL, folder, provider, say) as full_subject:
            full = asyncio.run(system.commands(full_subject, "all limits, four budgets", idle, say))
    return _Whole(
        subject.version, opened, answers, idle, per_command, asked, cached, kept, per_chunk, event_bytes
    ), full


@contextmanager
def _running(name: str, folder: Path, provider: Subject, say: Callable[[str], None]) -> Iterator[Subject]:
    cells = [cell_of(each) for each in (system.SHORT, system.LONG)]
    plans = [streams.IDLE_SLOW, *(Plan(chunks, 0) for chunks in system.CHUNKS)]
    models = sorted({*models_of(cells), *(plan.model for plan in plans)})
    with running_spillway(name, ROOT, folder / name, provider.url, models, {}, VARIANTS.get(name)) as subject:
        say(f"{name} {subject.version} is up")
        yield subject


def _allow_many_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_OPEN_FILES, hard), hard))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
