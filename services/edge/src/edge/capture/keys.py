"""The keys that seal captured texts: a file that is followed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from google.protobuf.message import DecodeError

from edge.metrics import Metrics
from edge.problems import Problem
from servicekit.followed_file import FollowedFile
from servicekit.sealing import CannotOpen, Sealed, SealingKeys, SealingKeysUnusable, parse_sealing_keys
from spillway.captures.v1 import captures_pb2 as capturespb

# Two checks see a change before it counts.
CAPTURE_KEYS_INTERVAL_SECONDS = 1.0


class CaptureKeys:
    """Follows the file, if there is one."""

    def __init__(self, path: Path | None, metrics: Metrics) -> None:
        """Read the file; SealingKeysUnusable when it is missing or malformed. Without a path nothing is captured."""
        self._keys: SealingKeys | None = None
        self._file: FollowedFile[SealingKeys] | None = None
        if path is not None:
            stale = metrics.capture_keys_stale
            self._file = FollowedFile(
                path, parse_sealing_keys, SealingKeysUnusable, self._replace, stale, "capture_keys"
            )
            self._keys = self._file.first

    @property
    def are_there(self) -> bool:
        """Whether texts can be sealed."""
        return self._keys is not None

    async def check(self) -> None:
        """Put a changed file in force if it is valid."""
        if self._file is not None:
            await self._file.check()

    def seal(self, texts: capturespb.Texts, request_id: str, tenant: str) -> capturespb.SealedTexts:
        """Seal the texts of a request, so that they open for this request of this tenant alone."""
        assert self._keys is not None  # noqa: S101 - whoever asks has looked
        sealed = self._keys.seal(texts.SerializeToString(), _about(request_id, tenant))
        return capturespb.SealedTexts(key_id=sealed.key_id, nonce=sealed.nonce, ciphertext=sealed.ciphertext)

    def open(self, capture: capturespb.Capture) -> capturespb.Texts:
        """Return the texts of a capture; Problem (409) that names the key when they cannot be read here."""
        sealed = Sealed(capture.texts.key_id, capture.texts.nonce, capture.texts.ciphertext)
        if self._keys is None:
            reason = f"it is sealed with the key {sealed.key_id!r}, and this edge has no EDGE_CAPTURE_KEY_FILE"
            raise Problem("capture_unreadable", reason)
        try:
            return capturespb.Texts.FromString(self._keys.open(sealed, _about(capture.request_id, capture.tenant)))
        except (CannotOpen, DecodeError) as error:
            raise Problem("capture_unreadable", str(error)) from error

    def _replace(self, keys: SealingKeys) -> Mapping[str, int]:
        self._keys = keys
        return {"keys": len(keys)}


def _about(request_id: str, tenant: str) -> bytes:
    """Return what texts are sealed with: the same as in the ledger's `captures/message.py`."""
    return f"{request_id}\n{tenant}".encode()
