"""Who is asked for changes of keys, and what stays when none of them can tell."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge.guard.follow_keys import KeyFollower
from edge.guard.recorded_keys import RecordedKeys
from edge.ledger.key_changes import Changes, ChangesUnknown
from edge.metrics import Metrics
from spillway.accounts.v1 import accounts_pb2 as accountspb

from .test_recorded_keys import PEPPER, SECRET, disabled, record


class Told:
    """What a source knows: keys by revision, in pages of two; None: it does not answer."""

    def __init__(self, *records: accountspb.KeyRecord) -> None:
        self.records: list[accountspb.KeyRecord] | None = [*records]

    async def since(self, revision: int) -> Changes:
        """Return the next two."""
        if self.records is None:
            raise ChangesUnknown
        known = sorted(self.records, key=lambda each: each.key.revision)
        page = [each for each in known if each.key.revision > revision][:2]
        latest = known[-1].key.revision if known else 0
        return Changes(page, page[-1].key.revision if page else revision, latest)


def at(revision: int, made: accountspb.KeyRecord) -> accountspb.KeyRecord:
    """Return a key as it has been since a revision."""
    made.key.revision = revision
    return made


@pytest.fixture(name="keys")
def _keys(metrics: Metrics) -> RecordedKeys:
    return RecordedKeys(PEPPER, metrics)


def known(keys: RecordedKeys) -> list[str]:
    """Return the ids of the keys that open."""
    return [key_id for key_id in ("k1", "k2", "k3") if keys.identify(key_id, SECRET)]


async def test_all_pages_are_taken_in_one_turn(keys: RecordedKeys, metrics: Metrics) -> None:
    """An edge that starts knows all keys after its first turn."""
    ledger = Told(*(at(number, record(f"k{number}")) for number in (1, 2, 3)))
    await KeyFollower(ledger, Told(), keys, metrics).turn()

    assert ["k1", "k2", "k3"] == known(keys)


async def test_a_redis_that_is_behind_brings_no_key_back(
    keys: RecordedKeys, metrics: Metrics, counted: Callable[..., float]
) -> None:
    """While the ledger is away: what it has disabled stays dead, and what it has made stays alive."""
    ledger = Told(at(2, disabled(record("k1"))), at(3, record("k2")))
    redis = Told(at(1, record("k1")))
    follower = KeyFollower(ledger, redis, keys, metrics)
    await follower.turn()
    ledger.records = None
    await follower.turn()
    assert (["k2"], 1) == (known(keys), counted("edge_account_keys_fallbacks_total", source="redis"))
    redis.records = [*(redis.records or ()), at(4, record("k3"))]
    await follower.turn()

    assert ["k2", "k3"] == known(keys)


async def test_a_ledger_with_a_database_from_a_backup_is_followed_back(keys: RecordedKeys, metrics: Metrics) -> None:
    """Keys that it does not have are forgotten, though nobody has disabled them; later ones are followed."""
    ledger = Told(*(at(number, record(f"k{number}")) for number in (1, 2, 3)))
    follower = KeyFollower(ledger, Told(), keys, metrics)
    await follower.turn()
    ledger.records = [at(1, record("k1")), at(2, disabled(record("k2")))]
    await follower.turn()
    assert ["k1"] == known(keys)
    ledger.records.append(at(3, record("k2")))
    await follower.turn()

    assert ["k1", "k2"] == known(keys)


async def test_with_nobody_to_ask_what_is_known_stays(
    keys: RecordedKeys, metrics: Metrics, counted: Callable[..., float]
) -> None:
    """And the copy is as old as the last answer."""
    ledger, redis = Told(at(1, record("k1"))), Told()
    follower = KeyFollower(ledger, redis, keys, metrics)
    await follower.turn()
    current = counted("edge_account_keys_current_timestamp_seconds")
    ledger.records = redis.records = None
    await follower.turn()

    assert ["k1"] == known(keys)
    assert 1 == counted("edge_account_keys_fallbacks_total", source="memory")
    assert 0 < current == counted("edge_account_keys_current_timestamp_seconds")
