"""A fail-over of PostgreSQL: the ledger leaves the server that takes no writes any more and finds the one that does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from cost_ledger import primary
from cost_ledger.connections import closing, write_pool
from cost_ledger.prices.price_list import PriceList
from cost_ledger.primary import Primary
from cost_ledger.reading.reader import Reader, read_pool
from cost_ledger.recording.store import Store
from cost_ledger.schema.migrate import migrate
from cost_ledger.settings import Settings
from kit.ledger.cost_events import admitted, attempt, read_admitted, request, settled, used
from kit.ledger.process import PRICE_BOOK, database, parts_on, running_ledger, until
from kit.stores.postgres_pair import Pair, replicated_postgres
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

pytestmark = pytest.mark.integration

# Within this time the ledger works with the new primary.
_BOUND_SECONDS = 30.0


@pytest.fixture
async def pair(tmp_path: Path, redis_url: str) -> AsyncIterator[Pair]:
    """Yield two servers with the ledger's tables; what is committed on the first is on the second."""
    with replicated_postgres(tmp_path) as pair:
        await migrate(_settings(pair, redis_url))
        await pair.first.execute("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        yield pair


async def test_a_ledger_follows_the_primary(pair: Pair, redis_url: str, tmp_path: Path) -> None:
    """The old primary comes back as a standby on its port; what is recorded and read afterwards is at the new one."""
    before, after = request(), request()
    url = pair.url("ledger")
    async with (
        parts_on(database(pair.first.url, "ledger"), redis_url) as old,
        running_ledger(tmp_path, url, redis_url) as ledger,
    ):
        await old.client.flushall()
        await old.send(admitted(before), settled(before, [attempt(usage=used(10, 5))]))
        await until(old.is_drained)
        await asyncio.to_thread(pair.first.demote)
        await pair.second.promote()
        promoted = time.monotonic()
        async with parts_on(database(pair.second.url, "ledger"), redis_url) as new:
            await new.send(admitted(after), settled(after, [attempt(usage=used(10, 5))]))
            await until(new.is_drained, _BOUND_SECONDS)
            assert "settled" == await new.state_of(before.request_id)
            assert "settled" == await new.state_of(after.request_id)
            assert [] == await new.dead()
        question = ledgerpb.GetRequestRequest(tenant=after.tenant, request_id=after.request_id)
        receipt = await ledger.stub.GetRequest(question, timeout=5)

    assert after.request_id == receipt.record.request.request_id
    assert time.monotonic() - promoted < _BOUND_SECONDS


async def test_a_server_that_has_become_read_only_is_left(pair: Pair, redis_url: str) -> None:
    """It answers everything else, and refuses new writes: one refusal is enough, and all connections go."""
    pool = write_pool(_settings(pair, redis_url))
    store, event = Store(pool, 10.0), read_admitted(admitted(request()))
    async with closing(pool):
        # Two idle connections to the first server.
        await asyncio.gather(*(pool.fetchval("SELECT pg_sleep(0.2)") for _ in range(2)))
        await pair.first.execute("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        await pair.second.promote()

        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await store.record([event], [])
        recorded = await store.record([event], [])
        ports = await asyncio.gather(*(pool.fetchval("SELECT inet_server_port() FROM pg_sleep(0.2)") for _ in range(3)))

    assert 1 == len(recorded.admitted)
    assert {pair.second.port} == set(ports)


async def test_a_server_that_hangs_is_left(pair: Pair, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections stand and its port accepts more, but nothing answers: neither holds up the next batch."""
    monkeypatch.setattr(primary, "CONNECT_SECONDS", 0.5)
    pool, readers = write_pool(_settings(pair, redis_url)), read_pool(_settings(pair, redis_url))
    store, event = Store(pool, 0.5), read_admitted(admitted(request()))
    async with closing(pool), closing(readers):
        await asyncio.gather(*(pool.fetchval("SELECT pg_sleep(0.2)") for _ in range(8)))
        await Reader(readers).request("acme", event.request.request_id)
        with pair.first.frozen():
            await pair.second.promote()
            with pytest.raises(TimeoutError):
                await store.record([event], [])
            began = time.monotonic()
            recorded = await Store(pool, 10.0).record([event], [])
            took = time.monotonic() - began
            await PriceList(pool, 10.0).refresh()

    assert 1 == len(recorded.admitted)
    assert took < 2.0, "each of the old connections had to time out by itself"


async def test_the_next_connection_begins_with_the_next_server(pair: Pair) -> None:
    """A caller that gives up while the first server hangs does not make everybody wait for it again."""
    finder = Primary("primary")
    with pair.first.frozen():
        await pair.second.promote()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await finder.connect(pair.url("postgres"))
        async with asyncio.timeout(2.0):
            connection = await finder.connect(pair.url("postgres"))
            port = await connection.fetchval("SELECT inet_server_port()")
            await connection.close()

    assert pair.second.port == port


def _settings(pair: Pair, redis_url: str) -> Settings:
    return Settings(postgres_url=pair.url("ledger"), redis_url=redis_url, price_book_file=PRICE_BOOK)
