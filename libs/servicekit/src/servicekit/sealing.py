"""Bytes sealed with AES-256-GCM, by keys in a file that only those have who may read them.

    # KEY-ID: 32 bytes in base64; the first seals, all open
    2026-11: 3q2+7wAA...

A key is replaced while the process runs: put the new one on the first line, and take the old one out once nothing that
it has sealed is kept any more.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

KEY_BYTES = 32
NONCE_BYTES = 12
_MAX_KEYS = 100
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class SealingKeysUnusable(Exception):
    """The file has no keys that can be used; the message names file and line, and no key."""


class CannotOpen(Exception):
    """What is sealed cannot be opened here; the message names the key's id."""


class Sealed(NamedTuple):
    """Bytes that only who has the key can read, or change unnoticed."""

    key_id: str
    nonce: bytes
    ciphertext: bytes
    """With the tag at its end."""


class SealingKeys:
    """Keys by their ids, the one that seals first."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Take keys of 32 bytes, at least one."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # here: 9 MB that only who has keys needs

        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._first = next(iter(self._ciphers))

    def __len__(self) -> int:
        return len(self._ciphers)

    def seal(self, plaintext: bytes, about: bytes) -> Sealed:
        """Seal bytes so that they open only together with what they are `about`."""
        # Random, as edges share the key and no counter: from 2**32 on with one key two could be the same.
        nonce = secrets.token_bytes(NONCE_BYTES)
        return Sealed(self._first, nonce, self._ciphers[self._first].encrypt(nonce, plaintext, about))

    def open(self, sealed: Sealed, about: bytes) -> bytes:
        """Return what was sealed; CannotOpen when its key is not here, or it is not what was sealed `about` this."""
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise CannotOpen(f"it is sealed with the key {sealed.key_id[:64]!r}, which is not in the key file")
        from cryptography.exceptions import InvalidTag

        try:
            return cipher.decrypt(sealed.nonce, sealed.ciphertext, about)
        except (InvalidTag, ValueError) as error:
            raise CannotOpen(
                f"the key {sealed.key_id[:64]!r} does not open it: it was changed or moved, or this is another key"
            ) from error


def read_sealing_keys(file: Path) -> SealingKeys:
    """Return the keys in a file; SealingKeysUnusable when there are none."""
    try:
        return parse_sealing_keys(file, file.read_bytes())
    except OSError as error:
        raise SealingKeysUnusable(f"{file}: {error.strerror}") from error


def parse_sealing_keys(file: Path, content: bytes) -> SealingKeys:
    """Return the keys in the `content` of `file`; SealingKeysUnusable when there are none."""
    try:
        lines = content.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise SealingKeysUnusable(f"{file}: not ASCII") from error
    keys: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key_id, _, encoded = line.partition(":")
        key = _decoded(encoded.strip())
        if _KEY_ID.fullmatch(key_id.strip()) is None or key is None:
            raise SealingKeysUnusable(f"{file}: line {number}: must read KEY-ID: {KEY_BYTES} bytes in base64")
        if keys.setdefault(key_id.strip(), key) is not key:
            raise SealingKeysUnusable(f"{file}: line {number}: this id is there already")
    if not 1 <= len(keys) <= _MAX_KEYS:
        raise SealingKeysUnusable(f"{file}: must have 1 to {_MAX_KEYS} keys")
    return SealingKeys(keys)


def _decoded(encoded: str) -> bytes | None:
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES else None
