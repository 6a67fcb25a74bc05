"""What of its tenant's costs and requests a caller may see."""

from __future__ import annotations

from edge.identity import Identity
from spillway.ledger.v1 import ledger_pb2 as ledgerpb


def visible_to(caller: Identity) -> ledgerpb.Visible:
    """Return all of the tenant, what the caller's team has caused, or what the caller has itself."""
    permissions = caller.rights.permissions
    if "usage:read:tenant" in permissions:
        return ledgerpb.Visible(tenant=caller.tenant)
    if "usage:read:team" in permissions and caller.team:
        return ledgerpb.Visible(tenant=caller.tenant, team=caller.team)
    return ledgerpb.Visible(tenant=caller.tenant, user=caller.user)
