"""Questions that take long: they wait for each other, end in time, and the recording goes on."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import grpc
import pytest

from cost_ledger.reading.reader import read_pool
from cost_ledger.settings import Settings
from kit.ledger.cost_events import request, settled
from kit.ledger.process import LedgerProcess, Parts, until
from spillway.ledger.v1 import ledger_pb2 as ledgerpb


async def test_slow_readers_do_not_hold_up_the_recording(parts: Parts, ledger: LedgerProcess) -> None:
    """More readers hang than there are connections: events are recorded, and all readers get the reason in time."""
    asked = request()
    await parts.send(settled(asked))
    await until(parts.is_drained)
    receipt = ledgerpb.GetRequestRequest(tenant="acme", request_id=asked.request_id)
    async with parts.pool.acquire() as connection, connection.transaction():
        # Receipts read this table, and nothing that is recorded does.
        await connection.execute("LOCK TABLE corrections IN ACCESS EXCLUSIVE MODE")
        calls = [asyncio.ensure_future(ledger.stub.GetRequest(receipt, timeout=20)) for _ in range(100)]
        await until(lambda: _are_waiting(parts, 4))
        await parts.send(*(settled(request()) for _ in range(300)))
        await until(parts.is_drained)
        still_asking = [call for call in calls if not call.done()]
        assert 64 == len(still_asking), "the recording waited for the readers"
        answers = await asyncio.gather(*calls, return_exceptions=True)

    codes = [answer.code() for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {grpc.StatusCode.UNAVAILABLE: 64, grpc.StatusCode.RESOURCE_EXHAUSTED: 36} == {
        code: codes.count(code) for code in set(codes)
    }
    assert 301 == len(await parts.rows("requests"))
    await until(lambda: _are_waiting(parts, 0))
    assert asked.request_id == (await ledger.stub.GetRequest(receipt, timeout=10)).record.request.request_id


async def _are_waiting(parts: Parts, count: int) -> bool:
    """Tell whether so many statements of readers wait for a lock."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cost-ledger-reads' AND state = 'active'"
    return bool(count == await parts.pool.fetchval(query))


async def test_postgres_itself_ends_what_takes_too_long(database_url: str, redis_url: str) -> None:
    """The limit is the connection's, so that it holds when the ledger is gone; and nothing is written by a reader."""
    settings = Settings(postgres_url=database_url, redis_url=redis_url)
    async with read_pool(settings) as pool, pool.acquire() as connection:
        assert "10s" == await connection.fetchval("SHOW statement_timeout")
        await connection.execute("SET statement_timeout = '100ms'")
        started = time.monotonic()
        with pytest.raises(asyncpg.QueryCanceledError):
            await connection.execute("SELECT pg_sleep(60)")
        assert time.monotonic() - started < 30
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("DELETE FROM requests")
