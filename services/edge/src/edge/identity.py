"""Who asks: what every check, event and log line of a request names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner of the API key that a request came with."""

    key_id: str
    tenant: str
    user: str
    tier: str
