"""Streams that run during changes of the cluster, and the comparison of the ledger with what the provider saw."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from redis.exceptions import RedisError

from kit.front_door.scenarios import LOCAL
from kit.load.clients import EdgeClient, LoadClient
from kit.load.comparison import Verdict, judge, judge_spend
from kit.load.provider import Provider, Seen
from kit.load.questions import CHAT, Question
from kit.load.reading import Transcript, read
from kit.load.records import LedgerRequest, read_entries

from .cluster import PATIENCE_SECONDS, Cluster, CommandFailed

Json = dict[str, Any]

# Routes of the streams: the provider alone, and both vendors with the pool's model behind them. What the provider does
# is chosen by each question.
STREAM_ROUTES = {
    "streams": [("openai", "asked?place=1")],
    "streams-to-the-pool": [("openai", "asked?place=1"), ("anthropic", "asked?place=2"), LOCAL],
}
STREAMS = 50
# Ten seconds a stream: long enough to be under way whatever is done.
TEN_SECONDS = "ok?chunks=100&interval_ms=100"
ONE_SECOND = "ok?chunks=20&interval_ms=50"
_HUNG_AFTER_SECONDS = 180.0
_MAX_REPORTED = 20
_EVENTS = "spillway:cost-events"
_SPOOLED = """
import json, urllib.request
print(json.load(urllib.request.urlopen("http://127.0.0.1:9103/health", timeout=10))["spool_events"])
"""


@dataclass
class LoadClients:
    """Clients with one API key, their transcripts, and the comparison with the records of both sides."""

    name: str
    url: str
    key: str
    tag: str
    """Of this run, so that the provider's records of other runs are ignored."""
    provider: Provider
    cluster: Cluster
    transcripts: list[Transcript] = field(default_factory=list)
    verdict: Verdict | None = None
    """The result of `reconcile`."""
    _asked: int = 0
    _started_at: float = field(default_factory=time.time)

    async def ask(
        self, plan: str = "ok", count: int = 1, route: str = "streams", **options: object
    ) -> Sequence[Transcript]:
        """Send concurrent questions, which the provider answers according to `plan`; read all to their ends."""
        return await asyncio.gather(*(self._ask_alone(plan, route, options) for _ in range(count)))

    @asynccontextmanager
    async def streaming(
        self, plan: str = TEN_SECONDS, count: int = STREAMS, route: str = "streams"
    ) -> AsyncIterator[None]:
        """Keep `count` streams running during the block, and let them finish after it."""
        is_over = asyncio.Event()

        async def ask_on() -> None:
            async with self._edge.open() as http:
                while not is_over.is_set():
                    await self._ask_with(http, plan, route, {})

        before = len(await self._seen())
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(ask_on())
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while len(await self._seen()) < before + count:
                        await asyncio.sleep(0.5)
                yield
            finally:
                is_over.set()

    async def _ask_alone(self, plan: str, route: str, options: Json) -> Transcript:
        async with self._edge.open() as http:
            return await self._ask_with(http, plan, route, options)

    async def _ask_with(self, http: httpx2.AsyncClient, plan: str, route: str, options: Json) -> Transcript:
        self._asked += 1
        tag = f"{self.tag}-{self.name}-{self._asked}"
        joint = "&" if "?" in plan else "?"
        plans = " ".join(f"{{{{{place}: {plan}{joint}place={place}&test={tag}}}}}" for place in (1, 2))
        question = Question(tag, CHAT, True, route, f"{tag} {plans}", dict(options), "no-store", None)
        client = LoadClient(self._edge, self.name, random.Random(0), self.transcripts.append)
        transcript = await client.ask(http, question)
        self.transcripts.append(transcript)
        return transcript

    @property
    def _edge(self) -> EdgeClient:
        return EdgeClient(self.url, self.key, _HUNG_AFTER_SECONDS)

    @property
    def ends(self) -> Counter[str]:
        """The number of answers by their end."""
        return Counter(map(end_of, self.transcripts))

    @property
    def figures(self) -> str:
        """The result in one line."""
        ends = ", ".join(f"{count} {end}" for end, count in self.ends.most_common())
        books = str(self.verdict).removeprefix("torture: ") if self.verdict else "not reconciled"
        return f"{self.name}: {len(self.transcripts)} streams ({ends}); ledger: {books}"

    @property
    def oddities(self) -> list[str]:
        """The incomplete answers: time, id, end and last content of each."""
        return [
            f"{self.name}: {_asked_at(each):%H:%M:%S.%f} {each.request_id} after {each.seconds:.2f} s: {end_of(each)}"
            f" {each.content[-200:].decode(errors='replace').strip()}"
            for each in self.transcripts
            if not read(each).is_success
        ][:_MAX_REPORTED]

    @property
    def malformed(self) -> list[str]:
        """The errors in the form of the answers."""
        return [fault for transcript in self.transcripts for fault in read(transcript).faults]

    async def reconcile(self, within_seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the system is idle; fail when the records of provider, clients and ledger differ."""
        verdict = self.verdict = await self._verdict(within_seconds)
        assert [] == verdict.faults
        assert (0, 0, 0) == (verdict.lost, verdict.doubled, verdict.unsettled)
        assert verdict.attempts
        assert [] == self.malformed

    async def _verdict(self, within_seconds: float) -> Verdict:
        """Compare once no cost event is pending and no attempt open, or when the time is over."""
        deadline = time.monotonic() + within_seconds
        while True:
            is_last = time.monotonic() > deadline
            if is_last or await self._is_quiet():
                verdict = await self._compared()
                if verdict.is_good or is_last:
                    return verdict
            await asyncio.sleep(1.0)

    async def _is_quiet(self) -> bool:
        if any(attempt.finish == "open" for attempt in await self._seen()):
            return False
        try:
            return await self.waiting_events() == 0
        except (CommandFailed, OSError, RedisError):
            return False  # a pod is starting or stopping

    async def waiting_events(self) -> int:
        """Return the number of cost events in spools and on the stream."""
        edges = await self.cluster.ready_pods("edge")
        spooled = await asyncio.gather(*(self.cluster.python(edge, _SPOOLED) for edge in edges))
        async with self.cluster.redis() as client:
            return sum(map(int, spooled)) + int(await client.xlen(_EVENTS))

    async def entries(self) -> dict[str, LedgerRequest]:
        """Return the ledger's entries of these clients in this run."""
        key_id = self.key.split("-")[2]
        async with self.cluster.database() as connection:
            entries = await read_entries(connection)
        return {
            request_id: entry
            for request_id, entry in entries.items()
            if entry.key_id == key_id and (uuid.UUID(request_id).int >> 80) / 1000 >= self._started_at
        }

    async def _compared(self) -> Verdict:
        # The provider does not know the attempts of the pool's model.
        ledger = {
            request_id: replace(entry, attempts=[each for each in entry.attempts if each.provider != "vllm"])
            for request_id, entry in (await self.entries()).items()
        }
        tags = {transcript.question.tag for transcript in self.transcripts}
        seen = {tag: attempts for tag, attempts in (await self.provider.attempts()).items() if tag in tags}
        verdict = judge({self.name: self.transcripts}, {self.name: self.key.split("-")[2]}, ledger, seen)
        async with self.cluster.database() as connection:
            await judge_spend(connection, verdict)
        return verdict

    async def _seen(self) -> list[Seen]:
        mark = f"{self.tag}-{self.name}-"
        seen = await self.provider.attempts()
        return [attempt for tag, attempts in seen.items() if tag.startswith(mark) for attempt in attempts]


def _asked_at(transcript: Transcript) -> datetime:
    """Return when a question was sent, by its UUIDv7."""
    return datetime.fromtimestamp((uuid.UUID(transcript.request_id).int >> 80) / 1000, UTC)


def end_of(transcript: Transcript) -> str:
    """Return how an answer ended: its finish reason, its error, or how it was cut off."""
    reading = read(transcript)
    broken = f"{transcript.end} {transcript.broken_by}".strip()
    if transcript.status == 0:
        return f"no answer ({broken})"
    return reading.finish_reason or reading.error_code or f"no end ({broken})"


def with_clients(name: str) -> pytest.MarkDecorator:
    """Give the test the clients of this name; each name has an API key (LOAD_CLIENTS in installation.py)."""
    return pytest.mark.parametrize("clients", [name], indirect=True, ids=[""])
