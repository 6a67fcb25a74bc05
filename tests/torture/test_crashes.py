"""Each part is killed at the worst moment: what a client received is in the ledger, once."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from kit.load.clients import EdgeClient, LoadClient
from kit.load.comparison import Verdict, judge, judge_spend
from kit.load.provider import Provider
from kit.load.questions import CHAT, Question
from kit.load.reading import Transcript, read
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway_local.ports import free_port

from .system import PARTS, STREAM, Victim, idle_records, running_system

NAMES = ("stream", "ledger", "valkey", "postgres", "spool", "full", "all")
SPOOL_BYTES = 2**16
WITHIN_SECONDS = 60.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the system."""
    return tmp_path_factory.mktemp("crash")


@pytest.fixture(scope="module")
async def victim(home: Path, fault_provider_url: str) -> AsyncIterator[Victim]:
    """Yield a running system with a small spool, which soon gives up requests without an end."""
    settings = {"EDGE_SPOOL_MAX_BYTES": SPOOL_BYTES, "COST_LEDGER_UNSETTLED_AFTER_SECONDS": 3}
    async with running_system(home, fault_provider_url, NAMES, **settings) as victim:
        yield victim


@dataclass
class Asker:
    """A client with its own key, and its transcripts."""

    name: str
    victim: Victim
    provider: Provider
    transcripts: list[Transcript] = field(default_factory=list)

    async def ask(self, plan: str = "ok", count: int = 1) -> Sequence[Transcript]:
        """Send `count` concurrent questions, which the provider answers according to `plan`."""
        edge = EdgeClient(self.victim.url, self.victim.keys[self.name], 60.0)
        client = LoadClient(edge, self.name, random.Random(0), self.transcripts.append)
        async with edge.open() as http:
            first = len(self.transcripts)
            questions = [self._question(f"crash-{self.name}-{first + number}", plan) for number in range(count)]
            transcripts = await asyncio.gather(*(self._let_in(client, http, question) for question in questions))
        self.transcripts += transcripts
        return transcripts

    async def _let_in(self, client: LoadClient, http: httpx2.AsyncClient, question: Question) -> Transcript:
        """Ask until the edge takes the question; a busy one refuses at once, and each refusal is compared, too."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while "overloaded" == read(transcript := await client.ask(http, question)).error_code:
                self.transcripts.append(transcript)
                await asyncio.sleep(1)
        return transcript

    async def verdict(self) -> Verdict:
        """Wait until the system is idle and compare this client's requests."""
        all_seen, all_entries = await idle_records(self.victim, self.provider, WITHIN_SECONDS)
        key_id = self.victim.keys[self.name].split("-")[2]
        ledger = {request_id: entry for request_id, entry in all_entries.items() if entry.key_id == key_id}
        tags = {transcript.question.tag for transcript in self.transcripts}
        seen = {tag: attempts for tag, attempts in all_seen.items() if tag in tags}
        verdict = judge({self.name: self.transcripts}, {self.name: key_id}, ledger, seen)
        async with self.victim.database() as connection:
            await judge_spend(connection, verdict)
        return verdict

    def _question(self, tag: str, plan: str) -> Question:
        query = f"{tag} {{{{1: {plan}{'&' if '?' in plan else '?'}place=1&test={tag}}}}}"
        return Question(tag, CHAT, True, "openai", query, {}, "no-store", None)


@pytest.fixture
def asker(request: pytest.FixtureRequest, victim: Victim, fault_provider_url: str) -> Asker:
    """Return a client for this test."""
    return Asker(request.param, victim, Provider(fault_provider_url))


def ends_of(transcripts: Sequence[Transcript]) -> set[str]:
    """Return how the answers ended for their client."""
    return {reading.error_code or reading.finish_reason for reading in map(read, transcripts)}


async def until(is_so: Callable[[], Any]) -> None:
    """Wait until an awaitable returns a true value."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while not await is_so():
            await asyncio.sleep(0.05)


def with_client(name: str) -> pytest.MarkDecorator:
    """Give the test the client of this name."""
    return pytest.mark.parametrize("asker", [name], indirect=True, ids=[""])


@with_client("stream")
async def test_streams_that_a_killed_edge_cut_off_are_unsettled(asker: Asker, victim: Victim) -> None:
    """In the ledger, in the receipt of the client, and in the metric."""
    streams = asyncio.create_task(asker.ask("ok?chunks=300&interval_ms=100", count=5))
    await until(lambda: _all_are_streaming(asker, 5))
    await victim.kill("edge")
    cut_off = await streams
    await victim.start("edge")

    assert ({"cut"}, {""}) == ({transcript.end for transcript in cut_off}, ends_of(cut_off))
    verdict = await asker.verdict()
    assert (5, 5, 0, 0, 5) == (verdict.requests, verdict.attempts, verdict.lost, verdict.doubled, verdict.unsettled)
    for transcript in cut_off:
        assert "unsettled" == await victim.receipt_state(transcript.request_id, victim.keys["stream"])
    metrics_port = victim.environment_of("cost-ledger")["COST_LEDGER_METRICS_PORT"]
    async with httpx2.AsyncClient(trust_env=False) as client:
        page = (await client.get(f"http://127.0.0.1:{metrics_port}/metrics")).text
    (counted,) = [line for line in page.splitlines() if line.startswith("cost_ledger_unsettled_requests_total ")]
    assert float(counted.split()[1]) >= 5


async def _all_are_streaming(asker: Asker, count: int) -> bool:
    seen = await asker.provider.attempts()
    return count == sum(tag.startswith("crash-stream") and len(attempts) for tag, attempts in seen.items())


@with_client("ledger")
async def test_a_ledger_that_is_killed_in_a_batch_loses_and_doubles_nothing(asker: Asker, victim: Victim) -> None:
    """It has read the events and is waiting for Postgres; the next ledger claims them."""
    with victim.frozen("postgres"):
        answers = await asker.ask(count=20)
        await until(lambda: _is_read(victim))
        await victim.kill("cost-ledger")
    await victim.start("cost-ledger")

    assert {"stop"} == ends_of(answers)
    assert "torture: 20 requests, 20 attempts, lost 0, doubled 0, unsettled 0" == str(await asker.verdict())


async def _is_read(victim: Victim) -> bool:
    async with victim.redis() as client:
        return bool((await client.xpending(STREAM, "cost-ledger"))["pending"])


@with_client("valkey")
async def test_a_valkey_that_is_killed_has_what_it_acknowledged(asker: Asker, victim: Victim) -> None:
    """No ledger has read the events yet: they are restored from its file."""
    with victim.frozen("cost-ledger"):
        answers = await asker.ask(count=20)
        assert 40 <= await victim.waiting_events()
        await victim.kill("valkey")
        await victim.start("valkey")

    assert {"stop"} == ends_of(answers)
    assert "torture: 20 requests, 20 attempts, lost 0, doubled 0, unsettled 0" == str(await asker.verdict())


@with_client("postgres")
async def test_requests_are_answered_while_postgres_is_down(asker: Asker, victim: Victim) -> None:
    """Their events wait in Redis, and recording resumes when it is back."""
    before = await asker.ask(count=10)
    await victim.kill("postgres")
    during = await asker.ask(count=10)
    await victim.start("postgres")

    assert {"stop"} == ends_of([*before, *during])
    assert "torture: 20 requests, 20 attempts, lost 0, doubled 0, unsettled 0" == str(await asker.verdict())


@with_client("spool")
async def test_the_spool_survives_the_edge_and_is_replayed_in_order(asker: Asker, victim: Victim) -> None:
    """Valkey is down, then the edge is killed: what clients received is on the disk."""
    with victim.frozen("cost-ledger"):
        await victim.kill("valkey")
        answers = [transcript for _ in range(4) for transcript in await asker.ask()]
        await victim.kill("edge")
        await victim.start("edge")
        await victim.start("valkey")
        await until(lambda: _is_replayed(victim, 8))
        async with victim.redis() as client:
            entries: Any = await client.xrange(STREAM)
    events = [ledgerpb.CostEvent.FromString(fields[b"event"]) for _, fields in entries]

    assert {"stop"} == ends_of(answers)
    in_order = [(each.request_id, kind) for each in answers for kind in ("admitted", "settled")]
    assert in_order == [(_client_request_id(event), event.WhichOneof("event")) for event in events][-8:]
    assert "torture: 4 requests, 4 attempts, lost 0, doubled 0, unsettled 0" == str(await asker.verdict())


async def _is_replayed(victim: Victim, events: int) -> bool:
    async with victim.redis() as client:
        return bool(await client.xlen(STREAM) >= events) and await victim.waiting_events() == await client.xlen(STREAM)


def _client_request_id(event: ledgerpb.CostEvent) -> str:
    return (event.settled if event.HasField("settled") else event.admitted).request.client_request_id


@with_client("full")
async def test_with_a_full_spool_nothing_is_spent_that_cannot_be_recorded(asker: Asker, victim: Victim) -> None:
    """Rejected with 503 before a provider is called; running requests are still recorded, and the file stays small."""
    await victim.kill("valkey")
    answers: list[Transcript] = []
    while "spend_unrecordable" not in ends_of(answers):
        assert len(answers) < 200
        answers += await asker.ask(count=5)
    refused = [transcript for transcript in answers if transcript.status != 200]
    seen = await asker.provider.attempts()

    assert {503} == {transcript.status for transcript in refused}
    assert not any(transcript.question.tag in seen for transcript in refused)
    assert {"stop", "spend_unrecordable"} == ends_of(answers)
    assert victim.spool_file.stat().st_size <= SPOOL_BYTES
    await victim.start("valkey")
    await until(lambda: _is_taken(asker))
    verdict = await asker.verdict()
    assert (0, 0, 0) == (verdict.lost, verdict.doubled, verdict.unsettled)


async def _is_taken(asker: Asker) -> bool:
    return {"stop"} == ends_of(await asker.ask())


@with_client("all")
async def test_when_everything_is_killed_at_once_answered_requests_are_settled(asker: Asker, victim: Victim) -> None:
    """As when the machine loses power: answered requests are settled, running ones unsettled."""
    streams = asyncio.create_task(asker.ask("ok?chunks=300&interval_ms=100", count=3))
    await until(lambda: _are_admitted(victim, 3))
    answers = await asker.ask(count=10)
    await asyncio.gather(*(victim.kill(part) for part in PARTS))
    await streams
    await asyncio.gather(*(victim.start(part) for part in PARTS))

    assert {"stop"} == ends_of(answers)
    verdict = await asker.verdict()
    assert [] == verdict.faults
    assert (13, 3) == (verdict.requests, verdict.unsettled)


async def _are_admitted(victim: Victim, count: int) -> bool:
    async with victim.database() as connection:
        found = await connection.fetchval("SELECT count(*) FROM requests WHERE state = 'admitted'")
    return bool(found == count)


async def test_a_second_edge_on_the_same_spool_does_not_start(victim: Victim) -> None:
    """It gives the reason in one line."""
    ports = {"EDGE_PORT": str(free_port()), "EDGE_METRICS_PORT": str(free_port())}
    environment = {**victim.environment_of("edge"), **ports}
    command = [sys.executable, "-m", "edge"]
    result = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60
    )

    assert 1 == result.returncode
    (line,) = [line for line in map(orjson.loads, result.stdout.splitlines()) if line["event"] == "start_failed"]
    assert "another edge uses this spool; each edge needs a file of its own" in line["reason"]
    assert "Traceback" not in result.stdout + result.stderr
