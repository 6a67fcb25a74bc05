"""The two ids of a request: ours, always minted here, and the client's own, which only goes beside it (ADR 19)."""

from __future__ import annotations

import uuid_utils.compat

_MAX_CLIENT_CHARACTERS = 200


def new_request_id() -> str:
    """Return a new UUIDv7: the ledger's rows are ordered, and kept, by the time inside it."""
    return str(uuid_utils.compat.uuid7())


def client_request_id(offered: str) -> str:
    """Return a client's own id as it is logged, recorded and searched for; empty when there is nothing left of it.

    It may be any text, so it is cut, and a character that could break a line or hide what follows is replaced.
    """
    cut = offered.strip()[:_MAX_CLIENT_CHARACTERS]
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in cut)
