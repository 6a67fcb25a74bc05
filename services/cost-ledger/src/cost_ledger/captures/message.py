"""Captures as they are sent: what their fields may hold, and how they become rows and back."""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from cost_ledger.accounts.fields import identifier, moment
from cost_ledger.errors import FieldInvalid
from servicekit.sealing import NONCE_BYTES
from spillway.captures.v1 import captures_pb2 as capturespb

_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Two texts of 256 KiB, and some hundred bytes.
_MAX_CIPHERTEXT_BYTES = 1024 * 1024


class CaptureRow(NamedTuple):
    """Columns of `captured_texts`."""

    request_id: UUID
    tenant: str
    user_id: str
    asked_at: datetime
    expires_at: datetime
    key_id: str
    nonce: bytes
    ciphertext: bytes

    @property
    def about(self) -> bytes:
        """What the texts were sealed with: the same as in the edge's `capture/captures.py`."""
        return f"{self.request_id}\n{self.tenant}".encode()


def row_of(message: capturespb.Capture) -> CaptureRow:
    """Return a capture as its row, with no end yet; FieldInvalid when it holds what it may not."""
    request_id, asked_at = id_in("request_id", message.request_id), moment("asked_at", message.asked_at)
    texts = message.texts
    if _KEY_ID.fullmatch(texts.key_id) is None or len(texts.nonce) != NONCE_BYTES:
        raise FieldInvalid(f"texts must have a key_id of 1 to 64 characters and a nonce of {NONCE_BYTES} bytes")
    if not 1 <= len(texts.ciphertext) <= _MAX_CIPHERTEXT_BYTES:
        raise FieldInvalid(f"ciphertext must be 1 to {_MAX_CIPHERTEXT_BYTES} bytes")
    return CaptureRow(
        request_id=request_id,
        tenant=identifier("tenant", message.tenant),
        user_id=identifier("user", message.user),
        asked_at=asked_at,
        expires_at=asked_at,
        key_id=texts.key_id,
        nonce=texts.nonce,
        ciphertext=texts.ciphertext,
    )


def message_of(row: CaptureRow) -> capturespb.Capture:
    """Return a row as its message."""
    message = capturespb.Capture(
        request_id=str(row.request_id),
        tenant=row.tenant,
        user=row.user_id,
        texts=capturespb.SealedTexts(key_id=row.key_id, nonce=row.nonce, ciphertext=row.ciphertext),
    )
    message.asked_at.FromDatetime(row.asked_at)
    message.expires_at.FromDatetime(row.expires_at)
    return message


def id_in(field: str, text: str) -> UUID:
    """Return an id; FieldInvalid when it is none."""
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise FieldInvalid(f"{field} must be a UUID") from error
