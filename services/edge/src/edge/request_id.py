"""The ids of a request: `request_id` is always minted here, the client's own id is recorded beside it (ADR 19)."""

from __future__ import annotations

import uuid_utils.compat

_MAX_CLIENT_CHARACTERS = 200


def new_request_id() -> str:
    """Return a new UUIDv7: the ledger's rows are ordered, and kept, by the time inside it."""
    return str(uuid_utils.compat.uuid7())


def client_request_id(offered: str) -> str:
    """Return a client's own id as it is logged, recorded and searched for; an empty text counts as none.

    A client may send any text, so it is truncated, and characters that could break or disguise a log line are replaced.
    """
    cut = offered.strip()[:_MAX_CLIENT_CHARACTERS]
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in cut)
