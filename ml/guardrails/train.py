"""Trains the classifier for injection: `train.py FOLDER MODEL DOCUMENT`.

Reads the labelled sets in the folder, adds lines of our own (`lines.py`) and texts that every Python installation has,
and writes the coefficients. Before that it leaves out one source after the other, trains on the rest and measures on
the one that was left out; these figures, and no others, are written into the document.
"""

from __future__ import annotations

import random
import sys
import sysconfig
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lines
import numpy as np
from figures import put_between, read, share
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from edge.guardrails.rules.classifier import Model, write_model
from edge.guardrails.rules.ngrams import BUCKETS, NEAR, PAIR_FACTOR, WORD, places_of

VERSION = 1
_ATTEMPTS, _HARMLESS = 6000, 14000
_CODE = 4000
_MAX_WORDS = 256
# Sets that nobody may learn from: their lines are harmless by their words.
_NEVER = frozenset({"bipia-indirect"})
_MARKS = "<!-- held-out figures -->\n", "<!-- end of held-out figures -->"
# Weights are whole numbers of 16 bits; those that are less than this share of the largest have no effect.
_LARGEST = 32000
_LEAST_SHARE = 0.004
EDGE = 2.6
"""The evidence that is enough to block: above what left-out harmless texts have, all but a few in a thousand."""


class Text(NamedTuple):
    """A text to learn from, or to measure with."""

    source: str
    text: str
    is_attack: bool


def sets(folder: Path) -> Iterator[Text]:
    """Return the labelled lines of others."""
    for file in sorted(folder.glob("*.jsonl")):
        for line in read(file):
            if "label" in line:
                yield Text(file.stem, line["text"], line["label"] == "attack")


def own() -> Iterator[Text]:
    """Return our own lines; each kind of harmless ones is a source by itself."""
    for text in lines.texts(lines.ATTEMPTS, "attempt", _ATTEMPTS, seed=1):
        yield Text("own-attempts", text, True)
    kinds = [line[1:-1] for line in lines.HARMLESS["harmless"].split() if line]
    shares = Counter(kinds)
    for kind, share_of in sorted(shares.items()):
        wanted = _HARMLESS * share_of // len(kinds)
        for text in lines.texts(lines.HARMLESS, kind, wanted, seed=2):
            yield Text(f"own-{kind}", text, False)


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


def features(texts: Sequence[Text]) -> Any:
    """Return the features of texts, as the edge has them, divided by the root of their number."""
    known: dict[str, list[int]] = {}
    columns: list[int] = []
    values: list[float] = []
    ends = [0]
    for text in texts:
        places: list[int] = []
        before = -1
        last: dict[str, int] = {}
        for number, word in enumerate(WORD.findall(text.text)[:_MAX_WORDS]):
            if number - last.get(word, -NEAR) < NEAR:
                before = -1
                continue
            last[word] = number
            own_places = known.get(word)
            if own_places is None:
                own_places = known[word] = places_of(word)
            places += own_places
            if before >= 0:
                places.append((before * PAIR_FACTOR + own_places[0]) % BUCKETS)
            before = own_places[0]
        columns += places
        values += [1 / max(len(places), 1) ** 0.5] * len(places)
        ends.append(len(columns))
    matrix = csr_matrix((values, columns, ends), shape=(len(texts), BUCKETS), dtype=np.float32)
    matrix.sum_duplicates()
    return matrix


def fit(matrix: Any, labels: Any) -> Any:
    """Learn."""
    model = LogisticRegression(C=1.0, solver="liblinear", class_weight={0: 2.0, 1: 1.0}, random_state=0)
    model.fit(matrix, labels)
    return model


def model_of(fitted: Any) -> Model:
    """Return what the edge has of a fitted model: whole numbers, none where a weight has no effect."""
    weights = fitted.coef_[0]
    largest = float(np.abs(weights).max())
    whole = np.round(weights / largest * _LARGEST)
    whole[np.abs(whole) < _LARGEST * _LEAST_SHARE] = 0
    return Model(
        version=VERSION,
        bias=float(fitted.intercept_[0]),
        steepness=1.0,
        edge=EDGE,
        weights=array("h", whole.astype(int).tolist()),
        unit=largest / _LARGEST,
    )


def held_out(texts: Sequence[Text], matrix: Any, labels: Any) -> dict[tuple[str, bool], list[float]]:
    """Return the evidence in each text by source and label, each by a model that has seen nothing of the source."""
    groups = np.array([text.source for text in texts])
    never = np.isin(groups, list(_NEVER))
    names = sorted({text.source for text in texts} - {"own-attempts"})
    own_kinds = [name for name in names if name.startswith("own-")]
    folds = [[name] for name in names if not name.startswith("own-")] + [own_kinds[number::4] for number in range(4)]
    evidence: dict[tuple[str, bool], list[float]] = {}
    for fold in folds:
        left_out = np.isin(groups, fold)
        # Sets share some lines.
        known = {text.text for text, out in zip(texts, left_out, strict=True) if out}
        kept = ~left_out & ~never & np.array([text.text not in known for text in texts])
        model = model_of(fit(matrix[kept], labels[kept]))
        for text in texts:
            if text.source in fold:
                evidence.setdefault((text.source, text.is_attack), []).append(model.evidence(text.text)[0])
        print("left out:", ", ".join(fold), file=sys.stderr, flush=True)
    return evidence


def table(evidence: Mapping[tuple[str, bool], Sequence[float]]) -> str:
    """Write what would be blocked of each source."""
    rows = ["", "| left out | label | told by the classifier, with 95 % bounds |", "|---|---|---|"]
    for (source, is_attack), found in sorted(evidence.items()):
        label = "attack" if is_attack else "indirect" if source in _NEVER else "benign"
        rows.append(f"| {source} | {label} | {share(sum(each >= EDGE for each in found), len(found))} |")
    return "\n".join([*rows, "", ""])


def main(folder: Path, model_file: Path, document: Path) -> None:
    """Measure, write the figures, and train on everything."""
    texts = [*sets(folder), *own(), *installed()]
    matrix = features(texts)
    labels = np.array([text.is_attack for text in texts])
    measured = table(held_out(texts, matrix, labels))
    print(measured)
    put_between(document, *_MARKS, measured)
    kept = np.array([text.source not in _NEVER for text in texts])
    model_file.write_bytes(write_model(model_of(fit(matrix[kept], labels[kept]))))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
