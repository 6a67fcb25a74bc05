"""`make torture` can fail: it finds each kind of loss and of doubling, and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence

import asyncpg
import orjson
import pytest

from cost_ledger.recording.event import SettledEvent, read_event
from cost_ledger.recording.price import price_settled
from cost_ledger.schema.migrate import migrate
from cost_ledger.settings import Settings
from kit.ledger.cost_events import request, settled
from kit.ledger.process import PRICE_BOOK, database, parts_on
from kit.load.comparison import Verdict, judge, judge_spend
from kit.load.provider import Seen
from kit.load.questions import CHAT, Question
from kit.load.reading import End, Transcript
from kit.load.records import LedgerAttempt, LedgerRequest

KEY_IDS = {"ada": "0a", "bob": "0b"}
SEEN = Seen("ok?chunks=3&text=a&place=1&test=t1", "openai", 200, "completed")
RECORDED = LedgerAttempt("openai", "asked?place=1", "ok", "", 200)
LOST_ROUTER = LedgerAttempt("openai", "asked?place=1", "provider_error", "router_lost", 0)
SETTLED = LedgerRequest("settled", "ok", [RECORDED], "0a")
UNSETTLED = LedgerRequest("unsettled", "", [], "0a")
DONE = b"event: done\ndata: %b\n\n" % orjson.dumps({"finish_reason": "stop"})
WORD = b"event: delta\ndata: %b\n\n" % orjson.dumps({"text": "a0 "})


@pytest.fixture
async def recorded(postgres_url: str, redis_url: str) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
    """Yield a connection to a ledger's database that holds one request."""
    url = database(postgres_url, f"torture-{uuid.uuid4()}")
    await migrate(Settings(postgres_url=url, redis_url=redis_url, price_book_file=PRICE_BOOK))
    async with parts_on(url, redis_url) as parts:
        event = read_event(settled(request()).SerializeToString())
        assert isinstance(event, SettledEvent)
        await parts.store.record([], [price_settled(event, await parts.prices.book())])
        async with parts.pool.acquire() as connection:
            yield connection


def transcript(
    request_id: str, content: bytes = DONE, end: End = "complete", *, tag: str = "t1", status: int = 200
) -> Transcript:
    """Make a transcript."""
    return Transcript(
        Question(tag, CHAT, True, "two", "asked", {}, "", None), request_id, status, "", content, end, 1.0
    )


ANSWERED = transcript("id-1")
CUT_OFF = transcript("id-1", WORD, "cut")
NEVER_ANSWERED = transcript("id-1", b"", "cut", status=0)
REFUSED = transcript("id-1", orjson.dumps({"error": {"code": "spend_unrecordable"}}), status=503)


def judged(asked: Sequence[Transcript], ledger: Mapping[str, LedgerRequest], *seen: Seen) -> tuple[int, int, int]:
    """Return what was lost, doubled and unsettled, of one client's requests."""
    verdict = judge({"ada": asked, "bob": []}, KEY_IDS, ledger, {"t1": seen} if seen else {})
    assert bool(verdict.faults) == bool(verdict.lost + verdict.doubled)
    assert (len(ledger), len(seen)) == (verdict.requests, verdict.attempts)
    return verdict.lost, verdict.doubled, verdict.unsettled


@pytest.mark.parametrize(
    ("asked", "ledger", "seen"),
    [
        pytest.param([ANSWERED], {"id-1": SETTLED}, [SEEN], id="an answer"),
        pytest.param(
            [ANSWERED, transcript("id-2")], {"id-1": SETTLED, "id-2": SETTLED}, [SEEN, SEEN], id="asked again"
        ),
        pytest.param([CUT_OFF], {"id-1": SETTLED}, [SEEN], id="settled before the edge was killed"),
        pytest.param([REFUSED], {}, [], id="refused before anything was spent"),
        pytest.param([NEVER_ANSWERED], {}, [], id="nothing listened"),
        pytest.param([NEVER_ANSWERED], {"id-1": SETTLED}, [SEEN], id="cut off before the status, under its own id"),
        pytest.param([NEVER_ANSWERED], {"id-9": SETTLED}, [SEEN], id="cut off before the status, under another id"),
        pytest.param(
            [CUT_OFF],
            {"id-1": LedgerRequest("settled", "interrupted", [LOST_ROUTER], "0a")},
            [],
            id="the router was lost",
        ),
    ],
)
def test_complete_records_pass(asked: list[Transcript], ledger: dict[str, LedgerRequest], seen: list[Seen]) -> None:
    """Including rejected requests, and those recorded under an id that no client received."""
    assert (0, 0, 0) == judged(asked, ledger, *seen)


@pytest.mark.parametrize(
    ("asked", "request_id"),
    [(CUT_OFF, "id-1"), (transcript("id-1", WORD, "left"), "id-1"), (NEVER_ANSWERED, "id-1"), (NEVER_ANSWERED, "id-9")],
)
def test_a_request_that_was_cut_off_is_unsettled_and_not_lost(asked: Transcript, request_id: str) -> None:
    """Its attempts are unknown."""
    assert (0, 0, 1) == judged([asked], {request_id: UNSETTLED}, SEEN)


@pytest.mark.parametrize(
    ("asked", "ledger", "seen", "lost"),
    [
        pytest.param([ANSWERED], {}, [SEEN], 2, id="an answer: the request and its attempt"),
        pytest.param([CUT_OFF], {}, [], 1, id="a request whose id the client received"),
        pytest.param([ANSWERED], {"id-1": UNSETTLED}, [SEEN], 1, id="the end that the client received"),
        pytest.param([CUT_OFF], {"id-1": LedgerRequest("admitted", "", [], "0a")}, [SEEN], 1, id="no end at all"),
        pytest.param([ANSWERED], {"id-1": LedgerRequest("settled", "ok", [], "0a")}, [SEEN], 1, id="an attempt"),
        pytest.param([ANSWERED], {"id-1": SETTLED}, [SEEN, SEEN], 1, id="one of two attempts"),
        pytest.param([NEVER_ANSWERED], {}, [SEEN], 1, id="a request that reached the provider, without an answer"),
        pytest.param(
            [NEVER_ANSWERED, transcript("id-2", b"", "cut", tag="t2", status=0)], {"id-9": SETTLED}, [SEEN, SEEN], 1,
            id="an attempt of requests whose ids no client received",
        ),
        pytest.param([], {}, [SEEN], 1, id="an attempt without a question"),
    ],
)  # fmt: skip
def test_missing_records_are_lost(
    asked: list[Transcript], ledger: dict[str, LedgerRequest], seen: list[Seen], lost: int
) -> None:
    """Each request and each attempt counts."""
    found = judged(asked, ledger, *seen)

    assert (lost, 0) == found[:2]


def test_two_questions_that_reached_the_provider_need_two_requests() -> None:
    """Where the client received no id, its requests are counted."""
    asked = [NEVER_ANSWERED, transcript("id-2", b"", "cut", tag="t2", status=0)]
    verdict = judge({"ada": asked}, KEY_IDS, {"id-9": UNSETTLED}, {"t1": [SEEN], "t2": [SEEN]})

    assert (1, 0, 1) == (verdict.lost, verdict.doubled, verdict.unsettled)


@pytest.mark.parametrize(
    ("asked", "ledger", "seen"),
    [
        pytest.param(
            [ANSWERED], {"id-1": LedgerRequest("settled", "ok", [RECORDED, RECORDED], "0a")}, [SEEN], id="an attempt"
        ),
        pytest.param(
            [ANSWERED], {"id-1": SETTLED, "id-9": LedgerRequest("settled", "ok", [], "0a")}, [SEEN], id="a request"
        ),
        pytest.param([NEVER_ANSWERED], {"id-9": SETTLED, "id-8": UNSETTLED}, [SEEN], id="a request without an answer"),
    ],
)
def test_surplus_records_are_doubled(
    asked: list[Transcript], ledger: dict[str, LedgerRequest], seen: list[Seen]
) -> None:
    """More than the client sent, or more than the provider saw."""
    assert (0, 1) == judged(asked, ledger, *seen)[:2]


def test_an_empty_run_is_no_success() -> None:
    """A run without attempts has tested nothing."""
    assert not Verdict().is_good
    assert Verdict(attempts=1).is_good
    assert not Verdict(attempts=1, lost=1).is_good
    assert not Verdict(attempts=1, doubled=1).is_good
    assert Verdict(attempts=1, unsettled=1).is_good
    assert "torture: 2 requests, 3 attempts, lost 0, doubled 0, unsettled 1" == str(Verdict(2, 3, 0, 0, 1))


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        ("UPDATE spend_daily SET cost_usd = cost_usd", (0, 0)),
        ("UPDATE spend_daily SET requests = requests + 2", (0, 2)),
        ("UPDATE spend_daily SET attempts = attempts - 1", (1, 0)),
        ("UPDATE spend_daily SET output_tokens = output_tokens + 1", (0, 1)),
        ("UPDATE spend_daily SET cost_usd = cost_usd - 0.000000001", (1, 0)),
        ("DELETE FROM spend_daily", (1, 0)),
        ("DELETE FROM attempts", (0, 1)),
        ("DELETE FROM requests; DELETE FROM attempts", (0, 1)),
    ],
)
async def test_spend_that_is_not_the_sum_of_its_rows_is_found(
    recorded: asyncpg.pool.PoolConnectionProxy, tampering: str, found: tuple[int, int]
) -> None:
    """To the nano-dollar, in both directions."""
    await recorded.execute(tampering)
    verdict = Verdict()
    await judge_spend(recorded, verdict)

    assert found == (verdict.lost, verdict.doubled)
