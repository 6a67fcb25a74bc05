"""Events are recorded and acknowledged; those that cannot be recorded are set aside and block no others."""

from __future__ import annotations

import asyncio
import random
import string
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import pytest

from cost_ledger.recording.consumer import DEAD_LETTERS, GROUP, STREAM, Consumer
from cost_ledger.recording.event import MAX_TOKENS
from cost_ledger.recording.store import Store
from kit.ledger.cost_events import admitted, attempt, request, settled, used
from kit.ledger.process import Parts, parts_on, until
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

PROMPT = "Tell me how to open the red box"
# What no index of Postgres can hold: too long, and nothing in it repeats.
ENDLESS = "".join(random.Random(7).choices(string.ascii_letters, k=20_000))


@asynccontextmanager
async def running(consumer: Consumer) -> AsyncIterator[asyncio.Event]:
    """Run a consumer during the block, and stop it then."""
    stop = asyncio.Event()
    task = asyncio.create_task(consumer.run(stop))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, 15.0)


async def test_what_is_recorded_leaves_the_stream(parts: Parts) -> None:
    """After the commit an entry is acknowledged and deleted: the length of the stream is the backlog."""
    asked = [request() for _ in range(20)]
    await parts.send(*(admitted(each) for each in asked), *(settled(each) for each in asked))
    await parts.consume_all()

    assert (0, 0) == (await parts.client.xlen(STREAM), await parts.pending())
    assert {"settled"} == {state for (state,) in await parts.rows("requests", "state")}
    assert 20 == parts.counted("cost_ledger_settled_events_total", outcome="recorded")
    assert 40 == parts.counted("cost_ledger_lag_seconds_count")
    assert [] == await parts.dead()


async def test_events_that_come_one_by_one_are_recorded_together(parts: Parts) -> None:
    """Ten batches a second at most, as long as they are short: a transaction costs more than an event."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def are_recorded() -> bool:
        return 100 == parts.counted("cost_ledger_settled_events_total", outcome="recorded")

    async with running(parts.consumer("one")):
        for _ in range(100):
            await parts.send(settled(request()))
            await asyncio.sleep(0.01)
        await until(are_recorded)

    assert parts.counted("cost_ledger_batch_events_count") <= (loop.time() - began) / 0.1 + 1


async def test_what_an_exchange_left_that_failed_just_before_the_end_is_recorded(parts: Parts) -> None:
    """Redis has given the entries to this member, which was told to stop before it knew: it leaves none to claim."""
    stop, asked = asyncio.Event(), [request() for _ in range(3)]
    await parts.send(*(settled(each) for each in asked))
    await parts.client.xgroup_create(STREAM, GROUP, id="0")
    await parts.client.xreadgroup(GROUP, "one", {STREAM: ">"}, count=2)
    stop.set()
    await parts.consumer("one").run(stop)

    assert (1, 0) == (await parts.client.xlen(STREAM), await parts.pending())
    assert 2 == len(await parts.rows("requests", "state"))


async def test_an_event_that_is_delivered_again_is_a_duplicate(parts: Parts) -> None:
    """In the same batch or in a later one; it is counted as such and acknowledged like any other."""
    asked = request()
    await parts.send(admitted(asked), settled(asked), settled(asked))
    await parts.consume_all()
    await parts.send(settled(asked), admitted(asked))
    await parts.consume_all()

    assert 1 == parts.counted("cost_ledger_settled_events_total", outcome="recorded")
    assert 2 == parts.counted("cost_ledger_settled_events_total", outcome="duplicate")
    assert 1 == parts.counted("cost_ledger_admitted_events_total", outcome="recorded")
    assert 1 == parts.counted("cost_ledger_admitted_events_total", outcome="duplicate")
    assert [(1,)] == await parts.rows("spend_daily", "requests")


def _nul(event: ledgerpb.CostEvent) -> None:
    event.settled.request.user = f"{PROMPT}\0"


def _huge_cost(event: ledgerpb.CostEvent) -> None:
    event.settled.attempts[0].usage.output_tokens = MAX_TOKENS - 1
    for number in range(2, 1000):
        event.settled.attempts.append(attempt(number, usage=used(MAX_TOKENS - 1, MAX_TOKENS - 1)))


def _huge_status(event: ledgerpb.CostEvent) -> None:
    event.settled.attempts[0].http_status = 2**32 - 1


def _endless(event: ledgerpb.CostEvent) -> None:
    event.settled.request.requested_model = ENDLESS


@pytest.mark.parametrize("spoil", [_nul, _huge_cost, _huge_status, _endless])
async def test_values_that_postgres_refuses_do_not_block_the_rest(
    parts: Parts, spoil: Callable[[ledgerpb.CostEvent], None]
) -> None:
    """A NUL, costs and numbers too big, a text too long for an index: that event is set aside, the batch goes on."""
    good = [request() for _ in range(30)]
    bad = settled(request())
    spoil(bad)
    events = [settled(each) for each in good]
    ids = await parts.send(*events[:17], bad, *events[17:])
    await parts.consume_all()

    [letter] = await parts.dead()
    assert ids[17] == letter[b"entry_id"]
    assert bad.SerializeToString() == letter[b"event"]
    assert PROMPT.encode() not in letter[b"reason"]
    assert 1 == parts.counted("cost_ledger_dead_letters_total", reason="refused")
    assert [(30,)] == await parts.rows("(SELECT sum(requests)::int FROM spend_daily)")
    assert 0 == parts.counted("cost_ledger_database_errors_total")


async def test_bytes_that_are_no_event_do_not_block_the_rest(parts: Parts, capsys: pytest.CaptureFixture[str]) -> None:
    """Garbage, a field of another name and an event without a tenant are set aside; no log line quotes them."""
    nameless = settled(request(tenant=""))
    asked = request()
    await parts.send(PROMPT.encode(), settled(asked), nameless)
    await parts.client.xadd(STREAM, {"prompt": PROMPT})
    await parts.consume_all()

    reasons = [letter[b"reason"] for letter in await parts.dead()]
    assert [b"not a CostEvent", b"no tenant", b"no event_id"] == reasons
    assert 2 == parts.counted("cost_ledger_dead_letters_total", reason="invalid")
    assert 1 == parts.counted("cost_ledger_dead_letters_total", reason="unreadable")
    assert "settled" == await parts.state_of(asked.request_id)
    assert PROMPT not in capsys.readouterr().out


async def test_dead_letters_do_not_fill_redis(parts: Parts) -> None:
    """Of a flood of garbage the newest 10,000 are kept, give or take a hundred; all are counted."""
    pipeline = parts.client.pipeline(transaction=False)
    for number in range(10_500):
        pipeline.xadd(STREAM, {"event": b"garbage %d" % number})
    await pipeline.execute()
    await parts.consume_all()

    letters = await parts.dead()
    assert 10_000 <= len(letters) <= 10_100
    assert b"garbage 10499" == letters[-1][b"event"]
    assert 10_500 == parts.counted("cost_ledger_dead_letters_total", reason="unreadable")


async def test_a_slow_postgres_neither_loses_nor_doubles(parts: Parts) -> None:
    """Half of the statements take longer than the ledger waits; both consumers try again until all is recorded."""
    asked = [request(user=f"user-{number}") for number in range(40)]
    await parts.pool.execute(
        """
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_sleep(random() * 0.4); RETURN NULL;
        END $$;
        CREATE TRIGGER dawdle AFTER INSERT ON spend_daily FOR EACH STATEMENT EXECUTE FUNCTION dawdle()
        """
    )
    slow, stop = Store(parts.pool, 0.2), asyncio.Event()
    consumers = [parts.consumer_with(slow, name, claim_after_seconds=0.3) for name in ("one", "two")]
    tasks = [asyncio.create_task(each.run(stop)) for each in consumers]
    try:
        for each in asked:
            await parts.send(admitted(each), settled(each))
            await until(lambda: _is_shorter(parts, 6), 120.0)
        await until(parts.is_drained, 120.0)
    finally:
        stop.set()
        await asyncio.wait(tasks)
        await parts.pool.execute("DROP TRIGGER dawdle ON spend_daily; DROP FUNCTION dawdle")

    assert 0 < parts.counted("cost_ledger_database_errors_total")
    assert [(40, 40)] == await parts.rows("(SELECT sum(requests)::int, sum(attempts)::int FROM spend_daily)")
    assert [("settled",)] * 40 == await parts.rows("requests", "state")
    assert [] == await parts.dead()


async def _is_shorter(parts: Parts, most: int) -> bool:
    return most > await parts.client.xlen(STREAM)


@asynccontextmanager
async def _proxy_that_hides_the_end(url: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Yield a URL of which the first connection stays open when the server closes it, and an event for that."""
    address, ended = urlsplit(url), asyncio.Event()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(address.hostname, address.port)
        upward = asyncio.create_task(carry(reader, to_server))
        await carry(from_server, writer)
        if ended.is_set():
            writer.close()
        ended.set()
        await upward
        writer.close()
        to_server.close()

    server = await asyncio.start_server(accept, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    credentials = address.netloc.rpartition("@")[0]
    try:
        yield urlunsplit(address._replace(netloc=f"{credentials}@127.0.0.1:{port}")), ended
    finally:
        server.close()


async def test_a_postgres_that_ends_between_two_statements_does_not_end_the_ledger(
    parts: Parts, database_url: str, redis_url: str
) -> None:
    """It announces its end, and the connection is used before it closes: an outage like any other."""
    async with _proxy_that_hides_the_end(database_url) as (url, ended), parts_on(url, redis_url) as own:
        await own.send(settled(request()))
        await own.consume_all()
        await parts.pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        await asyncio.wait_for(ended.wait(), 10.0)
        await own.send(settled(request()))
        await own.consume_all()
        assert 1 <= own.counted("cost_ledger_database_errors_total")

    assert [(2,)] == await parts.rows("(SELECT sum(requests)::int FROM spend_daily)")


async def test_a_clash_of_two_writers_is_no_fault_of_the_event(parts: Parts) -> None:
    """PostgreSQL refuses one of two that make a row of spend_daily at once; that one is written a moment later."""
    asked = request()
    await parts.pool.execute(
        """
        CREATE SEQUENCE clashes;
        CREATE FUNCTION clash() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('clashes') <= 3 THEN RAISE EXCEPTION 'as if' USING ERRCODE = 'unique_violation'; END IF;
            RETURN NEW;
        END $$;
        CREATE TRIGGER clash BEFORE INSERT ON spend_daily FOR EACH ROW EXECUTE FUNCTION clash()
        """
    )
    try:
        await parts.send(settled(asked))
        await parts.consume_all()
    finally:
        await parts.pool.execute("DROP TRIGGER clash ON spend_daily; DROP FUNCTION clash; DROP SEQUENCE clashes")

    assert [] == await parts.dead()
    assert [(1, 1)] == await parts.rows("spend_daily", "requests, attempts")
    assert 1 == parts.counted("cost_ledger_settled_events_total", outcome="recorded")


async def test_what_a_dead_consumer_left_is_taken_over(parts: Parts) -> None:
    """Entries that another member read and never acknowledged are claimed after their time, and only then."""
    asked = request()
    await parts.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    await parts.send(admitted(asked), settled(asked))
    await parts.client.xreadgroup(GROUP, "dead", {STREAM: ">"})
    assert 2 == await parts.pending()

    async with running(parts.consumer("patient", claim_after_seconds=600)):
        other = request()
        await parts.send(settled(other))
        await until(lambda: _is_settled(parts, other))
    assert await parts.state_of(asked.request_id) is None

    async with running(parts.consumer("heir", claim_after_seconds=0.05)):
        await until(lambda: _is_settled(parts, asked))
        await until(parts.is_drained)
    assert 0 == await parts.pending()


async def test_a_consumer_that_comes_back_begins_with_what_it_left(parts: Parts) -> None:
    """A restart under the same name does not wait for its own entries to be old enough to be claimed."""
    asked = request()
    await parts.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    await parts.send(settled(asked))
    await parts.client.xreadgroup(GROUP, "one", {STREAM: ">"})
    await parts.consume_all("one")

    assert "settled" == await parts.state_of(asked.request_id)


async def test_entries_deleted_while_they_were_pending_are_acknowledged(parts: Parts) -> None:
    """They hold nothing to record: no dead letter, nothing pending, and what follows is recorded."""
    asked = request()
    await parts.client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    ids = await parts.send(settled(request()), settled(asked))
    await parts.client.xreadgroup(GROUP, "one", {STREAM: ">"})
    await parts.client.xdel(STREAM, ids[0])
    await parts.consume_all("one")

    assert "settled" == await parts.state_of(asked.request_id)
    assert (0, []) == (await parts.pending(), await parts.dead())


async def test_reading_goes_on_after_redis_lost_everything(parts: Parts) -> None:
    """FLUSHALL while the consumer waits removes the group; it is created again and nothing sent later is missed."""
    async with running(parts.consumer()):
        for _ in range(3):
            asked = request()
            await parts.send(settled(asked))
            await until(lambda: _is_settled(parts, asked))  # noqa: B023 - awaited in this turn
            await parts.client.flushall()
    assert 3 == parts.counted("cost_ledger_settled_events_total", outcome="recorded")


async def test_two_consumers_share_the_work_and_count_each_event_once(parts: Parts) -> None:
    """Beginnings and ends are read by either; the sums are those of one reader, and no transaction was broken."""
    asked = [request(user=f"user-{number % 5}") for number in range(1200)]
    await parts.send(*(event for each in asked for event in (admitted(each), settled(each), settled(each))))
    await parts.consume_all("one", "two")

    assert [(1200, 1200)] == await parts.rows("(SELECT sum(requests)::int, sum(attempts)::int FROM spend_daily)")
    assert 1200 == parts.counted("cost_ledger_settled_events_total", outcome="recorded")
    assert 0 == parts.counted("cost_ledger_database_errors_total")


async def test_an_unpriced_attempt_is_counted_by_provider(parts: Parts) -> None:
    """An operator sees that work was done which the price book does not know."""
    await parts.send(settled(request(), [attempt(1, "openai", "gpt-new", used()), attempt(2, "openai", "gpt-new")]))
    await parts.consume_all()

    assert 1 == parts.counted("cost_ledger_unpriced_attempts_total", provider="openai")


async def test_what_was_recorded_is_counted_as_spend_once(parts: Parts) -> None:
    """By provider, each attempt once however often it is delivered; unpriced attempts add nothing."""
    event = settled(
        request(), [attempt(1, "anthropic", "claude-test", used(1000, 100)), attempt(2, "openai", "m1", used())]
    )
    await parts.send(event, event)
    await parts.consume_all()
    await parts.send(event)
    await parts.consume_all()
    ((recorded,),) = await parts.rows("(SELECT sum(cost_usd) FROM spend_daily)")

    assert recorded
    assert float(recorded) == pytest.approx(parts.counted("cost_ledger_cost_usd_total", provider="anthropic"))
    assert 0 == parts.counted("cost_ledger_cost_usd_total", provider="openai")


async def _is_settled(parts: Parts, asked: ledgerpb.Request) -> bool:
    return "settled" == await parts.state_of(asked.request_id)


def test_dead_letters_have_a_stream_of_their_own() -> None:
    """They are where the runbook says, beside the stream and not in it."""
    assert ("spillway:cost-events", "{spillway:cost-events}:dead") == (STREAM, DEAD_LETTERS)
