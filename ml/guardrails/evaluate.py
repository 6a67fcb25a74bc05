"""Measures the guardrails on labelled sets: `evaluate.py FOLDER DOCUMENT`; writes the figures into the document.

Each `*.jsonl` in the folder is a set, of one of two kinds. Lines with a `label` (`attack`, `benign`, `indirect`)
measure the rules of kind `injection`; lines with `spans` (`type`, `value`, `start`, `end`) those of kind `pii`.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edge.guardrails import injection, pii, secrets
from edge.guardrails.detector import Rule

_BEGIN, _END = "<!-- figures -->\n", "<!-- end of figures -->"
# What the sets call the types of our rules.
_TYPES = {
    "EMAIL_ADDRESS": "email",
    "EMAIL": "email",
    "CREDIT_CARD": "card",
    "PHONE_NUMBER": "phone",
    "US_SSN": "ssn",
    "IBAN_CODE": "iban",
    "IBAN": "iban",
    "IP_ADDRESS": "ip",
}
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


def finds(rules: Sequence[Rule]) -> Callable[[str], bool]:
    """Return whether one of the rules finds something in a text."""
    return lambda text: any(True for rule in rules for _ in rule.find(text.encode()))


def labelled(name: str, lines: Iterable[Line]) -> Iterator[str]:
    """Write a row for each label of a set."""
    is_told = finds(injection.RULES)
    counts: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for line in lines:
        counts[line["label"]] += 1
        told[line["label"]] += is_told(line["text"])
    for label, count in sorted(counts.items()):
        yield f"| {name} | {label} | {share(told[label], count)} |"


def spans_of(text: str) -> list[tuple[str, int, int]]:
    """Return what the rules find, in characters."""
    encoded = text.encode()
    return [
        (rule.name, len(encoded[: span.start].decode()), len(encoded[: span.end].decode()))
        for rule in (*pii.RULES, *secrets.RULES)
        for span in rule.find(encoded)
    ]


def marked(name: str, lines: Iterable[Line]) -> Iterator[str]:
    """Write a row for each type of a set: a span is found when all of it is covered, and false when it touches none."""
    wanted: Counter[str] = Counter()
    covered: Counter[str] = Counter()
    right: Counter[str] = Counter()
    claimed: Counter[str] = Counter()
    for line in lines:
        found = spans_of(line["text"])
        truth = [(_TYPES[each["type"]], each["start"], each["end"]) for each in line["spans"] if each["type"] in _TYPES]
        for kind, start, end in truth:
            wanted[kind] += 1
            covered[kind] += any(first <= start and end <= last for _, first, last in found)
        for kind, first, last in found:
            claimed[kind] += 1
            right[kind] += any(start < last and first < end for _, start, end in truth)
    for kind in sorted(wanted | claimed):
        yield f"| {name} | {kind} | {share(covered[kind], wanted[kind])} | {share(right[kind], claimed[kind])} |"
    yield f"| {name} | all | {share(covered.total(), wanted.total())} | {share(right.total(), claimed.total())} |"


def read(file: Path) -> list[Line]:
    """Read a set."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def figures(folder: Path) -> str:
    """Measure every set in the folder."""
    told = ["| set | label | told by a rule of `injection`, with 95 % bounds |", "|---|---|---|"]
    spans = ["| set | rule | recall | precision |", "|---|---|---|---|"]
    for file in sorted(folder.glob("*.jsonl")):
        lines = read(file)
        if lines and "spans" in lines[0]:
            spans += marked(file.stem, lines)
        elif lines:
            told += labelled(file.stem, lines)
    return "\n".join(["", *told, "", *spans, "", ""])


def main(folder: Path, document: Path) -> None:
    """Measure, print, and write the figures between the marks in the document."""
    measured = figures(folder)
    print(measured)
    before, _, rest = document.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    document.write_text(f"{before}{_BEGIN}{measured}{_END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
