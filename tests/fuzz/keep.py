"""Adds to the corpus what `make fuzz` has found, as far as it reaches lines by ways that nothing kept does.

`python -m tests.fuzz.keep [TARGET...]`; the smallest inputs first, and nothing that is long: the corpus is read in each
`make test`.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import structlog

from .catalogue import CORPUS, NAMES, target_of
from .run import FOUND

_ROOT = CORPUS.parents[2]
_OURS = tuple(str(_ROOT / folder) for folder in ("services", "libs", "local"))
_MAX_BYTES, _MAX_ALL_BYTES = 2048, 6 * 1024

Arc = tuple[str, int, int]


def keep(name: str) -> int:
    """Add to the corpus of a target; return how many inputs."""
    check, corpus = target_of(name).check, CORPUS / name
    known: set[Arc] = set()
    size = 0
    for path in sorted(corpus.glob("*")):
        known |= _arcs_of(check, path.read_bytes())
        size += 0 if path.name.startswith(("seed-", "found-")) else path.stat().st_size
    added = 0
    for data in _smallest_first((FOUND / name).glob("*")):
        if len(data) > _MAX_BYTES or size + len(data) > _MAX_ALL_BYTES:
            break
        arcs = _arcs_of(check, data)
        if arcs <= known:
            continue
        known |= arcs
        size += len(data)
        added += 1
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return added


def _smallest_first(paths: Iterable[Path]) -> list[bytes]:
    return sorted((path.read_bytes() for path in paths), key=lambda data: (len(data), data))


def _arcs_of(check: Callable[[bytes], None], data: bytes) -> set[Arc]:
    """Return the steps from line to line in our code that checking an input takes."""
    arcs: set[Arc] = set()

    def enter(frame: FrameType, _event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(_OURS):
            return None
        before = frame.f_lineno

        def step(frame: FrameType, _event: str, _argument: Any) -> Any:
            nonlocal before
            arcs.add((file, before, frame.f_lineno))
            before = frame.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        check(data)
    finally:
        sys.settrace(None)
    return arcs


def _drop(*_arguments: Any) -> Any:
    raise structlog.DropEvent


if __name__ == "__main__":
    structlog.configure(processors=[_drop])
    warnings.simplefilter("ignore")
    for _name in sys.argv[1:] or NAMES:
        sys.stdout.write(f"{_name}: {keep(_name)} added\n")
