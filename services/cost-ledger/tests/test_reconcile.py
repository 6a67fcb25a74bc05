"""Reconciliation: books that agree, and every kind of difference."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from cost_ledger.books.reconcile import Line, NameMatcher, Reconciliation, reconcile
from cost_ledger.books.usage_export.export import Figures, ModelDay, UsageExport, UsageRow
from cost_ledger.recording.price import price_settled
from kit.ledger.cost_events import MORNING, attempt, read_settled, request, settled, used
from kit.ledger.process import Parts
from spillway.router.v1 import router_pb2 as routerpb

DAY = date(2026, 11, 21)
SNAPSHOT = "gpt-test-2026-09-01"


@pytest.fixture
async def connection(parts: Parts, database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection of the test's own."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


def answered(
    *,
    usage: routerpb.Usage | None = None,
    response_model: str = SNAPSHOT,
    at: datetime = MORNING,
    is_estimated: bool = False,
    provider: str = "openai",
) -> routerpb.Attempt:
    """Return an attempt at gpt-test."""
    message = attempt(usage=usage or used(), at=at, provider=provider)
    message.response_model = response_model
    if is_estimated:
        message.usage_source = routerpb.USAGE_SOURCE_ESTIMATED
    return message


async def record(parts: Parts, *attempts: routerpb.Attempt) -> None:
    """Record each attempt as a request of its own, each of a tenant of its own."""
    book = await parts.prices.book()
    endings = [settled(request(tenant=f"tenant-{uuid.uuid4()}"), [each]) for each in attempts]
    await parts.store.record([], [price_settled(read_settled(ending), book) for ending in endings])


def export(figures: Figures, model: str = SNAPSHOT, day: date = DAY) -> UsageExport:
    """Return an export of one row."""
    return UsageExport({ModelDay(day, model): figures})


async def compare(
    connection: asyncpg.Connection, said: UsageExport, first: date | None = None, last: date | None = None
) -> Reconciliation:
    """Compare with what is recorded of OpenAI."""
    return await reconcile(connection, "openai", said, first, last)


def differing(result: Reconciliation) -> list[Line]:
    """Return the lines that do not agree."""
    return [line for line in result.lines if line.difference]


async def test_books_that_agree_have_no_difference(parts: Parts, connection: asyncpg.Connection) -> None:
    """All tenants together, by day and model; attempts that used nothing and those of others do not count."""
    cached = routerpb.Usage(
        input_tokens=1000, output_tokens=50, provider_cache_read_input_tokens=400, provider_cache_write_input_tokens=7
    )
    await record(parts, answered(), answered(usage=cached), attempt(), answered(provider="anthropic"))
    result = await compare(connection, export(Figures(2, 1100, 400, 7, 70)))

    assert ([], 5) == (differing(result), len(result.lines))


async def test_each_figure_that_differs_is_listed(parts: Parts, connection: asyncpg.Connection) -> None:
    """More in the ledger is positive."""
    await record(parts, answered())

    assert [
        Line(DAY, SNAPSHOT, "requests", 2, 1),
        Line(DAY, SNAPSHOT, "input_tokens", 90, 100),
    ] == differing(await compare(connection, export(Figures(2, 90, 0, None, 20))))
    [_, line] = differing(await compare(connection, export(Figures(2, 90, 0, None, 20))))
    assert 10 == line.difference


async def test_what_only_one_side_knows_is_a_difference(parts: Parts, connection: asyncpg.Connection) -> None:
    """A model that was billed and not recorded, and one that was recorded and not billed."""
    await record(parts, answered())
    result = await compare(connection, export(Figures(1, 5, None, None, 6), "gpt-other"))

    assert [
        Line(DAY, "gpt-other", "requests", 1, 0),
        Line(DAY, "gpt-other", "input_tokens", 5, 0),
        Line(DAY, "gpt-other", "output_tokens", 6, 0),
        Line(DAY, SNAPSHOT, "requests", 0, 1),
        Line(DAY, SNAPSHOT, "input_tokens", 0, 100),
        Line(DAY, SNAPSHOT, "output_tokens", 0, 20),
    ] == differing(result)


async def test_costs_are_the_corrected_ones(parts: Parts, connection: asyncpg.Connection) -> None:
    """What counts in the ledger is compared; unpriced attempts are counted."""
    await record(parts, answered(), answered())
    rows = await connection.fetch("SELECT request_id FROM attempts")
    await connection.execute(
        "INSERT INTO corrections (request_id, attempt_number, correction_number, tenant, before_price_version,"
        " cost_usd, price_version, reason) VALUES ($1, 1, 1, 't', '', 5, '', 'r'), ($1, 1, 2, 't', '', 2, '', 'r'),"
        " ($2, 1, 1, 't', '', NULL, '', 'r')",
        rows[0]["request_id"],
        rows[1]["request_id"],
    )
    result = await compare(connection, export(Figures(cost_usd=Decimal("2.5"))))

    assert [Line(DAY, SNAPSHOT, "cost_usd", Decimal("2.5"), Decimal(2))] == differing(result)
    assert 1 == result.unpriced


async def test_estimates_are_shown_apart(parts: Parts, connection: asyncpg.Connection) -> None:
    """They are in the ledger's figures and explain a difference."""
    await record(parts, answered(), answered(usage=used(7, 3), is_estimated=True))
    result = await compare(connection, export(Figures(2, 100, 0, 0, 20)))

    [(key, estimated)] = result.estimated.items()
    assert ModelDay(DAY, SNAPSHOT) == key
    assert (1, 7, 3) == (estimated.requests, estimated.input_tokens, estimated.output_tokens)
    assert [7, 3] == [line.difference for line in differing(result)]


@pytest.mark.parametrize(
    ("first", "last", "days"),
    [(None, None, {20, 21}), (DAY, None, {21}), (None, DAY - timedelta(days=1), {20}), (DAY, DAY, {21})],
)
async def test_days_are_those_of_the_export_or_of_the_arguments(
    parts: Parts, connection: asyncpg.Connection, first: date | None, last: date | None, days: set[int]
) -> None:
    """UTC, by the start of the attempt, both ends included; other days of the ledger are no difference."""
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    moments = [
        midnight - timedelta(microseconds=1),
        midnight,
        midnight + timedelta(days=1),
        midnight - timedelta(days=2),
    ]
    await record(parts, *(answered(at=moment) for moment in moments))
    said = export(Figures(1, 100), day=date(2026, 11, 20))
    said.add(UsageRow(ModelDay(DAY, SNAPSHOT), Figures(1, 100)))
    result = await compare(connection, said, first, last)

    assert [] == differing(result)
    assert days == {line.day.day for line in result.lines}


@pytest.mark.parametrize(
    ("names", "target_model", "response_model", "name"),
    [
        ({"m-2026-09-01"}, "m", "m-2026-09-01", "m-2026-09-01"),
        ({"m"}, "m", "m-2026-09-01", "m"),
        ({"m-2026-09-01"}, "m", "", "m-2026-09-01"),
        ({"m-20261007"}, "m", "m", "m-20261007"),
        ({"m"}, "m-latest", "", "m"),
        ({"m-2026-09-01", "m-2026-10-01"}, "m", "m-2026-10-01", "m-2026-10-01"),
        # It may be either of the two.
        ({"m-2026-09-01", "m-2026-10-01"}, "m", "", "m"),
        ({"m-2026-09-01"}, "m-2026-10-01", "", "m-2026-09-01"),
        ({"mini"}, "m", "m-2026-10-01", "m-2026-10-01"),
        ({"m-5"}, "m", "", "m"),
        (set(), "", "", ""),
    ],
)
def test_names_with_dates_are_matched(names: set[str], target_model: str, response_model: str, name: str) -> None:
    """The response model goes before the target model, a whole name before one without its date; no name is guessed."""
    assert name == NameMatcher(names).name_of(target_model, response_model)


async def test_names_that_were_matched_are_listed(parts: Parts, connection: asyncpg.Connection) -> None:
    """So that a wrong match is visible."""
    await record(parts, answered(), answered(response_model=""))
    result = await compare(connection, export(Figures(2, 200)))

    assert [] == differing(result)
    assert {SNAPSHOT: {"gpt-test"}} == result.matched


@pytest.mark.parametrize(
    ("provider_says", "ledger_says", "percent", "is_within"),
    [
        (1000, 1010, "1", True),
        (1000, 1011, "1", False),
        (1000, 990, "1", True),
        (1000, 989, "1", False),
        (1000, 1001, "0", False),
        (0, 0, "0", True),
        (0, 1, "50", False),
    ],
)
def test_a_difference_within_the_tolerance_is_none(
    provider_says: int, ledger_says: int, percent: str, is_within: bool
) -> None:
    """In percent of the provider's figure; of zero, nothing is tolerated."""
    assert is_within == Line(DAY, "m", "requests", provider_says, ledger_says).is_within(Decimal(percent))
