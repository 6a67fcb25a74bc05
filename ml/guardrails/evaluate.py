"""Measures the guardrails on labelled sets: `evaluate.py FOLDER DOCUMENT`; writes the figures into the document.

Each `*.jsonl` in the folder is a set, of one of two kinds. Lines with a `label` (`attack`, `benign`, `indirect`)
measure the rules of the kinds `injection` and `classifier`; lines with `spans` (`type`, `value`, `start`, `end`) those
of kind `pii`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from figures import Line, put_between, read, share

from edge.guardrails.rules import injection, pii, secrets
from edge.guardrails.rules.classifier import ClassifierRule
from edge.guardrails.rules.detector import Rule

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


def finds(rules: Sequence[Rule]) -> Callable[[str], bool]:
    """Return whether one of the rules finds something in a text."""
    return lambda text: any(True for rule in rules for _ in rule.find(text.encode()))


def labelled(name: str, lines: Iterable[Line]) -> Iterator[str]:
    """Write a row for each label of a set: told by patterns, by the classifier, by either."""
    by_pattern, by_classifier = finds(injection.RULES), finds([ClassifierRule()])
    texts: dict[str, list[str]] = {}
    for line in lines:
        texts.setdefault(line["label"], []).append(line["text"])
    for label, of_label in sorted(texts.items()):
        told = [(by_pattern(text), by_classifier(text)) for text in of_label]
        hits = sum(one for one, _ in told), sum(other for _, other in told), sum(map(any, told))
        cells = " | ".join(share(count, len(told)) for count in hits)
        yield f"| {name} | {label} | {cells} |"


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


def figures(folder: Path) -> str:
    """Measure every set in the folder."""
    told = ["| set | label | `injection` | `classifier` | either |", "|---|---|---|---|---|"]
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
    put_between(document, _BEGIN, _END, measured)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
