"""What an API key of the ledger takes, as published in Redis and in the memory of each edge."""

from __future__ import annotations

import gc
import secrets
import tracemalloc

import redis
from prometheus_client import CollectorRegistry

from bench.scale.shard import memory
from cost_ledger.accounts.publish_keys import RECORDS, REVISIONS
from edge.guard.recorded_keys import RecordedKeys
from edge.metrics import Metrics
from spillway.accounts.v1 import accounts_pb2 as accountspb

KEYS = 5000


def bytes_per_key(url: str) -> tuple[float, float]:
    """Return the bytes of a key in Redis and in an edge."""
    records = [_record(number) for number in range(KEYS)]
    client = redis.Redis.from_url(url)
    client.hset(RECORDS, mapping={each.key.key_id: each.SerializeToString() for each in records})
    client.zadd(REVISIONS, {each.key.key_id: each.key.revision for each in records})
    published = memory(client, RECORDS, REVISIONS) / KEYS
    client.flushall()
    return published, _held(records) / KEYS


def _held(records: list[accountspb.KeyRecord]) -> int:
    """Return the bytes that an edge allocates for records and keeps."""
    keys = RecordedKeys(None, Metrics(CollectorRegistry()))
    gc.collect()
    tracemalloc.start()
    try:
        keys.apply(records)
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return held


def _record(number: int) -> accountspb.KeyRecord:
    """Return a key of a user of a team, as the ledger publishes it."""
    key = accountspb.Key(
        key_id=f"k{number:011d}",
        tenant=f"tenant-{number % 50}",
        user=f"user-{number}",
        team=f"team-{number % 200}",
        tier=accountspb.TIER_PREMIUM,
        revision=number + 1,
    )
    salted = accountspb.SCHEME_SALTED_SHA256
    return accountspb.KeyRecord(key=key, scheme=salted, salt=secrets.token_bytes(16), hash=secrets.token_bytes(32))
