"""What a server on OpenAI's wire is told by which field, where not all servers know the same."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from llm_router.providers.chat_body import Json
from llm_router.vendors import AnswerLimit, Vendor

# Price, speed, how much is thought and how it is sampled: the answer says the same without them (docs/adr/0008).
DISPENSABLE = frozenset(
    {
        *("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "reasoning_effort", "verbosity"),
        *("thinking", "prediction", "cache_control", "prompt_cache_key", "prompt_cache_options"),
        *("prompt_cache_retention", "service_tier", "store", "metadata", "user", "safety_identifier"),
    }
)
_LIMITS: tuple[AnswerLimit, AnswerLimit] = ("max_completion_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class Dialect:
    """Which of the fields that we add, or may say otherwise, a server knows."""

    stream_options: bool = True
    answer_limit: AnswerLimit | None = None
    """What it calls the most tokens of an answer; None: what the body calls it."""
    base64_vectors: bool = True
    unsaid: frozenset[str] = frozenset()
    """Fields that change no answer and that it does not know."""

    @classmethod
    def of(cls, vendor: Vendor) -> Dialect:
        """Return what is known of a vendor's servers before they are asked."""
        return cls(vendor.stream_options, vendor.answer_limit, vendor.base64_vectors)

    def to_chat(self, body: Json) -> Json:
        """Return a chat body with its limit by the server's name, and with our wish for usage where it is to stream."""
        written = self._with_limit(self.without_unsaid(body))
        written.pop("stream_options", None)
        if written["stream"] and self.stream_options:
            written["stream_options"] = {"include_usage": True}
        return written

    def without_unsaid(self, body: Json) -> Json:
        """Return a body without the fields that the server is known to refuse: what it never read is not billed."""
        return {name: value for name, value in body.items() if name not in self.unsaid} if self.unsaid else body

    def to_embeddings(self, body: Json) -> Json:
        """Return an embeddings body that asks for base64 if it can be had.

        That is a quarter of the bytes of decimal numbers, and no digit is lost. Otherwise nothing is said: vLLM refuses
        a null, and numbers are what every server sends unasked.
        """
        return {**body, "encoding_format": "base64"} if self.base64_vectors else body

    def without(self, refused: Collection[str], body: Json) -> Dialect:
        """Return what to try after a server has refused fields of `body`; the same when it must have them all."""
        answer_limit = self.answer_limit
        for name, other in (_LIMITS, _LIMITS[::-1]):
            if name in refused and body.get(name) is not None:
                answer_limit = other
        return Dialect(
            self.stream_options and "stream_options" not in refused,
            answer_limit,
            self.base64_vectors and "encoding_format" not in refused,
            self.unsaid | (DISPENSABLE & body.keys() & set(refused)),
        )

    def _with_limit(self, body: Json) -> Json:
        limits = [body[name] for name in _LIMITS if body.get(name) is not None]
        if self.answer_limit is None or not limits:
            return dict(body)
        # Two that differ are of a client that serves old and new servers at once; each is a bound.
        written = {name: value for name, value in body.items() if name not in _LIMITS}
        written[self.answer_limit] = min(limits) if all(type(limit) is int for limit in limits) else limits[0]
        return written
