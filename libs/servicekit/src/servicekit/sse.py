"""Server-sent events from raw bytes, as the WHATWG standard reads them, one chunk of the network at a time."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
# An event is one JSON document of a model's answer; what is longer is not a stream of a model.
MAX_EVENT_BYTES = 8 * 1024 * 1024
# An indented document may have one for each of its own lines.
MAX_DATA_LINES = 10_000
_MAX_RETRY_DIGITS = 10


class EventTooLong(Exception):
    """The peer sent more than `MAX_EVENT_BYTES`, or `MAX_DATA_LINES`, without ending an event."""


class ServerSentEvent(NamedTuple):
    """One event."""

    data: bytes
    """UTF-8; the lines of several `data` fields are joined by line feeds."""
    name: str = "message"
    id: str = ""
    """The last `id` that the stream sent, in this event or before."""


# Half the time of the class's own constructor, which is written in Python; this is done for every token of an answer.
_make_event = partial(tuple.__new__, ServerSentEvent)


class SseDecoder:
    """Collects bytes and returns each event once its blank line has come.

    An event that is not complete when the stream ends is dropped, as the standard wants it, unless `end` asks for it.
    """

    def __init__(self) -> None:
        self.retry_milliseconds: int | None = None
        """How long the peer asks to wait before reconnecting."""
        self._is_start = True
        self._ended_with_cr = False
        self._line = bytearray()  # a line whose end has not come: pieces in a list would each be an object
        self._data: list[bytes] = []
        self._name = ""
        self._id = ""
        self._event_bytes = 0  # in the whole lines of an event that has not ended

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """Take the next bytes of the stream; return the events that they complete. EventTooLong when one never ends."""
        try:
            return self._feed(chunk)
        except EventTooLong:
            self._forget()
            raise

    def _forget(self) -> None:
        """Give the memory back at once: the error's traceback keeps these objects until garbage is collected."""
        self._line.clear()
        self._data.clear()

    def _feed(self, chunk: bytes) -> list[ServerSentEvent]:
        if self._is_start or self._ended_with_cr:
            chunk = self._without_marks(chunk)
        lines = chunk.splitlines()
        rest = lines.pop() if lines and not chunk.endswith((b"\n", b"\r")) else b""
        if self._line and lines:
            self._line += lines[0]
            lines[0] = bytes(self._line)
            self._line.clear()
        events = self._events(lines) if lines else []
        if rest:
            self._line += rest
            if self._event_bytes + len(self._line) > MAX_EVENT_BYTES:
                raise EventTooLong
        elif chunk:
            self._ended_with_cr = chunk.endswith(b"\r")
        return events

    def end(self) -> ServerSentEvent | None:
        """Return the event whose blank line never came, once the stream has ended; None when none was begun."""
        events = self._events([bytes(self._line), b""] if self._line else [b""])
        self._line.clear()
        return events[0] if events else None

    def _without_marks(self, chunk: bytes) -> bytes:
        """Return the chunk without a byte order mark at the start of the stream and the second half of a cut CRLF."""
        if self._is_start:
            chunk = bytes(self._line) + chunk
            self._line.clear()
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                self._line += chunk
                return b""
            self._is_start = False
            return chunk.removeprefix(_BOM)
        if chunk:
            self._ended_with_cr = False
        return chunk.removeprefix(b"\n")

    def _events(self, lines: list[bytes]) -> list[ServerSentEvent]:
        """Take whole lines; return the events that they end."""
        events: list[ServerSentEvent] = []
        data, size = self._data, self._event_bytes
        for line in lines:
            size += len(line) + 1
            if line.startswith(b"data:"):
                data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif line:
                if not line.startswith(b":"):
                    self._take_field(line)
            else:
                if size > MAX_EVENT_BYTES:
                    raise EventTooLong
                if data:
                    text = data[0] if len(data) == 1 else _joined(data)
                    events.append(_make_event((text, self._name or "message", self._id)))
                    data.clear()
                self._name, size = "", 0
        self._event_bytes = size
        if size > MAX_EVENT_BYTES or len(data) > MAX_DATA_LINES:
            raise EventTooLong
        return events

    def _take_field(self, line: bytes) -> None:
        """Take a line that is not empty, no comment and has no data; fields of the future are ignored."""
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match field:
            case b"event":
                self._name = value.decode("utf-8", "replace")
            case b"data":  # without a colon
                self._data.append(b"")
            case b"id" if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
            case b"retry" if value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
                self.retry_milliseconds = int(value)


def _joined(data: list[bytes]) -> bytes:
    if len(data) > MAX_DATA_LINES:
        raise EventTooLong
    return b"\n".join(data)
