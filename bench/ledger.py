"""`make bench-ledger`: how many cost events a second the ledger records, and how soon.

Real PostgreSQL, real Valkey, the real process, which is kept on one core. Two measurements: a backlog that is worked
off, and a steady rate with the time from an event's occurrence to the line that its process logs after the commit.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import psutil
import redis.asyncio as redis

from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb
from spillway_local import processes
from spillway_local.ports import LOOPBACK, free_port
from spillway_local.postgres import running_postgres
from spillway_local.valkey import running_valkey

STREAM = "spillway:cost-events"
GOAL_EVENTS_PER_SECOND = 5_000
GOAL_LAG_SECONDS = 1.0
BACKLOG_REQUESTS = 20_000
STEADY_EVENTS_PER_SECOND = 500
STEADY_SECONDS = 20
_TICKS_PER_SECOND = 50
_PATIENCE_SECONDS = 300.0
_CORE = 0


@dataclass(frozen=True)
class Ledger:
    """The running process, and how to reach its stream."""

    process: psutil.Process
    log_file: Path
    stream: redis.Redis

    def is_started(self) -> bool:
        """Say whether it serves."""
        return '"started"' in self.log_file.read_text()

    async def drained(self) -> None:
        """Wait until all that is on the stream is recorded."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while await self.stream.xlen(STREAM):
                await asyncio.sleep(0.02)


@dataclass(frozen=True)
class CpuSeconds:
    """What the ledger and all processes of PostgreSQL have used so far."""

    ledger: float
    postgres: float

    def since(self, before: CpuSeconds) -> CpuSeconds:
        """Return what was used between both moments."""
        return CpuSeconds(self.ledger - before.ledger, self.postgres - before.postgres)


def request_id(moment: datetime) -> uuid.UUID:
    """Return a fresh UUIDv7 of `moment`."""
    bits = random.getrandbits(74)
    milliseconds = int(moment.timestamp() * 1000)
    return uuid.UUID(int=milliseconds << 80 | 7 << 76 | (bits >> 62) << 64 | 2 << 62 | bits & (1 << 62) - 1)


def events_of(number: int, moment: datetime) -> list[bytes]:
    """Return both events of an ordinary request: ten users, three models, one attempt, one in ten after a fallback."""
    asked = ledgerpb.Request(
        request_id=str(request_id(moment)),
        tenant="bench",
        user=f"user-{number % 10}",
        key_id=f"key-{number % 10}",
        tier="standard",
        endpoint="/v1/chat/completions",
        requested_model=f"model-{number % 3}",
        is_streaming=True,
    )
    asked.admitted_at.FromDatetime(moment)
    attempts = [_attempt(1, moment, is_good=bool(number % 10))]
    if not number % 10:
        attempts.append(_attempt(2, moment, is_good=True))
    ending = ledgerpb.Settled(
        request=asked,
        outcome=routerpb.OUTCOME_OK,
        finish_reason=routerpb.FINISH_REASON_STOP,
        cache_status=ledgerpb.CACHE_STATUS_MISS,
        attempts=attempts,
    )
    ending.settled_at.FromDatetime(moment)
    ending.duration.FromTimedelta(timedelta(seconds=1))
    opened = ledgerpb.CostEvent(
        event_id=str(uuid.uuid5(uuid.UUID(asked.request_id), "admitted")), admitted=ledgerpb.Admitted(request=asked)
    )
    ended = ledgerpb.CostEvent(event_id=str(uuid.uuid5(uuid.UUID(asked.request_id), "settled")), settled=ending)
    for event in (opened, ended):
        event.occurred_at.FromDatetime(moment)
    return [opened.SerializeToString(), ended.SerializeToString()]


def _attempt(number: int, moment: datetime, *, is_good: bool) -> routerpb.Attempt:
    attempt = routerpb.Attempt(
        attempt_number=number,
        target="openai-main",
        provider="openai",
        target_model="gpt-6-luna",
        response_model="gpt-6-luna",
        outcome=routerpb.OUTCOME_OK if is_good else routerpb.OUTCOME_PROVIDER_ERROR,
        usage=routerpb.Usage(input_tokens=812, output_tokens=164) if is_good else None,
        usage_source=routerpb.USAGE_SOURCE_REPORTED if is_good else routerpb.USAGE_SOURCE_UNSPECIFIED,
        http_status=200 if is_good else 503,
    )
    attempt.started_at.FromDatetime(moment)
    attempt.duration.FromTimedelta(timedelta(seconds=1))
    return attempt


async def send(stream: redis.Redis, events: Sequence[bytes]) -> None:
    """Put events on the stream in one go."""
    pipeline = stream.pipeline(transaction=False)
    for event in events:
        pipeline.xadd(STREAM, {"event": event})
    await pipeline.execute()


def environment(postgres_url: str, redis_url: str) -> dict[str, str]:
    """Return the settings of the ledger: the defaults and where everything is."""
    own = {
        "COST_LEDGER_POSTGRES_URL": postgres_url.removesuffix("/postgres") + "/bench",
        "COST_LEDGER_REDIS_URL": redis_url,
        "COST_LEDGER_HOST": LOOPBACK,
        "COST_LEDGER_PORT": str(free_port()),
        "COST_LEDGER_METRICS_PORT": str(free_port()),
    }
    return {**os.environ, **own}


@asynccontextmanager
async def running_ledger(log_file: Path, settings: dict[str, str], stream: redis.Redis) -> AsyncIterator[Ledger]:
    """Run the ledger on one core until the block ends; it may not serve yet when the block begins."""
    process = processes.start([sys.executable, "-m", "cost_ledger"], log_file, environment=settings)
    try:
        psutil.Process(process.pid).cpu_affinity([_CORE])
        yield Ledger(psutil.Process(process.pid), log_file, stream)
    finally:
        processes.stop(process, signal.SIGTERM, 30.0)


def cpu_seconds(ledger: Ledger) -> CpuSeconds:
    """Return the CPU time of both sides, that of connections which have ended included: their parent keeps it."""
    family = psutil.Process().children(recursive=True)
    return CpuSeconds(_cpu(ledger.process), sum(_cpu(each) for each in family if each.name() == "postgres"))


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


async def backlog(folder: Path, settings: dict[str, str], stream: redis.Redis) -> bool:
    """Let the ledger work off a backlog; say how fast, and return whether that is the goal."""
    now = datetime.now(UTC)
    for start in range(0, BACKLOG_REQUESTS, 1000):
        await send(stream, [event for number in range(start, start + 1000) for event in events_of(number, now)])
    async with running_ledger(folder / "backlog.log", settings, stream) as ledger:
        # The first batches warm it up, and are not counted.
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while await stream.xlen(STREAM) > 1.9 * BACKLOG_REQUESTS:
                await asyncio.sleep(0.005)
        left, began, before = await stream.xlen(STREAM), time.monotonic(), cpu_seconds(ledger)
        await ledger.drained()
        seconds, used = time.monotonic() - began, cpu_seconds(ledger).since(before)
    rate = left / seconds
    say("backlog, events", f"{left:,}")
    goal = f"{rate / GOAL_EVENTS_PER_SECOND:.2f} of the goal, {GOAL_EVENTS_PER_SECOND:,}"
    say("events a second", f"{rate:,.0f}", goal)
    say("  per CPU second of the ledger", f"{left / used.ledger:,.0f}", f"{used.ledger:.2f} s CPU in {seconds:.2f} s")
    say("  per CPU second of PostgreSQL", f"{left / used.postgres:,.0f}", f"{used.postgres:.2f} s CPU")
    return rate >= GOAL_EVENTS_PER_SECOND


async def steady(folder: Path, settings: dict[str, str], stream: redis.Redis) -> bool:
    """Send at a steady rate; say how late events are recorded, and return whether that is the goal."""
    sent: dict[str, float] = {}
    async with running_ledger(folder / "steady.log", settings, stream) as ledger:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not ledger.is_started():
                await asyncio.sleep(0.05)
        began, per_tick = time.monotonic(), STEADY_EVENTS_PER_SECOND // _TICKS_PER_SECOND // 2
        for tick in range(STEADY_SECONDS * _TICKS_PER_SECOND):
            moment = datetime.now(UTC)
            events = [events_of(number, moment) for number in range(per_tick)]
            for _, ended in events:
                message = ledgerpb.CostEvent.FromString(ended)
                sent[message.settled.request.request_id] = moment.timestamp()
            await send(stream, [event for both in events for event in both])
            await asyncio.sleep(max(began + (tick + 1) / _TICKS_PER_SECOND - time.monotonic(), 0))
        await ledger.drained()
    lags = sorted(_lags(ledger.log_file, sent))
    p50, p99 = lags[len(lags) // 2], lags[len(lags) * 99 // 100]
    say(f"lag at {STEADY_EVENTS_PER_SECOND} events a second, p50", f"{p50 * 1000:,.0f} ms", f"{len(lags):,} requests")
    say("  p99", f"{p99 * 1000:,.0f} ms", f"{p99 / GOAL_LAG_SECONDS:.2f} of the limit, {GOAL_LAG_SECONDS:g} s")
    return p99 < GOAL_LAG_SECONDS and len(lags) == len(sent)


def _lags(log_file: Path, sent: dict[str, float]) -> list[float]:
    lags = []
    for text in log_file.read_bytes().splitlines():
        line = orjson.loads(text)
        if line["event"] == "request_recorded" and line["request_id"] in sent:
            lags.append(datetime.fromisoformat(line["time"]).timestamp() - sent[line["request_id"]])
    return lags


def say(what: str, figure: str, remark: str = "") -> None:
    """Write one row of the table."""
    sys.stdout.write(f"{what:<38}{figure:>12}  {remark}".rstrip() + "\n")
    sys.stdout.flush()


async def measure(folder: Path, settings: dict[str, str], redis_url: str) -> bool:
    """Measure both; return whether both goals are met."""
    async with redis.Redis.from_url(redis_url) as stream:
        is_fast = await backlog(folder, settings, stream)
        is_soon = await steady(folder, settings, stream)
    return is_fast and is_soon


def main() -> int:
    """Start what the ledger needs, measure, stop; return 0 when the goals are met."""
    with (
        tempfile.TemporaryDirectory(prefix="spillway-bench-") as name,
        running_postgres(Path(name) / "postgres") as postgres_url,
        running_valkey(Path(name) / "valkey") as redis_url,
    ):
        settings = environment(postgres_url, redis_url)
        subprocess.run([sys.executable, "-m", "cost_ledger", "migrate"], env=settings, check=True, capture_output=True)
        return 0 if asyncio.run(measure(Path(name), settings, redis_url)) else 1


if __name__ == "__main__":
    sys.exit(main())
