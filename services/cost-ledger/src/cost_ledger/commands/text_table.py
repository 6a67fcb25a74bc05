"""Tables in plain text."""

from __future__ import annotations

from collections.abc import Sequence

# Names may come from a provider or a file: they must not contain control characters.
_MAX_CELL = 80


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: names are aligned to the left, figures to the right."""
    cells = [list(header), *([_printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    to_right = [all(_is_figure(row[column]) for row in cells[1:]) for column in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, to_right, strict=True)
        ).rstrip()
        for row in cells
    ]


def _printable(cell: str) -> str:
    shown = "".join(letter if letter.isprintable() else "?" for letter in cell)
    return shown if len(shown) <= _MAX_CELL else shown[: _MAX_CELL - 1] + "…"


def _is_figure(cell: str) -> bool:
    return not cell or (cell[0] in "-+0123456789" and not cell[-1].isalpha() and cell.count("-") < 2)
