"""Step 9 in the wake of the commit: the figures in Redis are those of the tables, whatever happens to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import redis.asyncio as redis
from redis.exceptions import RedisError

from cost_ledger.books.reprice import Reprice, RepriceScope
from cost_ledger.prices.book import import_price_book
from cost_ledger.reading.reader import Reader
from cost_ledger.recording import publish_spend
from cost_ledger.recording.price import price_settled
from cost_ledger.recording.publish_spend import SpendPublisher
from kit.ledger.cost_events import MORNING, attempt, read_settled, request, settled, used
from kit.ledger.process import LedgerProcess, Parts, until
from pricing.price_book import Price, Rates
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

DAY = MORNING.date()
THREE_DAYS_SECONDS = 3 * 24 * 60 * 60
# 100 in, 20 out at the rates from June on.
PLAIN = 650_880


async def record(parts: Parts, *requests: ledgerpb.Request, publisher: SpendPublisher | None = None) -> None:
    """Commit the ends of `requests` as the consumer does, and note what to publish."""
    book = await parts.prices.book()
    recorded = await parts.store.record([], [price_settled(read_settled(settled(each)), book) for each in requests])
    (publisher or parts.spend).add(recorded.spend)


def publisher_of(parts: Parts, client: redis.Redis | None = None) -> SpendPublisher:
    """Return another process's publisher."""
    return SpendPublisher(parts.pool, client or parts.client, parts.metrics)


async def published(parts: Parts, tenant: str = "acme", day: date = DAY) -> dict[str, int]:
    """Return a tenant's figures as Redis has them."""
    fields: Any = await parts.client.hgetall(f"spillway:spend:{{{tenant}}}:{day.isoformat()}")
    return {field.decode(): int(value) for field, value in fields.items()}


async def total(parts: Parts, day: date = DAY) -> int | None:
    """Return the sum over all tenants as Redis has it."""
    value: Any = await parts.client.get(f"{{spillway:cost-events}}:spend:all:{day.isoformat()}")
    former: Any = await parts.client.get(f"spillway:spend:all:{day.isoformat()}")
    assert former == value, "edges of a former version read another figure"
    return None if value is None else int(value)


def nano(usd: str) -> int:
    """Return a decimal amount in nano-USD."""
    return int(Decimal(usd) * 10**9)


async def as_the_tables_say(parts: Parts, tenant: str) -> dict[str, int]:
    """Return the figures that GetSpend gives for the day."""
    dimensions = (ledgerpb.SPEND_DIMENSION_KEY,)
    answer = await Reader(parts.pool).spend(tenant, DAY, DAY, dimensions)
    return {
        "tenant": nano(answer.total.cost_usd),
        **{f"user:{group.key}": nano(group.figures.cost_usd) for group in answer.by_user},
        **{f"key:{group.keys[0]}": nano(group.figures.cost_usd) for group in answer.groups},
    }


async def test_figures_are_those_of_get_spend(parts: Parts) -> None:
    """By tenant, user, key and over all, after commits of several tenants, one of them after the first publication."""
    several = [request(user=user, tenant=tenant) for user in ("ada", "bob", "ada") for tenant in ("acme", "globex")]
    several[0].key_id = "key-2"
    await record(parts, *several)
    await parts.spend.publish(DAY)
    await record(parts, request(user="bob"))
    await parts.spend.publish(DAY)

    assert {
        "tenant": 4 * PLAIN,
        "user:ada": 2 * PLAIN,
        "user:bob": 2 * PLAIN,
        "key:key-1": 3 * PLAIN,
        "key:key-2": PLAIN,
    } == await published(parts)
    for tenant in ("acme", "globex"):
        assert await as_the_tables_say(parts, tenant) == await published(parts, tenant)
    assert 7 * PLAIN == await total(parts)


async def test_an_unpriced_attempt_adds_nothing(parts: Parts) -> None:
    """Its tenant's figures are there all the same."""
    book = await parts.prices.book()
    unpriced = settled(request(), [attempt(model="unknown", usage=used())])
    recorded = await parts.store.record([], [price_settled(read_settled(unpriced), book)])
    parts.spend.add(recorded.spend)
    await parts.spend.publish(DAY)

    assert {"tenant": 0, "user:ada": 0, "key:key-1": 0} == await published(parts)


async def test_all_of_today_is_published_again_after_flushall(parts: Parts) -> None:
    """Without a further commit: today's total is missing, so everything is published again."""
    await record(parts, request(user="ada"), request(user="bob"), request(tenant="globex"))
    await parts.spend.publish(DAY)
    before = await published(parts)
    await parts.client.flushall()
    await parts.spend.publish(DAY)

    assert before == await published(parts)
    assert {"tenant": PLAIN, "user:ada": PLAIN, "key:key-1": PLAIN} == await published(parts, "globex")
    assert 3 * PLAIN == await total(parts)


async def test_a_ledger_that_starts_publishes_all_of_today(parts: Parts) -> None:
    """What another one recorded and could not publish any more is published, a figure that is wrong is corrected."""
    await record(parts, request(user="ada"), request(user="bob"))
    await parts.client.set(f"{{spillway:cost-events}}:spend:all:{DAY}", 1)
    await parts.client.hset(f"spillway:spend:{{acme}}:{DAY}", mapping={"tenant": "99999999", "user:ada": "1"})
    await publisher_of(parts).publish(DAY)

    assert await as_the_tables_say(parts, "acme") == await published(parts)
    assert 2 * PLAIN == await total(parts)


async def test_only_what_a_commit_changed_is_published(parts: Parts) -> None:
    """Users and keys of a tenant are unbounded: a commit writes its own ones, and the sums that they are in."""
    await record(parts, request(user="ada"), request(user="bob"))
    await parts.spend.publish(DAY)
    await parts.client.delete(f"spillway:spend:{{acme}}:{DAY}")
    await record(parts, request(user="bob"))
    await parts.spend.publish(DAY)

    assert {"tenant": 3 * PLAIN, "user:bob": 2 * PLAIN, "key:key-1": 3 * PLAIN} == await published(parts)


async def test_what_could_not_be_published_stays_due(parts: Parts) -> None:
    """A write that Redis refuses, whatever the reason, is made again by the next publication."""
    await parts.spend.publish(DAY)
    await parts.client.set(f"spillway:spend:{{acme}}:{DAY}", "not a hash")
    await record(parts, request(user="ada"))
    with pytest.raises(RedisError, match="WRONGTYPE"):
        await parts.spend.publish(DAY)
    await record(parts, request(user="bob"))
    await parts.client.delete(f"spillway:spend:{{acme}}:{DAY}")
    await parts.spend.publish(DAY)

    assert await as_the_tables_say(parts, "acme") == await published(parts)


async def test_more_changes_than_are_kept_become_all_of_today(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """While Redis is away memory is bounded; nothing of today is missing when it is back."""
    await parts.spend.publish(DAY)
    monkeypatch.setattr(publish_spend, "_MAX_CHANGES", 3)
    for number in range(6):
        await record(parts, request(user=f"user-{number}"))
    await parts.spend.publish(DAY)

    assert await as_the_tables_say(parts, "acme") == await published(parts)


async def test_many_figures_are_written_in_several_round_trips(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is lost between two of them, in one hash or in several."""
    monkeypatch.setattr(publish_spend, "_MAX_FIELDS", 2)
    await record(
        parts, *(request(user=f"user-{number}", tenant=tenant) for number in range(7) for tenant in ("acme", "globex"))
    )
    await parts.spend.publish(DAY)

    for tenant in ("acme", "globex"):
        assert 9 == len(await published(parts, tenant))
        assert await as_the_tables_say(parts, tenant) == await published(parts, tenant)


async def test_names_may_be_any_text(parts: Parts) -> None:
    """Braces, colons, line ends, other scripts: the names stand in key and field as they are."""
    await record(parts, request(tenant="a}{b:c", user="Åse\n:x"))
    await parts.spend.publish(DAY)

    assert {"tenant": PLAIN, "user:Åse\n:x": PLAIN, "key:key-1": PLAIN} == await published(parts, "a}{b:c")


async def test_each_write_gives_three_more_days(parts: Parts) -> None:
    """Everything that is published expires, and nothing of today does."""
    await record(parts, request())
    await parts.spend.publish(DAY)
    keys: Any = await parts.client.keys("spillway:spend:*")
    for key in keys:
        await parts.client.expire(key, 10)
    await record(parts, request())
    await parts.spend.publish(DAY)

    assert 2 == len(keys)
    for key in keys:
        assert THREE_DAYS_SECONDS - 600 < await parts.client.ttl(key) <= THREE_DAYS_SECONDS


@pytest.mark.parametrize(("days", "expected"), [(-2, None), (-1, PLAIN), (1, PLAIN), (2, None)])
async def test_a_late_event_changes_its_own_day(parts: Parts, days: int, expected: int | None) -> None:
    """The days beside today are published; others, which no budget is about, are not."""
    moment = MORNING + timedelta(days=days)
    await record(parts, request(at=moment))
    await parts.spend.publish(DAY)

    assert expected == await total(parts, moment.date())
    assert expected == (await published(parts, day=moment.date())).get("tenant")
    assert 0 == await total(parts)


async def test_a_correction_lowers_the_figures_with_the_next_publication_of_all(
    parts: Parts, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`reprice` runs in a process of its own; what it changed is published with all of today."""
    monkeypatch.setattr(publish_spend, "_ALL_INTERVAL_SECONDS", 0.0)
    async with parts.pool.acquire() as connection:
        await import_price_book(connection, [price_of_new(rate=2)], may_backdate=False)
        await parts.prices.refresh()
        book = await parts.prices.book()
        ended = settled(request(), [attempt(model="new", usage=used())])
        parts.spend.add((await parts.store.record([], [price_settled(read_settled(ended), book)])).spend)
        await parts.spend.publish(DAY)
        before = await published(parts)
        await connection.execute("DELETE FROM prices WHERE target_model = 'new'")
        await import_price_book(connection, [price_of_new(rate=1)], may_backdate=True)
    own = await asyncpg.connect(database_url)
    try:
        await Reprice(own, RepriceScope(), dry_run=False, report=lambda _: None).run()
        await parts.spend.publish(DAY)
    finally:
        await own.execute("DELETE FROM prices WHERE target_model = 'new'")
        await own.close()

    assert {"tenant": 240_000, "user:ada": 240_000, "key:key-1": 240_000} == before
    assert {field: value // 2 for field, value in before.items()} == await published(parts)


def price_of_new(*, rate: int) -> Price:
    """Return a price of `rate` USD per million tokens of either kind."""
    begins = datetime(2026, 11, 1, tzinfo=UTC)
    rates = Rates(Decimal(rate), Decimal(rate))
    return Price(f"openai/new@2026-11-0{rate}", "openai", "new", begins, None, rates, None, "a page", "2026-11-01")


@asynccontextmanager
async def gate(url: str) -> AsyncIterator[tuple[str, asyncio.Event, asyncio.Event]]:
    """Yield a URL of a Redis whose writes of figures wait, an event that one waits, and one that lets them pass."""
    address, waits, may_pass = urlsplit(url), asyncio.Event(), asyncio.Event()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, holds: bool) -> None:
        while data := await reader.read(65_536):
            if holds and b"HSET" in data:
                waits.set()
                await may_pass.wait()
            writer.write(data)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(address.hostname, address.port)
        async with asyncio.TaskGroup() as group:
            group.create_task(carry(reader, to_server, holds=True))
            group.create_task(carry(from_server, writer, holds=False))

    server = await asyncio.start_server(accept, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    credentials = address.netloc.rpartition("@")[0]
    try:
        yield urlunsplit(address._replace(netloc=f"{credentials}@127.0.0.1:{port}")), waits, may_pass
    finally:
        server.close()


async def test_an_older_figure_never_replaces_a_newer_one(parts: Parts, redis_url: str) -> None:
    """While a process is slow between its read and its write, the other one waits; then it reads and writes."""
    async with gate(redis_url) as (url, waits, may_pass), redis.Redis.from_url(url) as slow_client:
        slow, quick = publisher_of(parts, slow_client), publisher_of(parts)
        await record(parts, request(), publisher=slow)
        older = asyncio.create_task(slow.publish(DAY))
        await asyncio.wait_for(waits.wait(), 10.0)
        await record(parts, request(), publisher=quick)
        newer = asyncio.create_task(quick.publish(DAY))
        await until(lambda: _waits_for_the_lock(parts))
        assert {} == await published(parts)
        may_pass.set()
        await asyncio.gather(older, newer)

    assert 2 * PLAIN == (await published(parts))["tenant"]


async def _waits_for_the_lock(parts: Parts) -> bool:
    return bool(await parts.pool.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))


async def test_two_publishers_never_go_backwards(parts: Parts) -> None:
    """While both commit and publish, a reader sees figures grow only; in the end they are those of the tables."""
    seen: list[int] = []

    async def commit_and_publish(publisher: SpendPublisher) -> None:
        for _ in range(40):
            await record(parts, request(), publisher=publisher)
            await publisher.publish(DAY)

    async def read() -> None:
        while True:
            seen.append((await published(parts)).get("tenant", 0))
            await asyncio.sleep(0)

    reading = asyncio.create_task(read())
    await asyncio.gather(*(commit_and_publish(publisher_of(parts)) for _ in range(2)))
    reading.cancel()

    assert sorted(seen) == seen
    assert 1 < len(set(seen))
    assert await as_the_tables_say(parts, "acme") == await published(parts)
    assert 80 * PLAIN == await total(parts)


async def test_a_redis_that_hangs_delays_no_record(
    parts: Parts, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishing has a deadline and a task of its own: meanwhile events are recorded and acknowledged."""
    monkeypatch.setattr(publish_spend, "_DEADLINE_SECONDS", 5.0)
    now = datetime.now(UTC)
    async with gate(redis_url) as (url, waits, may_pass), redis.Redis.from_url(url) as hanging:
        parts.spend = publisher_of(parts, hanging)
        await parts.send(*(settled(request(at=now)) for _ in range(50)))
        await parts.consume_all()
        publishing = asyncio.create_task(parts.spend.turn())
        await asyncio.wait_for(waits.wait(), 10.0)
        await parts.send(settled(request(at=now)))
        await parts.consume_all()
        assert 0 == parts.counted("cost_ledger_spend_publish_failures_total")
        assert [(51,)] == await parts.rows("(SELECT sum(requests)::int FROM spend_daily)")
        assert 0 == await parts.pending()
        await until(_counts(parts, "cost_ledger_spend_publish_failures_total", 1))
        publishing.cancel()
        await asyncio.wait([publishing])
        may_pass.set()
        await parts.spend.publish(now.date())

    assert {"tenant": 51 * PLAIN, "user:ada": 51 * PLAIN, "key:key-1": 51 * PLAIN} == await published(
        parts, day=now.date()
    )


def _counts(parts: Parts, name: str, expected: float) -> Callable[[], Any]:
    async def is_counted() -> bool:
        return expected <= parts.counted(name)

    return is_counted


async def test_the_process_publishes_what_it_recorded(parts: Parts, ledger: LedgerProcess) -> None:
    """Soon after the commit, and again after FLUSHALL; the outcome is measured."""
    asked = request(at=datetime.now(UTC))
    day = asked.admitted_at.ToDatetime(tzinfo=UTC).date()
    await parts.send(settled(asked))
    await until(lambda: _is_published(parts, day))
    await parts.client.flushall()
    await until(lambda: _is_published(parts, day))
    assert PLAIN == await total(parts, day)


async def _is_published(parts: Parts, day: date) -> bool:
    expected = {"tenant": PLAIN, "user:ada": PLAIN, "key:key-1": PLAIN}
    return expected == await published(parts, day=day)
