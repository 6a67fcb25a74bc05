"""What a variant adds is told against the Spillway of the same round."""

from __future__ import annotations

from bench.added import added
from bench.measure import Measurement


def measurement(subject: str, cell: str, edge: float, first: float) -> Measurement:
    """Return one round with these milliseconds."""
    cpu = {"edge": edge, "llm-router": 2.0, "cost-ledger": 1.0, "valkey": 0.5, "postgres": 0.5}
    return Measurement(
        subject=subject,
        cell=cell,
        answers=10,
        seconds=1.0,
        cpu_ms=cpu,
        switches={},
        memory={},
        gateway=("edge", "llm-router"),
        chunks=1,
        first_ms={"p50": first, "p99": first * 2},
    )


def test_rounds_are_compared_with_each_other() -> None:
    """A round on a slower machine is slower for both: the median of the differences counts, not that of all rounds."""
    base = [measurement("spillway", "one-20", edge, 5.0) for edge in (1.0, 10.0, 3.0)]
    limits = [measurement("spillway+limits", "one-20", edge, 7.0) for edge in (1.5, 10.25, 2.9)]

    row = added([*base, *limits]).splitlines()[-1]

    assert (
        "| one chunk, 20 clients | limits and budgets | +0.25 (-0.10 to +0.50) | +0.00 (+0.00 to +0.00)"
        " | +0.00 (+0.00 to +0.00) | +0.00 (+0.00 to +0.00) | +2.00 (+2.00 to +2.00) | +4.00 (+4.00 to +4.00) |"
    ) == row


def test_there_is_no_table_without_both() -> None:
    """Neither variants alone, nor a Spillway alone, nor what nobody asked can be compared."""
    assert "" == added([measurement("spillway", "one-20", 1.0, 1.0), measurement("litellm", "one-20", 1.0, 1.0)])
    assert "" == added([measurement("spillway+all", "one-20", 1.0, 1.0)])
    assert "" == added([measurement(name, "idle", 1.0, 1.0) for name in ("spillway", "spillway+all")])
