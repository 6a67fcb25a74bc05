"""The features of a text for a linear classifier: its words, pairs of words and the parts of words, hashed."""

from __future__ import annotations

import re
from zlib import crc32

BUCKETS = 1 << 17
"""Features share so many places."""

# Signs that attempts and code use in their own way count as words; a script without spaces comes in pieces.
WORD = re.compile(r"[^\W_]{1,24}|[<>\[\]{}|#=`!?]{1,3}")
"""What a word is. Words are compared in small letters, and all numbers are the same."""

NEAR = 256
"""A word that stands among so many before it counts no second time: code repeats itself. The longest window."""

PAIR_FACTOR = 31
"""Two words in a row have the place `(one * PAIR_FACTOR + other) % BUCKETS`, from the first place of each."""

_SHORTEST_PART, _LONGEST_PART = 4, 5
_NUMBER = re.compile(r"\d+")


def places_of(word: str) -> list[int]:
    """Return the places of a word's features: itself first, then its parts."""
    word = _NUMBER.sub("0", word.lower())
    places = [crc32(b"w" + word.encode()) % BUCKETS]
    if len(word) > 1:
        bounded = f" {word} "
        places += [
            crc32(bounded[start : start + size].encode()) % BUCKETS
            for size in range(_SHORTEST_PART, _LONGEST_PART + 1)
            for start in range(len(bounded) - size + 1)
        ]
    return places
