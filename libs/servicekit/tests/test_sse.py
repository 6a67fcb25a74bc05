"""The SSE decoder against the standard, however the bytes are cut."""

from __future__ import annotations

import itertools
import time
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kit.reference_sse import read_by_the_book
from servicekit.sse import MAX_DATA_LINES, MAX_EVENT_BYTES, EventTooLong, ServerSentEvent, SseDecoder

STREAM = (
    "\N{BYTE ORDER MARK}: comment\r\n"
    "data: first\n\n"
    "event: named\r\ndata:no space\r\nid: 7\r\n\r\n"
    "data: one\rdata: two\r\r"
    "data\n\n"
    "unknown: field\ndata: ümlaut 東\n\n"
    "event: nothing\n\n"
    "retry: 1500\nretry: soon\n\n"
    "id: 8\n\ndata:  two spaces\n\n"
    "id: \0\nevent\ndata: : colon\n\n"
    "id\ndata: {}\n\n"
    "\n\n"
    "event: never\ndata: dispatched"
).encode()
EVENTS = [
    ServerSentEvent(b"first"),
    ServerSentEvent(b"no space", "named", "7"),
    ServerSentEvent(b"one\ntwo", "message", "7"),
    ServerSentEvent(b"", "message", "7"),
    ServerSentEvent("ümlaut 東".encode(), "message", "7"),
    ServerSentEvent(b" two spaces", "message", "8"),
    ServerSentEvent(b": colon", "message", "8"),
    ServerSentEvent(b"{}", "message", ""),
]


def decode(chunks: list[bytes]) -> list[ServerSentEvent]:
    """Feed the chunks one after the other."""
    decoder = SseDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def in_bytes(stream: bytes) -> list[bytes]:
    """Cut a stream after each byte."""
    return [stream[i : i + 1] for i in range(len(stream))]


def test_reads_every_line_end_and_drops_the_unfinished_block() -> None:
    """LF, CRLF and CR end lines; comments and unknown fields are ignored; an unfinished event is discarded."""
    assert EVENTS == decode([STREAM])
    assert EVENTS == read_by_the_book(STREAM)


def test_reads_one_byte_at_a_time() -> None:
    """A network may deliver each byte by itself, and nothing at all in between."""
    assert EVENTS == decode(in_bytes(STREAM))
    assert EVENTS == decode([chunk for byte in in_bytes(STREAM) for chunk in (b"", byte)])


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_where_the_network_cuts_changes_nothing(cuts: list[int]) -> None:
    """Any way of cutting the bytes gives the same events."""
    edges = [0, *sorted(cuts), len(STREAM)]

    assert EVENTS == decode([STREAM[a:b] for a, b in itertools.pairwise(edges)])


PIECES = [
    b"data: x",
    b"data",
    b"data:",
    b"event: e",
    b"event:",
    b"id: 1",
    b"id: a\0b",
    b"retry: 5",
    b": c",
    b":",
    b"y: z",
]
ENDS = [b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\xef\xbb\xbf", b" ", b"\xff", b""]


@given(st.lists(st.sampled_from([*PIECES, *ENDS]), max_size=30), st.integers(1, 7))
@example([b"\xef\xbb\xbf", b"\xef\xbb\xbf", b"data: x", b"\n\n"], 1)
@example([b"data: x", b"\r", b"\n", b"\n"], 1)
def test_any_stream_is_read_read_by_the_book(pieces: list[bytes], step: int) -> None:
    """Fields, line ends and broken UTF-8 in any order, cut anywhere."""
    stream = b"".join(pieces)

    assert read_by_the_book(stream) == decode([stream[i : i + step] for i in range(0, len(stream), step)])


@given(st.binary(max_size=300))
def test_never_fails_on_garbage(garbage: bytes) -> None:
    """Bytes that are no event stream give no error and, cut or not, the same result."""
    assert decode([garbage]) == decode(in_bytes(garbage))


def test_keeps_the_time_to_reconnect() -> None:
    """The last one that is a number of a sensible length."""
    decoder = SseDecoder()
    assert decoder.retry_milliseconds is None

    decoder.feed(b"retry: 1500\n\nretry: 5s\nretry: -1\nretry:\nretry: " + b"9" * 5000 + b"\n\n")
    assert 1500 == decoder.retry_milliseconds


@pytest.mark.parametrize("head", ["", "\N{BYTE ORDER MARK}", "data: x"], ids=["plain", "bom", "data"])
def test_line_ends_are_read_by_the_book_wherever_they_are_cut(head: str) -> None:
    """All sequences of up to five line ends and lines, cut in every way; no blank line inside CR LF LF is lost."""
    for count in range(1, 6):
        for tokens in itertools.product((b"\r", b"\n", b"id:1", b"data"), repeat=count):
            stream = head.encode() + b"".join(tokens)
            expected = read_by_the_book(stream)
            for cuts in itertools.product((False, True), repeat=count):
                chunks = [head.encode()]
                for token, is_cut in zip(tokens, cuts, strict=True):
                    chunks += [token] if is_cut else [chunks.pop() + token]
                assert expected == decode(chunks), chunks


@pytest.mark.parametrize(
    "chunk",
    [
        b"x" * 1024,
        b": comment " * 100,
        b": ping\n" * 100,
        b"data: " + b"x" * 1024 + b"\n",
        b"event: " + b"x" * 1024 + b"\n",
        b"event: x\n" * 100,
        b"id: 7\n" * 100,
        b"retry: 1000\n" * 100,
        b"unknown: x\n" * 100,
        "\N{BYTE ORDER MARK}\n".encode() * 100,
    ],
    ids=["line", "comment", "pings", "data", "event", "events", "ids", "retries", "unknown", "marks"],
)
def test_refuses_an_event_without_end(chunk: bytes) -> None:
    """A peer that never ends a line or an event must not fill the memory, however small its chunks are."""
    decoder = SseDecoder()
    for _ in range(MAX_EVENT_BYTES // len(chunk)):
        decoder.feed(chunk)

    with pytest.raises(EventTooLong):
        decoder.feed(chunk)


@pytest.mark.parametrize("line", [b"data\n", b"data:x\n", b"data: xy\r\n"])
def test_refuses_an_event_of_too_many_lines(line: bytes) -> None:
    """Each line is kept until the event ends, in more memory than its bytes; cut or not, the bound is the same."""
    decoder = SseDecoder()
    for _ in range(MAX_DATA_LINES // 100):
        decoder.feed(line * 100)
    with pytest.raises(EventTooLong):
        decoder.feed(line)
    with pytest.raises(EventTooLong):
        SseDecoder().feed(line * (MAX_DATA_LINES + 1) + b"\n")

    (event,) = SseDecoder().feed(line * MAX_DATA_LINES + b"\n")
    assert MAX_DATA_LINES - 1 == event.data.count(b"\n")


@pytest.mark.parametrize(
    "chunk", [b"xx", b"data:xxxxxxxxxxxxxxxxxxxx\n", b"id: 7\n", b": p\n"], ids=["pieces", "data", "ids", "comments"]
)
def test_an_event_that_never_ends_takes_memory_like_its_bytes(chunk: bytes) -> None:
    """Not forty times as much, which it does when each small piece is an object that is kept."""
    decoder = SseDecoder()
    pieces = 200_000 // len(chunk)
    tracemalloc.start()
    try:
        for _ in range(pieces):
            decoder.feed(bytes(bytearray(chunk)))  # no piece is the same object as another
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 5 * pieces * len(chunk)


def test_refuses_an_event_that_is_too_long_in_one_chunk() -> None:
    """The bound does not depend on how the bytes are cut."""
    with pytest.raises(EventTooLong):
        SseDecoder().feed(b"data: " + b"x" * MAX_EVENT_BYTES + b"\n\n")
    with pytest.raises(EventTooLong):
        SseDecoder().feed(b"data: " + b"x" * MAX_EVENT_BYTES)


def test_takes_an_event_that_is_just_short_enough() -> None:
    """Also after others, whose bytes do not count."""
    whole = b"data: " + b"x" * (MAX_EVENT_BYTES - 8) + b"\n\n"
    decoder = SseDecoder()

    for _ in range(3):
        assert [MAX_EVENT_BYTES - 8] == [len(event.data) for event in decoder.feed(whole)]


@pytest.mark.parametrize(("size", "step"), [(1_000_000, 1), (8_000_000, 100)], ids=["bytes", "hundreds"])
@pytest.mark.parametrize("lines", [1, 10_000], ids=["one line", "many lines"])
def test_small_pieces_take_time_like_their_bytes(size: int, step: int, lines: int) -> None:
    """A second at most, but minutes if each piece copies what it is part of."""
    line = b"data:" + b"x" * (size // lines - len(b"data:\n")) + b"\n"
    stream = line * lines
    decoder = SseDecoder()
    started = time.process_time()
    for at in range(0, len(stream), step):
        assert decoder.feed(stream[at : at + step]) == []
    (event,) = decoder.feed(b"\n")

    assert len(stream) - lines * len(b"data:") - 1 == len(event.data)
    assert time.process_time() - started < 20.0


@pytest.mark.parametrize(
    "cut", ["data: a\n\ndata: b", "data: a\n\ndata: b\n", "data: a\n\ndata: b\r", "data: a\n\ndata: b\r\n"]
)
def test_an_event_without_its_blank_line_can_be_asked_for(cut: str) -> None:
    """At the end of a stream, by a reader that knows that it is whole."""
    decoder = SseDecoder()
    (event,) = decoder.feed(cut.encode())
    assert b"a" == event.data

    last = decoder.end()
    assert last is not None
    assert b"b" == last.data
    assert decoder.end() is None


@pytest.mark.parametrize("stream", ["", "data: a\n\n", ": ping\n", "event: x"])
def test_a_stream_that_ends_behind_an_event_has_no_other(stream: str) -> None:
    """Comments and names without data are none."""
    decoder = SseDecoder()
    decoder.feed(stream.encode())

    assert decoder.end() is None
