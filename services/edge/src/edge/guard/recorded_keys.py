"""The ledger's API keys as this edge has them in memory, looked up by their id in microseconds."""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from edge.identity import Identity, Rights, rights_of
from edge.metrics import Metrics
from servicekit.pepper import Pepper
from spillway.accounts.v1 import accounts_pb2 as accountspb

log = structlog.get_logger()

# About half a kilobyte each.
MAX_KEYS = 200_000
# Requests of a key that no user owns are on record under this prefix and its id.
_KEY_PREFIX = "key:"
_TIERS = {value.number: value.name.removeprefix("TIER_").lower() for value in accountspb.Tier.DESCRIPTOR.values}
_ROLES = {value.number: value.name.removeprefix("ROLE_").lower() for value in accountspb.Role.DESCRIPTOR.values}


@dataclass(frozen=True, slots=True)
class _RecordedKey:
    identity: Identity
    hash: bytes
    salt: bytes | None
    """None: hashed with the pepper."""
    expires_at: float


class RecordedKeys:
    """Keys by their id. One that is disabled stays known, so that the key file does not bring it back."""

    def __init__(self, pepper: Pepper | None, metrics: Metrics, max_keys: int = MAX_KEYS) -> None:
        self._pepper = pepper
        self._metrics = metrics
        self._max_keys = max_keys
        self._keys: dict[str, _RecordedKey | None] = {}
        self._logged: set[str] = set()
        self._rights: dict[Rights, Rights] = {}

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._keys

    def identify(self, key_id: str, secret: str) -> Identity | None:
        """Return the owner of a key; None when it is not known, not this one, disabled or expired."""
        key = self._keys.get(key_id)
        if key is None:
            return None
        if key.salt is not None:
            shown = hashlib.sha256(key.salt + secret.encode(errors="replace")).digest()
        elif self._pepper is not None:
            shown = self._pepper.hash(f"{key_id}-{secret}")
        else:
            return None
        if not hmac.compare_digest(shown, key.hash) or time.time() >= key.expires_at:
            return None
        return key.identity

    def apply(self, records: Iterable[accountspb.KeyRecord]) -> None:
        """Take keys as they are now."""
        for record in records:
            key_id = record.key.key_id
            if key_id not in self._keys and len(self._keys) >= self._max_keys:
                self._note_unusable("too_many", key_id)
                continue
            self._keys[key_id] = self._read(record)
        self._metrics.account_keys.set(len(self._keys))

    def replace(self, records: Iterable[accountspb.KeyRecord]) -> None:
        """Take these keys and no others."""
        self._keys, self._rights = {}, {}
        self.apply(records)

    def _read(self, record: accountspb.KeyRecord) -> _RecordedKey | None:
        key = record.key
        if key.HasField("disabled_at"):
            return None
        is_salted = record.scheme == accountspb.SCHEME_SALTED_SHA256
        if not is_salted and (
            record.scheme != accountspb.SCHEME_HMAC_SHA256
            or self._pepper is None
            or self._pepper.pepper_id != record.pepper_id
        ):
            self._note_unusable("pepper", key.key_id)
            return None
        return _RecordedKey(
            identity=Identity(
                key.key_id,
                key.tenant,
                key.user or _KEY_PREFIX + key.key_id,
                _TIERS.get(key.tier, "free"),
                key.team,
                self._rights_of(key),
            ),
            hash=record.hash,
            salt=record.salt if is_salted else None,
            expires_at=key.expires_at.ToMilliseconds() / 1000 if key.HasField("expires_at") else math.inf,
        )

    def _rights_of(self, key: accountspb.Key) -> Rights:
        # Most keys have the same as others: one object for all of them.
        roles = [_ROLES.get(role, "") for role in key.roles]
        rights = rights_of(roles, key.models, key.endpoints)
        return self._rights.setdefault(rights, rights)

    def _note_unusable(self, reason: str, key_id: str) -> None:
        self._metrics.account_keys_unusable.labels(reason).inc()
        if reason not in self._logged:
            self._logged.add(reason)
            log.error("account_key_unusable", reason=reason, key_id=key_id)
