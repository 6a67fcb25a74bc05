"""Token counts of one attempt, and what to assume where a provider gave none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from spillway.router.v1 import router_pb2 as routerpb

_FIELDS = (
    "input_tokens",
    "output_tokens",
    "provider_cache_read_input_tokens",
    "provider_cache_write_input_tokens",
    "reasoning_output_tokens",
)

# English text has about four characters a token in the vocabularies of the default routes; a text in a script
# that needs more bytes a character needs more tokens a character too, hence UTF-8 bytes and not characters.
_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Usage:
    """Inclusive totals: input contains cache reads and writes, output contains reasoning; None is unknown, never 0."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    provider_cache_read_input_tokens: int | None = None
    provider_cache_write_input_tokens: int | None = None
    reasoning_output_tokens: int | None = None

    @classmethod
    def from_proto(cls, message: routerpb.Usage) -> Self:
        """Read the message; a field that is not set becomes None."""
        return cls(*(getattr(message, field) if message.HasField(field) else None for field in _FIELDS))  # type: ignore[arg-type]

    def to_proto(self) -> routerpb.Usage:
        """Write the message; None leaves its field unset."""
        return routerpb.Usage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            provider_cache_read_input_tokens=self.provider_cache_read_input_tokens,
            provider_cache_write_input_tokens=self.provider_cache_write_input_tokens,
            reasoning_output_tokens=self.reasoning_output_tokens,
        )


def estimate_tokens(size_bytes: int) -> int:
    """How many tokens a text of `size_bytes` UTF-8 bytes has, roughly; at least 1 unless it is empty."""
    return -(-size_bytes // _BYTES_PER_TOKEN)


def estimate_input_tokens(embedded: str | list[Any]) -> int:
    """How many tokens the `input` of an embeddings request has, roughly: texts are estimated, tokens are counted."""
    if isinstance(embedded, str):
        return estimate_tokens(len(embedded.encode()))
    return sum(1 if isinstance(each, int) else estimate_input_tokens(each) for each in embedded)
