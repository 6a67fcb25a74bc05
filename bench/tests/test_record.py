"""Figures reach the table, the plot and the document as they were measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.added import added
from bench.measure import Measurement
from bench.record import FEATURES, FOLDER, Results, read, with_table, write
from bench.report import markdown, rows, summary


def measurement(subject: str, cell: str, cpu: dict[str, float], *, faults: int = 0) -> Measurement:
    """Return one round in which only the CPU times differ."""
    parts = {**cpu, "provider": 1.0, "client": 1.0}
    return Measurement(
        subject=subject,
        cell=cell,
        answers=10,
        seconds=2.0,
        cpu_ms=parts,
        switches=dict.fromkeys(parts, 3.0),
        memory={part: (80.0, 60.0) for part in parts if part != "client"},
        gateway=tuple(part for part in cpu if part != "cost-ledger"),
        chunks=64,
        first_ms={"p50": 1.0, "p99": 2.0},
        gap_ms={"p50": 20.0, "p99": 21.0},
        whole_ms={"p50": 1300.0},
        faults={"cut": faults} if faults else {},
    )


def some_results() -> Results:
    """Return three rounds of Spillway and one of LiteLLM."""
    edge, router = (1.0, 9.0, 2.0), (4.0, 6.0, 5.0)
    found = [
        measurement("spillway", "20ms-20", {"edge": e, "llm-router": r, "cost-ledger": 0.5})
        for e, r in zip(edge, router, strict=True)
    ]
    found += [measurement("litellm", "20ms-20", {"litellm": 42.0}, faults=2)]
    return Results("2026-01-31", 3, 6.0, {"cores": "2", "processor": "P"}, {"litellm": "1.0"}, found)


def test_a_row_has_the_medians_of_its_rounds() -> None:
    """The median of the sum, not the sum of medians; what works beside the path is not in it."""
    ours, theirs = rows(some_results().measurements)

    assert (7.0, 2.0, 5.0) == (ours.cpu_ms, ours.cpu_of_parts["edge"], ours.cpu_of_parts["llm-router"])
    assert 3 == ours.rounds
    assert 7000 / 64 == ours.chunk_us
    assert 6.0 == ours.switches
    assert 120.0 == ours.pss_mib
    assert 5.0 == ours.per_second
    assert (0, 2) == (ours.lost, theirs.lost)


def test_the_tables_have_every_subject_and_the_ratio() -> None:
    """LiteLLM's 42 ms are six times Spillway's 7."""
    found = rows(some_results().measurements)

    assert "| 64 chunks, 20 ms apart, 20 clients | 7.00 | 42.0 | 6.0 |" in summary(found)
    assert "| spillway | 7.00 | edge 2.00, router 5.00 | 109 | ledger 0.50 |" in markdown(found)


def test_the_plot_has_a_bar_for_each_figure(tmp_path: Path) -> None:
    """It is an SVG, and what costs ten times as much is higher by one step of the axis."""
    found = [measurement("a", "20ms-20", {"x": 2.0}), measurement("b", "20ms-20", {"x": 20.0})]
    write(replace(some_results(), measurements=found), tmp_path)

    root = ET.fromstring((tmp_path / "cpu.svg").read_text())  # noqa: S314 - written above
    name = "{http://www.w3.org/2000/svg}"
    bars = {bar.findtext(f"{name}title"): float(bar.get("height", "0")) for bar in root.iter(f"{name}rect")}
    lines = [float(line.get("y1", "0")) for line in root.iter(f"{name}line") if line.get("stroke") == "#ddd"]

    assert 3 == len(lines)
    assert lines[0] - lines[1] == pytest.approx(bars["20ms-20 b: 20.0 ms"] - bars["20ms-20 a: 2.00 ms"], abs=0.2)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Table and plot can be written anew from the file, in which figures are shorter."""
    results = some_results()
    odd = replace(results.measurements[0], cpu_ms={**results.measurements[0].cpu_ms, "edge": 7.123449})
    write(replace(results, measurements=[odd, *results.measurements[1:]]), tmp_path)
    first = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    write(read(tmp_path), tmp_path)

    assert first == {file.name: file.read_bytes() for file in tmp_path.iterdir()}


def test_a_document_keeps_what_stands_around_its_table() -> None:
    """Only what is between the marks is another one."""
    begin, end = "<!-- make bench writes this table -->", "<!-- until here -->"
    assert f"a\n{begin}\nnew\n{end}\nb" == with_table(f"a\n{begin}\nold\n{end}\nb", "make bench", "new\n")
    with pytest.raises(ValueError, match="has no"):
        with_table(f"a\n{begin}\nold\n{end}\nb", "make bench-features", "new")


def test_the_document_has_the_figures_of_the_results() -> None:
    """docs/performance.md, table and plot are those of results.json: nobody has edited a figure by hand."""
    document = (FOLDER.parents[1] / "docs/performance.md").read_text()
    found = rows(read(FOLDER).measurements)
    features = read(FEATURES).measurements

    assert summary(found) in document
    assert markdown(found) in (FOLDER / "table.md").read_text()
    assert added(features)
    assert added(features) in document
    assert added(features) in (FEATURES / "table.md").read_text()
