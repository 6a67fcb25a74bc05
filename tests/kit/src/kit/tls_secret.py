"""Authorities that sign certificates, and the folder as which a kubelet mounts a Secret with one."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import ObjectIdentifier

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

    def sign_for(self, usage: ObjectIdentifier, name: str) -> tuple[bytes, bytes]:
        """Return a certificate that is good for one usage only and has no subject, as cert-manager's; and its key."""
        issuer = x509.load_pem_x509_certificate(self.certificate)
        signer = serialization.load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .issuer_name(issuer.subject)
            .subject_name(x509.Name([]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=90))
            .add_extension(x509.SubjectAlternativeName([_general_name(name)]), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(signer, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return certificate.public_bytes(pem), private


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


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
