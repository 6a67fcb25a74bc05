"""The SSE decoder against the standard, however the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.providers.sse import LineTooLong, SseDecoder

STREAM = (
    "\N{BYTE ORDER MARK}: comment\r\n"
    "data: first\n\n"
    "event: named\r\ndata:no space\r\nid: 7\r\n\r\n"
    "data: one\rdata: two\r\r"
    "data\n\n"
    "unknown: field\ndata: ümlaut 東\n\n"
    "\n\n"
    "data: never dispatched"
).encode()
EVENTS = [b"first", b"no space", b"one\ntwo", b"", "ümlaut 東".encode()]


def decode(chunks: list[bytes]) -> list[bytes]:
    """Feed the chunks one after the other."""
    decoder = SseDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def test_reads_every_line_end_and_drops_the_unfinished_block() -> None:
    """LF, CRLF and CR end lines; comments and unknown fields are ignored; an unfinished event is discarded."""
    assert EVENTS == decode([STREAM])


def test_reads_one_byte_at_a_time() -> None:
    """A network may deliver each byte by itself."""
    assert EVENTS == decode([STREAM[i : i + 1] for i in range(len(STREAM))])


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_where_the_network_cuts_changes_nothing(cuts: list[int]) -> None:
    """Any way of cutting the bytes gives the same events."""
    edges = [0, *sorted(cuts), len(STREAM)]

    assert EVENTS == decode([STREAM[a:b] for a, b in itertools.pairwise(edges)])


@given(st.binary(max_size=300))
def test_never_fails_on_garbage(garbage: bytes) -> None:
    """Bytes that are no event stream give no error and, cut or not, the same result."""
    assert decode([garbage]) == decode([garbage[i : i + 1] for i in range(len(garbage))])


def test_refuses_a_line_without_end() -> None:
    """A peer that never ends its line must not fill the memory."""
    decoder = SseDecoder()

    with pytest.raises(LineTooLong):
        decoder.feed(b"x" * 9 * 1024 * 1024)
