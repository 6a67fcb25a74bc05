"""The pepper of hashes: read from a file, and never shown."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from servicekit.pepper import Pepper, PepperUnusable, read_pepper

WORD = "0123456789-0123456789-0123456789"


def test_the_hash_is_hmac_sha256(tmp_path: Path) -> None:
    """So that anybody can compute it who has the file; white space at its ends does not count."""
    file = tmp_path / "pepper"
    file.write_text(f"{WORD}\n")
    pepper = read_pepper(file)

    assert pepper is not None
    assert hmac.new(WORD.encode(), b"text", hashlib.sha256).digest() == pepper.hash("text")
    assert pepper.pepper_id == Pepper(WORD.encode()).pepper_id != Pepper(b"other" * 9).pepper_id


def test_no_file_is_no_pepper() -> None:
    """It is not needed where no hashes are made or checked."""
    assert read_pepper(None) is None


@pytest.mark.parametrize("content", [b"", b"short", b"two words that are long enough together", b"\xff" * 40])
def test_what_is_no_pepper_is_refused(tmp_path: Path, content: bytes) -> None:
    """The message names the file and shows nothing of it."""
    file = tmp_path / "pepper"
    file.write_bytes(content)

    with pytest.raises(PepperUnusable) as caught:
        read_pepper(file)
    assert str(file) in str(caught.value)
    assert "long enough" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """With the system's reason."""
    with pytest.raises(PepperUnusable, match="No such file"):
        read_pepper(tmp_path / "none")
