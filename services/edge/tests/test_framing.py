"""Requests that two servers could read differently are refused; all others are delimited wherever they are cut."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.http.connection.framing import BadRequest, RequestFraming


def delimited(raw: bytes, cuts: list[int]) -> list[bytes]:
    """Return what the parser gets of each request in these bytes, which come in pieces."""
    framing, ahead, requests, current = RequestFraming(), bytearray(), [], b""
    for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        ahead += raw[begin:end]
        used = -1
        while ahead and used:
            piece, used = framing.take(ahead)
            del ahead[:used]
            current += piece
            if framing.is_complete:
                requests.append(current)
                current = b""
                framing.begin()
    assert not ahead
    return requests


def whole(raw: bytes) -> list[bytes]:
    """Return what the parser gets of each request when they come in one piece."""
    return delimited(raw, [])


def request(*lines: str, first: str = "POST / HTTP/1.1", host: str | None = "Host: edge", body: bytes = b"") -> bytes:
    """Write a request."""
    return "\r\n".join([first, *([host] if host is not None else []), *lines, "", ""]).encode("latin-1") + body


CHUNKED = "Transfer-Encoding: chunked"
REFUSED = {
    "length and chunks": (request("Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"), "framing"),
    "chunks and length": (request(CHUNKED, "Content-Length: 5", body=b"0\r\n\r\n"), "framing"),
    "two lengths": (request("Content-Length: 5", "Content-Length: 6"), "framing"),
    "the same length twice": (request("Content-Length: 5", "content-length: 5"), "framing"),
    "lengths in a list": (request("Content-Length: 5, 5"), "framing"),
    "signed length": (request("Content-Length: +5"), "framing"),
    "negative length": (request("Content-Length: -5"), "framing"),
    "length in hex": (request("Content-Length: 0x5"), "framing"),
    "length beyond 64 bits": (request("Content-Length: 99999999999999999999"), "framing"),
    "empty length": (request("Content-Length:"), "framing"),
    "digits of Unicode": (request("Content-Length: \xb2"), "framing"),
    "another encoding": (request("Transfer-Encoding: gzip"), "framing"),
    "an encoding before": (request("Transfer-Encoding: gzip, chunked"), "framing"),
    "an encoding behind": (request("Transfer-Encoding: chunked, identity"), "framing"),
    "chunked twice": (request(CHUNKED, CHUNKED), "framing"),
    "quoted": (request('Transfer-Encoding: "chunked"'), "framing"),
    "vertical tab": (request("Transfer-Encoding: \x0bchunked"), "malformed"),
    "chunks in HTTP/1.0": (request(CHUNKED, first="POST / HTTP/1.0"), "framing"),
    "space before the colon": (request("Content-Length : 5"), "malformed"),
    "no name": (request(": 5"), "malformed"),
    "no colon": (request("Content-Length"), "malformed"),
    "folded line": (request("X: 1", " Content-Length: 5"), "malformed"),
    "folded with a tab": (request("X: 1", "\tContent-Length: 5"), "malformed"),
    "folded first line": (request(" X: 1", host=None), "malformed"),
    "bare LF": (b"GET / HTTP/1.1\nHost: edge\n\n", "malformed"),
    "one bare LF": (request("X: 1\nContent-Length: 5"), "malformed"),
    "bare CR": (request("X: 1\rContent-Length: 5"), "malformed"),
    "bare LF at the end": (b"GET / HTTP/1.1\r\nHost: edge\r\n\n", "malformed"),
    "NUL": (request("X: 1\x002"), "malformed"),
    "no host": (request(host=None), "host"),
    "two hosts": (request("host: edge"), "host"),
    "two hosts in HTTP/1.0": (request("host: edge", first="GET / HTTP/1.0"), "host"),
    "path in the host": (request(host="Host: edge/path"), "host"),
    "user in the host": (request(host="Host: user@edge"), "host"),
    "list of hosts": (request(host="Host: edge evil"), "host"),
    "HTTP/0.9": (b"GET /\r\n\r\n", "malformed"),
    "HTTP/2": (request(first="GET / HTTP/2.0"), "malformed"),
    "preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "malformed"),
    "HTTP/1.2": (request(first="GET / HTTP/1.2"), "malformed"),
    "two spaces": (request(first="GET  / HTTP/1.1"), "malformed"),
    "tab": (request(first="GET\t/ HTTP/1.1"), "malformed"),
    "space in the path": (request(first="GET /a b HTTP/1.1"), "malformed"),
    "more than ASCII in the path": (request(first="GET /\xe4 HTTP/1.1"), "malformed"),
    "a proxy's request": (request(first="CONNECT edge:80 HTTP/1.1"), "malformed"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "malformed"),
    "two empty lines before": (b"\r\n\r\n" + request(), "malformed"),
    "size with a sign": (request(CHUNKED, body=b"+1\r\nx\r\n0\r\n\r\n"), "framing"),
    "size with 0x": (request(CHUNKED, body=b"0x1\r\nx\r\n0\r\n\r\n"), "framing"),
    "size with a space": (request(CHUNKED, body=b"1 \r\nx\r\n0\r\n\r\n"), "framing"),
    "size beyond 64 bits": (request(CHUNKED, body=b"1" * 17 + b"\r\nx\r\n0\r\n\r\n"), "framing"),
    "no size": (request(CHUNKED, body=b"\r\nx\r\n0\r\n\r\n"), "framing"),
    "chunk that is longer": (request(CHUNKED, body=b"1\r\nxyz\r\n0\r\n\r\n"), "framing"),
    "bare LF behind a size": (request(CHUNKED, body=b"1\nx\r\n0\r\n\r\n"), "framing"),
    "bare LF in an extension": (request(CHUNKED, body=b"1;a\nb\r\nx\r\n0\r\n\r\n"), "framing"),
    "bare LF behind a chunk": (request(CHUNKED, body=b"1\r\nx\n0\r\n\r\n"), "framing"),
    "bare LF at the end of chunks": (request(CHUNKED, body=b"0\r\n\n"), "framing"),
    "folded trailer": (request(CHUNKED, body=b"0\r\nx: 1\r\n y: 2\r\n\r\n"), "malformed"),
}


@pytest.mark.parametrize(("raw", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_could_be_read_in_two_ways_is_refused(raw: bytes, reason: str) -> None:
    """In one piece and byte by byte."""
    for cuts in ([], list(range(1, len(raw)))):
        with pytest.raises(BadRequest) as refused:
            delimited(raw, cuts)
        assert reason in {refused.value.reason, "framing", "malformed"}
        assert "invalid_request" == refused.value.code
    with pytest.raises(BadRequest) as refused:
        whole(raw)
    assert reason == refused.value.reason


TAKEN = {
    "no body": request(first="GET / HTTP/1.1"),
    "HTTP/1.0 without a host": request(first="GET / HTTP/1.0", host=None),
    "port": request(host="Host: edge:8080"),
    "IPv6": request(host="Host: [2001:db8::1]:8080"),
    "empty host": request(host="Host:"),
    "absolute form": request(first="GET http://edge/path?a=b HTTP/1.1"),
    "asterisk": request(first="OPTIONS * HTTP/1.1"),
    "no space, much space": request("A:b", "C: \t d \t "),
    "more than ASCII in a value": request("A: \xe4"),
    "length 0": request("Content-Length: 0"),
    "length with zeros": request("Content-Length: 003", body=b"abc"),
    "CR LF in the body": request("Content-Length: 8", body=b"\r\n\r\n\x00\n\r\n"),
}


@pytest.mark.parametrize("raw", TAKEN.values(), ids=TAKEN.keys())
def test_what_is_right_reaches_the_parser_as_it_is(raw: bytes) -> None:
    """Alone, after an empty line, and followed by others."""
    assert [raw] == whole(raw)
    assert [raw, raw, raw] == whole(raw + b"\r\n" + raw + raw)


def test_chunks_reach_the_parser_without_extensions_and_trailers() -> None:
    """A trailer `Authorization` must not become a header of a request that is already under way."""
    body = b'3;a="b"\r\nabc\r\n02 ;x\r\nde\r\n000\r\nAuthorization: x\r\nX: 1\r\n\r\n'
    head = request(CHUNKED)

    assert [head + b"5\r\nabcde\r\n0\r\n\r\n"] == whole(head + body)


def test_tiny_chunks_are_taken_some_at_a_time() -> None:
    """A megabyte of them would stop the event loop for a fifth of a second."""
    framing = RequestFraming()
    framing.take(request(CHUNKED))
    _, used = framing.take(b"1\r\nx\r\n" * 200_000)

    assert 64 * 1024 <= used < 65 * 1024


def test_no_other_protocol_is_begun() -> None:
    """The parser would take the body, or the next request, for it; Java's clients ask for HTTP/2 at first."""
    wanted = request("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "Content-Length: 2", body=b"{}")
    got = request("Connection: Upgrade, HTTP2-Settings", "Content-Length: 2", body=b"{}")

    assert [got] == whole(wanted)


requests = st.lists(
    st.one_of(
        st.binary(max_size=40).map(lambda body: request(f"Content-Length: {len(body)}", body=body)),
        st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.sampled_from([b"", b";a=b", b" ;c"]))).map(
            lambda chunks: request(
                CHUNKED, body=b"".join(b"%x%b\r\n%b\r\n" % (len(c), e, c) for c, e in chunks) + b"0\r\nT: x\r\n\r\n"
            )
        ),
        st.sampled_from(list(TAKEN.values())),
    ),
    max_size=5,
)


@given(requests)
def test_the_parser_agrees_where_a_request_ends(raws: list[bytes]) -> None:
    """After each request, and not before, it has a whole one."""

    class Seen:
        complete = 0

        def on_message_complete(self) -> None:
            self.complete += 1

    seen = Seen()
    parser = httptools.HttpRequestParser(seen)
    for number, each in enumerate(whole(b"".join(raws)), start=1):
        parser.feed_data(each[:-1])
        assert number - 1 == seen.complete
        parser.feed_data(each[-1:])
        assert number == seen.complete
        if not parser.should_keep_alive():  # the connection ends with it
            parser = httptools.HttpRequestParser(seen)


@given(requests, st.data())
def test_requests_are_delimited_wherever_they_are_cut(raws: list[bytes], data: st.DataObject) -> None:
    """The network cuts where it likes: what each request is does not depend on it."""
    raw = b"".join(raws)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=20)))

    assert [_body(each) for each in whole(raw)] == [_body(each) for each in delimited(raw, cuts)]
    assert len(raws) == len(whole(raw))


def _body(parsed: bytes) -> bytes:
    """Return head and body; in how many chunks it comes depends on the cuts."""
    head, _, body = parsed.partition(b"\r\n\r\n")
    if b"Transfer-Encoding" not in head:
        return parsed
    joined = b""
    while body != b"0\r\n\r\n":
        size, _, body = body.partition(b"\r\n")
        joined += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return head + joined


@given(
    st.lists(
        st.sampled_from(
            [
                b"GET / HTTP/1.1",
                b"\r\n",
                b"Host: e",
                b"\n",
                b"\r",
                b" ",
                b"1",
                b"0",
                b"x: y",
                b"Content-Length: 3",
                b"Transfer-Encoding: chunked",
                b"\r\n\r\n",
            ]
        )
    )
)
def test_no_bytes_are_more_than_refused(pieces: list[bytes]) -> None:
    """Whatever comes: requests, the wish for more, or BadRequest."""
    framing, ahead = RequestFraming(), bytearray(b"".join(pieces))
    try:
        used = -1
        while ahead and used:
            _, used = framing.take(ahead)
            del ahead[:used]
            if framing.is_complete:
                framing.begin()
    except BadRequest:
        return
