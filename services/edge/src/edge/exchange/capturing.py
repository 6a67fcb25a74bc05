"""What is captured of one exchange: its request, and of its answer what went out."""

from __future__ import annotations

from edge.answer import Answer
from edge.capture.captures import Captured, Captures
from edge.capture.texts import Source
from edge.conversation import Content, Conversation
from edge.exchange.completion import Reader
from edge.exchange.settlement import Ending
from edge.facts import RequestFacts
from edge.receipt_json import finish_reason_name, outcome_name
from spillway.router.v1 import router_pb2 as routerpb

# Twice the text that is kept: chunks of JSON are longer than their texts.
_MAX_KEPT_BYTES = 512 * 1024


class Capturing:
    """Made for an exchange whose tenant wants its texts captured."""

    def __init__(self, captures: Captures, facts: RequestFacts, content: Content) -> None:
        """`content` is what goes on to the router."""
        self._captures = captures
        self._facts = facts
        self._content = content
        self._chunks: list[str | bytes] = []
        self._room = _MAX_KEPT_BYTES
        self._is_cut = False

    def reading(self, reader: Reader) -> Reader:
        """Return a reader that keeps what it passes on to this one: redacted values are not put back yet."""
        return _KeepingReader(self, reader)

    def keep(self, chunks: list[str | bytes]) -> None:
        """Keep chunks as long as there is room."""
        for chunk in chunks:
            if self._room < len(chunk):
                self._is_cut = True
                self._room = 0
                return
            self._room -= len(chunk)
            self._chunks.append(chunk)

    def end(self, ending: Ending) -> None:
        """Hand over what is to be captured; takes no time."""
        if not self._facts.is_streaming:
            # In one piece it went out as it was in the end, or an error in its place.
            self._chunks, self._room, self._is_cut = [], _MAX_KEPT_BYTES, False
            if ending.problem is None:
                self.keep(ending.answer.chunks)
        source = Source(_body(self._content), self._chunks, self._is_cut)
        finish_reason = _finish_reason(ending, ending.answer)
        self._captures.offer(Captured(self._facts, source, outcome_name(ending.outcome), finish_reason))


class _KeepingReader:
    """Keeps what it passes on."""

    def __init__(self, capturing: Capturing, reader: Reader) -> None:
        self._capturing = capturing
        self._reader = reader

    async def content(self, chunks: list[str | bytes]) -> None:
        self._capturing.keep(chunks)
        await self._reader.content(chunks)

    async def continued(self, continued: routerpb.Continued) -> None:
        await self._reader.continued(continued)


def _body(content: Content) -> bytes:
    """Return the form that the client has chosen: a target reads it, or what it is translated to."""
    form = content.messages_form if isinstance(content, Conversation) else None
    return content.encoded_body if form is None else form.body


def _finish_reason(ending: Ending, answer: Answer) -> str:
    if ending.problem is not None:
        return "error"
    if ending.outcome == routerpb.OUTCOME_CLIENT_CANCELLED:
        return "cancelled"
    return finish_reason_name(answer.finish_reasons[0]) if answer.finish_reasons else ""
