"""Which API keys changed: asked from the ledger, or read from what it keeps in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from redis.exceptions import RedisError

from servicekit.redis_client import RedisClient
from spillway.accounts.v1 import accounts_pb2 as accountspb
from spillway.accounts.v1 import accounts_pb2_grpc

# The format is that of the cost-ledger's accounts/publish_keys.py.
_RECORDS = "{spillway:keys}:records"
_REVISIONS = "{spillway:keys}:revisions"
_PAGE = 2000
_TIMEOUT_SECONDS = 3.0


class ChangesUnknown(Exception):
    """This source does not answer."""


class Changes(NamedTuple):
    """A page of keys in the order of their last changes."""

    records: Sequence[accountspb.KeyRecord]
    revision: int
    """Of the last key of this page; of the one that was asked for when there is none."""
    latest: int
    """Of the last change that the source knows."""


class LedgerKeyChanges:
    """Asks the ledger."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = accounts_pb2_grpc.AccountsServiceStub(channel)

    async def since(self, revision: int) -> Changes:
        """Return the next changes; ChangesUnknown when the ledger does not answer."""
        request = accountspb.ListKeyChangesRequest(since_revision=revision, limit=_PAGE)
        try:
            response = await self._stub.ListKeyChanges(request, timeout=_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise ChangesUnknown from error
        last = response.records[-1].key.revision if response.records else revision
        return Changes(response.records, last, response.revision)


class RedisKeyChanges:
    """Reads what the ledger has published."""

    def __init__(self, client: RedisClient) -> None:
        self._client = client

    async def since(self, revision: int) -> Changes:
        """Return the next changes; ChangesUnknown when Redis does not answer or has no keys."""
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                return await self._since(revision)
        except (RedisError, OSError, TimeoutError, DecodeError) as error:
            raise ChangesUnknown from error

    async def _since(self, revision: int) -> Changes:
        # The client's types omit that these are awaitable.
        client: Any = self._client
        newest = await client.zrange(_REVISIONS, -1, -1, withscores=True)
        if not newest:
            raise ChangesUnknown
        found = await client.zrangebyscore(_REVISIONS, f"({revision}", "+inf", start=0, num=_PAGE, withscores=True)
        values = await client.hmget(_RECORDS, [key_id for key_id, _ in found]) if found else []
        if None in values:
            raise ChangesUnknown
        last = int(found[-1][1]) if found else revision
        return Changes([accountspb.KeyRecord.FromString(value) for value in values], last, int(newest[0][1]))
