"""Who sent this request? The one place where an API key, or a token in its place, is read from headers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast

from fastapi import Depends, Request
from starlette.datastructures import Headers

from edge.guard.keys import KeyRing
from edge.identity import Identity, Permission
from edge.problems import Problem
from edge.tokens.issuers import TokenRefused, is_token

if TYPE_CHECKING:
    from edge.tokens.tokens import Tokens  # 9 MB that only who has issuers needs


# What clients of the vendors send a key in, in the order in which it counts: Anthropic's, OpenAI's, Azure's.
_API_KEY_HEADERS = ("x-api-key", "authorization", "api-key")


class Identify:
    """A FastAPI dependency: the identity goes into `request.state.identity`, where `Caller` finds it."""

    def __init__(self, keys: KeyRing, tokens: Tokens | None = None) -> None:
        """Without `tokens` (JWT) only API keys are taken."""
        self._keys = keys
        self._tokens = tokens

    async def __call__(self, request: Request) -> None:
        """Do `identify`."""
        await self.identify(request)

    async def identify(self, request: Request) -> Identity:
        """Return who has sent the request; once found, it stays with the request.

        A key, or a token in its place, may come in any of the headers. What is none of ours counts for nothing beside
        one that is: clients also send what they have for a vendor. Of several good ones of one user the first counts.

        Problem: (401) when there is no good one, (400) when there are good ones of different users, for who pays must
        not be a guess (so does RFC 6750, 3.1), (403) when it is not for this endpoint, (503) while the keys of a
        token's issuer cannot be known.
        """
        state = request.scope.setdefault("state", {})
        if "identity" in state:
            return cast("Identity", state["identity"])
        found: dict[str, Identity] = {}
        faults: list[Problem | TokenRefused] = []
        for header, credential in _credentials_in(request.headers):
            try:
                found[header] = await self._owner_of(credential)
            except (Problem, TokenRefused) as fault:
                faults.append(fault)
        if not found:
            raise self._refusal(faults)
        identity = next(iter(found.values()))
        if any(each.owner != identity.owner for each in found.values()):
            raise Problem("invalid_request", f"{' and '.join(found)} name different users; send the key of one")
        identity.require_endpoint(request.scope["path"])
        state["identity"] = identity
        return identity

    async def _owner_of(self, credential: str) -> Identity:
        if self._tokens is not None and is_token(credential):
            return await self._tokens.identify(credential)
        identity = self._keys.identify(credential)
        if identity is None:
            raise Problem("invalid_api_key", "this API key is not known here; check for missing characters")
        return identity

    def _refusal(self, faults: Sequence[Problem | TokenRefused]) -> Problem:
        """Return why nobody is known: because of the one that may be good in a moment, else because of the first."""
        if not faults:
            return Problem(
                "invalid_api_key",
                "send your API key in the header 'Authorization: Bearer sk-spillway-...', 'x-api-key' or 'api-key'",
            )
        fault = next((each for each in faults if isinstance(each, Problem) and each.retryable), faults[0])
        if isinstance(fault, Problem):
            return fault
        assert self._tokens is not None  # noqa: S101 - which have refused it
        return self._tokens.count(fault)


def _credentials_in(headers: Headers) -> list[tuple[str, str]]:
    """Return the keys and tokens that a request came with, by header."""
    found = []
    for name in _API_KEY_HEADERS:
        value = headers.get(name)
        if value and name == "authorization":
            scheme, _, value = value.partition(" ")
            value = value if scheme.lower() == "bearer" else ""
        if value and (value := value.strip()):
            found.append((name, value))
    return found


def _identity(request: Request) -> Identity:
    identity: Identity = request.state.identity
    return identity


Caller: TypeAlias = Annotated[Identity, Depends(_identity)]
"""The identity of a request to an endpoint that depends on `Identify`."""


def requires(permission: Permission) -> Any:
    """Return the dependency of an endpoint that needs a permission: Problem (403) without it."""

    async def require(caller: Caller) -> None:
        caller.require(permission)

    return Depends(require)
