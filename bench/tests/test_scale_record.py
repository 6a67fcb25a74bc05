"""What is in docs/scale.md is what was measured last."""

from __future__ import annotations

from xml.sax.saxutils import escape

from bench.record import with_table
from bench.scale.model import CHAT
from bench.scale.record import DOCUMENT, PLOT, plot, tables
from bench.scale.slopes import read
from bench.scale.walls import walls


def test_the_document_has_the_tables_of_the_slopes() -> None:
    """`make scale`, or `make scale SCALE_ARGS=--compute` after a change of the model, writes them."""
    document = DOCUMENT.read_text()

    for command, table in tables(read()).items():
        assert document == with_table(document, command, table)


def test_the_plot_is_that_of_the_slopes() -> None:
    """It has a row for each wall."""
    written = PLOT.read_text()

    assert plot(read()) == written
    for wall in walls(read(), CHAT):
        assert f">{escape(f'{wall.name}: {wall.unit}')}</text>" in written
