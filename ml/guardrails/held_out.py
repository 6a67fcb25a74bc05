"""What a classifier says of texts of a kind that it has not learned from, and from which evidence on it may block."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from figures import bounds, share
from texts import FREED, LONG, NEVER, Text

_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "all roles": ("roles-", "own-role", "own-story", "own-assistant"),
    "all everyday": ("everyday-",),
    "all languages": ("languages-", "own-foreign"),
}
"""Kinds that are related, left out together: a kind that nobody here has thought of has no relatives."""

_HARMLESS_FOLDS = 8
_SPLIT, _SPLIT_FOLDS = "inthewild-a", 5
# Texts that share so many of their runs of five words are one text in two versions.
_RUN, _SHARED = 5, 0.2
_GOAL = 0.005

Evidence = dict[tuple[str, bool], list[float]]
"""By what was left out, and whether it is an attack: the evidence in each text."""
EvidenceIn = Callable[[str], float]
Train = Callable[[Any], EvidenceIn]
"""Learns from the texts that an array of booleans names, and tells the evidence in any text."""


class _Fold(NamedTuple):
    """Something that is left out, learned without, and measured."""

    without: Any
    measured: Sequence[tuple[str, int]]
    """By what name, and the number of the text."""


def evidence_of(texts: Sequence[Text], train: Train) -> Evidence:
    """Return the evidence in each text by a model that has seen neither it nor its kind."""
    evidence: Evidence = defaultdict(list)
    folds = [*_sources(texts), *_families(texts), *_parts(texts)]
    never = np.array([text.source in NEVER for text in texts])
    for number, fold in enumerate(folds, 1):
        # Sets share some lines.
        known = {text.text for text, out in zip(texts, fold.without, strict=True) if out}
        kept = ~fold.without & ~never & np.array([text.text not in known for text in texts])
        evidence_in = train(kept)
        for name, place in fold.measured:
            evidence[name, texts[place].is_attack].append(evidence_in(texts[place].text))
        sys.stderr.write(f"held out: {number} of {len(folds)}\n")
    return evidence


def _sources(texts: Sequence[Text]) -> Iterator[_Fold]:
    """Leave out each set of others by itself, and the kinds of harmless lines by eighths."""
    harmless = sorted({text.source for text in texts if not text.is_attack and "-" in text.source} - _sets(texts))
    groups = [[name] for name in sorted(_sets(texts) | {"code", "prose", LONG, FREED})]
    groups += [harmless[start::_HARMLESS_FOLDS] for start in range(_HARMLESS_FOLDS)]
    for group in groups:
        without = np.array([text.source in group for text in texts])
        yield _Fold(without, [(texts[place].source, place) for place in np.flatnonzero(without)])


def _families(texts: Sequence[Text]) -> Iterator[_Fold]:
    for name, prefixes in _FAMILIES.items():
        without = np.array([not text.is_attack and text.source.startswith(prefixes) for text in texts])
        yield _Fold(without, [(name, place) for place in np.flatnonzero(without)])


def _parts(texts: Sequence[Text]) -> Iterator[_Fold]:
    """Leave out a fifth of the attempts that were seen in the wild, with all versions of each."""
    places = [place for place, text in enumerate(texts) if text.source == _SPLIT]
    parts: list[list[int]] = [[] for _ in range(_SPLIT_FOLDS)]
    for group in sorted(_versions([texts[place].text for place in places]), key=len, reverse=True):
        min(parts, key=len).extend(places[each] for each in group)
    for part in parts:
        without = np.zeros(len(texts), dtype=bool)
        without[part] = True
        yield _Fold(without, [(f"{_SPLIT}, a fifth", place) for place in part])


def _sets(texts: Sequence[Text]) -> set[str]:
    families = ("own-", "roles-", "everyday-", "languages-")
    return {text.source for text in texts if not text.source.startswith(families)} - {"code", "prose"}


def _versions(of: Sequence[str]) -> list[list[int]]:
    """Return groups of texts that are versions of each other."""
    runs = [_runs(text.lower().split()) for text in of]
    group = list(range(len(of)))
    for one in range(len(of)):
        for other in range(one):
            if len(runs[one] & runs[other]) > _SHARED * min(len(runs[one]), len(runs[other])):
                old, new = group[one], group[other]
                group = [new if each == old else each for each in group]
    groups: dict[int, list[int]] = defaultdict(list)
    for place, name in enumerate(group):
        groups[name].append(place)
    return list(groups.values())


def _runs(words: Sequence[str]) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + _RUN]) for start in range(max(len(words) - _RUN + 1, 1))}


def lowest_edge(evidence: Evidence) -> float:
    """Return the least evidence from which on blocking keeps to the goal in all that is harmless.

    That is: the 95 % bound of false positives is at most 0.5 %; of what has less than 765 texts there is none.
    """
    return max(_lowest(found) for (source, is_attack), found in evidence.items() if not is_attack | (source in NEVER))


def _lowest(found: Sequence[float]) -> float:
    allowed = 0
    while bounds(allowed + 1, len(found))[1] <= _GOAL:
        allowed += 1
    return sorted(found, reverse=True)[allowed]


def table(evidence: Evidence, edge: float) -> str:
    """Write what would be blocked of each source."""
    rows = ["", "| left out | label | told by the classifier, with 95 % bounds |", "|---|---|---|"]
    for (source, is_attack), found in sorted(evidence.items()):
        label = "attack" if is_attack else "indirect" if source in NEVER else "benign"
        rows.append(f"| {source} | {label} | {share(sum(each >= edge for each in found), len(found))} |")
    return "\n".join([*rows, "", ""])
