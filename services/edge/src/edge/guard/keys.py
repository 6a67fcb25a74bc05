"""API keys: a file of salted hashes, and the command that adds to it.

    keys:
      - {key_id: ..., tenant: ..., user: ..., tier: ..., salt: ..., sha256: ...}

A key reads `sk-spillway-KEYID-SECRET`. It may have `roles`, as a key of the ledger has; without them it is an `admin`,
which asks and sees all of its tenant. The secret has 256 random bits, so one round of SHA-256 over salt and secret
is as hard to invert as any slow hash would be, and costs microseconds at each request.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import hmac
import os
import secrets
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, TextIO

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from edge.guard.recorded_keys import RecordedKeys
from edge.identity import ROLES, Identity, rights_of

_PREFIX = "sk-spillway-"


def _known_role(role: str) -> str:
    if role not in ROLES:
        raise ValueError(f"must be one of {', '.join(ROLES)}")
    return role


# Each is recorded with every request; PostgreSQL takes no NUL.
Word = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Salt = Annotated[str, Field(pattern="^([0-9a-f]{2}){16,32}$")]
Role = Annotated[str, AfterValidator(_known_role)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class KeysError(Exception):
    """The key file cannot be used; the text says why."""


class KeyEntry(BaseModel):
    """One key as the file keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    key_id: Word
    tenant: Word
    user: Word
    tier: Word
    salt: Salt
    sha256: Sha256
    roles: Annotated[tuple[Role, ...], Field(strict=False, min_length=1)] = ("admin",)


class _KeyFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: list[KeyEntry]


class KeyRing:
    """All keys, looked up by their id: those of the ledger, and those of the key file that it does not know."""

    def __init__(self, entries: Iterable[KeyEntry], recorded: RecordedKeys | None = None) -> None:
        self._recorded = recorded
        self._entries = {entry.key_id: entry for entry in entries}

    def replace(self, entries: Iterable[KeyEntry]) -> tuple[int, int]:
        """Take other keys at once; return how many were added and how many removed. A changed key is both."""
        before, self._entries = self._entries, {entry.key_id: entry for entry in entries}
        changed = before.items() ^ self._entries.items()
        added = sum(1 for key_id, entry in changed if self._entries.get(key_id) == entry)
        return added, len(changed) - added

    def identify(self, key: str) -> Identity | None:
        """Return the owner of a key; None when the key is not known."""
        key_id, _, secret = key.removeprefix(_PREFIX).partition("-")
        if not key.startswith(_PREFIX):
            return None
        if self._recorded is not None and key_id in self._recorded:
            return self._recorded.identify(key_id, secret)
        entry = self._entries.get(key_id)
        if entry is None:
            return None
        if not hmac.compare_digest(_hash(entry.salt, secret), entry.sha256):
            return None
        return Identity(entry.key_id, entry.tenant, entry.user, entry.tier, rights=rights_of(entry.roles))


def load_keys(path: Path) -> KeyRing:
    """Read the key file; KeysError when it is missing or malformed."""
    return KeyRing(parse_keys(path, read_keys_file(path)))


def read_keys_file(path: Path) -> bytes:
    """Return the content of the key file; KeysError when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeysError(f"{path}: {error.strerror}") from error


def parse_keys(path: Path, content: bytes) -> list[KeyEntry]:
    """Return the keys in the `content` of `path`; KeysError, which names the place, when it is malformed."""
    try:
        document = yaml.safe_load(content.decode())
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: bad UTF-8, or a date of no calendar
        raise KeysError(f"{path}: not YAML") from error
    try:
        return _KeyFile.model_validate(document).keys
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise KeysError(f"{path}: {where or 'the file'}: {error.errors()[0]['msg']}") from error


def add_key(path: Path, tenant: str, user: str, tier: str, roles: Sequence[str] = ()) -> str:
    """Make a key, append its hash to the file (created if need be) and return the key: it is shown only now.

    Without roles it is an `admin`.
    """
    key_id, secret, salt = secrets.token_hex(4), secrets.token_urlsafe(32), secrets.token_hex(16)
    fields = {"key_id": key_id, "tenant": tenant, "user": user, "tier": tier, "salt": salt}
    entry = KeyEntry.model_validate({**fields, "sha256": _hash(salt, secret), **({"roles": [*roles]} if roles else {})})
    with _open_private(path.with_name(path.name + ".lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        entries = parse_keys(path, read_keys_file(path)) if path.exists() else []
        document = {"keys": [known.model_dump(exclude_unset=True) for known in (*entries, entry)]}
        replacement = path.with_name(path.name + ".new")
        replacement.unlink(missing_ok=True)
        with _open_private(replacement) as file:
            file.write(yaml.safe_dump(document, sort_keys=False))
        os.replace(replacement, path)  # noqa: PTH105 - Path.replace returns a path that is not needed
    return f"{_PREFIX}{key_id}-{secret}"


def _hash(salt: str, secret: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + secret.encode()).hexdigest()


def _open_private(path: Path) -> TextIO:
    """Open a file for writing that only its owner may read, whatever the umask and whatever its mode was."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8")


def main() -> None:
    """Command line: `python -m edge.guard.keys add FILE --tenant T --user U --tier R` prints the new key."""
    parser = argparse.ArgumentParser(prog="python -m edge.guard.keys", description="Make API keys.")
    add = parser.add_subparsers(required=True).add_parser("add", help="add a key and print it")
    add.add_argument("file", type=Path)
    for name in ("tenant", "user", "tier"):
        add.add_argument(f"--{name}", required=True)
    add.add_argument("--role", action="append", default=[], choices=[*ROLES], help="may be repeated (admin)")
    arguments = parser.parse_args()
    try:
        key = add_key(arguments.file, arguments.tenant, arguments.user, arguments.tier, arguments.role)
    except (KeysError, OSError, ValidationError) as error:
        sys.exit(f"keys: {error}")
    sys.stdout.write(key + "\n")


if __name__ == "__main__":
    main()
