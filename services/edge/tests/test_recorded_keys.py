"""The ledger's keys in memory: only a whole key in force opens, and the ledger's word goes before the file's."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge.guard.keys import KeyRing, add_key, parse_keys, read_keys_file
from edge.guard.recorded_keys import RecordedKeys
from edge.identity import Identity
from edge.metrics import Metrics
from servicekit.pepper import Pepper
from spillway.accounts.v1 import accounts_pb2 as accountspb

PEPPER = Pepper(b"p" * 32)
SECRET = "se-cret"


def record(key_id: str = "k1", pepper: Pepper = PEPPER, **fields: Any) -> accountspb.KeyRecord:
    """Return a key as the ledger tells of it."""
    common = {"tenant": "acme", "user": "ada", "tier": accountspb.TIER_PREMIUM, "roles": [accountspb.ROLE_ADMIN]}
    key = accountspb.Key(key_id=key_id, **{**common, **fields})
    return accountspb.KeyRecord(
        key=key,
        scheme=accountspb.SCHEME_HMAC_SHA256,
        hash=pepper.hash(f"{key_id}-{SECRET}"),
        pepper_id=pepper.pepper_id,
    )


def expiring(seconds: float) -> accountspb.KeyRecord:
    """Return a key that expires so many seconds from now."""
    made = record()
    made.key.expires_at.FromMilliseconds(int((time.time() + seconds) * 1000))
    return made


def disabled(made: accountspb.KeyRecord) -> accountspb.KeyRecord:
    """Disable a key."""
    made.key.disabled_at.GetCurrentTime()
    return made


@pytest.fixture(name="keys")
def _keys(metrics: Metrics) -> RecordedKeys:
    return RecordedKeys(PEPPER, metrics, max_keys=3)


def test_a_key_identifies_its_owner(keys: RecordedKeys) -> None:
    """With its tier; whoever has no user is on record by the id of the key."""
    keys.apply([record(), record("k2", user="", tier=accountspb.TIER_FREE)])
    ring = KeyRing([], keys)

    assert Identity("k1", "acme", "ada", "premium") == ring.identify(f"sk-spillway-k1-{SECRET}")
    assert Identity("k2", "acme", "key:k2", "free") == ring.identify(f"sk-spillway-k2-{SECRET}")


@pytest.mark.parametrize(
    "key",
    [
        "sk-spillway-k1-se-cre",
        "sk-spillway-k1-",
        "sk-spillway-k1",
        "k1-se-cret",
        "sk-spillway-k2-se-cret",
        "sk-spillway-k1-\u0130",
    ],
)
def test_anything_else_is_nobodys(keys: RecordedKeys, key: str) -> None:
    """A wrong secret, a piece of it, another id."""
    keys.apply([record()])

    assert KeyRing([], keys).identify(key) is None


def test_a_hash_of_another_key_does_not_open(keys: RecordedKeys) -> None:
    """The id is in the hash: who can write rows cannot give one key the secret of another."""
    moved = record("k2")
    moved.hash = record("k1").hash
    keys.apply([moved])

    assert keys.identify("k2", SECRET) is None


@pytest.mark.parametrize("place", range(32))
def test_each_byte_of_the_hash_counts(keys: RecordedKeys, place: int) -> None:
    """A comparison of a part of it would let one key in so many open."""
    made = record()
    changed = bytearray(made.hash)
    changed[place] ^= 1
    made.hash = bytes(changed)
    keys.apply([made])

    assert keys.identify("k1", SECRET) is None


@pytest.mark.parametrize("secret", [SECRET, "wrong"])
def test_hashes_are_compared_in_constant_time(
    keys: RecordedKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """Of the ledger's keys and of those of the file: the time that is measured tells nothing about the hash."""
    compared: list[tuple[object, object]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    key = add_key(tmp_path / "keys.yaml", "acme", "ada", "gold")
    [entry] = parse_keys(tmp_path / "keys.yaml", read_keys_file(tmp_path / "keys.yaml"))
    keys.apply([record()])
    ring = KeyRing([entry], keys)
    monkeypatch.setattr(hmac, "compare_digest", compare)
    for shown in (f"sk-spillway-k1-{secret}", f"{key}-{secret}"):
        before = len(compared)
        ring.identify(shown)
        assert before + 1 == len(compared)
    assert [record().hash, entry.sha256] == [kept for _, kept in compared]


def test_expiry_is_checked_at_use(keys: RecordedKeys) -> None:
    """Nobody has to tell the edge."""
    keys.apply([expiring(3600)])
    assert keys.identify("k1", SECRET)
    keys.apply([expiring(0.05)])
    time.sleep(0.1)

    assert keys.identify("k1", SECRET) is None


def test_a_disabled_key_is_dead_until_it_is_enabled(keys: RecordedKeys) -> None:
    """Both take effect with the record."""
    keys.apply([record(), disabled(record())])
    assert keys.identify("k1", SECRET) is None
    keys.apply([record()])

    assert keys.identify("k1", SECRET)


def test_an_imported_key_is_the_ledgers(keys: RecordedKeys, tmp_path: Path) -> None:
    """With its salted hash it works as before; once disabled it is dead, though the file still has it."""
    file = tmp_path / "keys.yaml"
    key = add_key(file, "acme", "ada", "premium")
    [entry] = parse_keys(file, read_keys_file(file))
    imported = accountspb.KeyRecord(
        key=record(entry.key_id).key,
        scheme=accountspb.SCHEME_SALTED_SHA256,
        salt=bytes.fromhex(entry.salt),
        hash=bytes.fromhex(entry.sha256),
    )
    ring = KeyRing([entry], keys)
    before = ring.identify(key)
    keys.apply([imported])

    assert before == ring.identify(key) == Identity(entry.key_id, "acme", "ada", "premium")
    keys.apply([disabled(imported)])
    assert ring.identify(key) is None
    assert hashlib.sha256(bytes.fromhex(entry.salt) + key.split("-", 3)[3].encode()).hexdigest() == entry.sha256


def test_another_pepper_is_noticed(keys: RecordedKeys, counted: Callable[..., float]) -> None:
    """Such a key does not open, and is counted: all of them would be dead without anybody knowing why."""
    keys.apply([record(pepper=Pepper(b"q" * 32))])

    assert keys.identify("k1", SECRET) is None
    assert 1 == counted("edge_account_keys_unusable_total", reason="pepper")


def test_an_edge_without_a_pepper_takes_only_imported_keys(metrics: Metrics, counted: Callable[..., float]) -> None:
    """The others are counted."""
    keys = RecordedKeys(None, metrics)
    keys.apply([record()])

    assert keys.identify("k1", SECRET) is None
    assert 1 == counted("edge_account_keys_unusable_total", reason="pepper")


def test_there_are_only_so_many_keys(keys: RecordedKeys, counted: Callable[..., float]) -> None:
    """One more is not taken, and counted; changes of those that are known still are."""
    keys.apply([record(f"k{number}") for number in range(5)])
    assert (3, 2) == (counted("edge_account_keys"), counted("edge_account_keys_unusable_total", reason="too_many"))
    assert keys.identify("k3", SECRET) is None
    keys.apply([disabled(record("k2"))])

    assert keys.identify("k2", SECRET) is None


def test_looking_a_key_up_takes_microseconds(keys: RecordedKeys) -> None:
    """It is done for each request on the event loop: on a busy machine still well below a millisecond."""
    keys.apply([record()])
    ring, key = KeyRing([], keys), f"sk-spillway-k1-{SECRET}"
    began = time.perf_counter()
    for _ in range(1000):
        ring.identify(key)

    assert time.perf_counter() - began < 1.0, "a microsecond or five each, if nothing else runs"
