"""From how many streams on one of each resource is not enough: bars on a logarithmic scale, an SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from bench.scale.walls import Wall

_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _BOTTOM = 1080, 330, 48, 104, 26, 40
_LOW, _HIGH = 10.0, 10_000_000.0
# These can be told apart by eyes that see no red or no green.
_WITHIN, _SPREAD, _STUCK = "#d6dbe0", "#0072b2", "#e69f00"
_FONT = 'font-family="Helvetica, Arial, sans-serif"'


def svg(walls: Sequence[Wall], title: str, subtitle: str) -> str:
    """Return the plot: a row for each wall, the first that is met on top."""
    height = _TOP + _ROW * len(walls) + _BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {_FONT} font-size="12" fill="#222">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        _text(16, 26, title, size=17, weight="bold"),
        _text(16, 46, subtitle, fill="#555"),
        *_legend(),
        *_axis(height - _BOTTOM),
        *(line for place, wall in enumerate(walls) for line in _row(place, wall)),
        _text(_LEFT, height - 8, "concurrent streams", fill="#555"),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _legend() -> Iterator[str]:
    x = 16.0
    for colour, words in (
        (_WITHIN, "one is enough"),
        (_SPREAD, "more of the same are needed"),
        (_STUCK, "more of the same do not help: a wall"),
    ):
        yield f'<rect x="{x:.0f}" y="60" width="12" height="12" fill="{colour}"/>'
        yield _text(x + 17, 70, words)
        x += 44 + 6.4 * len(words)


def _axis(bottom: float) -> Iterator[str]:
    for power in range(round(math.log10(_LOW)), round(math.log10(_HIGH)) + 1):
        x = _x(10.0**power)
        yield f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>'
        yield _text(x, _TOP - 12, f"{10**power:,}", anchor="middle")


def _row(place: int, wall: Wall) -> Iterator[str]:
    y = _TOP + place * _ROW
    yield _text(_LEFT - 10, y + 15, f"{wall.name}: {wall.unit}", anchor="end")
    met = min(_x(wall.streams), _x(_HIGH))
    colour = _SPREAD if wall.can_be_spread else _STUCK
    yield f'<rect x="{_LEFT}" y="{y + 3}" width="{met - _LEFT:.1f}" height="{_ROW - 8}" fill="{_WITHIN}"/>'
    yield f'<rect x="{met:.1f}" y="{y + 3}" width="{_x(_HIGH) - met:.1f}" height="{_ROW - 8}" fill="{colour}"/>'
    if math.isfinite(wall.streams):
        yield _text(met - 5, y + 16, rounded(wall.streams), anchor="end", size=11)


def rounded(streams: float) -> str:
    """Return a number of streams with two digits that count."""
    if not math.isfinite(streams):
        return "-"
    return f"{float(f'{streams:.2g}'):,.0f}"


def _x(streams: float) -> float:
    share = math.log10(min(max(streams, _LOW), _HIGH) / _LOW) / math.log10(_HIGH / _LOW)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "normal", fill: str = "#222"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
        f' fill="{fill}">{escape(text)}</text>'
    )
