"""What is sealed opens with its key and what it is about, and with nothing else."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from servicekit.sealing import CannotOpen, Sealed, SealingKeys, SealingKeysUnusable, read_sealing_keys

_OLD, _NEW = bytes(range(32)), bytes(range(32, 64))
_ABOUT = b"request 1 of acme"


def _file(folder: Path, *lines: str) -> Path:
    file = folder / "keys"
    file.write_text("\n".join(lines))
    return file


def _line(key_id: str, key: bytes) -> str:
    return f"{key_id}: {base64.b64encode(key).decode()}"


def test_the_first_key_seals_and_all_open(tmp_path: Path) -> None:
    """A key is replaced without losing what the old one has sealed."""
    before = read_sealing_keys(_file(tmp_path, _line("old", _OLD)))
    after = read_sealing_keys(_file(tmp_path, "# replaced in November", "", _line("new", _NEW), _line("old", _OLD)))

    sealed = before.seal(b"text", _ABOUT)

    assert "old" == sealed.key_id
    assert b"text" == after.open(sealed, _ABOUT)
    assert "new" == after.seal(b"text", _ABOUT).key_id
    assert 2 == len(after)


def test_nothing_is_sealed_twice_in_the_same_way() -> None:
    """A nonce that came again would give away both texts."""
    keys = SealingKeys({"one": _OLD})

    sealed = [keys.seal(b"text", _ABOUT) for _ in range(1000)]

    assert 1000 == len({each.nonce for each in sealed}) == len({each.ciphertext for each in sealed})
    assert {12} == {len(each.nonce) for each in sealed}


def test_what_is_about_something_else_does_not_open() -> None:
    """A row that was moved to another tenant, or changed in any bit, is noticed."""
    keys = SealingKeys({"one": _OLD})
    sealed = keys.seal(b"text", _ABOUT)
    changed = [
        (sealed, b"request 1 of other"),
        (sealed._replace(nonce=bytes(12)), _ABOUT),
        (sealed._replace(nonce=b""), _ABOUT),
        (sealed._replace(ciphertext=b"\0" + sealed.ciphertext[1:]), _ABOUT),
        (sealed._replace(ciphertext=sealed.ciphertext[:-1]), _ABOUT),
        (sealed._replace(ciphertext=b""), _ABOUT),
    ]

    for each, about in changed:
        with pytest.raises(CannotOpen, match="'one' does not open it"):
            keys.open(each, about)


def test_a_key_that_is_not_there_is_named() -> None:
    """Whoever cannot read a text learns which key to look for."""
    with pytest.raises(CannotOpen, match="'lost', which is not in the key file"):
        SealingKeys({"one": _OLD}).open(Sealed("lost", bytes(12), bytes(20)), _ABOUT)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((), "1 to 100 keys"),
        (("# nothing",), "1 to 100 keys"),
        (("one",), "line 1"),
        (("one: ",), "line 1"),
        (("one: c2hvcnQ=",), "line 1"),
        (("one: " + "A" * 43,), "line 1"),
        ((_line("one", _OLD), _line("", _NEW)), "line 2"),
        ((_line("o n e", _OLD),), "line 1"),
        ((_line("x" * 65, _OLD),), "line 1"),
        ((_line("one", _OLD), _line("one", _NEW)), "line 2: this id is there already"),
        (tuple(_line(f"k{number}", _OLD) for number in range(101)), "1 to 100 keys"),
    ],
)
def test_what_is_no_key_file_is_refused(tmp_path: Path, lines: tuple[str, ...], reason: str) -> None:
    """The reason names the line, and never a key."""
    with pytest.raises(SealingKeysUnusable, match=reason) as caught:
        read_sealing_keys(_file(tmp_path, *lines))

    assert base64.b64encode(_OLD).decode() not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Neither a missing file nor one of another encoding is a crash."""
    (tmp_path / "latin").write_bytes(b"\xe9")

    for name, reason in (("nowhere", "No such file"), ("latin", "not ASCII")):
        with pytest.raises(SealingKeysUnusable, match=reason):
            read_sealing_keys(tmp_path / name)
