"""What the classifier learns from: labelled sets of others, lines of our own, code and prose that Python brings."""

from __future__ import annotations

import random
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import everyday
import freed
import languages
import lines
import roles
from figures import read

NEVER = frozenset({"bipia-indirect"})
"""Sets that nobody may learn from: their lines are harmless by their words."""

SHORT, LONG, FREED = "own-short", "own-persona", "own-freed"
"""Our own attempts: a sentence or two, and long ones that give the model a part without rules, in two wordings."""

_SHORT_COUNT, _LONG_COUNT, _HARMLESS_COUNT = 5000, 3000, 14000
_CODE = 4000


class Text(NamedTuple):
    """A text to learn from, or to measure with."""

    source: str
    text: str
    is_attack: bool


def sets(folder: Path) -> Iterator[Text]:
    """Return the labelled lines of others; FileNotFoundError when there are none."""
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise FileNotFoundError(f"{folder} has no .jsonl file with labelled lines")
    for file in files:
        for line in read(file):
            if "label" in line:
                yield Text(file.stem, line["text"], line["label"] == "attack")


def own() -> Iterator[Text]:
    """Return our own lines; each kind of harmless ones is a source by itself."""
    short = "\n".join(line for line in lines.ATTEMPTS["attempt"].splitlines() if line != "{persona}")
    for text in lines.texts({**lines.ATTEMPTS, "attempt": short}, "attempt", _SHORT_COUNT, seed=1):
        yield Text(SHORT, text, True)
    for text in lines.texts(lines.ATTEMPTS, "persona", _LONG_COUNT, seed=1):
        yield Text(LONG, text, True)
    for text in lines.texts(freed.LINES, "freed", freed.COUNT, seed=1):
        yield Text(FREED, text, True)
    kinds = Counter(line[1:-1] for line in lines.HARMLESS["harmless"].split() if line)
    first = {kind: _HARMLESS_COUNT * share // kinds.total() for kind, share in kinds.items()}
    for family, grammar, counts in (
        ("own", lines.HARMLESS, first),
        ("roles", roles.LINES, roles.KINDS),
        ("everyday", everyday.LINES, everyday.KINDS),
        ("languages", languages.LINES, languages.KINDS),
    ):
        for kind, count in sorted(counts.items()):
            for text in lines.texts(grammar, kind, count, seed=2):
                yield Text(f"{family}-{kind}", text, False)


def installed() -> Iterator[Text]:
    """Return pieces of code and prose that come with Python and its packages."""
    rng = random.Random(3)  # noqa: S311 - no secret
    paths = sysconfig.get_paths()
    code = sorted(Path(paths["stdlib"]).glob("*.py")) + sorted(Path(paths["stdlib"]).glob("[a-z]*/[a-z]*.py"))
    prose = sorted(Path(paths["purelib"]).glob("*.dist-info/METADATA"))
    for source, files in (("code", code), ("prose", prose)):
        pieces: list[str] = []
        for file in files:
            content = file.read_text(encoding="utf-8", errors="replace")
            place = 0
            while place < len(content):
                size = int(rng.choice((100, 300, 1000, 3000)))
                pieces.append(content[place : place + size])
                place += size
        rng.shuffle(pieces)
        for piece in pieces[:_CODE]:
            yield Text(source, piece, False)
