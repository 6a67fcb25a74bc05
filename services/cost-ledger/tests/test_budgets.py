"""Budgets in the books: who may change them how, what has been spent in a period, and what edges are told."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import asyncpg
import pytest

from cost_ledger.accounts.accounts import Accounts
from cost_ledger.books.reprice import Reprice, RepriceScope
from cost_ledger.budgets import publish
from cost_ledger.budgets.budgets import MAX_BUDGETS, Budget, Budgets
from cost_ledger.budgets.figures import Period, spent
from cost_ledger.budgets.publish import ACTIVE, RULES, BudgetPublisher
from cost_ledger.connections import Connection
from cost_ledger.errors import AccountStateForbids, AccountUnknown, FieldInvalid
from cost_ledger.prices.book import import_price_book
from cost_ledger.recording.price import price_settled
from kit.ledger.cost_events import attempt, read_settled, request, settled, used
from kit.ledger.process import Parts
from pricing.price_book import Price, Rates
from spillway.accounts.v1 import accounts_pb2 as accountspb
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

pytestmark = pytest.mark.integration

# 100 in, 20 out at the rates from June on.
PLAIN = 650_880
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)
DAY = timedelta(days=1)
OF_USER = Budget("own", "user", "day", Decimal("0.25"), "economy")


async def record(parts: Parts, *requests: ledgerpb.Request) -> None:
    """Commit the ends of `requests` as the consumer does."""
    book = await parts.prices.book()
    await parts.store.record([], [price_settled(read_settled(settled(each)), book) for each in requests])


async def charge(
    parts: Parts, request_id: str, nano: int, *, key: str = "{t}:budget:x", has_ended: bool = True
) -> None:
    """Write what an edge writes when it has reserved, or charged, so much for a request."""
    key = "{t}:budget:x"
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    until = now_ms + (3 * 86_400_000 if has_ended else 60_000)
    await parts.client.hset(key, request_id, nano)
    await parts.client.hincrby(key, "pending", nano)
    await parts.client.zadd(f"{key}:leases", {request_id: until})


async def ask(parts: Parts, *whose: object, key: str = "{t}:budget:x", first: datetime = MIDNIGHT) -> None:
    """Ask for a figure, as edges do."""
    period = [int(first.timestamp()), int((first + DAY).timestamp())]
    now = int(datetime.now(UTC).timestamp())
    await parts.client.zadd(ACTIVE, {json.dumps([key, *whose, *period]): now})


async def figure(parts: Parts, key: str = "{t}:budget:x") -> dict[str, int]:
    """Return a figure as Redis has it."""
    fields: Any = await parts.client.hgetall(key)
    return {name.decode(): int(value) for name, value in fields.items()}


def publisher_of(parts: Parts) -> BudgetPublisher:
    """Return a process's publisher."""
    return BudgetPublisher(parts.pool, parts.client, parts.metrics)


async def spent_in(parts: Parts, *periods: Period) -> list[int]:
    """Return what the books say."""
    async with parts.pool.acquire() as connection:
        return await spent(connection, periods)


async def test_two_budgets_hold_unless_they_are_changed(parts: Parts) -> None:
    """Half a dollar a user and day, then the economy model; a hundred for all, then the emergency mode."""
    user, everybody = sorted(await Budgets(parts.pool).list(), key=lambda budget: budget.usd)

    assert ("user-daily", "user", "day", Decimal("0.5"), "economy", None) == user[:6]
    assert ("global-daily", "all", "day", Decimal(100), "emergency", None) == everybody[:6]


async def test_every_change_is_an_audit_entry(parts: Parts) -> None:
    """Who, what, before and after; setting what is so already is no change."""
    budgets = Budgets(parts.pool)
    changed = OF_USER._replace(usd=Decimal("1.50"))
    for budget in (OF_USER, changed, changed):
        await budgets.put("cli:ada", budget)
    await budgets.remove("cli:bob", "own")
    page = await Accounts(parts.pool).audit(accountspb.ListAuditRequest(kind="budget", id="own"))

    assert [("cli:bob", "remove"), ("cli:ada", "update"), ("cli:ada", "create")] == [
        (entry.actor, entry.action) for entry in page.items
    ]
    update = page.items[1]
    assert ("0.25", "1.5") == (json.loads(update.before)["usd"], json.loads(update.after)["usd"])
    with pytest.raises(AccountUnknown):
        await budgets.remove("cli:bob", "own")


@pytest.mark.parametrize(
    "field",
    [
        {"name": ""}, {"name": "a b"}, {"name": "x" * 65}, {"each": "model"}, {"per": "week"}, {"over": "stop"},
        {"usd": Decimal(-1)}, {"usd": Decimal("NaN")}, {"usd": Decimal(10**7)}, {"stop_usd": Decimal("0.1")},
        {"over": "emergency"}, {"zone": "Europe/Nowhere"}, {"zone": "../etc/passwd"}, {"zone": ""},
        {"tenant": ""}, {"user_id": "a\0b"}, {"tier": "x" * 201},
    ],
)  # fmt: skip
async def test_what_no_budget_holds_is_refused(parts: Parts, field: dict[str, Any]) -> None:
    """Before anything is written."""
    with pytest.raises(FieldInvalid):
        await Budgets(parts.pool).put("cli", OF_USER._replace(**field))


async def test_there_are_only_so_many(parts: Parts) -> None:
    """Each request asks for all of its budgets."""
    budgets = Budgets(parts.pool)
    names = [f"b{number}" for number in range(MAX_BUDGETS - 2)]
    try:
        for name in names:
            await budgets.put("cli", OF_USER._replace(name=name))
        with pytest.raises(AccountStateForbids):
            await budgets.put("cli", OF_USER)
    finally:
        await parts.pool.execute("DELETE FROM budgets WHERE name = ANY($1)", names)


async def test_edges_are_told_of_changes(parts: Parts) -> None:
    """With the next publication, also after Redis lost them."""
    publisher = publisher_of(parts)
    try:
        await Budgets(parts.pool).put("cli", OF_USER)
        await publisher.publish()
        told = json.loads(await parts.client.get(RULES) or b"")
        await parts.client.flushall()
        await publisher.publish()
        again = json.loads(await parts.client.get(RULES) or b"")
    finally:
        await Budgets(parts.pool).remove("cli", "own")

    assert told == again
    assert ["global-daily", "own", "user-daily"] == [budget["name"] for budget in told]
    assert ("0.25", "*") == (told[1]["usd"], told[1]["user"])


async def test_whose_spend_it_is(parts: Parts) -> None:
    """Of a user, a key, a team's present members, a tenant, and all together; never that of another tenant."""
    await parts.pool.execute(
        "INSERT INTO tenants (tenant) VALUES ('acme'); INSERT INTO teams (tenant, team) VALUES ('acme', 'blue');"
        "INSERT INTO users (tenant, user_id, team) VALUES ('acme', 'ada', 'blue'), ('acme', 'bob', NULL)"
    )
    try:
        other_key = request(user="ada")
        other_key.key_id = "key-2"
        await record(parts, request(user="ada"), other_key, request(user="bob"), request(user="ada", tenant="globex"))
        last = MIDNIGHT + DAY
        sums = await spent_in(
            parts,
            Period("user", "acme", "ada", MIDNIGHT, last),
            Period("key", "acme", "key-1", MIDNIGHT, last),
            Period("team", "acme", "blue", MIDNIGHT, last),
            Period("tenant", "acme", "", MIDNIGHT, last),
            Period("all", "", "", MIDNIGHT, last),
            Period("user", "globex", "bob", MIDNIGHT, last),
        )
    finally:
        await parts.pool.execute("DELETE FROM users; DELETE FROM teams; DELETE FROM tenants")

    assert [2 * PLAIN, 2 * PLAIN, 2 * PLAIN, 3 * PLAIN, 4 * PLAIN, 0] == sums


@pytest.mark.parametrize(
    ("first", "last", "count"),
    [
        (timedelta(0), DAY, 4),
        (timedelta(hours=9), timedelta(hours=10), 2),
        (timedelta(hours=9, minutes=30), timedelta(hours=10), 1),
        (-timedelta(hours=1), timedelta(hours=23), 4),
        (-timedelta(hours=5), timedelta(hours=19), 5),
        (timedelta(hours=-5, minutes=-30), timedelta(hours=9, minutes=30), 3),
        (-3 * DAY + timedelta(hours=3), 2 * DAY + timedelta(hours=7), 6),
        (timedelta(hours=10), timedelta(hours=10), 0),
    ],
)
async def test_any_period_is_exact(parts: Parts, first: timedelta, last: timedelta, count: int) -> None:
    """Whole UTC days come from the sums by day, what is cut of others from its requests."""
    moments = [
        MIDNIGHT - timedelta(hours=5), MIDNIGHT, MIDNIGHT + timedelta(hours=9), MIDNIGHT + timedelta(hours=9.5),
        MIDNIGHT + timedelta(hours=11), MIDNIGHT + DAY,
    ]  # fmt: skip
    await record(parts, *(request(at=moment) for moment in moments))

    begins, ends = MIDNIGHT + first, MIDNIGHT + last
    assert count == sum(begins <= moment < ends for moment in moments)
    assert [count * PLAIN] == await spent_in(parts, Period("user", "acme", "ada", begins, ends))


async def test_a_correction_counts(parts: Parts, database_url: str) -> None:
    """In whole days and in parts of one."""
    async with parts.pool.acquire() as connection:
        await import_price_book(connection, [price_of_new(rate=2)], may_backdate=False)
        await parts.prices.refresh()
        ended = settled(request(), [attempt(model="new", usage=used())])
        await parts.store.record([], [price_settled(read_settled(ended), await parts.prices.book())])
        await connection.execute("DELETE FROM prices WHERE target_model = 'new'")
        await import_price_book(connection, [price_of_new(rate=1)], may_backdate=True)
    periods = [Period("all", "", "", MIDNIGHT, MIDNIGHT + length) for length in (DAY, DAY / 2)]
    before = await spent_in(parts, *periods)
    own = await asyncpg.connect(database_url)
    try:
        await Reprice(own, RepriceScope(), dry_run=False, report=lambda _: None).run()
        after = await spent_in(parts, *periods)
    finally:
        await own.execute("DELETE FROM prices WHERE target_model = 'new'")
        await own.close()

    assert [240_000, 240_000] == before
    assert [120_000, 120_000] == after


def price_of_new(*, rate: int) -> Price:
    """Return a price of `rate` USD per million tokens of either kind."""
    begins = datetime(2026, 11, 1, tzinfo=UTC)
    rates = Rates(Decimal(rate), Decimal(rate))
    return Price(f"openai/new@2026-11-0{rate}", "openai", "new", begins, None, rates, None, "a page", "2026-11-01")


async def test_a_request_counts_once_before_and_after_the_books_have_it(parts: Parts) -> None:
    """What has ended stays until the figure contains it; what still runs stays in any case."""
    ended, late, running = (request() for _ in range(3))
    await ask(parts, "user", "acme", "ada")
    for each, amount, has_ended in ((ended, PLAIN, True), (late, 7, True), (running, 5, False)):
        await charge(parts, each.request_id, amount, has_ended=has_ended)
    publisher = publisher_of(parts)
    await publisher.publish()
    before = await figure(parts)
    await record(parts, ended)
    await publisher.publish()
    after = await figure(parts)

    assert {"ledger": 0, "pending": PLAIN + 12, ended.request_id: PLAIN, late.request_id: 7, running.request_id: 5} == (
        before
    )
    assert {"ledger": PLAIN, "pending": 12, late.request_id: 7, running.request_id: 5} == after


@pytest.mark.parametrize("at_once", [500, 1])  # one by one, so that somebody can look in between
async def test_however_many_have_ended_none_counts_twice(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """All that the books have is taken out in one turn, and whoever looks meanwhile sees the same sum."""
    monkeypatch.setattr(publish, "_MAX_MOVED", at_once)
    key = "{t}:budget:x"
    await ask(parts, "tenant", "acme", "")
    await publisher_of(parts).publish()  # the figure has been published before
    requests = [request() for _ in range(2300)]
    await record(parts, *requests)
    pipeline = parts.client.pipeline(transaction=False)
    until = int(datetime.now(UTC).timestamp() * 1000) + 3 * 86_400_000
    for each in requests:
        pipeline.hset(key, each.request_id, PLAIN)
        pipeline.hincrby(key, "pending", PLAIN)
        pipeline.zadd(f"{key}:leases", {each.request_id: until})
    await pipeline.execute()
    seen: set[int] = set()
    publishing = asyncio.create_task(publisher_of(parts).publish())
    while not publishing.done():
        known: Any = await parts.client.hmget(key, "ledger", "pending")
        seen.add(sum(int(each or 0) for each in known))
    await publishing

    assert {2300 * PLAIN} == seen
    assert {"ledger": 2300 * PLAIN, "pending": 0} == await figure(parts)
    assert 0 == await parts.client.zcard(f"{key}:leases")


async def test_a_charge_that_comes_after_the_books_is_taken_out(parts: Parts) -> None:
    """An edge may be slower than the ledger; the next publication finds it."""
    late = request()
    await ask(parts, "user", "acme", "ada")
    await record(parts, late)
    publisher = publisher_of(parts)
    await publisher.publish()
    await charge(parts, late.request_id, PLAIN)
    await publisher.publish()

    assert {"ledger": PLAIN, "pending": 0} == await figure(parts)


async def test_after_redis_lost_everything_the_figure_comes_back(parts: Parts) -> None:
    """As soon as an edge asks for it."""
    await record(parts, request())
    await ask(parts, "all", "", "")
    publisher = publisher_of(parts)
    await publisher.publish()
    await parts.client.flushall()
    await ask(parts, "all", "", "")
    await publisher.publish()

    assert {"ledger": PLAIN} == await figure(parts)
    assert 3 * 86_400 - 60 <= await parts.client.ttl("{t}:budget:x") <= 3 * 86_400


async def test_what_is_recorded_meanwhile_is_not_counted_twice(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which requests are in the books, and the sum, are of one moment."""
    late = request()
    await ask(parts, "user", "acme", "ada")
    await charge(parts, late.request_id, PLAIN)

    async def record_first(connection: Connection, periods: Sequence[Period]) -> list[int]:
        await record(parts, late)
        return await spent(connection, periods)

    monkeypatch.setattr(publish, "spent", record_first)
    await publisher_of(parts).publish()
    between = await figure(parts)
    monkeypatch.undo()
    await publisher_of(parts).publish()

    assert {"ledger": 0, "pending": PLAIN, late.request_id: PLAIN} == between
    assert {"ledger": PLAIN, "pending": 0} == await figure(parts)


async def test_while_one_publishes_no_other_does(parts: Parts) -> None:
    """It may have an older snapshot; its next turn has a newer one."""
    await ask(parts, "all", "", "")
    await record(parts, request())
    async with parts.pool.acquire() as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock($1)", publish._LOCK)
        await publisher_of(parts).publish()
        assert {} == await figure(parts)
    await publisher_of(parts).publish()

    assert {"ledger": PLAIN} == await figure(parts)


async def test_figures_only_grow(parts: Parts) -> None:
    """While two record and publish."""
    await ask(parts, "all", "", "")
    seen: list[int] = []

    async def commit_and_publish() -> None:
        publisher = publisher_of(parts)
        for _ in range(20):
            await record(parts, request())
            await publisher.publish()
            seen.append((await figure(parts)).get("ledger", 0))

    await asyncio.gather(commit_and_publish(), commit_and_publish())
    await publisher_of(parts).publish()

    assert sorted(seen) == seen
    assert 40 * PLAIN == (await figure(parts))["ledger"]


@pytest.mark.parametrize(
    "asked",
    [
        b"", b"[]", b"{}", b"[1, 2, 3, 4, 5, 6]", b"[" * 5000, b"\xff",
        b'["other:key", "all", "", "", 0, 1]', b'["k:budget:", "model", "", "", 0, 1]',
        b'["k:budget:", "all", "", "", 0, 1e400]', b'["k:budget:", "all", "", "\\u0000", 0, 1]',
        b'["k:budget:", "all", "", "", "x", 1]', b'["k:budget:", "all", "", null, 0, 1]',
    ],
)  # fmt: skip
async def test_what_cannot_be_asked_for_is_removed(parts: Parts, asked: bytes) -> None:
    """It keeps no other figure from being published."""
    await parts.client.zadd(ACTIVE, {asked: int(datetime.now(UTC).timestamp())})
    await record(parts, request())
    await ask(parts, "all", "", "")
    await publisher_of(parts).publish()

    assert {"ledger": PLAIN} == await figure(parts)
    assert 1 == await parts.client.zcard(ACTIVE)


async def test_a_strange_member_of_a_figure_does_no_harm(parts: Parts) -> None:
    """Nor does a figure that is none: its failure is counted."""
    await charge(parts, "no id", 3)
    await charge(parts, str(uuid.uuid4()), 4)
    await ask(parts, "all", "", "")
    await publisher_of(parts).publish()
    assert {"ledger": 0, "pending": 7} == {k: v for k, v in (await figure(parts)).items() if k in ("ledger", "pending")}

    await parts.client.delete("{t}:budget:x")
    await parts.client.set("{t}:budget:x", "not a hash")
    await publisher_of(parts).turn()
    assert 1 == parts.counted("cost_ledger_budget_publish_failures_total")


async def verify(database_url: str, redis_url: str) -> tuple[int, str]:
    """Run `budgets verify`; return its status and its last line."""
    command = [sys.executable, "-m", "cost_ledger", "budgets", "verify"]
    own = {"COST_LEDGER_POSTGRES_URL": database_url, "COST_LEDGER_REDIS_URL": redis_url}
    run = partial(subprocess.run, command, env={**os.environ, **own}, capture_output=True, text=True)
    done: subprocess.CompletedProcess[str] = await asyncio.to_thread(run)
    return done.returncode, (done.stdout + done.stderr).splitlines()[-1]


async def test_figures_that_differ_are_found(parts: Parts, database_url: str, redis_url: str) -> None:
    """A figure that nobody publishes any more, and one that is not there."""
    await ask(parts, "all", "", "")
    await ask(parts, "user", "acme", "ada", key="{t}:budget:y")
    await record(parts, request())
    await publisher_of(parts).publish()
    good = await verify(database_url, redis_url)
    await parts.client.hset("{t}:budget:x", "ledger", 1)
    await parts.client.delete("{t}:budget:y")
    bad = await verify(database_url, redis_url)

    assert (0, "verified 2 figures: 2 agree, 0 differ") == good
    assert (1, "verified 2 figures: 0 agree, 2 differ") == bad


async def test_while_requests_come_the_figures_agree(parts: Parts, database_url: str, redis_url: str) -> None:
    """A figure may be a second behind: it has to be one that the books had since the check began."""
    await ask(parts, "all", "", "")
    publisher = publisher_of(parts)

    async def go_on() -> None:
        while True:
            await record(parts, request())
            await publisher.publish()
            await record(parts, request())
            await asyncio.sleep(0.05)

    traffic = asyncio.create_task(go_on())
    try:
        status, line = await verify(database_url, redis_url)
    finally:
        traffic.cancel()
        await asyncio.wait([traffic])

    assert (0, "verified 1 figures: 1 agree, 0 differ") == (status, line)
