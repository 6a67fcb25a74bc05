"""Trains the classifier for injection: `train.py FOLDER MODEL DOCUMENT`.

Reads the labelled sets in the folder, adds lines of our own and texts that every Python installation has (`texts.py`),
and writes the coefficients. Before that it leaves out one source or kind after the other, trains on the rest and
measures on what was left out (`held_out.py`); these figures, and no others, are written into the document.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from figures import put_between
from held_out import evidence_of, lowest_edge, table
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from texts import NEVER, SHORT, Text, installed, own, sets

from edge.guardrails.rules.classifier import Model, write_model
from edge.guardrails.rules.ngrams import BUCKETS, NEAR, PAIR_FACTOR, WORD, places_of

VERSION = 2
_MAX_WORDS = 256
_MARKS = "<!-- held-out figures -->\n", "<!-- end of held-out figures -->"
# Weights are whole numbers of 16 bits; those that are less than this share of the largest have no effect.
_LARGEST = 32000
_LEAST_SHARE = 0.004
EDGE = 2.4
"""The evidence that is enough to block: above what is harmless and was left out, by a margin."""

# How much a text counts. Harmless ones count twice, for a false alarm is worse. Short attempts are made of words that
# mails and manuals have as well, and the patterns find them: they count for little, so that they come before what is
# harmless, and far from the edge. Those that were seen in the wild are few.
_HARMLESS_WEIGHT = 2.0
_WEIGHTS: Mapping[str, float] = {SHORT: 0.02, "inthewild-a": 3.0}


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


def weights_of(texts: Sequence[Text]) -> Any:
    """Return how much each text counts."""
    return np.array([_WEIGHTS.get(text.source, 1.0) if text.is_attack else _HARMLESS_WEIGHT for text in texts])


def fit(matrix: Any, labels: Any, weights: Any) -> Any:
    """Learn."""
    model = LogisticRegression(C=1.0, solver="liblinear", random_state=0)
    model.fit(matrix, labels, sample_weight=weights)
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


def main(folder: Path, model_file: Path, document: Path) -> None:
    """Measure, write the figures, and train on everything; ValueError when `EDGE` is below what the figures allow."""
    texts = [*sets(folder), *own(), *installed()]
    matrix, weights = features(texts), weights_of(texts)
    labels = np.array([text.is_attack for text in texts])

    def train(kept: Any) -> Model:
        return model_of(fit(matrix[kept], labels[kept], weights[kept]))

    def evidence_without(kept: Any) -> Callable[[str], float]:
        model = train(kept)
        return lambda text: model.evidence(text)[0]

    evidence = evidence_of(texts, evidence_without)
    measured, lowest = table(evidence, EDGE), lowest_edge(evidence)
    print(f"{measured}\nThe edge may be {lowest:.2f} or more, and is {EDGE}.")
    if lowest >= EDGE:
        raise ValueError("the edge is too low: more than one in two hundred harmless texts would be blocked")
    put_between(document, *_MARKS, measured)
    model_file.write_bytes(write_model(train(np.array([text.source not in NEVER for text in texts]))))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
