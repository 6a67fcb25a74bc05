"""Where a request ends and the next one begins, and what of it reaches the parser.

Whatever two HTTP implementations could read differently is refused: a proxy in front that sees one request where we see
two would let strangers put words into each other's connections. What is not refused reaches the parser in one form
only: without chunk extensions, without trailers, and without `Upgrade`, which we never follow.
"""

from __future__ import annotations

import re

MAX_REQUEST_LINE_BYTES = 8 * 1024
MAX_HEADERS_BYTES = 64 * 1024
MAX_HEADERS = 128
MAX_TRAILERS_BYTES = 8 * 1024
MAX_CHUNK_LINE_BYTES = 1024
# How much of a chunked body may be something else than the body, beyond 16 bytes a chunk and twice its data.
_MAX_CHUNK_OVERHEAD_BYTES = 16 * 1024
# A body in chunks of one byte costs a microsecond each: this much of it is decoded at a time.
MAX_CHUNKED_BYTES_AT_A_TIME = 64 * 1024

_HEADERS = rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+\r\n)*+"
_HEAD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++ [!-~]++ HTTP/1\.([01])\r\n" + _HEADERS + rb"\r\n")
_TRAILERS = re.compile(_HEADERS)
# No line that ends otherwise than with CR LF, and no control character, becomes right by what follows it.
_IMPOSSIBLE = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])")
_DECIDING = re.compile(rb"\r\n(host|content-length|transfer-encoding|upgrade):[ \t]*+([^\r]*)", re.IGNORECASE)
_UPGRADE = re.compile(rb"\r\nupgrade:[^\r]*", re.IGNORECASE)
# A name, an IPv4 or a bracketed IPv6 address, and a port; nothing that would change the meaning of a URL around it.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t -~\x80-\xff]*)?")

Buffer = bytes | bytearray


class BadRequest(Exception):
    """What came is no request that we answer; `code` is a key of `problems.KINDS`, `reason` a label of the metric."""

    def __init__(self, reason: str, message: str, code: str = "invalid_request") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.code = code


def _too_large(message: str) -> BadRequest:
    return BadRequest("too_large", message, "headers_too_large")


class RequestFraming:
    """The place in a request that a connection has come to."""

    __slots__ = (
        *("_body", "_is_after_blank", "_is_chunked", "_overhead", "_scanned", "_trailers"),
        *("is_complete", "is_in_head"),
    )

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Expect the next request."""
        self.is_in_head = True
        self.is_complete = False
        self._is_after_blank = False
        self._scanned = 0  # how much of the head is known to hold no end of a head
        self._is_chunked = False
        self._body = 0  # bytes that the body, or the chunk with its CR LF, still has
        self._overhead = 0
        self._trailers: bytearray | None = None

    def take(self, buffer: Buffer) -> tuple[bytes, int]:
        """Return what the parser gets of the bytes of this request so far, and how many of them have been used up.

        What is not used up is passed again with what follows it. BadRequest: nothing of this connection can be read
        any more.
        """
        if self.is_in_head:
            return self._take_head(buffer)
        if self._is_chunked:
            return self._take_chunks(buffer)
        return self._take_body(buffer, 0)

    def _take_body(self, buffer: Buffer, begin: int) -> tuple[bytes, int]:
        """Take what there is of a body with a length, and what stands before it."""
        end = begin + self._body
        if end >= len(buffer):
            self._body = end - len(buffer)
            self.is_complete = not self._body
            return bytes(buffer), len(buffer)
        self._body = 0
        self.is_complete = True
        return bytes(buffer[:end]), end

    def _take_head(self, buffer: Buffer) -> tuple[bytes, int]:
        if not self._is_after_blank and buffer.startswith(b"\r\n"):  # once: some clients end a body with it
            self.begin()
            self._is_after_blank = True
            return b"", 2
        end = buffer.find(b"\r\n\r\n", max(0, self._scanned - 3))
        if end < 0:
            self._check_unfinished(buffer)
            return b"", 0
        head = bytes(buffer[: end + 4])
        line_end = head.find(b"\r\n")
        if line_end > MAX_REQUEST_LINE_BYTES:
            raise _too_large(f"the request line is longer than {MAX_REQUEST_LINE_BYTES} bytes")
        if end - line_end > MAX_HEADERS_BYTES:
            raise _too_large(f"the headers are longer than {MAX_HEADERS_BYTES} bytes")
        if head.count(b"\r\n") > MAX_HEADERS + 2:
            raise _too_large(f"there are more than {MAX_HEADERS} headers")
        matched = _HEAD.fullmatch(head)
        if matched is None:
            raise BadRequest("malformed", "the request line or a header is not HTTP/1.1")
        has_upgrade = self._decide(head, is_old=matched[1] == b"0")
        self.is_in_head = False
        if has_upgrade or self._is_chunked:
            self.is_complete = not self._body and not self._is_chunked
            return _UPGRADE.sub(b"", head), len(head)
        return self._take_body(buffer, len(head))

    def _check_unfinished(self, buffer: Buffer) -> None:
        """Refuse a head that can become none, without reading any byte of it often."""
        unread = max(0, self._scanned - 1)
        self._scanned = len(buffer)
        if len(buffer) > MAX_REQUEST_LINE_BYTES + MAX_HEADERS_BYTES:
            raise _too_large(f"request line and headers are longer than {MAX_HEADERS_BYTES} bytes")
        if _IMPOSSIBLE.search(buffer, unread):  # last, as it is slow
            raise BadRequest("malformed", "a line ends without CR LF, or holds a control character")

    def _decide(self, head: bytes, *, is_old: bool) -> bool:
        """Find out how the body is delimited; return whether the client would like another protocol."""
        fields: dict[bytes, list[bytes]] = {
            b"host": [],
            b"content-length": [],
            b"transfer-encoding": [],
            b"upgrade": [],
        }
        for name, value in _DECIDING.findall(head):
            fields[name.lower()].append(value.rstrip(b" \t"))
        hosts, lengths, encodings = fields[b"host"], fields[b"content-length"], fields[b"transfer-encoding"]
        if len(hosts) > 1 or not (hosts or is_old):
            raise BadRequest("host", "send one Host header")
        if hosts and not _HOST.fullmatch(hosts[0]):
            raise BadRequest("host", "the Host header is no name of a host")
        if len(lengths) + len(encodings) > 1 or (encodings and is_old):
            raise BadRequest("framing", "the end of the body is told in two ways")
        if encodings and encodings[0].lower() != b"chunked":
            raise BadRequest("framing", "the only Transfer-Encoding is chunked")
        if lengths and not _LENGTH.fullmatch(lengths[0]):
            raise BadRequest("framing", "Content-Length is no number")
        if head.startswith(b"CONNECT "):  # what follows would be no HTTP
            raise BadRequest("malformed", "this is no proxy")
        self._is_chunked = bool(encodings)
        self._body = int(lengths[0]) if lengths else 0
        return bool(fields[b"upgrade"])

    def _take_chunks(self, buffer: Buffer) -> tuple[bytes, int]:
        size = min(len(buffer), MAX_CHUNKED_BYTES_AT_A_TIME)
        pieces: list[Buffer] = []
        at = 0
        while at < size and not self.is_complete:
            if self._body > 2:
                end = min(at + self._body - 2, size)
                pieces.append(buffer[at:end])
                self._body -= end - at
                at = end
                continue
            end = buffer.find(b"\r\n", at, at + MAX_CHUNK_LINE_BYTES + 2)
            if end < 0:
                self._check_unfinished_line(buffer, at)
                break
            line = bytes(buffer[at:end])
            at = end + 2
            if self._body:
                if line:
                    raise BadRequest("framing", "a chunk is longer than it said")
                self._body = 0
            elif self._trailers is not None:
                self._add_trailer(line)
            else:
                self._begin_chunk(line)
        body = b"".join(pieces)
        # For the parser it is one chunk, however many there were.
        canonical = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
        return canonical + b"0\r\n\r\n" if self.is_complete else canonical, at

    def _check_unfinished_line(self, buffer: Buffer, at: int) -> None:
        length = len(buffer) - at
        if length > MAX_CHUNK_LINE_BYTES:
            raise _too_large(f"a line of the chunked body is longer than {MAX_CHUNK_LINE_BYTES} bytes")
        if _IMPOSSIBLE.search(buffer, at) or (self._body and buffer[at : at + 2] not in (b"", b"\r")):
            raise BadRequest("framing", "a chunk is not delimited by CR LF")

    def _begin_chunk(self, line: bytes) -> None:
        matched = _CHUNK_LINE.fullmatch(line)
        if matched is None:
            raise BadRequest("framing", "the size of a chunk is no number")
        size = int(matched[1], 16)
        if not size:
            self._trailers = bytearray()
            return
        self._overhead = max(0, self._overhead + len(line) - 14 - 2 * size)
        if self._overhead > _MAX_CHUNK_OVERHEAD_BYTES:
            raise _too_large("the chunk extensions are longer than the body")
        self._body = size + 2

    def _add_trailer(self, line: bytes) -> None:
        assert self._trailers is not None  # noqa: S101 - the last chunk has begun them
        if not line:
            if not _TRAILERS.fullmatch(self._trailers):
                raise BadRequest("malformed", "a trailer is not HTTP/1.1")
            self.is_complete = True
            return
        self._trailers += line + b"\r\n"
        if len(self._trailers) > MAX_TRAILERS_BYTES or self._trailers.count(b"\r\n") > MAX_HEADERS:
            raise _too_large(f"the trailers are more than {MAX_HEADERS}, or longer than {MAX_TRAILERS_BYTES} bytes")
