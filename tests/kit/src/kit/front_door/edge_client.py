"""The front door as its users meet it: an address and a key. And what a test may look at behind it.

Nothing here knows whether the system runs on this machine or on a cluster, except `Behind`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import asyncpg
import httpx2
import orjson
import redis.asyncio as redis

Json = dict[str, Any]


@dataclass
class Event:
    """One server-sent event, and when it came."""

    name: str
    event_id: str
    data: Any
    at: float


@dataclass
class Chat:
    """A whole answer of `POST /chat`."""

    query: str
    """As it was sent: finds what the provider saw of it."""
    status: int
    headers: Mapping[str, str]
    events: list[Event] = field(default_factory=list)

    @property
    def request_id(self) -> str:
        """The id under which the ledger knows it."""
        return self.headers["x-request-id"]

    @property
    def text(self) -> str:
        """What the reader sees."""
        return "".join(event.data["text"] for event in self.events if event.name == "delta")

    @property
    def names(self) -> list[str]:
        """The names of the events, in order."""
        return [event.name for event in self.events]

    @property
    def last(self) -> Any:
        """The data of the terminal event."""
        return self.events[-1].data


class EdgeClient:
    """An HTTP client of one tenant."""

    def __init__(self, url: str, key: str, tag: str) -> None:
        """`tag` makes questions those of this run: a system that stays up has met all others before."""
        self.url = url
        self.key = key
        self._tag = tag
        self._client = httpx2.AsyncClient(base_url=url, timeout=60, headers={"authorization": f"Bearer {key}"})

    def fresh(self, words: str) -> str:
        """Return a question with these words that no earlier run has asked; in this run it is always the same one."""
        return f"{words} ({self._tag})"

    async def chat(self, query: str = "hello", headers: Mapping[str, str] | None = None, **fields: Any) -> Chat:
        """Ask `/chat` the fresh question with these words (`fresh`), and read the answer to its end."""
        return await self.ask({"query": self.fresh(query), **fields}, headers)

    async def ask(self, body: Json, headers: Mapping[str, str] | None = None) -> Chat:
        """Ask `/chat` with this very body, and read the answer to its end."""
        async with self._client.stream("POST", "/chat", json=body, headers=headers) as response:
            chat = Chat(body["query"], response.status_code, response.headers)
            if response.status_code == 200:
                async for event in read_events(response):
                    chat.events.append(event)
            else:
                refusal = orjson.loads(await response.aread())
                chat.events.append(Event("http-error", "", refusal, time.monotonic()))
        return chat

    def stream(self, path: str, body: Json, headers: Mapping[str, str] | None = None) -> Any:
        """Open a stream that the test reads, or leaves, by itself."""
        return self._client.stream("POST", path, json=body, headers=headers)

    async def post(self, path: str, content: bytes, headers: Mapping[str, str] | None = None) -> httpx2.Response:
        """Send raw bytes."""
        return await self._client.post(path, content=content, headers=headers)

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        """Get a path."""
        return await self._client.get(path, **options)

    async def receipt(self, request_id: str) -> Json:
        """Return the receipt once the ledger has the end of the request."""
        async with asyncio.timeout(20):
            while True:
                response = await self.get(f"/v1/requests/{request_id}")
                if response.status_code == 200 and response.json()["state"] == "settled":
                    return cast("Json", response.json())
                await asyncio.sleep(0.02)

    async def receipt_by_client_id(self, client_request_id: str) -> Json:
        """Return the receipt of a request by the id that the client gave it, once the ledger has its end."""
        async with asyncio.timeout(20):
            while True:
                response = await self.get("/v1/requests", params={"client_request_id": client_request_id})
                settled = [row for row in response.json()["data"] if row["state"] == "settled"]
                if settled:
                    (row,) = settled
                    return await self.receipt(row["request_id"])
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class Provider:
    """What the fault provider saw."""

    def __init__(self, url: str) -> None:
        self._client = httpx2.AsyncClient(base_url=url, timeout=60)

    async def attempts(self, test: str) -> list[Json]:
        """Return the attempts whose model carries `test`, oldest first."""
        response = await self._client.get("/admin/attempts", params={"test": test})
        return cast("list[Json]", response.json()["attempts"])

    async def asked(self, test: str, words: str) -> list[Json]:
        """Return those of them whose request holds `words` (of a question, or of a text to embed)."""
        quoted = orjson.dumps(words)[1:-1]
        return [attempt for attempt in await self.attempts(test) if quoted in orjson.dumps(attempt["body"])]

    async def forget(self) -> None:
        """Let it forget what it saw, and begin again with models that fail at first."""
        (await self._client.delete("/admin/attempts")).raise_for_status()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


@dataclass(frozen=True)
class Stores:
    """What the system has written: the ledger's Postgres and the response cache in Redis."""

    postgres_url: str
    """With the password."""
    redis_url: str

    async def cache_keys(self) -> set[bytes]:
        """Return the keys of all answers that the response cache keeps."""
        async with redis.Redis.from_url(self.redis_url) as client:
            return {key async for key in client.scan_iter("spillway:cache:*")}

    async def rows(self, query: str, *arguments: Any) -> list[Json]:
        """Ask the ledger's Postgres directly."""
        connection = await asyncpg.connect(self.postgres_url)
        try:
            return [dict(row) for row in await connection.fetch(query, *arguments)]
        finally:
            await connection.close()


@dataclass(frozen=True)
class Behind:
    """The processes and files of a system on this machine: for looking, and for breaking."""

    home: Path
    run: Json

    def log(self, name: str) -> str:
        """Return the log of one process."""
        return (self.home / "logs" / f"{name}.log").read_text()

    def pid(self, name: str) -> int:
        """Return the process id of one process."""
        return next(int(process["pid"]) for process in self.run["processes"] if process["name"] == name)


async def read_events(response: httpx2.Response) -> AsyncIterator[Event]:
    """Read the named events of a stream as they come."""
    name = event_id = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("id: "):
            event_id = line[4:]
        elif line.startswith("data: "):
            yield Event(name, event_id, orjson.loads(line[6:]), time.monotonic())


def nano(price_per_million: str, tokens: int) -> Decimal:
    """Price tokens by hand: nano-dollars are exact for the prices of the test price book."""
    return Decimal(price_per_million) * tokens / 1_000_000
