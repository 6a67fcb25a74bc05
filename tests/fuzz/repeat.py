"""Checks one input again: `python -m tests.fuzz.repeat TARGET FILE`; the traceback of a fault is shown whole."""

from __future__ import annotations

import sys
from pathlib import Path

from .catalogue import target_of


def main() -> None:
    """Command line."""
    name, path = sys.argv[1:]
    target_of(name).check(Path(path).read_bytes())
    sys.stdout.write(f"{path} has a promised result\n")


if __name__ == "__main__":
    main()
