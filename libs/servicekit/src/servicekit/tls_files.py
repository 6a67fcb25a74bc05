"""A certificate, its key and the trusted authorities: three files, read and tried out.

The names are those of a Kubernetes Secret of type kubernetes.io/tls, as cert-manager writes it.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import grpc

CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"

Role = Literal["server", "client"]


class TlsFilesUnusable(Exception):
    """The files cannot be used; the message names the file and the reason."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The three files, as PEM."""

    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    authority: bytes = field(repr=False)

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return credentials for a channel with these files."""
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)


def trust_also(context: ssl.SSLContext, ca_file: Path) -> None:
    """Have `context` trust the authorities in a PEM file besides its own; TlsFilesUnusable when there are none.

    Certificates of companies often lack extensions of RFC 5280, which Python insists on from 3.13 on.
    """
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError as error:
        raise TlsFilesUnusable(f"{ca_file}: it has no certificate in PEM that can be read ({error.reason})") from error
    except OSError as error:
        raise TlsFilesUnusable(f"{ca_file}: {error.strerror}") from error


def read_files(folder: Path) -> TlsFiles:
    """Return the content of the files in `folder`; TlsFilesUnusable when one cannot be read."""
    return TlsFiles(*(_read(folder / name) for name in (CERTIFICATE, KEY, AUTHORITY)))


def try_files(folder: Path, role: Role) -> Mapping[str, float]:
    """Verify the certificate in `role` as a peer that trusts the authority would, in a handshake in memory.

    Return the Unix times at which the certificate and the first of the authorities expire. TlsFilesUnusable when the
    peer would refuse it, or no connection can be made with it.
    """
    bearer, verifier = _bearer(folder, role), _verifier(folder, role)
    authorities = verifier.get_ca_certs()
    if not authorities:
        raise TlsFilesUnusable(f"{folder / AUTHORITY}: none of its certificates is an authority's")
    try:
        certificate = _certificate_seen(bearer, verifier, role)
    except ssl.SSLCertVerificationError as error:
        raise TlsFilesUnusable(
            f"{folder / CERTIFICATE}: a peer that trusts {folder / AUTHORITY} refuses it: {error.verify_message}"
        ) from error
    except ssl.SSLError as error:
        raise TlsFilesUnusable(f"{folder / CERTIFICATE}: no connection can be made with it: {error.reason}") from error
    return {
        CERTIFICATE: _end(certificate),
        AUTHORITY: min(_end(authority) for authority in authorities),
    }


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TlsFilesUnusable(f"{path}: {error.strerror}") from error
    if not content.strip():
        raise TlsFilesUnusable(f"{path}: the file is empty")
    return content


def _bearer(folder: Path, role: Role) -> ssl.SSLContext:
    """Return the side that shows the certificate and requests none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if role == "server" else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _load_authorities(ssl.SSLContext(context.protocol), folder / CERTIFICATE)  # raises when it is no certificate
    try:
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise TlsFilesUnusable(
            f"{folder / KEY}: not the key of {folder / CERTIFICATE}, or no key in PEM without a password"
        ) from error
    return context


def _verifier(folder: Path, role: Role) -> ssl.SSLContext:
    """Return the other side, which requires a certificate of the authority. Names are checked by real peers only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if role == "server" else ssl.PROTOCOL_TLS_SERVER)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    _load_authorities(context, folder / AUTHORITY)
    if role == "client":  # a server has to show one itself; it is not verified here
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY, password="")
    return context


def _load_authorities(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(cadata=_read(path).decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise TlsFilesUnusable(f"{path}: no certificate in PEM") from error


def _certificate_seen(bearer: ssl.SSLContext, verifier: ssl.SSLContext, role: Role) -> Mapping[str, object]:
    """Connect both sides in memory; return the bearer's certificate as the verifier sees it."""
    to_bearer, to_verifier = ssl.MemoryBIO(), ssl.MemoryBIO()
    showing = bearer.wrap_bio(to_bearer, to_verifier, server_side=role == "server")
    seeing = verifier.wrap_bio(to_verifier, to_bearer, server_side=role == "client")
    unfinished = [showing, seeing]
    for _ in range(10):  # a handshake takes three rounds
        for side in tuple(unfinished):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            unfinished.remove(side)
    return seeing.getpeercert() or {}


def _end(certificate: Mapping[str, object]) -> float:
    return float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))
