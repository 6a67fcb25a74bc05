"""The key file is followed while an edge runs, and no broken file takes a good one's place."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
import yaml
from prometheus_client import CollectorRegistry

from edge.guard.key_watch import KeyWatch
from edge.guard.keys import KeysError, add_key
from edge.metrics import Metrics
from kit.front_door.lone_edge import running_lone_edge


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


@pytest.fixture(name="key")
def _key(file: Path) -> str:
    return add_key(file, "acme", "ada", "gold")


@pytest.fixture(name="registry")
def _registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture(name="watch")
def _watch(file: Path, key: str, registry: CollectorRegistry) -> KeyWatch:
    assert key
    return KeyWatch(file, Metrics(registry))


async def settle(watch: KeyWatch) -> None:
    """Check as often as a change needs to be taken for one."""
    await watch.check()
    await watch.check()


def remove_keys(file: Path) -> None:
    """Leave a valid file without a key."""
    file.write_text(yaml.safe_dump({"keys": []}))


async def test_an_added_key_works_and_a_removed_one_is_dead(watch: KeyWatch, file: Path, key: str) -> None:
    """Without a restart; `identify` holds the same ring all the time."""
    ring = watch.ring
    added = add_key(file, "acme", "bob", "gold")
    await settle(watch)

    assert ring.identify(added)
    assert ring.identify(key)

    remove_keys(file)
    await settle(watch)

    assert not ring.identify(added)
    assert not ring.identify(key)


async def test_a_key_with_another_secret_replaces_the_old_one(watch: KeyWatch, file: Path, key: str) -> None:
    """The id stays the same; the secret that got out is dead."""
    document = yaml.safe_load(file.read_text())
    document["keys"][0]["sha256"] = "0" * 64
    file.write_text(yaml.safe_dump(document))
    await settle(watch)

    assert not watch.ring.identify(key)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_text("keys: ["),
        lambda file: file.write_text(""),
        lambda file: file.write_bytes(b"\xff\xfe"),
        lambda file: file.write_text("[" * 100_000),
        lambda file: file.write_text("keys: [{}]"),
        lambda file: file.unlink(),
        lambda file: (file.unlink(), file.mkdir()),
    ],
    ids=["not yaml", "empty", "not text", "deep", "no fields", "missing", "a folder"],
)
async def test_a_broken_file_keeps_the_last_good_one_in_force(
    watch: KeyWatch, file: Path, key: str, registry: CollectorRegistry, spoil: Callable[[Path], object]
) -> None:
    """Logged once, a gauge as long as it lasts; the next good file ends it."""
    good = file.read_bytes()
    spoil(file)
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            await watch.check()

    assert watch.ring.identify(key)
    assert ["keys_refused"] == [line["event"] for line in logs]
    assert str(file) in logs[0]["reason"]
    assert 1 == registry.get_sample_value("edge_keys_stale")

    if file.is_dir():
        file.rmdir()
    file.write_bytes(good)
    await settle(watch)

    assert watch.ring.identify(key)
    assert 0 == registry.get_sample_value("edge_keys_stale")


async def test_a_second_fault_is_logged_too(watch: KeyWatch, file: Path) -> None:
    """Who mends a file badly reads what is wrong now."""
    with structlog.testing.capture_logs() as logs:
        for text in ("keys: [", "keys: [{}]", "keys: ["):
            file.write_text(text)
            await settle(watch)

    assert ["not YAML", "keys.0.key_id", "not YAML"] == [line["reason"].split(": ")[1] for line in logs]


async def test_a_file_that_is_being_written_is_not_taken(watch: KeyWatch, file: Path, key: str) -> None:
    """Half a list of keys is a valid list: what changes at each check has not settled."""
    for number in range(5):
        file.write_text(f"keys: []\n#{number}\n")
        await watch.check()

    assert watch.ring.identify(key)


async def test_a_mounted_secret_is_followed(tmp_path: Path, key: str, file: Path) -> None:
    """The kubelet replaces the folder behind a symlink; path, and what it leads to, stay."""
    for version, content in (("1", file.read_text()), ("2", yaml.safe_dump({"keys": []}))):
        (tmp_path / version).mkdir()
        (tmp_path / version / "keys.yaml").write_text(content)
    (tmp_path / "..data").symlink_to("1")
    mounted = tmp_path / "mounted.yaml"
    mounted.symlink_to("..data/keys.yaml")
    watch = KeyWatch(mounted, Metrics(CollectorRegistry()))
    assert watch.ring.identify(key)

    (tmp_path / "..new").symlink_to("2")
    os.replace(tmp_path / "..new", tmp_path / "..data")  # noqa: PTH105 - as the kubelet does
    await settle(watch)

    assert not watch.ring.identify(key)


def test_an_edge_does_not_start_without_a_valid_file(tmp_path: Path) -> None:
    """There is no last good one then."""
    with pytest.raises(KeysError, match="No such file"):
        KeyWatch(tmp_path / "keys.yaml", Metrics(CollectorRegistry()))


@pytest.mark.integration
def test_a_running_edge_follows_its_key_file(tmp_path: Path) -> None:
    """Within seconds, over HTTP, with the command that adds keys."""
    with running_lone_edge(tmp_path) as edge:
        assert 401 != edge.status_of(edge.key)

        added = add_key(edge.keys_file, "acme", "bob", "gold")
        until(lambda: edge.status_of(added) != 401)
        edge.keys_file.write_text("keys: [")
        until(lambda: edge.metric("edge_keys_stale") == 1)
        assert 401 != edge.status_of(edge.key)

        remove_keys(edge.keys_file)
        until(lambda: edge.status_of(added) == 401)
        assert 401 == edge.status_of(edge.key)
        assert 0 == edge.metric("edge_keys_stale")


def until(is_true: Callable[[], bool]) -> None:
    """Wait until it is; within five seconds on a machine that is not busy."""
    deadline = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
