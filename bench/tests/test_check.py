"""`make bench-check` fails when a part costs more, and not because the machine is slower."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.cells import cell_of
from bench.check import BOUNDS, judge
from bench.measure import Measurement

_BOUNDS = {"20ms-20": {"edge": 3.0, "llm-router": 4.0}}


def measurement(edge: float, *, slowness: float = 1.0) -> Measurement:
    """Return a round in which the edge has this cost, on a machine that is slower by this factor."""
    cpu = {"edge": edge, "llm-router": 6.0, "provider": 1.0, "client": 1.0}
    return Measurement(
        subject="spillway",
        cell="20ms-20",
        answers=10,
        seconds=1.0,
        cpu_ms={part: each * slowness for part, each in cpu.items()},
        switches={},
        memory={},
        gateway=("edge", "llm-router"),
        chunks=64,
    )


def test_a_slower_machine_is_no_fault_and_a_slower_edge_is() -> None:
    """The reference becomes slower with the machine; the edge alone does not."""
    good = judge([measurement(4.0), measurement(4.0, slowness=3.0), measurement(4.0, slowness=0.5)], _BOUNDS)
    bad = judge([measurement(7.0), measurement(7.0), measurement(4.0)], _BOUNDS)

    assert [2.0, 3.0] == [each.ratio for each in good]
    assert all(each.is_good for each in good)
    assert [("edge", False), ("llm-router", True)] == [(each.part, each.is_good) for each in bad]
    assert "TOO MUCH" in str(bad[0])


def test_one_odd_round_decides_nothing() -> None:
    """The median counts."""
    assert all(each.is_good for each in judge([measurement(4.0), measurement(50.0), measurement(4.0)], _BOUNDS))


def test_a_cell_that_was_not_measured_is_no_success() -> None:
    """Nothing measured is nothing proved."""
    with pytest.raises(ValueError, match="was not measured"):
        judge([replace(measurement(1.0), cell="one-20")], _BOUNDS)


def test_each_bound_is_of_a_cell() -> None:
    """What is checked can be measured, and each part has a bound."""
    for cell, of_parts in BOUNDS.items():
        assert cell == cell_of(cell).name
        assert {"edge", "llm-router", "cost-ledger"} == set(of_parts)
        assert all(bound > 0 for bound in of_parts.values())
