"""Shares with their bounds, and where they are written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

_Z = 1.959964  # of 95 %

Line = dict[str, Any]


def bounds(hits: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, after Wilson."""
    if not of:
        return 0.0, 1.0
    share, spread = hits / of, _Z * _Z / of
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / of + spread / (4 * of)) / (1 + spread)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def share(hits: int, of: int) -> str:
    """Write a share with its bounds."""
    low, high = bounds(hits, of)
    return f"{hits} of {of} = {hits / of:.1%} ({low:.1%} to {high:.1%})" if of else "-"


def read(file: Path) -> list[Line]:
    """Read a set."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def put_between(document: Path, begin: str, end: str, text: str) -> None:
    """Write figures between two marks of a document."""
    before, _, rest = document.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    document.write_text(f"{before}{begin}{text}{end}{after}", encoding="utf-8")
