"""Server-sent events, read as the standard says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """One event whose data is a JSON object."""

    name: str
    data: dict[str, Any]


def read_events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Yield the events in `chunks`, however the bytes are cut; what is unfinished at the end is dropped."""
    name, data = "message", list[str]()
    for line in _lines(chunks):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield Event(name, json.loads("\n".join(data)))
            name, data = "message", []
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Split at CR, LF and CRLF only: JSON may hold other characters that Python takes for line ends."""
    pending = b""
    for chunk in chunks:
        pending += chunk
        # A CR at the very end may be half of a CRLF.
        complete = pending[:-1] if pending.endswith(b"\r") else pending
        *lines, rest = complete.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        pending = rest + pending[len(complete) :]
        for line in lines:
            yield line.decode()
