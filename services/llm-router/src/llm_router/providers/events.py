"""The JSON of one event, whichever wire it comes over."""

from __future__ import annotations

import re
from typing import Any

from llm_router.errors import StreamBroken
from servicekit.lenient_json import loads

# Words that vendors make up for kinds and codes; anything else may be somebody's text, which no log may hold.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")


# Names, ids and fingerprints are not longer; what is beyond is not kept.
MAX_NAME_CHARACTERS = 256
# An event that is longer is not read on the event loop: see `AnswerStream.read`.
LARGE_EVENT_BYTES = 64 * 1024
# Of the longest event. Each list and each object takes many times the memory of its two characters; an answer with the
# probabilities of all its tokens has one in twenty characters.
_MAX_CONTAINERS = 400_000


def parse_event(data: bytes) -> dict[str, Any]:
    """Read the data of one event. StreamBroken when it is no JSON object."""
    if len(data) > LARGE_EVENT_BYTES and data.count(b"[") + data.count(b"{") > _MAX_CONTAINERS:
        raise StreamBroken("an event of the stream has too many parts")
    try:
        event = loads(data)
    except ValueError as error:
        raise StreamBroken("an event of the stream is not JSON") from error
    if not isinstance(event, dict):
        raise StreamBroken("an event of the stream is not an object")
    return event


def named(value: object) -> str:
    """Return `: 'value'` for the end of a sentence when it is a vendor's name for something, else nothing."""
    text = str(value) if isinstance(value, str | int) else ""
    return f": {text!r}" if _NAME.fullmatch(text) else ""
