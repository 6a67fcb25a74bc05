"""Checks one input again: `python -m tests.fuzz.repeat TARGET FILE`; the traceback of a fault is shown whole."""

from __future__ import annotations

import sys
from pathlib import Path

from . import front_door
from .catalogue import target_of


def main() -> None:
    """Command line."""
    name, path = sys.argv[1:]
    if name == front_door.NAME:
        front_door.repeat(Path(path))
    else:
        target_of(name).check(Path(path).read_bytes())
    sys.stdout.write(f"{path} has a promised result\n")


if __name__ == "__main__":
    main()
