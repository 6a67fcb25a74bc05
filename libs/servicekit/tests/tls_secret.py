"""Authorities that sign certificates, and the folder as which a kubelet mounts a Secret with one."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

_FILES = ("tls.crt", "tls.key", "ca.crt")


class Authority:
    """Signs certificates; its own is for those that trust it."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.certificate = self._ca.cert_pem.bytes()

    def sign(self, *names: str, days: float = 90.0) -> tuple[bytes, bytes]:
        """Return a certificate for `names` (also IP addresses) and its key; it ended already for negative `days`."""
        now = datetime.now(UTC)
        issued = self._ca.issue_cert(*names, not_before=now - timedelta(days=10), not_after=now + timedelta(days=days))
        return issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()


class SecretFolder:
    """Its files are links into a folder of their own, and a change of that link changes all of them at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._versions = itertools.count()
        path.mkdir()
        for name in _FILES:
            (path / name).symlink_to(Path("..data") / name)

    def put(self, certificate_and_key: tuple[bytes, bytes], authorities: bytes) -> None:
        """Replace all files."""
        version = self.path / f"..{next(self._versions)}"
        version.mkdir()
        for name, content in zip(_FILES, (*certificate_and_key, authorities), strict=True):
            (version / name).write_bytes(content)
        (self.path / "..new").symlink_to(version.name)
        (self.path / "..new").rename(self.path / "..data")
