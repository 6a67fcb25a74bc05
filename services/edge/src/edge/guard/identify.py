"""Who sent this request? The one place where an API key, or a token in its place, is read from headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, cast

from fastapi import Depends, Request

from edge.guard.keys import KeyRing
from edge.identity import Identity, Permission
from edge.problems import Problem
from edge.tokens.issuers import is_token

if TYPE_CHECKING:
    from edge.tokens.tokens import Tokens  # 9 MB that only who has issuers needs


class Identify:
    """A FastAPI dependency: the identity goes into `request.state.identity`, where `Caller` finds it."""

    def __init__(self, keys: KeyRing, tokens: Tokens | None = None) -> None:
        """Without `tokens` (JWT) only API keys are taken."""
        self._keys = keys
        self._tokens = tokens

    async def __call__(self, request: Request) -> None:
        """Identify the owner of the key in `Authorization`; Problem (401) when the key is not known."""
        self.identity_of(request)

    async def read_token(self, request: Request, *, takes_api_key_header: bool = False) -> None:
        """Identify the sender of a request that came with a token: its issuer's keys may have to be asked for first.

        Problem as `identity_of`; 503 while the keys cannot be known.
        """
        if self._tokens is None:
            return
        key = _key_in(request, takes_api_key_header=takes_api_key_header)
        if is_token(key):
            identity = await self._tokens.identify(key)
            identity.require_endpoint(request.scope["path"])
            request.scope["state"]["identity"] = identity

    def identity_of(self, request: Request, *, takes_api_key_header: bool = False) -> Identity:
        """Return the owner of the key; Problem (401) when it is not known, (403) when it is not for this endpoint.

        With `takes_api_key_header` a header `x-api-key` goes before `Authorization`. Once found, the owner stays with
        the request.
        """
        state = request.scope.setdefault("state", {})
        if "identity" in state:
            return cast("Identity", state["identity"])
        key = _key_in(request, takes_api_key_header=takes_api_key_header)
        if not key:
            raise Problem("invalid_api_key", "send your API key in the header 'Authorization: Bearer sk-spillway-...'")
        identity = self._keys.identify(key)
        if identity is None:
            raise Problem("invalid_api_key", "this API key is not known here; check for missing characters")
        identity.require_endpoint(request.scope["path"])
        state["identity"] = identity
        return identity


def _key_in(request: Request, *, takes_api_key_header: bool) -> str:
    api_key = request.headers.get("x-api-key") if takes_api_key_header else None
    authorization = f"Bearer {api_key}" if api_key else request.headers.get("authorization") or ""
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


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
