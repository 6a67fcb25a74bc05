"""Server-sent events from raw bytes, as the WHATWG standard reads them, for the fields providers use."""

from __future__ import annotations

_BOM = b"\xef\xbb\xbf"
# A line is one JSON chunk; what is longer is not a stream of a model.
_LONGEST_LINE = 8 * 1024 * 1024


class LineTooLong(Exception):
    """A line grew past all reason."""


class SseDecoder:
    """Collects bytes and gives the data of each event once its blank line has come.

    Event names are not kept: OpenAI sends none and Anthropic repeats its own inside the data. An event that has
    not ended when the stream ends is never given.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._is_start = True
        self._ended_with_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes of the stream; return the data of the events that they complete."""
        if self._ended_with_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # the second half of a CRLF that was split between two reads
        if chunk:
            self._ended_with_cr = False
        text = self._rest + chunk if self._rest else chunk
        if self._is_start:
            if len(text) < len(_BOM) and _BOM.startswith(text):
                self._rest = text
                return []
            text = text.removeprefix(_BOM)
            self._is_start = False
        lines = text.splitlines(keepends=True)
        self._rest = b""
        if lines and not lines[-1].endswith((b"\n", b"\r")):
            self._rest = lines.pop()
            if len(self._rest) > _LONGEST_LINE:
                raise LineTooLong
        elif lines:
            self._ended_with_cr = lines[-1].endswith(b"\r")
        return [data for line in lines if (data := self._take(line.rstrip(b"\r\n"))) is not None]

    def _take(self, line: bytes) -> bytes | None:
        """Take one line; return an event's data when the line ends one."""
        if not line:
            if not self._data:
                return None
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            self._data = []
            return data
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line == b"data":
            self._data.append(b"")
        return None
