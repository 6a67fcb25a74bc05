"""The public keys of an issuer: what of a JWKS document is used, and for which algorithm each key is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_MAX_KEYS = 100
_MIN_RSA_BITS = 2048
_ALGORITHMS: Mapping[tuple[str, str | None], str] = {
    ("RSA", None): "RS256",
    ("EC", "P-256"): "ES256",
    ("OKP", "Ed25519"): "EdDSA",
}


class KeySetUnusable(Exception):
    """The document is no JWKS, or has no key that can be used."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key, and the one algorithm that it verifies."""

    key: Any
    algorithm: str


KeySet = Mapping[str, VerificationKey]
"""By `kid`; empty where a document names none."""


def secret_key_set(secret: bytes) -> KeySet:
    """Return the set of an issuer who shares a secret with us; its tokens need not name it."""
    if len(secret) < 32:
        raise KeySetUnusable("a secret has at least 32 bytes")
    return {"": VerificationKey(secret, "HS256")}


def read_key_set(document: bytes, algorithms: Sequence[str]) -> KeySet:
    """Return the keys for these algorithms; a key of another kind, as a secret, is none."""
    try:
        keys = orjson.loads(document)["keys"]
        found = [each for each in keys[:_MAX_KEYS] if isinstance(each, dict)]
    except (ValueError, TypeError, LookupError) as error:
        raise KeySetUnusable("not a JWKS document") from error
    usable: dict[str, VerificationKey] = {}
    for each in found:
        key = _read(each)
        kid = each.get("kid", "")
        if key is not None and key.algorithm in algorithms and isinstance(kid, str):
            usable.setdefault(kid, key)
    if not usable:
        raise KeySetUnusable("no key for the issuer's algorithms")
    return usable


def _read(document: dict[str, Any]) -> VerificationKey | None:
    kind = str(document.get("kty"))
    curve = None if kind == "RSA" else document.get("crv")
    algorithm = _ALGORITHMS.get((kind, curve)) if curve is None or isinstance(curve, str) else None
    if algorithm is None or document.get("alg", algorithm) != algorithm or document.get("use", "sig") != "sig":
        return None
    # Its public part only, also where an issuer has published more.
    public = {name: value for name, value in document.items() if name in ("kty", "crv", "n", "e", "x", "y")}
    try:
        key = jwt.PyJWK(public, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        return None
    return VerificationKey(key, algorithm)
