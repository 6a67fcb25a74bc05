"""Each part killed by itself, at the worst moment: what a client was told is in the ledger, once."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from kit.load.clients import Client, FrontDoor
from kit.load.comparison import Verdict, judge, judge_spend
from kit.load.provider import Provider
from kit.load.questions import CHAT, Question
from kit.load.reading import Transcript, read
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway_local.ports import free_port

from .system import STREAM, VICTIMS, Patient, quiet_books, running_system

NAMES = ("stream", "ledger", "valkey", "postgres", "spool", "full", "all")
SPOOL_BYTES = 2**16
WITHIN_SECONDS = 60.0


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Yield the folder of the system; not below pytest's own, which other users may not enter."""
    with tempfile.TemporaryDirectory(prefix="spillway-crash-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
async def patient(home: Path, fault_provider_url: str) -> AsyncIterator[Patient]:
    """Yield a running system with a spool that is soon full and little patience for requests without an end."""
    settings = {"EDGE_SPOOL_MAX_BYTES": SPOOL_BYTES, "COST_LEDGER_UNSETTLED_AFTER_SECONDS": 3}
    async with running_system(home, fault_provider_url, NAMES, **settings) as patient:
        yield patient


@dataclass
class Asker:
    """A client with a key of its own, and what it was told."""

    name: str
    patient: Patient
    provider: Provider
    transcripts: list[Transcript] = field(default_factory=list)

    async def ask(self, plan: str = "ok", count: int = 1) -> Sequence[Transcript]:
        """Ask `count` questions at the same time that the provider answers as `plan` says."""
        door = FrontDoor(self.patient.url, self.patient.keys[self.name], 60.0)
        client = Client(door, self.name, random.Random(0), self.transcripts.append)
        async with door.open() as http:
            first = len(self.transcripts)
            questions = [self._question(f"crash-{self.name}-{first + number}", plan) for number in range(count)]
            told = await asyncio.gather(*(client.ask(http, question) for question in questions))
        self.transcripts += told
        return told

    async def verdict(self) -> Verdict:
        """Wait until all is quiet and compare what concerns this client."""
        all_seen, all_entries = await quiet_books(self.patient, self.provider, WITHIN_SECONDS)
        key_id = self.patient.keys[self.name].split("-")[2]
        ledger = {request_id: entry for request_id, entry in all_entries.items() if entry.key_id == key_id}
        tags = {transcript.question.tag for transcript in self.transcripts}
        seen = {tag: attempts for tag, attempts in all_seen.items() if tag in tags}
        verdict = judge({self.name: self.transcripts}, {self.name: key_id}, ledger, seen)
        async with self.patient.database() as connection:
            await judge_spend(connection, verdict)
        return verdict

    def _question(self, tag: str, plan: str) -> Question:
        query = f"{tag} {{{{1: {plan}{'&' if '?' in plan else '?'}place=1&test={tag}}}}}"
        return Question(tag, CHAT, True, "openai", query, {}, "no-store", None)


@pytest.fixture
def asker(request: pytest.FixtureRequest, patient: Patient, fault_provider_url: str) -> Asker:
    """Return a client of the test's own."""
    return Asker(request.param, patient, Provider(fault_provider_url))


def told(transcripts: Sequence[Transcript]) -> set[str]:
    """Return how the answers ended for their reader."""
    return {reading.error_code or reading.finish_reason for reading in map(read, transcripts)}


async def until(is_so: Callable[[], Any]) -> None:
    """Wait until an awaitable gives something true."""
    async with asyncio.timeout(WITHIN_SECONDS):
        while not await is_so():
            await asyncio.sleep(0.05)


def asked_by(name: str) -> pytest.MarkDecorator:
    """Give the test a client of this name."""
    return pytest.mark.parametrize("asker", [name], indirect=True, ids=[""])


@asked_by("stream")
async def test_streams_that_a_killed_edge_cut_off_are_unsettled(asker: Asker, patient: Patient) -> None:
    """Each stands in the ledger as what it is, is shown so to who asked, and is counted."""
    streams = asyncio.create_task(asker.ask("ok?chunks=300&interval_ms=100", count=5))
    await until(lambda: _all_are_streaming(asker, 5))
    await patient.kill("edge")
    cut_off = await streams
    await patient.start("edge")

    assert ({"cut"}, {""}) == ({transcript.end for transcript in cut_off}, told(cut_off))
    verdict = await asker.verdict()
    assert (5, 5, 0, 0, 5) == (verdict.requests, verdict.attempts, verdict.lost, verdict.doubled, verdict.unsettled)
    for transcript in cut_off:
        assert "unsettled" == await patient.receipt_state(transcript.request_id, patient.keys["stream"])
    metrics_port = patient.environment_of("cost-ledger")["COST_LEDGER_METRICS_PORT"]
    async with httpx2.AsyncClient(trust_env=False) as client:
        page = (await client.get(f"http://127.0.0.1:{metrics_port}/metrics")).text
    (counted,) = [line for line in page.splitlines() if line.startswith("cost_ledger_unsettled_requests_total ")]
    assert float(counted.split()[1]) >= 5


async def _all_are_streaming(asker: Asker, count: int) -> bool:
    seen = await asker.provider.attempts()
    return count == sum(tag.startswith("crash-stream") and len(attempts) for tag, attempts in seen.items())


@asked_by("ledger")
async def test_a_ledger_that_is_killed_in_a_batch_loses_and_doubles_nothing(asker: Asker, patient: Patient) -> None:
    """It has read the events and is waiting for Postgres; the next one takes them up."""
    with patient.frozen("postgres"):
        answers = await asker.ask(count=20)
        await until(lambda: _is_read(patient))
        await patient.kill("cost-ledger")
    await patient.start("cost-ledger")

    assert {"stop"} == told(answers)
    assert "torture: 20 requests, 20 attempts, lost 0, doubled 0, unsettled 0" == str(await asker.verdict())


async def _is_read(patient: Patient) -> bool:
    async with patient.redis() as client:
        return bool((await client.xpending(STREAM, "cost-ledger"))["pending"])


@asked_by("valkey")
async def test_a_valkey_that_is_killed_has_what_it_acknowledged(asker: Asker, patient: Patient) -> None:
    """Nobody has read the events yet: they come back with its file."""
    with patient.frozen("cost-ledger"):
        answers = await asker.ask(count=20)
        assert 40 <= await patient.waiting_events()
        await patient.kill("valkey")
        await patient.start("valkey")

    assert {"stop"} == told(answers)
    assert "torture: 20 requests, 20 attempts, lost 0, doubled 0, unsettled 0" == str(await asker.verdict())


@asked_by("postgres")
async def test_answers_go_on_while_postgres_is_gone(asker: Asker, patient: Patient) -> None:
    """Their events wait in Redis, and ingest goes on by itself when it is back."""
    before = await asker.ask(count=10)
    await patient.kill("postgres")
    during = await asker.ask(count=10)
    await patient.start("postgres")

    assert {"stop"} == told([*before, *during])
    assert "torture: 20 requests, 20 attempts, lost 0, doubled 0, unsettled 0" == str(await asker.verdict())


@asked_by("spool")
async def test_the_spool_outlives_the_edge_and_is_replayed_in_order(asker: Asker, patient: Patient) -> None:
    """Valkey is gone, then the edge is killed: what was told to clients waits on the disk."""
    with patient.frozen("cost-ledger"):
        await patient.kill("valkey")
        answers = [transcript for _ in range(4) for transcript in await asker.ask()]
        await patient.kill("edge")
        await patient.start("edge")
        await patient.start("valkey")
        await until(lambda: _is_replayed(patient, 8))
        async with patient.redis() as client:
            entries: Any = await client.xrange(STREAM)
    events = [ledgerpb.CostEvent.FromString(fields[b"event"]) for _, fields in entries]

    assert {"stop"} == told(answers)
    in_order = [(each.request_id, kind) for each in answers for kind in ("admitted", "settled")]
    assert in_order == [(_client_request_id(event), event.WhichOneof("event")) for event in events][-8:]
    assert "torture: 4 requests, 4 attempts, lost 0, doubled 0, unsettled 0" == str(await asker.verdict())


async def _is_replayed(patient: Patient, events: int) -> bool:
    async with patient.redis() as client:
        return bool(await client.xlen(STREAM) >= events) and await patient.waiting_events() == await client.xlen(STREAM)


def _client_request_id(event: ledgerpb.CostEvent) -> str:
    return (event.settled if event.HasField("settled") else event.admitted).request.client_request_id


@asked_by("full")
async def test_with_a_full_spool_nothing_is_spent_that_cannot_be_recorded(asker: Asker, patient: Patient) -> None:
    """Refused with 503 before any provider is asked; what runs is still recorded, and the file stays small."""
    await patient.kill("valkey")
    answers: list[Transcript] = []
    while "spend_unrecordable" not in told(answers):
        assert len(answers) < 200
        answers += await asker.ask(count=5)
    refused = [transcript for transcript in answers if transcript.status != 200]
    seen = await asker.provider.attempts()

    assert {503} == {transcript.status for transcript in refused}
    assert not any(transcript.question.tag in seen for transcript in refused)
    assert {"stop", "spend_unrecordable"} == told(answers)
    assert patient.spool_file.stat().st_size <= SPOOL_BYTES
    await patient.start("valkey")
    await until(lambda: _is_taken(asker))
    verdict = await asker.verdict()
    assert (0, 0, 0) == (verdict.lost, verdict.doubled, verdict.unsettled)


async def _is_taken(asker: Asker) -> bool:
    return {"stop"} == told(await asker.ask())


@asked_by("all")
async def test_when_everything_is_killed_at_once_what_was_told_is_there(asker: Asker, patient: Patient) -> None:
    """As when the machine's power button is held: answered requests are settled, running ones unsettled."""
    streams = asyncio.create_task(asker.ask("ok?chunks=300&interval_ms=100", count=3))
    await until(lambda: _are_admitted(patient, 3))
    answers = await asker.ask(count=10)
    await asyncio.gather(*(patient.kill(victim) for victim in VICTIMS))
    await streams
    await asyncio.gather(*(patient.start(victim) for victim in VICTIMS))

    assert {"stop"} == told(answers)
    verdict = await asker.verdict()
    assert [] == verdict.faults
    assert (13, 3) == (verdict.requests, verdict.unsettled)


async def _are_admitted(patient: Patient, count: int) -> bool:
    async with patient.database() as connection:
        found = await connection.fetchval("SELECT count(*) FROM requests WHERE state = 'admitted'")
    return bool(found == count)


async def test_a_second_edge_on_the_same_spool_does_not_start(patient: Patient) -> None:
    """It says why, in one line."""
    environment = {**patient.environment_of("edge"), "EDGE_PORT": str(free_port())}
    command = [sys.executable, "-m", "edge"]
    result = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60
    )

    assert 1 == result.returncode
    (line,) = [line for line in map(orjson.loads, result.stdout.splitlines()) if line["event"] == "start_failed"]
    assert "another edge uses this spool; each edge needs a file of its own" in line["reason"]
    assert "Traceback" not in result.stdout + result.stderr
