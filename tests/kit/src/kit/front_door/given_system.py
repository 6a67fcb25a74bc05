"""A system that runs already, somewhere: what the front-door tests have to be told about it.

    E2E_URL                  the front door
    E2E_API_KEY              a key of the user `blue-user` of the tenant `blue`
    E2E_OTHER_API_KEY        a key of the user `red-user` of the tenant `red`
    E2E_FAULT_PROVIDER_URL   tests/fault-provider, which plays both vendors there
    E2E_POSTGRES_URL         with the password; without it, tests that look into the stores are left out
    E2E_REDIS_URL            likewise

Its routes are those of `scenarios.py`, its prices those of `price_book.yaml`, its settings those of `SETTINGS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PRICE_BOOK = Path(__file__).with_name("price_book.yaml")
# Fast enough for a person, slow enough for a busy test machine: here the cache must not be passed by for a hiccup.
SETTINGS: Mapping[str, str] = {
    "EDGE_LOOK_UP_TIMEOUT_SECONDS": "2",
    "EDGE_CLIENT_STALL_TIMEOUT_SECONDS": "4",
    "EDGE_EXPOSE": "docs,health",
    # By default a prompt may be as long as its target takes.
    "EDGE_MAX_PROMPT_TOKENS": "100000",
}
_NEEDED = ("E2E_URL", "E2E_API_KEY", "E2E_OTHER_API_KEY", "E2E_FAULT_PROVIDER_URL")


class Incomplete(Exception):
    """A system is given, and what is missing to test it is named in the text."""


@dataclass(frozen=True)
class GivenSystem:
    """Where it is, and who may ask it."""

    url: str
    keys: Mapping[str, str]
    """By tenant."""
    provider_url: str
    postgres_url: str
    """Empty: its stores cannot be looked into."""
    redis_url: str


def given_system(environment: Mapping[str, str]) -> GivenSystem | None:
    """Return the system that the environment names; None when it names none. Incomplete when it does so by half."""
    values = {name: environment.get(name, "") for name in (*_NEEDED, "E2E_POSTGRES_URL", "E2E_REDIS_URL")}
    if not any(values.values()):
        return None
    missing = [name for name in _NEEDED if not values[name]]
    if missing:
        raise Incomplete(f"a system is given without {', '.join(missing)}: set it too, or none of E2E_*")
    return GivenSystem(
        url=values["E2E_URL"].rstrip("/"),
        keys={"blue": values["E2E_API_KEY"], "red": values["E2E_OTHER_API_KEY"]},
        provider_url=values["E2E_FAULT_PROVIDER_URL"].rstrip("/"),
        postgres_url=values["E2E_POSTGRES_URL"],
        redis_url=values["E2E_REDIS_URL"],
    )
