"""Captured texts on their way from a request to the ledger and to an operator; nothing waits for them."""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from cost_ledger.schema.migrate import migrate
from cost_ledger.settings import Settings as LedgerSettings
from edge.capture.captures import Captured, Captures
from edge.capture.keys import CaptureKeys
from edge.capture.tenants import CapturingTenants
from edge.capture.texts import Source
from edge.exchange.output_stage import SizeLimit
from edge.facts import RequestFacts
from edge.http.readers import BodyReaders
from edge.identity import Identity
from edge.ledger.captures import LedgerCaptures
from edge.metrics import Metrics
from edge.problems import Problem
from kit.ledger.process import PRICE_BOOK, LedgerProcess, database, running_ledger
from servicekit.lifecycle import repeat
from servicekit.rpc import create_channel
from servicekit.sealing import SealingKeysUnusable
from spillway.accounts.v1 import accounts_pb2 as accountspb
from spillway.captures.v1 import captures_pb2 as capturespb
from spillway.captures.v1 import captures_pb2_grpc
from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import Edge, running_edge
from .scripted_router import GOOD, STOP, attempted, choices, dies, finished, is_silent, started, texts, waits_for

EMAIL = "ada.love@lovelace.org"
_ME = "tests"
_DROPPED = "edge_captures_dropped_total"


def key_file(folder: Path, *key_ids: str) -> Path:
    """Write a file of keys, each made of its id."""
    file = folder / "capture-keys"
    lines = [f"{each}: {base64.b64encode(each.encode().ljust(32, b'.')).decode()}\n" for each in key_ids]
    file.write_text("".join(lines))
    return file


@pytest.fixture(scope="module", name="ledger")
async def _ledger(
    postgres_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LedgerProcess]:
    url = database(postgres_url, f"captures-{uuid.uuid4()}")
    await migrate(LedgerSettings(postgres_url=url, redis_url=redis_url, price_book_file=PRICE_BOOK))
    # Without Redis: it must not read the cost events of these edges.
    async with running_ledger(tmp_path_factory.mktemp("ledger"), url, "redis://127.0.0.1:1/0") as ledger:
        await ledger.accounts.CreateTenant(
            accountspb.CreateTenantRequest(actor=_ME, tenant=accountspb.Tenant(tenant="acme", capture_days=1))
        )
        yield ledger


async def set_days(ledger: LedgerProcess, days: int) -> None:
    """Change for how long texts are kept."""
    tenant = accountspb.Tenant(tenant="acme", capture_days=days)
    mask = FieldMask(paths=["capture_days"])
    await ledger.accounts.UpdateTenant(accountspb.UpdateTenantRequest(actor=_ME, tenant=tenant, mask=mask))


@dataclass
class Capturing:
    """An edge that captures, and where to."""

    edge: Edge
    captures: Captures
    tenants: CapturingTenants
    keys: CaptureKeys
    sending: asyncio.Task[None]
    ledger: LedgerProcess | None = None

    async def until_counted(self, counted: Callable[..., float], name: str, count: float, **labels: str) -> None:
        """Wait until a metric has a value."""
        async with asyncio.timeout(30):
            while counted(name, **labels) < count:
                await asyncio.sleep(0.01)
        assert count == counted(name, **labels)

    async def of(self, request_id: str) -> capturespb.Texts:
        """Return the texts of a request, opened as the edge does for an operator."""
        assert self.ledger is not None
        asked = capturespb.GetCaptureRequest(actor=_ME, tenant="acme", request_id=request_id)
        async with asyncio.timeout(20):
            while True:
                try:
                    return self.keys.open((await self.ledger.captures.GetCapture(asked)).capture)
                except grpc.aio.AioRpcError as error:
                    if error.code() != grpc.StatusCode.NOT_FOUND:
                        raise
                    await asyncio.sleep(0.05)

    async def all_ids(self) -> set[str]:
        """Return of which requests there are texts."""
        assert self.ledger is not None
        asked = capturespb.ListCapturesRequest(actor=_ME, tenant="acme", page_size=1000)
        return {each.request_id for each in (await self.ledger.captures.ListCaptures(asked)).captures}


@asynccontextmanager
async def capturing_on(
    edge: Edge, address: str, keys: Path | None, ledger: LedgerProcess | None = None
) -> AsyncIterator[Capturing]:
    """Have an edge capture while the block runs, at the ledger of an address."""
    channel = create_channel(address)
    client = LedgerCaptures(channel)
    tenants, capture_keys = CapturingTenants(client, edge.metrics), CaptureKeys(keys, edge.metrics)
    read = BodyReaders(None, edge.metrics).read_texts
    captures = Captures(tenants, capture_keys, read, client, edge.metrics)
    edge.exchanges = replace(edge.exchanges, captures=captures)
    await tenants.turn()
    sending = asyncio.create_task(repeat("send_captures", 0.02, captures.turn))
    try:
        yield Capturing(edge, captures, tenants, capture_keys, sending, ledger)
    finally:
        sending.cancel()
        await asyncio.wait((sending,))
        await channel.close()


@pytest.fixture(name="capturing")
async def _capturing(edge: Edge, ledger: LedgerProcess, tmp_path: Path) -> AsyncIterator[Capturing]:
    await set_days(ledger, 1)
    async with capturing_on(edge, ledger.address, key_file(tmp_path, "one"), ledger) as capturing:
        yield capturing


def asks(edge: Edge, path: str, text: str, *, stream: bool = True) -> Any:
    """Ask in the contract of a path."""
    question = [{"role": "user", "content": text}]
    body = {"query": text} if path == "/chat" else {"model": "default", "messages": question, "max_tokens": 9}
    return edge.visit(path, {**body, "stream": stream})


def content_of(found: capturespb.Texts) -> str:
    """Return the words of an answer."""
    parts: Sequence[Any] = orjson.loads(found.answer) if found.answer else []
    return "".join(part["text"] for part in parts if part["part"] == "content")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", ["/chat", "/v1/chat/completions", "/v1/messages"])
async def test_what_was_asked_and_answered_is_kept_redacted(capturing: Capturing, path: str, *, stream: bool) -> None:
    """In every contract, in pieces or whole: what the router gets and what goes out, without who is in it."""
    edge = capturing.edge
    edge.router.script = [started(), texts("Write to ada.lo", "ve@lovelace.org."), attempted(), STOP]

    visit = await asks(edge, path, f"I am {EMAIL}. Who are you?", stream=stream).done()
    found = await capturing.of(visit.headers["x-request-id"])

    assert EMAIL.encode() in visit.content or stream
    assert EMAIL not in found.prompt + found.answer
    assert "I am [EMAIL]. Who are you?" in found.prompt
    assert (path != "/chat") is ('"max_tokens":9' in found.prompt)
    assert "Write to [EMAIL]." == content_of(found)
    assert ("ok", "stop", False, False) == (
        found.outcome,
        found.finish_reason,
        found.prompt_cut,
        found.answer_cut,
    )


async def test_an_answer_from_the_cache_and_vectors_are_kept(capturing: Capturing) -> None:
    """Whoever asks again is answered again; of vectors there is only what was asked."""
    edge = capturing.edge
    first, second = [await edge.chat("Who wrote it?").done() for _ in range(2)]
    vectors = await edge.embed(["mine", EMAIL]).done()

    assert "edge; hit" in second.headers["cache-status"]
    for visit in (first, second):
        assert "Paris." == content_of(await capturing.of(visit.headers["x-request-id"]))
    found = await capturing.of(vectors.headers["x-request-id"])
    assert ["mine", "[EMAIL]"] == orjson.loads(found.prompt)["input"]
    assert ("", "ok", "") == (found.answer, found.outcome, found.finish_reason)


async def test_a_call_of_a_tool_is_kept(capturing: Capturing) -> None:
    """With its name, and its arguments as far as they are nobody's."""
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "send", "arguments": f'{{"to":"{EMAIL}"}}'}}
    delta = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}
    capturing.edge.router.script = [
        started(),
        choices([delta]),
        attempted(),
        finished(routerpb.FINISH_REASON_TOOL_CALL),
    ]

    visit = await capturing.edge.complete().done()
    found = await capturing.of(visit.headers["x-request-id"])

    assert [
        {"choice": 0, "part": "function name 0", "text": "send"},
        {"choice": 0, "part": "function arguments 0", "text": '{"to":"[EMAIL]"}'},
    ] == orjson.loads(found.answer)
    assert "tool_call" == found.finish_reason


async def test_what_was_cut_is_kept_as_far_as_it_went_out(capturing: Capturing) -> None:
    """A stream that broke off, one whose client left; in one piece nothing went out but an error."""
    edge = capturing.edge
    edge.router.script = [started(), texts("Half an "), dies]
    broken = await edge.chat("one").done()
    whole = await edge.chat("two", stream=False).done()
    edge.router.script = [started(), texts("As far as "), is_silent]
    left = edge.chat("three")
    await left.until(lambda visit: b"As far" in visit.content)
    left.gone()
    await left.done()

    found = [await capturing.of(visit.headers["x-request-id"]) for visit in (broken, whole, left)]

    assert ["Half an ", "", "As far as "] == [content_of(each) for each in found]
    assert ["error", "error", "cancelled"] == [each.finish_reason for each in found]
    assert "ok" not in {each.outcome for each in found}


async def test_a_long_answer_is_kept_from_its_beginning(capturing: Capturing) -> None:
    """Also one that is too long for the cache, of which the edge keeps nothing else."""
    capturing.edge.router.script = [
        started(),
        *(texts(f"{number:07} " * 8192) for number in range(24)),
        attempted(),
        STOP,
    ]

    visit = await capturing.edge.chat("long").done()
    found = await capturing.of(visit.headers["x-request-id"])

    assert found.answer_cut
    assert not found.prompt_cut
    assert '[{"choice":0,"part":"content","text":"0000000 0000000' == found.answer[:53]
    assert 256 * 1024 == len(found.answer)


async def test_nothing_is_kept_unless_the_tenant_wants_it(
    capturing: Capturing, ledger: LedgerProcess, counted: Callable[..., float]
) -> None:
    """Turned off, an edge stops within seconds, and the ledger at once; turned on, it begins again."""
    edge, before = capturing.edge, await capturing.all_ids()
    await set_days(ledger, 0)
    await edge.chat("late").done()
    await capturing.until_counted(counted, "edge_captures_total", 1, outcome="unwanted")
    edge.router.script = [started(), texts("Be"), waits_for(turned_off := asyncio.Event()), attempted(), STOP]
    running = edge.chat("running")
    await running.until(lambda visit: b"Be" in visit.content)
    await capturing.tenants.turn()
    turned_off.set()
    await running.done()
    edge.router.script = GOOD
    await edge.chat("off").done()
    await asyncio.sleep(0.3)
    assert 1 == counted("edge_captures_total", outcome="unwanted")
    assert not capturing.captures.wants("acme")
    assert before == await capturing.all_ids()

    await set_days(ledger, 1)
    await capturing.tenants.turn()
    visit = await edge.chat("on again").done()

    await capturing.of(visit.headers["x-request-id"])
    assert 1 == len(await capturing.all_ids() - before)
    assert 0 == counted(_DROPPED, reason="unreadable")


async def test_what_the_policy_redacts_comes_back_for_the_client_alone(
    tmp_path: Path, redis_url: str, valkey: Any, spool: Any, registry: Any, ledger: LedgerProcess
) -> None:
    """What is kept has the placeholders that the router has got."""
    await set_days(ledger, 1)
    policy = 'version: "1"\ninput: {ticket: redact}\ncustom: [{name: ticket, pattern: "ACME-[0-9]{6}"}]\n'
    async with (
        running_edge(tmp_path, redis_url, spool, registry, policy=policy) as edge,
        capturing_on(edge, ledger.address, key_file(tmp_path, "one"), ledger) as capturing,
    ):
        edge.router.script = [started(), texts("About [TICKET_1]."), attempted(), STOP]
        visit = await edge.chat("Close ACME-123456").done()
        found = await capturing.of(visit.headers["x-request-id"])

    assert b"About ACME-123456." in visit.content.replace(b'"}\n\nevent: delta\ndata: {"text":"', b"")
    assert "Close [TICKET_1]" in found.prompt
    assert "About [TICKET_1]." == content_of(found)


async def test_an_answer_that_the_output_stage_stops_is_kept_as_it_went_out(
    tmp_path: Path, redis_url: str, valkey: Any, spool: Any, registry: Any, ledger: LedgerProcess
) -> None:
    """Nothing of what was held back."""
    await set_days(ledger, 1)
    async with (
        running_edge(tmp_path, redis_url, spool, registry, open_output_stage=lambda _: SizeLimit(20)) as edge,
        capturing_on(edge, ledger.address, key_file(tmp_path, "one"), ledger) as capturing,
    ):
        edge.router.script = [started(), texts("Good so far "), texts("and then too much of it"), attempted(), STOP]
        visit = await edge.chat("much").done()
        found = await capturing.of(visit.headers["x-request-id"])

    assert ("Good so far ", "error") == (content_of(found), found.finish_reason)


async def test_without_a_key_nothing_is_kept_and_that_is_said(
    edge: Edge, ledger: LedgerProcess, counted: Callable[..., float]
) -> None:
    """The request is answered as ever."""
    await set_days(ledger, 1)
    async with capturing_on(edge, ledger.address, None, ledger) as capturing:
        before = await capturing.all_ids()
        visit = await edge.chat("Who?").done()

        assert 200 == visit.status
        assert 1 == counted(_DROPPED, reason="no_key")
        assert before == await capturing.all_ids()


async def test_an_edge_that_knows_no_ledger_captures_nothing(
    edge: Edge, tmp_path: Path, counted: Callable[..., float]
) -> None:
    """Nobody has said that anybody wants it."""
    async with capturing_on(edge, "127.0.0.1:1", key_file(tmp_path, "one")) as capturing:
        assert 200 == (await edge.chat("Who?").done()).status

        assert not capturing.captures.wants("acme")
    assert 1 == counted("edge_capture_tenants_unknown_total")


async def test_keys_are_replaced_while_the_edge_runs(
    capturing: Capturing, tmp_path: Path, ledger: LedgerProcess
) -> None:
    """The new one seals at once, the old one still opens; a broken file changes nothing; a lost key is named."""
    edge, keys = capturing.edge, capturing.keys
    old = (await edge.chat("old").done()).headers["x-request-id"]
    await capturing.of(old)
    key_file(tmp_path, "two", "one")
    await keys.check()
    await keys.check()
    new = (await edge.chat("new").done()).headers["x-request-id"]
    assert "new" in (await capturing.of(new)).prompt
    assert "old" in (await capturing.of(old)).prompt
    asked = capturespb.GetCaptureRequest(actor=_ME, tenant="acme", request_id=new)
    assert "two" == (await ledger.captures.GetCapture(asked)).capture.texts.key_id

    (tmp_path / "capture-keys").write_text("no keys")
    await keys.check()
    await keys.check()
    assert "new" in (await capturing.of(new)).prompt
    key_file(tmp_path, "two")
    await keys.check()
    await keys.check()

    with pytest.raises(Problem, match="sealed with the key 'one'") as caught:
        await capturing.of(old)
    assert 409 == caught.value.kind.status


def test_keys_that_cannot_be_used_are_refused_at_the_start(tmp_path: Path, metrics: Metrics) -> None:
    """An edge that could keep nothing does not start as if it could."""
    for content in (None, "", "one: short"):
        if content is not None:
            (tmp_path / "capture-keys").write_text(content)
        with pytest.raises(SealingKeysUnusable, match="capture-keys"):
            CaptureKeys(tmp_path / "capture-keys", metrics)


class ScriptedLedger(captures_pb2_grpc.CaptureServiceServicer):
    """Wants texts of `acme`; stores them when it may, or ends calls with a status."""

    def __init__(self) -> None:
        self.may_store = asyncio.Event()
        self.status: grpc.StatusCode | None = None
        self.recorded: list[capturespb.Capture] = []
        self.calls = 0

    async def ListCapturingTenants(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Name the tenant."""
        return capturespb.ListCapturingTenantsResponse(tenants=["acme"])

    async def Record(self, request: capturespb.RecordRequest, context: Any) -> Any:  # noqa: N802
        """Store them, some day."""
        self.calls += 1
        if self.status is not None:
            await context.abort(self.status, "no")
        await self.may_store.wait()
        self.recorded += request.captures
        return capturespb.RecordResponse(recorded=len(request.captures))

    async def GetCapture(self, _request: Any, context: Any) -> Any:  # noqa: N802
        """Nobody asks for one here."""
        await context.abort(grpc.StatusCode.NOT_FOUND, "none")

    async def ListCaptures(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        """Nobody asks for them here."""
        return capturespb.ListCapturesResponse()


@pytest.fixture(name="scripted")
async def _scripted(edge: Edge, tmp_path: Path) -> AsyncIterator[tuple[ScriptedLedger, Capturing]]:
    ledger, server = ScriptedLedger(), grpc.aio.server()
    captures_pb2_grpc.add_CaptureServiceServicer_to_server(ledger, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with capturing_on(edge, address, key_file(tmp_path, "one")) as capturing:
        yield ledger, capturing
    await server.stop(0)


def offered(prompt: str = "{}", tenant: str = "acme") -> Captured:
    """Return something to be captured."""
    facts = RequestFacts(
        request_id=str(uuid.uuid4()),
        identity=Identity("key", tenant, "ada", "gold"),
        endpoint="/chat",
        requested_model="default",
        is_streaming=True,
        accepted=time.monotonic(),
    )
    return Captured(facts, Source(prompt.encode()), "ok", "stop")


async def test_what_waits_has_bounds(scripted: tuple[ScriptedLedger, Capturing], counted: Callable[..., float]) -> None:
    """In number and in bytes, while a ledger is slow; what is beyond is dropped and counted, all else is stored."""
    ledger, capturing = scripted
    large = '"' + "x" * (30 * 1024 * 1024) + '"'
    capturing.captures.offer(offered())
    async with asyncio.timeout(20):
        while not ledger.calls:
            await asyncio.sleep(0.01)
    for _ in range(3):
        capturing.captures.offer(offered(large))
    assert 1 == counted(_DROPPED, reason="queue_full")
    for _ in range(510):
        capturing.captures.offer(offered())
    assert 1 + 12 == counted(_DROPPED, reason="queue_full")

    ledger.may_store.set()
    await capturing.until_counted(counted, "edge_captures_total", 501, outcome="recorded")

    assert 501 == len(ledger.recorded) == len({each.request_id for each in ledger.recorded})


async def test_no_request_waits_for_a_ledger_that_is_slow_or_away(
    scripted: tuple[ScriptedLedger, Capturing], counted: Callable[..., float]
) -> None:
    """Answers and cost events go their way; after some tries what cannot be stored is dropped and counted."""
    ledger, capturing = scripted
    ledger.status = grpc.StatusCode.UNAVAILABLE
    began = time.monotonic()
    visits = [await capturing.edge.chat(f"question {number}").done() for number in range(5)]
    assert time.monotonic() - began < 5
    assert [200] * 5 == [visit.status for visit in visits]
    assert 5 == len(await capturing.edge.settled())

    async with asyncio.timeout(60):
        while counted(_DROPPED, reason="ledger_unavailable") < 5:
            await asyncio.sleep(0.1)

    assert time.monotonic() - began > 7
    ledger.status = None
    ledger.may_store.set()
    await capturing.edge.chat("and now").done()
    await capturing.until_counted(counted, "edge_captures_total", 1, outcome="recorded")


async def test_what_the_ledger_refuses_is_not_sent_again(
    scripted: tuple[ScriptedLedger, Capturing], counted: Callable[..., float]
) -> None:
    """An old one that knows no captures, or one that finds a fault: dropped at once, and counted."""
    ledger, capturing = scripted
    for number, ledger.status in enumerate((grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED), 1):
        capturing.captures.offer(offered())
        await capturing.until_counted(counted, _DROPPED, number, reason="refused")
    assert 2 == ledger.calls


async def test_what_cannot_be_read_is_dropped_by_itself(
    scripted: tuple[ScriptedLedger, Capturing], counted: Callable[..., float]
) -> None:
    """The others go on."""
    ledger, capturing = scripted
    ledger.may_store.set()
    for prompt in ("{}", "no JSON", "{}"):
        capturing.captures.offer(offered(prompt))

    await capturing.until_counted(counted, _DROPPED, 1, reason="unreadable")
    await capturing.until_counted(counted, "edge_captures_total", 2, outcome="recorded")


async def test_an_edge_that_ends_sends_what_waits(
    scripted: tuple[ScriptedLedger, Capturing], counted: Callable[..., float]
) -> None:
    """All of it, if the ledger takes it."""
    ledger, capturing = scripted
    ledger.may_store.set()
    for _ in range(120):
        capturing.captures.offer(offered())

    await capturing.captures.close(capturing.sending)

    assert 120 == len(ledger.recorded)
    assert 0 == counted(_DROPPED, reason="shutdown")


async def test_an_edge_that_ends_waits_so_long_and_counts_the_rest(
    scripted: tuple[ScriptedLedger, Capturing], counted: Callable[..., float]
) -> None:
    """A ledger that says nothing does not keep it; each text is counted once."""
    _, capturing = scripted
    for _ in range(70):
        capturing.captures.offer(offered())
    began = time.monotonic()

    await capturing.captures.close(capturing.sending)

    assert 4 < time.monotonic() - began < 15
    assert 70 == counted(_DROPPED, reason="shutdown")
