"""The real process through outages of Postgres and Redis, and its end: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import grpc
import httpx2
import psutil
import pytest

from cost_ledger.__main__ import SERVICES
from cost_ledger.connections import ACCOUNTS_POOL_SIZE, CAPTURES_POOL_SIZE
from cost_ledger.recording.store import Store
from cost_ledger.schema.migrate import migrate
from cost_ledger.settings import Settings
from kit.ledger.cost_events import admitted, attempt, request, settled, used
from kit.ledger.process import PRICE_BOOK, LedgerProcess, Parts, database, parts_on, running_ledger, stopped, until
from servicekit.rpc import is_serving
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway_local import postgres, processes, valkey
from spillway_local.ports import free_port

pytestmark = pytest.mark.integration


@dataclass
class Server:
    """A PostgreSQL of the test's own that can be stopped and started again on the same port."""

    cluster: postgres.PostgresCluster
    port: int
    log_file: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Return the URL of the ledger's database."""
        return database(self.cluster.url(self.port, with_password=True), "ledger")

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.process = _serve(self.cluster, self.port, self.log_file)

    def stop(self) -> None:
        """Shut it down in the fastest orderly mode."""
        processes.stop(self.process, postgres.STOP_SIGNAL, 20.0)

    def kill(self) -> None:
        """Kill it, and wait until all of its processes are gone."""
        server = psutil.Process(self.process.pid)
        family = [server, *server.children(recursive=True)]
        for each in family:
            each.send_signal(signal.SIGKILL)
        self.process.wait(20.0)
        psutil.wait_procs(family, 20.0)

    def process_ids(self) -> list[int]:
        """Return the ids of all its processes."""
        server = psutil.Process(self.process.pid)
        return [server.pid, *(child.pid for child in server.children(recursive=True))]


def _serve(cluster: postgres.PostgresCluster, port: int, log_file: Path) -> subprocess.Popen[bytes]:
    command = cluster.command(port)
    process = processes.start(command, log_file, death_signal=postgres.STOP_SIGNAL, owner=cluster.owner)
    processes.wait_until_ready(process, lambda: postgres.accepts_connections(port), log_file, 30.0)
    return process


@pytest.fixture
async def server(tmp_path: Path, redis_url: str) -> AsyncIterator[Server]:
    """Yield a server whose database `ledger` is up to date."""
    cluster = postgres.ensure_cluster(tmp_path, tmp_path / "initdb.log")
    port, log_file = free_port(), tmp_path / "postgres.log"
    server = Server(cluster, port, log_file, _serve(cluster, port, log_file))
    try:
        settings = Settings(postgres_url=server.url, redis_url=redis_url, price_book_file=PRICE_BOOK)
        await migrate(settings)
        yield server
    finally:
        server.stop()


@pytest.fixture
async def own(server: Server, redis_url: str) -> AsyncIterator[Parts]:
    """Yield the ledger's parts on the server of the test's own."""
    async with parts_on(server.url, redis_url) as parts:
        await parts.client.flushall()
        yield parts
        await parts.client.flushall()


async def is_logged(ledger: LedgerProcess, event: str) -> bool:
    """Tell whether the ledger has logged `event`."""
    return event in {line["event"] for line in ledger.log_lines()}


async def test_ingest_goes_on_when_postgres_comes_back(
    own: Parts, server: Server, redis_url: str, tmp_path: Path
) -> None:
    """While it is away nothing is acknowledged and the process lives; afterwards everything is recorded once."""
    before, during = [request() for _ in range(5)], [request() for _ in range(50)]
    async with running_ledger(tmp_path, server.url, redis_url) as ledger:
        await own.send(*(settled(each) for each in before))
        await until(own.is_drained)
        server.stop()
        await own.send(*(event for each in during for event in (admitted(each), settled(each))))
        await until(lambda: is_logged(ledger, "batch_not_recorded"))
        assert 100 == await own.client.xlen("spillway:cost-events")
        assert ledger.process.poll() is None

        server.start()
        await until(own.is_drained)
        assert [(55, 55)] == await own.rows("(SELECT sum(requests)::int, sum(attempts)::int FROM spend_daily)")
        assert [] == await own.dead()
        assert 0 == ledger.stop()


async def test_a_stop_while_postgres_is_away_leaves_everything_on_the_stream(
    own: Parts, server: Server, redis_url: str, tmp_path: Path
) -> None:
    """The process ends soon and well with its batch unacknowledged; the next one of any name records it."""
    asked = [request() for _ in range(10)]
    server.stop()
    async with running_ledger(tmp_path, server.url, redis_url, CONSUMER="first") as ledger:
        await own.send(*(settled(each) for each in asked))
        await until(lambda: is_logged(ledger, "batch_not_recorded"))
        assert 0 == ledger.stop()
    assert 10 == await own.client.xlen("spillway:cost-events")
    assert 0 < await own.pending()

    server.start()
    async with running_ledger(tmp_path, server.url, redis_url, CONSUMER="second", CLAIM_AFTER_SECONDS=0.1):
        await until(own.is_drained)
    assert [(10,)] == await own.rows("(SELECT sum(requests)::int FROM spend_daily)")
    assert 0 == await own.pending()


async def test_a_postgres_that_hangs_is_reported_before_the_caller_gives_up(
    own: Parts, server: Server, redis_url: str, tmp_path: Path
) -> None:
    """It keeps its connections and does not answer: the caller gets the reason within its own deadline."""
    asked = request()
    async with running_ledger(tmp_path, server.url, redis_url) as ledger:
        await own.send(settled(asked))
        await until(own.is_drained)
        question = ledgerpb.GetRequestRequest(tenant="acme", request_id=asked.request_id)
        assert (await ledger.stub.GetRequest(question, timeout=10)).record.cost_usd == "0.000650880"

        with stopped(server.process_ids()):
            for _ in range(2):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await ledger.stub.GetRequest(question, timeout=1.0)
                assert grpc.StatusCode.UNAVAILABLE == caught.value.code()
                assert "the database does not answer; nothing is lost, try again" == caught.value.details()
        assert (await ledger.stub.GetRequest(question, timeout=10)).record.cost_usd == "0.000650880"


async def test_no_ledger_goes_down_with_postgres(own: Parts, server: Server, redis_url: str, tmp_path: Path) -> None:
    """It hangs, then it is killed: questions fail soon, the ledger says it serves, and ingest goes on by itself."""
    asked = [request() for _ in range(30)]
    question = ledgerpb.GetRequestRequest(tenant="acme", request_id=asked[0].request_id)
    async with running_ledger(tmp_path, server.url, redis_url) as ledger:
        await own.send(*(settled(each) for each in asked[:10]))
        await until(own.is_drained)
        with stopped(server.process_ids()):
            await own.send(*(settled(each) for each in asked[10:20]))
            assert grpc.StatusCode.UNAVAILABLE == await _status_of(ledger, question)
            assert await is_serving(ledger.channel, SERVICES[0], 10.0)
        server.kill()
        await own.send(*(settled(each) for each in asked[20:]))
        assert grpc.StatusCode.UNAVAILABLE == await _status_of(ledger, question)
        assert await is_serving(ledger.channel, SERVICES[0], 10.0)
        assert ledger.process.poll() is None

        server.start()
        await until(own.is_drained, 60.0)
        assert grpc.StatusCode.OK == await _status_of(ledger, question)
        assert [(30, 30)] == await own.rows("(SELECT sum(requests)::int, sum(attempts)::int FROM spend_daily)")


async def test_a_commit_whose_answer_was_lost_counts_once(own: Parts, server: Server) -> None:
    """Committed, but the answer came too late, repeatedly: the next try finds the events recorded."""
    asked = [request() for _ in range(5)]
    # A commit waits for a standby that does not exist, and is one all the same when the wait is broken off.
    await own.pool.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    await own.pool.execute("SELECT pg_reload_conf()")
    stop = asyncio.Event()
    async with asyncpg.create_pool(server.url, min_size=0, max_size=4, command_timeout=0.3) as pool:
        consumer = own.consumer_with(Store(pool, 0.3), "one")
        await own.send(*(settled(each) for each in asked))
        task = asyncio.create_task(consumer.run(stop))
        try:
            await until(lambda: _has_failed(own, 2))
            assert [("settled",)] * 5 == await own.rows("requests", "state")
            assert 5 == await own.client.xlen("spillway:cost-events")
            await own.pool.execute("ALTER SYSTEM RESET synchronous_standby_names")
            await own.pool.execute("SELECT pg_reload_conf()")
            await until(own.is_drained)
        finally:
            stop.set()
            await asyncio.wait_for(task, 15.0)
    assert [(5, 5)] == await own.rows("(SELECT sum(requests)::int, sum(attempts)::int FROM spend_daily)")
    assert 5 == own.counted("cost_ledger_settled_events_total", outcome="duplicate")


async def test_connections_are_bounded(own: Parts, server: Server, redis_url: str, tmp_path: Path) -> None:
    """However many ask at once, a ledger holds no more connections than it may."""
    asked = request()
    question = ledgerpb.GetRequestRequest(tenant="acme", request_id=asked.request_id)
    async with running_ledger(tmp_path, server.url, redis_url, POOL_SIZE=2, READ_POOL_SIZE=3) as ledger:
        await own.send(settled(asked))
        await until(own.is_drained)
        async with own.pool.acquire() as connection, connection.transaction():
            # Every question waits for this lock, and those that come later for a connection.
            await connection.execute("LOCK TABLE requests IN ACCESS EXCLUSIVE MODE")
            calls = [ledger.stub.GetRequest(question, timeout=30) for _ in range(40)]
            await until(lambda: _is_crowded(connection, 3))
            assert 5 + ACCOUNTS_POOL_SIZE + CAPTURES_POOL_SIZE >= await _connections(connection) - own.pool.get_size()
        answers = await asyncio.gather(*calls)
        assert {asked.request_id} == {answer.record.request.request_id for answer in answers}
        assert 5 + ACCOUNTS_POOL_SIZE + CAPTURES_POOL_SIZE >= await _connections(own.pool) - own.pool.get_size()


async def test_a_postgres_that_hangs_does_not_keep_the_process(
    own: Parts, server: Server, redis_url: str, tmp_path: Path
) -> None:
    """SIGTERM during a batch that gets no answer: the process ends long before a pod would be killed."""
    async with running_ledger(tmp_path, server.url, redis_url) as ledger:
        await own.send(settled(request()))
        await until(own.is_drained)
        with stopped(server.process_ids()):
            await own.send(settled(request()))
            await until(lambda: _is_read(own))
            assert 0 == ledger.stop(timeout_seconds=25.0)
    assert 1 == await own.client.xlen("spillway:cost-events")


async def test_ingest_goes_on_when_redis_comes_back(database_url: str, tmp_path: Path) -> None:
    """The stream is away at the start, comes, goes and comes again; what was sent is recorded each time."""
    port = free_port()
    password, log_file = valkey.ensure_password(tmp_path / "valkey"), tmp_path / "valkey.log"
    url = valkey.url(port, password)
    async with running_ledger(tmp_path, database_url, url) as ledger, parts_on(database_url, url) as parts:
        await parts.pool.execute("TRUNCATE requests, attempts, spend_daily")
        await until(lambda: is_logged(ledger, "stream_read_failed"))
        for _ in range(2):
            process = processes.start(valkey.command(tmp_path / "valkey", port), log_file)
            processes.wait_until_ready(process, lambda: valkey.answers_ping(port, password), log_file, 30.0)
            try:
                await parts.send(settled(request()))
                await until(parts.is_drained)
            finally:
                processes.stop(process, signal.SIGTERM, 10.0)
                await parts.client.connection_pool.disconnect()
        assert [(2,)] == await parts.rows("(SELECT sum(requests)::int FROM spend_daily)")
        assert 0 == ledger.stop()


async def test_the_end_leaves_nothing_unacknowledged_that_was_recorded(
    parts: Parts, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """SIGTERM in full work: every event is either recorded and off the stream, or still on it for the next process."""
    asked = [request() for _ in range(6000)]
    async with running_ledger(tmp_path, database_url, redis_url) as ledger:
        await _send_quickly(parts, [settled(each) for each in asked])
        await until(lambda: _has_begun(parts))
        assert 0 == ledger.stop()
    recorded = {str(request_id) for (request_id,) in await parts.rows("requests", "request_id")}
    left = await parts.client.xlen("spillway:cost-events")

    assert len(asked) == len(recorded) + left
    assert 0 == await parts.pending()
    assert "stopped" in {line["event"] for line in ledger.log_lines()}


async def test_periodic_work_is_done(parts: Parts, database_url: str, redis_url: str, tmp_path: Path) -> None:
    """Requests without an end are given up and counted; metrics have the backlog and the unpriced attempts."""
    lost = request(at=datetime.now(UTC) - timedelta(minutes=10))
    await parts.send(admitted(lost), settled(request(), [attempt(1, "mystery", "m", used())]))
    await parts.consume_all()
    async with running_ledger(tmp_path, database_url, redis_url, UNSETTLED_AFTER_SECONDS=1) as ledger:
        await until(lambda: _is_given_up(parts, lost))
        await until(lambda: is_logged(ledger, "requests_unsettled"))
        await parts.send(settled(request(), [attempt(1, "mystery", "m", used())]))
        await until(parts.is_drained)
        page = httpx2.get(ledger.metrics_url).text
    assert "cost_ledger_unsettled_requests_total 1.0" in page
    assert 'cost_ledger_unpriced_attempts_total{provider="mystery"} 1.0' in page
    assert "cost_ledger_backlog_events 0.0" in page


async def test_a_ledger_without_its_stores_is_ready(tmp_path: Path) -> None:
    """Neither Postgres nor Redis is there: what depends on them says so call by call, and all ledgers stay."""
    nowhere = free_port()
    redis_url = f"redis://127.0.0.1:{nowhere}/0"
    async with running_ledger(tmp_path, f"postgresql://nobody@127.0.0.1:{nowhere}/none", redis_url) as ledger:
        await until(lambda: is_logged(ledger, "stream_read_failed"))
        assert [200, 200] == [await _probe(ledger, name) for name in ("live", "ready")]
        assert 0 == ledger.stop()


async def test_a_drain_is_reported_while_the_last_batch_is_recorded(
    parts: Parts, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Ready until SIGTERM and not from then on; alive, with metrics, for as long as the batch takes."""
    async with running_ledger(tmp_path, database_url, redis_url) as ledger:
        async with parts.pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE requests IN EXCLUSIVE MODE")
            await parts.send(settled(request()))
            await until(lambda: _is_crowded(connection, 1))
            assert 200 == await _probe(ledger, "ready")

            ledger.process.send_signal(signal.SIGTERM)
            await until(lambda: _is_not_ready(ledger))
            assert 200 == await _probe(ledger, "live")
            assert "cost_ledger_backlog_events" in await asyncio.to_thread(lambda: httpx2.get(ledger.metrics_url).text)
            assert ledger.process.poll() is None
        assert 0 == await asyncio.to_thread(ledger.process.wait, 60.0)
    assert await parts.is_drained()


async def test_two_processes_cannot_share_a_port(
    ledger: LedgerProcess, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """The second ends with status 1 and one line."""
    port = ledger.metrics_url.rpartition(":")[2].partition("/")[0]
    with pytest.raises(processes.StartFailed, match="ended with status 1") as caught:
        async with running_ledger(tmp_path, database_url, redis_url, METRICS_PORT=port):
            pass
    assert '"event":"start_failed"' in str(caught.value)
    assert "Traceback" not in str(caught.value)


async def _status_of(ledger: LedgerProcess, question: ledgerpb.GetRequestRequest) -> grpc.StatusCode:
    """Ask, and return the status of the answer; the ledger has a second."""
    try:
        await ledger.stub.GetRequest(question, timeout=1.0)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def _probe(ledger: LedgerProcess, name: str) -> int:
    """Ask as the kubelet does; return the status."""
    url = ledger.metrics_url.replace("/metrics", f"/health/{name}")
    return (await asyncio.to_thread(httpx2.get, url, timeout=20.0)).status_code


async def _is_not_ready(ledger: LedgerProcess) -> bool:
    return 503 == await _probe(ledger, "ready")


async def _has_failed(parts: Parts, times: int) -> bool:
    return times <= parts.counted("cost_ledger_database_errors_total")


async def _connections(connection: asyncpg.Pool | asyncpg.pool.PoolConnectionProxy) -> int:
    """Return how many connections to the database there are, those of the test among them."""
    count: int = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    return count


async def _is_crowded(connection: asyncpg.pool.PoolConnectionProxy, waiting: int) -> bool:
    query = "SELECT count(*) FROM pg_locks WHERE relation = 'requests'::regclass AND NOT granted"
    return bool(waiting <= await connection.fetchval(query))


async def _is_read(parts: Parts) -> bool:
    return 1 == await parts.pending()


async def _has_begun(parts: Parts) -> bool:
    return 6000 > await parts.client.xlen("spillway:cost-events")


async def _is_given_up(parts: Parts, asked: ledgerpb.Request) -> bool:
    return "unsettled" == await parts.state_of(asked.request_id)


async def _send_quickly(parts: Parts, events: list[ledgerpb.CostEvent]) -> None:
    pipeline = parts.client.pipeline(transaction=False)
    for event in events:
        pipeline.xadd("spillway:cost-events", {"event": event.SerializeToString()})
    await pipeline.execute()
