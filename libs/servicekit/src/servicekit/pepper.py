"""A keyed hash of secrets that are random themselves: who reads the hashes alone can neither invert nor test them.

The key, called pepper, is in a file that makers and checkers of secrets share, and never beside the hashes.
"""

from __future__ import annotations

import hmac
from pathlib import Path

_MIN_CHARACTERS = 32


class PepperUnusable(Exception):
    """The file has no pepper that can be used; the message names the file and the reason."""


class Pepper:
    """Hashes with HMAC-SHA256."""

    __slots__ = ("_secret", "pepper_id")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.pepper_id = self.hash("pepper id").hex()[:16]
        """Tells peppers apart and nothing else about them."""

    def hash(self, text: str) -> bytes:
        """Return the hash of `text`, 32 bytes."""
        return hmac.digest(self._secret, text.encode(), "sha256")


def read_pepper(file: Path | None) -> Pepper | None:
    """Return the pepper in `file`, None without a file; PepperUnusable when there is none in it."""
    if file is None:
        return None
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise PepperUnusable(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PepperUnusable(f"{file}: not ASCII") from error
    if len(text) < _MIN_CHARACTERS or not text.isprintable() or " " in text:
        raise PepperUnusable(f"{file}: a pepper is one word of {_MIN_CHARACTERS} characters or more")
    return Pepper(text.encode())
