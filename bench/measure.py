"""Measures one cell on one subject, once."""

from __future__ import annotations

import asyncio
import os
import statistics
from dataclasses import dataclass, field

from bench.cells import Cell, warm_up_of
from bench.client import Crowd, Load
from bench.subjects import Subject, provider_counts
from bench.usage import Memory, Usage, machine_busy_seconds, memory_of, own_usage_of, usage_of

CLIENT, PROVIDER = "client", "provider"
# What works beside the path, as the ledger, is given time for what is left over before it is looked at.
_SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Measurement:
    """One round of one cell on one subject. Times are milliseconds, memory MiB."""

    subject: str
    cell: str
    answers: int
    seconds: float
    cpu_ms: dict[str, float]
    """By part, per answer; without answers, per second."""
    switches: dict[str, float]
    """Context switches by part, per answer; without answers, per second."""
    memory: dict[str, tuple[float, float]]
    """By part: resident, and its share of pages that others have as well."""
    gateway: tuple[str, ...]
    chunks: int
    first_ms: dict[str, float] = field(default_factory=dict)
    """By quantile."""
    gap_ms: dict[str, float] = field(default_factory=dict)
    whole_ms: dict[str, float] = field(default_factory=dict)
    refused: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    others_cores: float = 0.0
    """How many cores something else took on this machine meanwhile."""

    @property
    def gateway_cpu_ms(self) -> float:
        """CPU time of what stands in the path of the answer."""
        return sum(self.cpu_ms[part] for part in self.gateway)

    @property
    def answers_per_second(self) -> float:
        """Whole answers a second."""
        return self.answers / self.seconds if self.seconds else 0.0


async def measure(subject: Subject, provider: Subject, cell: Cell, seconds: float) -> Measurement:
    """Ask as the cell says for about `seconds`, and see what it cost."""
    parts = {**subject.parts, **provider.parts, CLIENT: os.getpid()}
    headers = {**subject.headers, **((subject.hit_headers or {}) if cell.is_hit else {})}
    crowd = Crowd(subject.url, headers, cell.clients)
    warm_up = warm_up_of(cell)
    faults: dict[str, int] = {}
    try:
        if warm_up is not None:
            warm = await crowd.ask(warm_up, 0.0)
            faults.update({f"warming up: {fault}": count for fault, count in warm.faults.items()})
        await asyncio.sleep(_SETTLE_SECONDS)
        asked_before, busy_before = provider_counts(provider), machine_busy_seconds()
        before = _usages(parts)
        if cell.question is None:
            await asyncio.sleep(seconds)
            load = Load(seconds=seconds)
        else:
            load = await crowd.ask(cell.question, seconds)
        at_once, busy = _usages(parts), machine_busy_seconds() - busy_before
        await asyncio.sleep(_SETTLE_SECONDS)
        at_last = _usages(parts)
    finally:
        crowd.close()
    faults.update(load.faults)
    faults.update(_unlike(asked_before, provider_counts(provider), cell, load))
    in_path = {*subject.gateway, PROVIDER, CLIENT}
    used = {part: (at_once if part in in_path else at_last)[part] - before[part] for part in parts}
    per = load.answers or load.seconds
    ours = sum((at_once[part] - before[part]).cpu_seconds for part in parts)
    return Measurement(
        subject.name,
        cell.name,
        load.answers,
        load.seconds,
        {part: each.cpu_seconds * 1000 / per for part, each in used.items()},
        {part: each.switches / per for part, each in used.items()},
        {part: (memory.rss_mib, memory.pss_mib) for part, memory in _memories(parts).items()},
        subject.gateway,
        cell.chunks,
        _quantiles(load.first),
        _quantiles(load.gaps),
        _quantiles(load.whole),
        load.refused,
        faults,
        max(busy - ours, 0.0) / load.seconds,
    )


def _unlike(before: dict[str, int], after: dict[str, int], cell: Cell, load: Load) -> dict[str, int]:
    """Return a fault when the provider gave more or fewer answers than the clients got: that is not what was meant."""
    expected = 0 if cell.is_hit or cell.question is None else load.answers
    whole = after["whole"] - before["whole"]
    if load.faults or whole == expected:
        return {}
    return {f"the provider gave {whole} answers instead of {expected}": 1}


def _usages(parts: dict[str, int]) -> dict[str, Usage]:
    """The client is this process, and all others are below it."""
    return {part: own_usage_of(pid) if part == CLIENT else usage_of(pid) for part, pid in parts.items()}


def _memories(parts: dict[str, int]) -> dict[str, Memory]:
    return {part: memory_of(pid) for part, pid in parts.items() if part != CLIENT}


def _quantiles(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    ordered = sorted(seconds)
    at = {"p50": 0.5, "p99": 0.99}
    quantiles = {name: ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000 for name, share in at.items()}
    return {**quantiles, "max": ordered[-1] * 1000, "mean": statistics.fmean(ordered) * 1000}
