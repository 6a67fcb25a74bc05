"""What a whole running system costs: CPU of an answer, Redis commands by process, what it does at rest."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from functools import partial

import httpx2
import psutil
import redis

from bench.cells import CHAT, Cell, cell_of
from bench.client import Crowd, Question, messages
from bench.measure import measure
from bench.scale.shard import memory
from bench.scale.slopes import Answer, Commands, Idle
from bench.subjects import Subject
from bench.usage import own_usage_of, usage_of
from bench.wire import Plan, check_stream
from edge.events.redis import COST_EVENTS

SHORT, LONG = "one-20", "50ms-100"
"""Both give the fixed cost of an answer and that of a chunk, at as many chunks a second as a busy edge has."""
CHUNKS = (1, 64)
_SECONDS, _IDLE_SECONDS, _SETTLE_SECONDS = 4.0, 10.0, 2.0
# A router exchanges less often when it was not asked for half a minute.
_QUIET_SECONDS = 32.0
_EVENT_ANSWERS = 50
SERVICES = ("edge", "llm-router", "cost-ledger")


def redis_of(subject: Subject) -> redis.Redis:
    """Return a client of the Redis that the running edge uses."""
    return redis.Redis.from_url(psutil.Process(subject.parts["edge"]).environ()["EDGE_REDIS_URL"])


async def answers(subject: Subject, provider: Subject, rounds: int, say: Callable[[str], None]) -> list[Answer]:
    """Return the CPU time of a short and a long answer, of the rounds the one with the least other work."""
    found = []
    for name in (SHORT, LONG):
        cell = cell_of(name)
        measured = [await measure(subject, provider, cell, _SECONDS) for _ in range(rounds)]
        quietest = min(measured, key=lambda each: each.others_cores)
        cpu = {part: quietest.cpu_ms[part] for part in subject.parts if part in quietest.cpu_ms}
        found.append(Answer(name, quietest.chunks, cpu, quietest.others_cores))
        parts = ", ".join(f"{part} {ms:.2f}" for part, ms in cpu.items())
        say(f"CPU ms of an answer, {cell.says}: {parts}; others {quietest.others_cores:.1f} cores")
    return found


async def idle(subject: Subject, at_rest_us: float, say: Callable[[str], None]) -> tuple[dict[str, Idle], float]:
    """Return what each process does a second when nothing is asked, and Valkey's CPU microseconds per command.

    `at_rest_us` is what Valkey uses in a second without any command.
    """
    client = redis_of(subject)
    await asyncio.sleep(_QUIET_SECONDS)
    before, cpu_before = _commands(client, subject), _cpu(subject)
    await asyncio.sleep(_IDLE_SECONDS)
    sent, cpu = _commands(client, subject), _cpu(subject)
    found = {
        part: Idle(
            _more(sent[part], before[part]) / _IDLE_SECONDS, (cpu[part] - cpu_before[part]) * 1000 / _IDLE_SECONDS
        )
        for part in SERVICES
    }
    commands = sum(each.redis_commands for each in found.values()) * _IDLE_SECONDS
    more_us = (cpu["valkey"] - cpu_before["valkey"]) * 1e6 - at_rest_us * _IDLE_SECONDS
    per_command = max(more_us, 0.0) / commands
    listed = ", ".join(f"{part} {each.redis_commands:.1f}" for part, each in found.items())
    say(f"Redis commands a second of an idle {listed}; {per_command:.0f} us of Valkey's CPU each")
    return found, per_command


async def commands(subject: Subject, what: str, at_rest: Mapping[str, Idle], say: Callable[[str], None]) -> Commands:
    """Return what an answer of one chunk costs Valkey, without what the same time costs at rest."""
    client, cell = redis_of(subject), cell_of(SHORT)
    crowd = Crowd(subject.url, subject.headers, cell.clients)
    try:
        await crowd.ask(_question(cell), 0.0)
        await asyncio.sleep(_SETTLE_SECONDS)
        before, cpu = _commands(client, subject), own_usage_of(subject.parts["valkey"]).cpu_seconds
        load = await crowd.ask(_question(cell), _SECONDS)
        await asyncio.sleep(_SETTLE_SECONDS)
        sent, cpu = _commands(client, subject), own_usage_of(subject.parts["valkey"]).cpu_seconds - cpu
    finally:
        crowd.close()
    seconds = load.seconds + _SETTLE_SECONDS
    per_answer = {
        part: max(_more(sent[part], before[part]) - at_rest[part].redis_commands * seconds, 0.0) / load.answers
        for part in SERVICES
    }
    found = Commands(what, per_answer, cpu * 1e6 / load.answers)
    parts = ", ".join(f"{part} {count:.2f}" for part, count in per_answer.items())
    say(f"Redis commands of an answer, {what}: {parts}; {found.cpu_us:.0f} us of Valkey's CPU")
    return found


async def stored(subject: Subject, say: Callable[[str], None]) -> tuple[dict[str, int], dict[str, int], float]:
    """Return the memory of cache entries and of idempotency keys by chunks, and the bytes a client gets per chunk."""
    client, headers = redis_of(subject), {"Authorization": subject.headers["Authorization"]}
    cached: dict[str, int] = {}
    kept: dict[str, int] = {}
    received: dict[int, int] = {}
    async with httpx2.AsyncClient(base_url=subject.url, trust_env=False, timeout=30.0) as http:
        for chunks in CHUNKS:
            body = {"model": Plan(chunks, 0).model, "stream": True, "messages": messages(f"kept {chunks}")}
            for name, sizes, more in (
                ("cache", cached, {}),
                ("idempotency", kept, {"Idempotency-Key": f"scale-{chunks}"}),
            ):
                known = set(client.scan_iter(f"spillway:{name}:*"))
                response = await http.post(CHAT, json=body, headers={**headers, **more})
                response.raise_for_status()
                received[chunks] = len(response.content)
                (key,) = set(client.scan_iter(f"spillway:{name}:*")) - known
                sizes[str(chunks)] = memory(client, key.decode())
    few, many = CHUNKS
    per_chunk = (received[many] - received[few]) / (many - few)
    say(f"bytes of a cache entry {cached}, of an idempotency key {kept}; {per_chunk:.0f} a chunk to the client")
    return cached, kept, per_chunk


async def event_bytes(subject: Subject, say: Callable[[str], None]) -> float:
    """Return the memory of one event on the stream: those of some answers, while the ledger stands still."""
    client, headers = redis_of(subject), subject.headers
    ledger = subject.parts["cost-ledger"]
    os.kill(ledger, signal.SIGSTOP)
    try:
        async with httpx2.AsyncClient(base_url=subject.url, trust_env=False, timeout=30.0) as http:
            for number in range(_EVENT_ANSWERS):
                body = {"model": Plan(CHUNKS[-1], 0).model, "messages": messages(f"recorded {number}")}
                (await http.post(CHAT, json=body, headers=headers)).raise_for_status()
        found = memory(client, COST_EVENTS) / client.xlen(COST_EVENTS)
    finally:
        os.kill(ledger, signal.SIGCONT)
    say(f"bytes of an event on the stream: {found:.0f}")
    return found


def _question(cell: Cell) -> Question:
    plan = Plan(1, 0)
    body: dict[str, object] = {
        "model": plan.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [],
    }
    return Question(CHAT, body, partial(check_stream, plan=plan))


def _commands(client: redis.Redis, subject: Subject) -> dict[str, dict[str, int]]:
    """Return how many commands each process has sent, by the connections that it has."""
    ports = {part: _local_ports(subject.parts[part]) for part in SERVICES}
    sent: dict[str, dict[str, int]] = {part: {} for part in SERVICES}
    for each in client.client_list():
        port = int(each["addr"].rpartition(":")[2])
        for part in SERVICES:
            if port in ports[part]:
                sent[part][each["id"]] = int(each["tot-cmds"])
    return sent


def _more(after: dict[str, int], before: dict[str, int]) -> int:
    """Return what was sent in between; what a connection sent that is gone is not known."""
    return sum(count - before.get(connection, 0) for connection, count in after.items())


def _local_ports(pid: int) -> set[int]:
    return {each.laddr.port for each in psutil.Process(pid).net_connections("tcp") if each.laddr}


def _cpu(subject: Subject) -> dict[str, float]:
    return {part: usage_of(subject.parts[part]).cpu_seconds for part in (*SERVICES, "valkey")}
