"""Who asks, and what they may: what every check, event and log line of a request names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edge.problems import Problem

Permission = Literal["chat", "embeddings", "usage:read", "usage:read:team", "usage:read:tenant", "admin"]
"""What an endpoint needs. `usage:read` shows what the caller has caused, the next two what its team or tenant has;
`admin` is for `/admin/v1`, where the accounts of all tenants are kept."""

ROLES: Mapping[str, frozenset[Permission]] = {
    "user": frozenset({"chat", "embeddings", "usage:read"}),
    "team_lead": frozenset({"chat", "embeddings", "usage:read", "usage:read:team"}),
    "admin": frozenset({"chat", "embeddings", "usage:read", "usage:read:tenant"}),
    "auditor": frozenset({"usage:read", "usage:read:tenant"}),
    "operator": frozenset({"admin"}),
}


@dataclass(frozen=True, slots=True)
class Rights:
    """What a key may."""

    permissions: frozenset[Permission]
    models: Sequence[str] = ()
    """Patterns; none: all models."""
    endpoints: Sequence[str] = ()
    """Patterns of paths; none: all endpoints."""


def rights_of(roles: Iterable[str], models: Sequence[str] = (), endpoints: Sequence[str] = ()) -> Rights:
    """Return the rights of somebody with these roles; one that is not known here gives none."""
    permissions: frozenset[Permission] = frozenset()
    return Rights(permissions.union(*(ROLES.get(role, ()) for role in roles)), tuple(models), tuple(endpoints))


OF_TENANT = rights_of(["admin"])
"""Those of a key of the key file that has no roles: asking, and seeing all of its tenant."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner of the API key, or of the token in its place, that a request came with."""

    key_id: str
    tenant: str
    user: str
    tier: str
    team: str = ""
    rights: Rights = OF_TENANT

    @property
    def owner(self) -> tuple[str, str]:
        """Who is charged, whichever of their keys they use: tenant and user."""
        return self.tenant, self.user

    @property
    def holder(self) -> str:
        """Who is one where as much as anybody may have at once is shared out: a key, or a user who has tokens."""
        return f"{self.key_id}:{self.tenant}:{self.user}" if self.key_id.startswith("jwt:") else self.key_id

    def require(self, permission: Permission) -> None:
        """Return if the caller has the permission; Problem (403) when not."""
        if permission not in self.rights.permissions:
            raise Problem(
                "permission_denied", f"this API key may not do this: its roles lack the permission {permission!r}"
            )

    def require_endpoint(self, path: str) -> None:
        """Return if the key is for the endpoint at `path`; Problem (403) when not."""
        patterns = self.rights.endpoints
        if patterns and not any(matches(pattern, path) for pattern in patterns):
            raise Problem("permission_denied", "this API key is for some endpoints only, and this is none of them")

    def may_use(self, model: str) -> bool:
        """Tell whether the key is for this public model. One that it is not for does not exist for its owner."""
        patterns = self.rights.models
        return not patterns or any(matches(pattern, model) for pattern in patterns)


def matches(pattern: str, text: str) -> bool:
    """Tell whether the whole text is like the pattern, in which `*` is any text; in time like the text's length."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    if not text.startswith(first):
        return False
    *between, last = rest
    at = len(first)
    for part in between:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(text) - at >= len(last) and text.endswith(last)
