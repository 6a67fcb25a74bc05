"""The CPU time of an answer as bars on a logarithmic scale, an SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from bench.cells import IDLE
from bench.report import Row, figure

_WIDTH, _HEIGHT = 1080, 500
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 20, 84, 88
_GROUP_GAP, _SECTION_GAP = 8, 26
# These can be told apart by eyes that see no red or no green.
_COLOURS = ("#8a94a0", "#0072b2", "#e69f00", "#cc79a7", "#009e73")
_FONT = 'font-family="Helvetica, Arial, sans-serif"'


def svg(rows: Sequence[Row], subtitle: str) -> str:
    """Return the plot of what stands in the path: a group of bars for each cell, a bar for each subject."""
    drawn = [row for row in rows if row.cell != IDLE and row.cpu_ms > 0]
    subjects = list(dict.fromkeys(row.subject for row in drawn))
    low = 10 ** math.floor(math.log10(min(row.cpu_ms for row in drawn)))
    high = 10 ** math.ceil(math.log10(max(row.cpu_ms for row in drawn)))
    colours = dict(zip(subjects, _COLOURS, strict=False))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" {_FONT} font-size="12" fill="#222">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        _text(_LEFT, 24, "CPU time of an answer, ms (logarithmic)", size=17, weight="bold"),
        _text(_LEFT, 44, subtitle, size=12, fill="#555"),
        *_legend(colours),
        *_axis(low, high),
        *_groups(drawn, colours, low, high),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _legend(colours: dict[str, str]) -> Iterator[str]:
    x = float(_LEFT)
    for subject, colour in colours.items():
        yield f'<rect x="{x:.0f}" y="56" width="12" height="12" fill="{colour}"/>'
        yield _text(x + 17, 66, subject)
        x += 34 + 7.2 * len(subject)


def _axis(low: float, high: float) -> Iterator[str]:
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        y = _y(10.0**power, low, high)
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
        yield _text(_LEFT - 8, y + 4, f"{10.0**power:g}", anchor="end")


def _groups(rows: Sequence[Row], colours: dict[str, str], low: float, high: float) -> Iterator[str]:
    """Cells of one kind are a section: `2ms` with its numbers of clients below."""
    cells: dict[str, dict[str, Row]] = {}
    for row in rows:
        cells.setdefault(row.cell, {})[row.subject] = row
    sections = list(dict.fromkeys(_section(cell) for cell in cells))
    bars = sum(len(of_subject) for of_subject in cells.values())
    gaps = (len(cells) - len(sections)) * _GROUP_GAP + (len(sections) - 1) * _SECTION_GAP
    bar = (_WIDTH - _LEFT - _RIGHT - gaps - 12) / bars
    x, bottom = _LEFT + 6.0, _HEIGHT - _BOTTOM
    for section in sections:
        began = x
        for cell, of_subject in cells.items():
            if _section(cell) != section:
                continue
            middle = x + bar * len(of_subject) / 2
            yield _text(middle, bottom + 17, cell.partition("-")[2], anchor="middle")
            for subject, row in of_subject.items():
                y = _y(row.cpu_ms, low, high)
                title = f"{cell} {subject}: {figure(row.cpu_ms)} ms"
                yield (
                    f'<rect x="{x + 0.5:.1f}" y="{y:.1f}" width="{bar - 1:.1f}" height="{bottom - y:.1f}"'
                    f' fill="{colours[subject]}"><title>{escape(title)}</title></rect>'
                )
                yield _text(x + bar / 2, y - 3, _short(row.cpu_ms), anchor="middle", size=9)
                x += bar
            x += _GROUP_GAP
        x -= _GROUP_GAP
        for place, words in enumerate(_title(section)):
            yield _text((began + x) / 2, bottom + 36 + 15 * place, words, anchor="middle", weight="bold")
        x += _SECTION_GAP
    yield f'<line x1="{_LEFT}" y1="{bottom}" x2="{_WIDTH - _RIGHT}" y2="{bottom}" stroke="#222"/>'
    yield _text(_LEFT, _HEIGHT - 12, "The numbers below the bars are clients that ask at once.", fill="#555")


def _section(cell: str) -> str:
    return cell.partition("-")[0]


def _title(section: str) -> tuple[str, ...]:
    """In two lines, since a section may be narrow."""
    if section.endswith("ms"):
        return "64 chunks,", f"{section.removesuffix('ms')} ms apart"
    words = {"one": ("one", "chunk"), "whole": ("not", "streamed"), "embeddings": ("embed-", "dings")}
    return words.get(section, ("cache", section))


def _y(value: float, low: float, high: float) -> float:
    share = math.log10(value / low) / math.log10(high / low)
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.1f}" if number >= 1 else f"{number:.2f}".lstrip("0")


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "normal", fill: str = "#222"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
        f' fill="{fill}">{escape(text)}</text>'
    )
