"""Tells attempts at injection by what they have in common: a linear classifier over words and parts of words.

`ml/guardrails/train.py` makes its coefficients. A word's own features depend on nothing but the word, so that their sum
is kept: what is left for a text is one look-up for each word and one for each pair.
"""

from __future__ import annotations

import hashlib
import math
import sys
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from edge.guardrails.rules.detector import BETWEEN, Kind, Span
from edge.guardrails.rules.ngrams import BUCKETS, NEAR, PAIR_FACTOR, WORD, places_of

_FILE = Path(__file__).with_name("classifier.bin")
DEFAULT_THRESHOLD = 0.9
"""Where the trained classifier blocks; the scores are scaled so that it is this one."""

# An attempt may stand in a long text, or be one: in words, each window half over the one before.
_WINDOWS = (64, NEAR)
_MAX_KNOWN_WORDS = 50_000


class ModelError(Exception):
    """Coefficients that are not what was trained."""


@dataclass(slots=True)
class Model:
    """Trained coefficients."""

    version: int
    bias: float
    steepness: float
    """How fast the score changes with the evidence, around the threshold."""
    edge: float
    """The evidence at which the score is the default threshold."""
    weights: array[int]
    unit: float
    """What one of a weight is worth."""
    _known: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """By word: its place, the sum of its weights, and how many these are."""

    def evidence(self, text: str) -> tuple[float, int, int]:
        """Return the evidence in that part of a text which has the most, and its first and last word."""
        known, weights = self._known, self.weights
        totals, counts = [0], [0]
        total = count = 0
        before = -1
        last: dict[str, int] = {}
        for number, word in enumerate(WORD.findall(text)):
            if number - last.get(word, -NEAR) < NEAR:
                before = -1
                totals.append(total)
                counts.append(count)
                continue
            last[word] = number
            place, own, features = known.get(word) or self._learn(word)
            total += own
            count += features
            if before >= 0:
                total += weights[(before * PAIR_FACTOR + place) % BUCKETS]
                count += 1
            before = place
            totals.append(total)
            counts.append(count)
        length = len(totals) - 1
        best = (-math.inf, 0, 0)
        for size in _WINDOWS:
            for start in range(0, max(length - size // 2, 1), size // 2):
                end = min(start + size, length)
                if features := counts[end] - counts[start]:
                    found = (totals[end] - totals[start]) * self.unit / math.sqrt(features) + self.bias
                    best = max(best, (found, start, end - 1))
            if length <= size:
                break
        return best

    def score(self, evidence: float) -> float:
        """Return evidence as a number from 0 to 1."""
        logit = math.log(DEFAULT_THRESHOLD / (1 - DEFAULT_THRESHOLD)) + (evidence - self.edge) * self.steepness
        return 1 / (1 + math.exp(-max(min(logit, 50.0), -50.0)))

    def _learn(self, word: str) -> tuple[int, int, int]:
        places = places_of(word)
        if len(self._known) >= _MAX_KNOWN_WORDS:
            self._known.clear()
        entry = self._known[word] = places[0], sum(self.weights[place] for place in places), len(places)
        return entry


def write_model(model: Model) -> bytes:
    """Write a model: a line of JSON, and its weights, packed."""
    packed = zlib.compress(_little_endian(model.weights).tobytes(), 9)
    head = {name: getattr(model, name) for name in ("version", "bias", "steepness", "edge", "unit")}
    head["sha256"] = hashlib.sha256(packed).hexdigest()
    return orjson.dumps(head) + b"\n" + packed


def read_model(content: bytes) -> Model:
    """Read a model; ModelError when it is damaged."""
    head, _, packed = content.partition(b"\n")
    try:
        facts = orjson.loads(head)
        if hashlib.sha256(packed).hexdigest() != facts.pop("sha256"):
            raise ModelError("the checksum of the coefficients is wrong")
        model = Model(weights=_little_endian(array("h", zlib.decompress(packed))), **facts)
    except (ValueError, LookupError, TypeError, AttributeError, zlib.error) as error:
        raise ModelError("the coefficients cannot be read") from error
    if len(model.weights) != BUCKETS:
        raise ModelError("the coefficients are too few or too many")
    return model


def _little_endian(weights: array[int]) -> array[int]:
    if sys.byteorder == "little":
        return weights
    swapped = weights[:]
    swapped.byteswap()
    return swapped


MODEL = read_model(_FILE.read_bytes())
"""The one that ships."""


@dataclass(frozen=True, slots=True)
class ClassifierRule:
    """Finds texts that are like attempts at injection; a span is the window with the most evidence."""

    threshold: float = DEFAULT_THRESHOLD

    @property
    def name(self) -> str:
        """How policies, metrics and receipts call it."""
        return "injection_classifier"

    @property
    def kind(self) -> Kind:
        """Of its own: it errs in other ways than patterns."""
        return "classifier"

    @property
    def version(self) -> int:
        """Of the coefficients."""
        return MODEL.version

    def find(self, text: bytes) -> Iterator[Span]:
        """Return one span for each text that has one."""
        start = 0
        for each in text.split(BETWEEN):
            yield from self._find_in(each.decode(errors="replace"), start)
            start += len(each) + len(BETWEEN)

    def _find_in(self, text: str, offset: int) -> Iterator[Span]:
        evidence, first, last = MODEL.evidence(text)
        score = MODEL.score(evidence)
        if score >= self.threshold:
            places = [match.span() for match in WORD.finditer(text)]
            begin, end = places[first][0], places[last][1]
            encoded = len(text[:begin].encode())
            yield Span(offset + encoded, offset + encoded + len(text[begin:end].encode()), score)
