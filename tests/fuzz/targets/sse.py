"""The SSE decoder against a slow reader that follows the standard's prose."""

from __future__ import annotations

from kit.reference_sse import read_by_the_book
from servicekit.sse import SseDecoder

from ..mutation import in_events
from ..target import Target, ways_to_cut


def check(data: bytes) -> None:
    """However the bytes are cut, the events are those of the standard, also the one that is asked for at the end."""
    expected = read_by_the_book(data)
    # A last line end and a blank line are what an unfinished stream lacks: at its end they may be assumed.
    completed = read_by_the_book(data + b"\n\n")
    for chunks in ways_to_cut(data):
        decoder = SseDecoder()
        events = [event for chunk in chunks for event in decoder.feed(chunk)]
        assert expected == events, chunks
        last = decoder.end()
        assert completed == events + ([last] if last else []), chunks


TARGETS = [Target("sse", check, in_events)]
