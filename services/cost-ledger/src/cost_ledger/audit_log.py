"""The log of who changed or read what, written in the transaction of what it tells of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cost_ledger.connections import Connection


async def note(
    connection: Connection,
    actor: str,
    action: str,
    kind: str,
    tenant: str,
    subject: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write one entry about the `subject`, an id of its kind; `before` and `after` are JSON."""
    await connection.execute(
        "INSERT INTO audit_log (actor, action, kind, tenant, id, before, after) "
        "VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb)",
        actor,
        action,
        kind,
        tenant,
        subject,
        *(None if each is None else json.dumps(each) for each in (before, after)),
    )
