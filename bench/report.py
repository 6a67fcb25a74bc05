"""The medians of all rounds as a table in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.cells import IDLE, cell_of
from bench.measure import CLIENT, PROVIDER, Measurement

_OURS, _THEIRS = "spillway", "litellm"
_BACKGROUND = {"cost-ledger": "ledger", "valkey": "stores", "postgres": "stores"}


@dataclass(frozen=True)
class Row:
    """The medians of all rounds of one cell on one subject; None: there is no such figure."""

    subject: str
    cell: str
    rounds: int
    cpu_ms: float
    """Of the gateway, per answer."""
    cpu_of_parts: dict[str, float]
    """Edge, router and so on, per answer."""
    chunk_us: float | None
    switches: float
    per_second: float
    first_p50: float | None
    first_p99: float | None
    gap_p50: float | None
    gap_p99: float | None
    whole_p50: float | None
    rss_mib: float
    pss_mib: float
    refused: int
    """Questions turned away and asked again, in all rounds."""
    lost: int
    """Answers that were not whole, in all rounds."""
    provider_ms: float
    client_ms: float
    others_cores: float


def rows(measurements: Iterable[Measurement]) -> list[Row]:
    """Return a row for each cell and subject, in the order in which they came."""
    grouped: dict[tuple[str, str], list[Measurement]] = {}
    for each in measurements:
        grouped.setdefault((each.cell, each.subject), []).append(each)
    return [_row(group) for group in grouped.values()]


def _row(group: Sequence[Measurement]) -> Row:
    def median(value: Callable[[Measurement], float]) -> float:
        return statistics.median(value(each) for each in group)

    def quantile(name: str, of: Callable[[Measurement], dict[str, float]]) -> float | None:
        found = [of(each)[name] for each in group if name in of(each)]
        return statistics.median(found) if found else None

    first = group[0]
    parts = [part for part in first.cpu_ms if part not in (CLIENT, PROVIDER)]
    cpu = median(lambda each: each.gateway_cpu_ms)
    return Row(
        first.subject,
        first.cell,
        len(group),
        cpu,
        {part: median(lambda each, part=part: each.cpu_ms[part]) for part in parts},  # type: ignore[misc]
        cpu * 1000 / first.chunks if first.chunks > 1 else None,
        median(lambda each: sum(each.switches[part] for part in each.gateway)),
        median(lambda each: each.answers_per_second),
        quantile("p50", lambda each: each.first_ms),
        quantile("p99", lambda each: each.first_ms),
        quantile("p50", lambda each: each.gap_ms),
        quantile("p99", lambda each: each.gap_ms),
        quantile("p50", lambda each: each.whole_ms),
        median(lambda each: sum(each.memory[part][0] for part in each.gateway)),
        median(lambda each: sum(each.memory[part][1] for part in each.gateway)),
        sum(each.refused for each in group),
        sum(sum(each.faults.values()) for each in group),
        median(lambda each: each.cpu_ms[PROVIDER]),
        median(lambda each: each.cpu_ms[CLIENT]),
        median(lambda each: each.others_cores),
    )


def summary(found: Sequence[Row]) -> str:
    """Return CPU time alone: a row for each cell, a column for each subject, and how the others compare."""
    cells: dict[str, dict[str, Row]] = {}
    for row in found:
        if row.cell != IDLE and row.cpu_ms > 0:
            cells.setdefault(row.cell, {})[row.subject] = row
    subjects = list(dict.fromkeys(subject for of_subject in cells.values() for subject in of_subject))
    with_ratio = {_OURS, _THEIRS} <= set(subjects)
    lines = [
        f"| CPU ms of an answer | {' | '.join(subjects)} |{' LiteLLM / Spillway |' if with_ratio else ''}",
        f"|---|{'---:|' * (len(subjects) + with_ratio)}",
    ]
    for cell, of_subject in cells.items():
        figures = [figure(of_subject[subject].cpu_ms) if subject in of_subject else "-" for subject in subjects]
        if with_ratio:
            both = (of_subject.get(_THEIRS), of_subject.get(_OURS))
            figures.append(f"{both[0].cpu_ms / both[1].cpu_ms:.1f}" if both[0] and both[1] else "-")
        lines.append(f"| {cell_of(cell).says} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def markdown(found: Sequence[Row]) -> str:
    """Return one table for each cell, subjects below each other."""
    lines = [
        "| cell | subject | CPU ms/answer | of which | µs/chunk | beside the path | switches | answers/s "
        "| first content p50 / p99 ms | gap p50 / p99 ms | whole p50 ms | memory MiB (PSS) | refused | not whole |",
        "|---|---|---:|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    before = ""
    for row in found:
        title = f"**{row.cell}**: {cell_of(row.cell).says}" if row.cell != before else ""
        before = row.cell
        lines.append("| " + " | ".join(_cells(title, row)) + " |")
    return "\n".join(lines) + "\n"


def _cells(title: str, row: Row) -> list[str]:
    in_path = {part: cpu for part, cpu in row.cpu_of_parts.items() if part not in _BACKGROUND and part != "local-model"}
    beside: dict[str, float] = {}
    for part, name in _BACKGROUND.items():
        if part in row.cpu_of_parts:
            beside[name] = beside.get(name, 0.0) + row.cpu_of_parts[part]
    # At rest there are no answers to divide by.
    unit = " a second" if row.cell == IDLE else ""
    return [
        title,
        row.subject,
        figure(row.cpu_ms) + unit if in_path else "-",
        ", ".join(f"{part.removeprefix('llm-')} {figure(cpu)}" for part, cpu in in_path.items() if len(in_path) > 1),
        "-" if row.chunk_us is None or not in_path else figure(row.chunk_us),
        ", ".join(f"{part} {figure(cpu)}" for part, cpu in beside.items()),
        figure(row.switches) if in_path else "-",
        figure(row.per_second) if row.per_second else "-",
        _pair(row.first_p50, row.first_p99),
        _pair(row.gap_p50, row.gap_p99),
        "-" if row.whole_p50 is None else figure(row.whole_p50),
        f"{row.pss_mib:.0f}" if in_path else "-",
        str(row.refused),
        str(row.lost),
    ]


def figure(number: float) -> str:
    """Return a number with two digits that count, three from 10 on."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def _pair(one: float | None, other: float | None) -> str:
    return "-" if one is None or other is None else f"{figure(one)} / {figure(other)}"
