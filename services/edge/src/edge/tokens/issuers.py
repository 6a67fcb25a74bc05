"""Who issues tokens (JWT) that are taken for API keys, and what their claims mean: a YAML file, docs/identity.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

ISSUERS_INTERVAL_SECONDS = 1.0
Algorithm = Literal["RS256", "ES256", "EdDSA", "HS256"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Word = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def is_token(key: str) -> bool:
    """Tell a token from an API key: the first part of a token is a JSON object."""
    return key.startswith("eyJ")


class TokenRefused(Exception):
    """The token is not taken; `reason` is a label of the metric, and all that its sender is told."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class IssuersError(Exception):
    """The file cannot be used; the text says why."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Claims(_Model):
    """Names of claims, with dots for what stands in an object: `realm_access.roles`."""

    user: Word = "sub"
    tenant: Word | None = None
    team: Word | None = None
    tier: Word | None = None
    roles: Word | None = None


class Issuer(_Model):
    """One issuer of tokens."""

    name: Name
    """In records, where the id of an API key stands: `jwt:NAME`."""
    issuer: Word
    audience: Annotated[list[Word], Field(min_length=1)]
    algorithms: Annotated[list[Algorithm], Field(min_length=1)]
    jwks_url: str | None = None
    jwks_file: str | None = None
    secret_file: str | None = None
    """For HS256: a file with at least 32 bytes."""
    clock_skew_seconds: Annotated[int, Field(ge=0, le=600)] = 30
    claims: Claims = Claims()
    tenant: Word | None = None
    """That of everybody, where no claim says it."""
    tenants: Annotated[list[Word], Field(min_length=1)] | None = None
    """Patterns of tenants that a claim may name."""
    tier: Word = "free"
    """That of who has no such claim; likewise the roles."""
    roles: list[Word] = ["user"]
    role_names: dict[Word, Word] | None = None
    """What the claim's roles are called here; one that is not in it gives nothing. Unset: as they are called there."""

    @field_validator("jwks_url")
    @classmethod
    def _is_safe(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        is_here = parts.scheme == "http" and parts.hostname in _LOOPBACK
        if not parts.hostname or (parts.scheme != "https" and not is_here) or parts.username or parts.fragment:
            raise ValueError("a JWKS comes over https, without a user in its address")
        if not url.isascii() or any(character <= " " for character in url):
            raise ValueError("the address has characters that no address has")
        return url

    @model_validator(mode="after")
    def _has_one_source(self) -> Issuer:
        sources = [self.jwks_url, self.jwks_file, self.secret_file]
        if sum(source is not None for source in sources) != 1:
            raise ValueError("give one of jwks_url, jwks_file and secret_file")
        # One that takes both could be shown a token signed with the public key as a secret.
        if (self.secret_file is not None) != (self.algorithms == ["HS256"]):
            raise ValueError("HS256 goes with a secret_file, and with no other algorithm")
        return self

    @model_validator(mode="after")
    def _has_a_tenant(self) -> Issuer:
        if (self.claims.tenant is None) == (self.tenant is None):
            raise ValueError("give one of tenant and claims.tenant")
        if (self.claims.tenant is None) != (self.tenants is None):
            raise ValueError("tenants goes with claims.tenant, and says which tenants it may name")
        return self


class _File(_Model):
    issuers: list[Issuer]

    @model_validator(mode="after")
    def _once(self) -> _File:
        for each in ("name", "issuer"):
            values = [getattr(issuer, each) for issuer in self.issuers]
            if len(set(values)) < len(values):
                raise ValueError(f"two issuers have the same {each}")
        return self


def parse_issuers(path: Path, content: bytes) -> Sequence[Issuer]:
    """Return the issuers in the `content` of `path`; IssuersError, which names the place, when it is malformed."""
    try:
        document: Any = yaml.safe_load(content.decode())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise IssuersError(f"{path}: not YAML") from error
    try:
        return _File.model_validate(document).issuers
    except ValidationError as error:
        fault = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise IssuersError(f"{path}: {where or 'the file'}: {fault['msg']}") from error


def claim(payload: Mapping[str, Any], name: str | None) -> Any:
    """Return a claim, None when it is not there; a claim whose own name has dots goes before what is in an object."""
    if name is None:
        return None
    if name in payload:
        return payload[name]
    value: Any = payload
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
