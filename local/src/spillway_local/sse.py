"""The events of an answer, as the edge streams them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from servicekit.sse import SseDecoder


@dataclass(frozen=True)
class Event:
    """One event whose data is a JSON object."""

    name: str
    data: dict[str, Any]


def read_events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Yield the events in `chunks`, however the bytes are cut; one that is not complete at the end is dropped."""
    decoder = SseDecoder()
    for chunk in chunks:
        for event in decoder.feed(chunk):
            yield Event(event.name, json.loads(event.data))
