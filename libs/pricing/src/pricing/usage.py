"""What one attempt used, in the units that vendors bill."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from spillway.router.v1 import router_pb2 as routerpb


@dataclass(frozen=True, slots=True)
class Usage:
    """Inclusive totals: input contains cache reads and writes, output contains reasoning; None is unknown, never 0."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    provider_cache_read_input_tokens: int | None = None
    provider_cache_write_input_tokens: int | None = None
    reasoning_output_tokens: int | None = None
    provider_cache_write_1h_input_tokens: int | None = None
    """Part of `provider_cache_write_input_tokens`: those that stay for an hour."""
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    image_input_tokens: int | None = None
    image_output_tokens: int | None = None
    web_search_requests: int | None = None
    """Searches of the web that the vendor made."""
    code_execution_seconds: int | None = None
    """How long the vendor ran code at most."""
    service_tier: str | None = None
    """Tier, speed and region where they change the price, joined by `+`, e.g. `fast+us`; None: the standard."""
    unpriced_units: str | None = None
    """What the vendor bills and no field here counts, by the vendor's names, joined by `,`."""

    @classmethod
    def from_proto(cls, message: routerpb.Usage) -> Self:
        """Read the message; a field that is not set becomes None."""
        return cls(**{field.name: value for field, value in message.ListFields() if field.name in FIELDS})

    def to_proto(self) -> routerpb.Usage:
        """Write the message; None leaves its field unset."""
        return routerpb.Usage(**{name: value for name in FIELDS if (value := getattr(self, name)) is not None})


FIELDS = tuple(field.name for field in fields(Usage))
"""Names of all fields, in the table and on the wire as here."""
TEXT_FIELDS = frozenset({"service_tier", "unpriced_units"})
"""Those that are no count."""
