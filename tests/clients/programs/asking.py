"""What the programs share: where to ask, with what, and how the end of each case is told.

BASE_URL has the place `{case}` where the recorder listens; a gateway has none. One line comes out for each case.
"""

from __future__ import annotations

import base64
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

KEY = os.environ["CLIENT_KEY"]
CHAT_MODEL = os.environ["CHAT_MODEL"]
MESSAGES_MODEL = os.environ["MESSAGES_MODEL"]
QUESTION = os.environ["QUESTION"]
SYSTEM = os.environ["SYSTEM"]
RESULT = os.environ["RESULT"]
_FILES = Path(os.environ["SAMPLES"])
PICTURE = base64.b64encode((_FILES / "picture.png").read_bytes()).decode()
PAGE = base64.b64encode((_FILES / "page.pdf").read_bytes()).decode()


def root(case: str) -> str:
    """Return the address before the vendor's own path."""
    return os.environ["BASE_URL"].replace("{case}", case)


def run(cases: Mapping[str, Callable[[str], object]]) -> None:
    """Run each case with its name, and print how it ended; those named on the command line alone, where any is."""
    for name, ask in cases.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        started = time.monotonic()
        try:
            said = ask(name)
        except Exception as error:  # noqa: BLE001 # whatever a client throws is what is to be seen
            said = f"FAILED {type(error).__name__}: {error}"
        print(f"{name}: {' '.join(str(said).split())[:300]} ({time.monotonic() - started:.1f} s)", flush=True)  # noqa: T201
