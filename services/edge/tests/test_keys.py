"""API keys: only the whole key opens, and the file never loses one."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from edge.guard.keys import KeysError, add_key, load_keys
from edge.identity import Identity


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


@pytest.fixture(name="key")
def _key(file: Path) -> str:
    return add_key(file, "acme", "ada", "gold")


def add_command(file: Path, user: str) -> list[str]:
    """Return the command that adds a key for `user`."""
    options = ["--tenant", "acme", "--user", user, "--tier", "gold"]
    return [sys.executable, "-m", "edge.guard.keys", "add", str(file), *options]


def test_a_key_identifies_who_it_was_made_for(file: Path, key: str) -> None:
    """What `add` printed opens, for that tenant, user and tier."""
    other = add_key(file, "umbrella", "bob", "free")
    ring = load_keys(file)

    assert Identity(key.split("-")[2], "acme", "ada", "gold") == ring.identify(key)
    assert Identity(other.split("-")[2], "umbrella", "bob", "free") == ring.identify(other)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: key[:-1],
        lambda key: key + "A",
        lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"),
        lambda key: key[:21],
        lambda key: key[:20],
        lambda key: key.removeprefix("sk-spillway-"),
        lambda key: key.replace("sk-spillway-", "sk-proj-"),
        lambda key: key.upper(),
        lambda key: "sk-spillway-" + key,
        lambda key: f"sk-spillway-00000000-{key.split('-', 3)[3]}",
        lambda key: key + "é",
        lambda key: key[:-1] + "\u0130",
        lambda key: key.replace("-", "\u2010"),
        lambda key: key + "\x00",
        lambda key: "sk-spillway-",
        lambda key: "",
    ],
)
def test_anything_but_the_whole_key_is_nobodys(file: Path, key: str, spoil: object) -> None:
    """Wrong secret, unknown id, a piece of it, another prefix, other characters: no error, no identity."""
    assert callable(spoil)

    assert load_keys(file).identify(spoil(key)) is None


def test_what_the_file_holds_is_no_credential(file: Path, key: str) -> None:
    """Who reads the file cannot ask with it: neither hash nor salt opens, and the secret is not in it."""
    (entry,) = yaml.safe_load(file.read_text())["keys"]
    ring = load_keys(file)

    assert key.split("-", 3)[3] not in file.read_text()
    for known in (entry["sha256"], entry["salt"], entry["salt"] + entry["sha256"]):
        assert ring.identify(f"sk-spillway-{entry['key_id']}-{known}") is None


def test_only_the_owner_may_read_the_file(file: Path, key: str) -> None:
    """Also after a key was added to a file that exists."""
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    add_key(file, "acme", "bob", "gold")

    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert load_keys(file).identify(key) is not None


@pytest.mark.integration
def test_keys_added_at_the_same_time_are_all_kept(file: Path) -> None:
    """Two people who add a key at once lose neither."""
    users = [f"u{number}" for number in range(6)]
    running = [subprocess.Popen(add_command(file, user), stdout=subprocess.PIPE, text=True) for user in users]
    keys = [process.communicate(timeout=60)[0].strip() for process in running]
    ring = load_keys(file)

    assert [0] * len(users) == [process.returncode for process in running]
    assert users == [identity.user for key in keys if (identity := ring.identify(key))]


@pytest.mark.integration
def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    """A damaged file is left as it is."""
    file = tmp_path / "keys.yaml"
    file.write_text("keys: [")
    result = subprocess.run(add_command(file, "ada"), capture_output=True, text=True, timeout=60, check=False)

    assert 1 == result.returncode
    assert "" == result.stdout
    assert f"keys: {file}: not YAML\n" == result.stderr
    assert "keys: [" == file.read_text()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the file"),
        ("keys: [", "not YAML"),
        ("keys: 2024-13-45", "not YAML"),
        ("[" * 2000, "not YAML"),
        ("!!python/object/apply:os.getcwd []", "not YAML"),
        ("- a", "the file"),
        ("keys:", "keys"),
        ("keys: []\nusers: []", "users"),
        ("keys: [{}]", "keys.0.key_id"),
        ("keys: [7]", "keys.0"),
    ],
)
def test_a_malformed_file_is_refused_with_its_place(file: Path, text: str, reason: str) -> None:
    """One line that names the file and what is wrong with it."""
    file.write_text(text)
    with pytest.raises(KeysError) as caught:
        load_keys(file)

    assert str(caught.value).startswith(f"{file}: {reason}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("salt", "0" * 33),
        ("salt", "0" * 31),
        ("salt", "x" * 32),
        ("salt", "0" * 32 + "\n"),
        ("sha256", "0" * 32),
        ("sha256", "A" * 64),
        ("tenant", ""),
        ("tenant", 7),
        ("user", None),
        ("colour", "red"),
        ("roles", []),
        ("roles", ["czar"]),
        ("roles", "admin"),
    ],
)
def test_a_malformed_entry_is_refused_with_its_field(file: Path, key: str, field: str, value: object) -> None:
    """A salt that is not whole bytes would otherwise fail at each request instead of at the start."""
    document = yaml.safe_load(file.read_text())
    document["keys"][0][field] = value
    file.write_text(yaml.safe_dump(document))

    with pytest.raises(KeysError, match=rf"keys\.0\.{field}(\.0)?: "):
        load_keys(file)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing, a folder, not text."""
    with pytest.raises(KeysError, match=r"nothing\.yaml: No such file or directory"):
        load_keys(tmp_path / "nothing.yaml")
    with pytest.raises(KeysError, match="Is a directory"):
        load_keys(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KeysError, match="not YAML"):
        load_keys(tmp_path / "bytes.yaml")


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "\x7f"])
def test_names_have_no_control_characters(tmp_path: Path, name: str) -> None:
    """They are recorded with every request, and PostgreSQL takes no NUL."""
    with pytest.raises(ValidationError, match="pattern"):
        add_key(tmp_path / "keys.yaml", "acme", name, "gold")
