"""Server-sent events as the standard's prose interprets a stream, with no thought for chunks, speed or memory."""

from __future__ import annotations

from servicekit.sse import ServerSentEvent

_BOM = "\N{BYTE ORDER MARK}"


def read_by_the_book(stream: bytes) -> list[ServerSentEvent]:
    """Return the events of a whole stream, from the standard's "Parsing" and "Interpreting an event stream"."""
    text = stream.decode("utf-8", "surrogateescape").removeprefix(_BOM)
    *lines, _unfinished = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    events: list[ServerSentEvent] = []
    data, name, last_id = "", "", ""
    for line in lines:
        if not line:
            if data:
                encoded = data.removesuffix("\n").encode("utf-8", "surrogateescape")
                events.append(ServerSentEvent(encoded, _replaced(name) or "message", _replaced(last_id)))
            data, name = "", ""
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data += value + "\n"
        elif field == "event":
            name = value
        elif field == "id" and "\0" not in value:
            last_id = value
    return events


def _replaced(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
