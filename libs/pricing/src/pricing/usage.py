"""Token counts of one attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from spillway.router.v1 import router_pb2 as routerpb

_FIELDS = (
    "input_tokens",
    "output_tokens",
    "provider_cache_read_input_tokens",
    "provider_cache_write_input_tokens",
    "reasoning_output_tokens",
)


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
