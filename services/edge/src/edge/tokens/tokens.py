"""Tokens (JWT) in the place of API keys: verified with the keys of their issuer, their claims read as he has set."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from edge.fetch import Fetcher
from edge.identity import Identity, matches, rights_of
from edge.metrics import Metrics
from edge.problems import Problem
from edge.tokens.issuers import Issuer, TokenRefused, claim
from edge.tokens.key_set import VerificationKey
from edge.tokens.key_source import KeySource

MAX_TOKEN_BYTES = 8 * 1024
_MAX_WORD = 200
_MAX_ROLES = 100
_REQUIRED = ["exp", "iss", "aud"]
_REASONS: Sequence[tuple[type[Exception], str]] = (
    (jwt.ExpiredSignatureError, "expired"),
    (jwt.ImmatureSignatureError, "not_yet"),
    (jwt.InvalidAudienceError, "audience"),
    (jwt.InvalidSignatureError, "signature"),
)


@dataclass(frozen=True, slots=True)
class _Known:
    issuer: Issuer
    source: KeySource


class Tokens:
    """Verifies tokens of the issuers in force."""

    def __init__(self, issuers: Sequence[Issuer], fetcher: Fetcher, metrics: Metrics) -> None:
        self._fetcher = fetcher
        self._metrics = metrics
        self._known: dict[str, _Known] = {}
        self._removed: list[KeySource] = []
        self.replace(issuers)

    def replace(self, issuers: Sequence[Issuer]) -> None:
        """Put others in force; one that did not change keeps its keys."""
        before = self._known
        unchanged = {iss: known for iss, known in before.items() if known.issuer in issuers}
        self._removed += [known.source for iss, known in before.items() if iss not in unchanged]
        self._known = {
            issuer.issuer: unchanged.get(issuer.issuer)
            or _Known(issuer, KeySource(issuer, self._fetcher, self._metrics))
            for issuer in issuers
        }

    async def turn(self) -> None:
        """Read the keys that are due; waits for none."""
        for known in self._known.values():
            known.source.refresh_if_due()
        while self._removed:
            await self._removed.pop().close()

    async def prepare(self) -> None:
        """Read all keys once, as far as there is an answer in time: before requests come."""
        await asyncio.gather(*(known.source.refresh_for_unknown() for known in self._known.values()))

    async def close(self) -> None:
        """Stop reading keys."""
        await asyncio.gather(*(known.source.close() for known in self._known.values()))

    def count(self, refused: TokenRefused) -> Problem:
        """Return what the sender of a refused token is told; it is counted."""
        self._metrics.tokens_refused.labels(refused.reason).inc()
        return Problem("invalid_api_key", f"this token is not taken here: {refused.reason}")

    async def identify(self, token: str) -> Identity:
        """Return whom the token is for; TokenRefused, or Problem (503) while its issuer has no known key."""
        if len(token) > MAX_TOKEN_BYTES:
            raise TokenRefused("too_long")
        header, payload = _unverified(token)
        iss = payload.get("iss")
        known = self._known.get(iss) if isinstance(iss, str) else None
        if known is None:
            raise TokenRefused("issuer")
        # What the token says of its algorithm is compared, never followed.
        if header.get("alg") not in known.issuer.algorithms:
            raise TokenRefused("algorithm")
        if "crit" in header:  # an extension that must be understood; we know none
            raise TokenRefused("extension")
        key = await self._key(known, header)
        if key.algorithm != header["alg"]:
            raise TokenRefused("algorithm")
        return _identity(known.issuer, _verified(token, key, known.issuer))

    async def _key(self, known: _Known, header: dict[str, Any]) -> VerificationKey:
        kid = header.get("kid", "")
        if not isinstance(kid, str):
            raise TokenRefused("malformed")
        if known.issuer.secret_file is not None:
            kid = ""  # there is one only
        found = _find(known.source, kid)
        if found is None:
            await known.source.refresh_for_unknown()
            found = _find(known.source, kid)
        if found is not None:
            return found
        if not known.source.keys:
            raise Problem(
                "keys_unavailable", "the keys of this token's issuer cannot be read now; try again in a moment"
            )
        raise TokenRefused("key")


def _find(source: KeySource, kid: str) -> VerificationKey | None:
    keys = source.keys
    if not kid and len(keys) == 1:
        return next(iter(keys.values()))
    return keys.get(kid)


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        found = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise TokenRefused("malformed") from error
    return found["header"], found["payload"]


def _verified(token: str, key: VerificationKey, issuer: Issuer) -> dict[str, Any]:
    try:
        return jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            audience=issuer.audience,
            issuer=issuer.issuer,
            leeway=issuer.clock_skew_seconds,
            options={"require": _REQUIRED},
        )
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), "claims")
        raise TokenRefused(reason) from error


def _identity(issuer: Issuer, payload: dict[str, Any]) -> Identity:
    """Read who it is from claims that are the issuer's own words."""
    names = issuer.claims
    tenant = issuer.tenant if names.tenant is None else _word(claim(payload, names.tenant))
    user = _word(claim(payload, names.user))
    if not tenant or not user or not any(matches(pattern, tenant) for pattern in issuer.tenants or ["*"]):
        raise TokenRefused("claims")
    return Identity(
        key_id=f"jwt:{issuer.name}",
        tenant=tenant,
        user=user,
        tier=_word(claim(payload, names.tier)) or issuer.tier,
        team=_word(claim(payload, names.team)) or "",
        rights=rights_of(_roles(issuer, claim(payload, names.roles))),
    )


def _roles(issuer: Issuer, claimed: Any) -> Sequence[str]:
    if issuer.claims.roles is None or claimed is None:
        return issuer.roles
    listed = claimed.split() if isinstance(claimed, str) else claimed if isinstance(claimed, list) else []
    names = [name for name in listed[:_MAX_ROLES] if isinstance(name, str)]
    if issuer.role_names is None:
        return names
    return [issuer.role_names[name] for name in names if name in issuer.role_names]


def _word(value: Any) -> str | None:
    """Return a claim that can be recorded; None when there is none. TokenRefused when it is there and cannot."""
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_WORD or not value.isprintable():
        raise TokenRefused("claims")
    return value
