"""An answer: a conversation's chunks or the vectors of an embeddings request, and what is known about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edge.assembly import assemble
from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb

# How a whole answer to a conversation can end.
ENDS: frozenset[int] = frozenset(
    {
        routerpb.FINISH_REASON_STOP,
        routerpb.FINISH_REASON_LENGTH,
        routerpb.FINISH_REASON_CONTENT_FILTER,
        routerpb.FINISH_REASON_TOOL_CALL,
    }
)


@dataclass(slots=True)
class Answer:
    """A whole answer, or what there is of it so far."""

    chunks: list[str | bytes] = field(default_factory=list)
    """In order: text of choice 0, the `choices` array of an OpenAI chunk as JSON, or a `MessagesEvent`."""
    finish_reasons: list[routerpb.FinishReason.ValueType] = field(default_factory=list)
    """One for each choice; empty until the answer is whole, and for vectors."""
    provider: str = ""
    target_model: str = ""
    response_model: str = ""
    system_fingerprint: str = ""
    response_fields: dict[str, Any] = field(default_factory=dict)
    """What the provider's chunks had beside the fields of OpenAI's stream, e.g. `service_tier`, by name."""
    usage: Usage | None = None
    is_kept: bool = True
    """Whether `chunks` is all of it; else it was longer than is kept, and of it there are only the tool calls."""
    vectors: Sequence[bytes] = ()
    """One for each input: little-endian float32."""
    _choices: list[dict[str, Any]] | None = field(default=None, compare=False, repr=False)

    @property
    def text(self) -> str:
        """The text of choice 0, from the chunks of the fast path."""
        return "".join(chunk for chunk in self.chunks if isinstance(chunk, str))

    def drop_choices(self) -> None:
        """Forget the choices, because the chunks are others now."""
        self._choices = None

    def choices(self) -> list[dict[str, Any]]:
        """Return the choices of a whole answer, put together once: `{"message": ..., "logprobs": ...}` by index.

        MalformedChunk when a chunk fits no other.
        """
        if self._choices is None:
            self._choices = assemble(self.chunks, len(self.finish_reasons))
        return self._choices
