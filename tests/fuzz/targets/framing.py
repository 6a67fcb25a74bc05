"""The bytes of connections: one request after the other, the same however they are cut, and as others read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import h11
import httptools

from edge.http.connection.framing import BadRequest, Buffer, RequestFraming

from ..mutation import in_bytes
from ..target import Target, ways_to_cut


class _Seen(NamedTuple):
    method: bytes
    target: bytes
    body: bytes


class _Parser:
    """Collects the requests that uvicorn's parser finds in what it is given."""

    def __init__(self) -> None:
        self.seen: list[_Seen] = []
        self._target = self._body = b""
        self._parser = httptools.HttpRequestParser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.seen.append(_Seen(self._parser.get_method(), self._target, self._body))
        self._target = self._body = b""


def check(data: bytes) -> None:
    """Requests end where the parser ends them, and where another implementation does; else they are refused."""
    first, *others = [_read(chunks) for chunks in ways_to_cut(data)]
    for other in others:
        assert first == other
    _compare_with_h11(data, first)


def _read(chunks: Sequence[bytes]) -> list[_Seen]:
    """Return the requests up to the first fault; that may be seen earlier or later, but no request is behind it."""
    framing, parser = RequestFraming(), _Parser()
    ahead: Buffer = b""
    count = 0
    try:
        for chunk in chunks:
            ahead = bytes(ahead) + chunk
            while ahead:
                piece, used = framing.take(ahead)
                if not used:
                    break
                ahead = ahead[used:]
                if piece:
                    parser.feed(piece)
                if framing.is_complete:
                    count += 1
                    assert count == len(parser.seen), "the parser does not end where the framing does"
                    framing.begin()
    except (BadRequest, httptools.HttpParserError):
        pass
    return parser.seen


def _compare_with_h11(data: bytes, seen: list[_Seen]) -> None:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    for request in seen:
        try:
            event = connection.next_event()
            assert isinstance(event, h11.Request), event
            body = b""
            while not isinstance(more := connection.next_event(), h11.EndOfMessage):
                assert isinstance(more, h11.Data), more
                body += bytes(more.data)
        except h11.RemoteProtocolError:
            return  # it is stricter here and there, and refuses as well
        assert request == (event.method, event.target, body)
        if h11.MUST_CLOSE in connection.states.values():
            return
        connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        connection.send(h11.EndOfMessage())
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return
        connection.start_next_cycle()


TARGETS = [Target("framing", check, in_bytes)]
