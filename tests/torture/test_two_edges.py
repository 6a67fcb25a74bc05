"""`Idempotency-Key` over two edges that are processes of their own, on one Valkey and one router."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from edge.idempotency.idempotency import LEASE_SECONDS
from kit.load.comparison import Verdict, judge_spend
from kit.load.provider import Provider

from .system import Victim, idle_records, running_system

Json = dict[str, Any]

WITHIN_SECONDS = 60.0
# Long enough that whoever is asked meanwhile finds it running, and within the deadline of a request.
_LONG = "ok?chunks=60&interval_ms=100"


@pytest.fixture(scope="module")
async def victim(tmp_path_factory: pytest.TempPathFactory, fault_provider_url: str) -> AsyncIterator[Victim]:
    """Yield a running system that soon gives up requests without an end."""
    home = tmp_path_factory.mktemp("idempotency")
    settings = {"COST_LEDGER_UNSETTLED_AFTER_SECONDS": 3}
    async with running_system(home, fault_provider_url, ["client"], **settings) as victim:
        yield victim


@pytest.fixture(scope="module")
async def second(victim: Victim) -> AsyncIterator[str]:
    """Yield the address of the second edge."""
    async with victim.second_edge() as url:
        yield url


@dataclass
class Order:
    """A request with a key, which may be sent to any edge."""

    victim: Victim
    provider: Provider
    name: str
    stream: bool
    plan: str

    @property
    def request(self) -> Json:
        """What is sent, each time the same."""
        query = f"{self.name} {{{{1: {self.plan}&place=1&test={self.name}}}}}"
        messages = [{"role": "user", "content": query}]
        return {
            "url": "/v1/chat/completions",
            "json": {"model": "openai", "stream": self.stream, "messages": messages},
            "headers": {
                "authorization": f"Bearer {self.victim.keys['client']}",
                "idempotency-key": self.name,
                "x-request-id": self.name,
            },
        }

    async def send(self, url: str) -> httpx2.Response:
        """Send it once."""
        async with _client(url) as client:
            return await client.post(**self.request)

    async def insist(self, url: str) -> tuple[httpx2.Response, Counter[str]]:
        """Send it until it is answered; return the answer, and the codes of the refusals before it."""
        refusals: Counter[str] = Counter()
        async with asyncio.timeout(WITHIN_SECONDS):
            while (response := await self.send(url)).status_code != 200:
                assert "true" == response.headers["x-should-retry"], response.text
                refusals[response.json()["error"]["code"]] += 1
                await asyncio.sleep(0.2)
        return response, refusals

    async def attempts(self) -> int:
        """Return how often the provider was asked for it."""
        return len((await self.provider.attempts()).get(self.name, ()))

    async def is_begun(self) -> None:
        """Wait until the provider has it."""
        async with asyncio.timeout(WITHIN_SECONDS):
            while not await self.attempts():
                await asyncio.sleep(0.05)

    async def lease(self) -> tuple[bytes, int]:
        """Return the one key that a running request has in Valkey, and for how many more milliseconds."""
        async with self.victim.redis() as client:
            keys = [key async for key in client.scan_iter("spillway:idempotency:*")]
            values: dict[bytes, Any] = {key: await client.get(key) for key in keys}
            (key,) = [key for key, value in values.items() if value and value.startswith(b"r")]
            return key, int(await client.pttl(key))

    async def let_lease_end(self) -> None:
        """Turn the clock on: nobody renews it, and the minute that it has left is not waited for."""
        key, _ = await self.lease()
        async with self.victim.redis() as client:
            await client.pexpire(key, 1)

    async def rows(self) -> Sequence[Json]:
        """Return what the ledger has of it, oldest first, once everything is there."""
        await idle_records(self.victim, self.provider, WITHIN_SECONDS)
        query = (
            "SELECT request_id::text, state, requests.outcome, attempts.cost_usd FROM requests"
            " LEFT JOIN attempts USING (request_id) WHERE client_request_id = $1 ORDER BY request_id"
        )
        async with self.victim.database() as connection, asyncio.timeout(WITHIN_SECONDS):
            while True:
                rows = [dict(row) for row in await connection.fetch(query, self.name)]
                if all(row["state"] != "admitted" for row in rows):  # what is given up is so every ten seconds
                    break
                await asyncio.sleep(0.2)
            verdict = Verdict()
            await judge_spend(connection, verdict)
            assert [] == verdict.faults
            return rows


def _client(url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=url, timeout=WITHIN_SECONDS, trust_env=False)


@pytest.fixture
def order(request: pytest.FixtureRequest, victim: Victim, fault_provider_url: str) -> Order:
    """Return a request whose name is the test's."""
    name, stream, plan = request.param
    return Order(victim, Provider(fault_provider_url), name, stream, plan)


def with_order(name: str, plan: str, *streams: bool) -> pytest.MarkDecorator:
    """Give the test a request with this name."""
    orders = [(f"{name}-{stream}".lower(), stream, plan) for stream in streams or (True,)]
    return pytest.mark.parametrize("order", orders, indirect=True, ids=[each[0] for each in orders])


@with_order("at-once", "ok?chunks=20&interval_ms=50", True, False)
async def test_a_key_that_comes_to_both_edges_at_once_runs_once(order: Order, victim: Victim, second: str) -> None:
    """One of six runs; the others are told to wait, or get the very bytes that the first one got."""
    urls = [victim.url, second] * 3
    answers = await asyncio.gather(*(order.insist(url) for url in urls))
    later = [await order.insist(url) for url in urls[:2]]

    responses = [response for response, _ in (*answers, *later)]
    (first,) = [response for response in responses if "idempotency-replayed" not in response.headers]
    assert {first.content} == {response.content for response in responses}
    assert {first.headers["content-type"]} == {response.headers["content-type"] for response in responses}
    assert {"request_in_progress", "overloaded"} >= {code for _, codes in answers for code in codes}
    assert 1 == await order.attempts()
    (row,) = await order.rows()
    assert (first.headers["x-request-id"], "settled", "ok") == (row["request_id"], row["state"], row["outcome"])
    assert row["cost_usd"] > Decimal(0)


@with_order("streamed", _LONG)
async def test_the_other_edge_waits_and_replays_the_stream_as_it_was(order: Order, victim: Victim, second: str) -> None:
    """Keep-alives included: byte for byte as the first caller has read it."""
    async with _client(victim.url) as client, client.stream("POST", **order.request) as response:
        seen = b""
        meanwhile: list[httpx2.Response] = []
        async for part in response.aiter_raw():
            seen += part
            if not meanwhile:
                meanwhile.append(await order.send(second))
    replayed, _ = await order.insist(second)

    assert (409, "request_in_progress") == (meanwhile[0].status_code, meanwhile[0].json()["error"]["code"])
    assert 200 == response.status_code
    assert seen.endswith(b"data: [DONE]\n\n")
    assert ("true", seen) == (replayed.headers["idempotency-replayed"], replayed.content)
    assert 1 == await order.attempts()
    assert ["settled"] == [row["state"] for row in await order.rows()]


@with_order("killed", _LONG, True, False)
async def test_the_key_of_a_killed_edge_is_free_when_its_lease_ends(order: Order, victim: Victim, second: str) -> None:
    """The client that comes again is answered by the other edge; what was cut off is unsettled, the rest has a cost."""
    first = asyncio.create_task(order.send(victim.url))
    await order.is_begun()
    await victim.kill("edge")
    with pytest.raises(httpx2.TransportError):
        await first
    soon = await order.send(second)
    _, left = await order.lease()
    await order.let_lease_end()
    answer, _ = await order.insist(second)
    await victim.start("edge")
    replayed, _ = await order.insist(victim.url)

    assert (409, "request_in_progress") == (soon.status_code, soon.json()["error"]["code"])
    assert 0 < left <= LEASE_SECONDS * 1000
    assert "idempotency-replayed" not in answer.headers
    assert ("true", answer.content) == (replayed.headers["idempotency-replayed"], replayed.content)
    assert 2 == await order.attempts()
    cut, whole = await order.rows()
    assert ("unsettled", None) == (cut["state"], cut["cost_usd"])
    assert (answer.headers["x-request-id"], "settled") == (whole["request_id"], whole["state"])
    assert whole["cost_usd"] > Decimal(0)


@with_order("frozen", "ok?chunks=30&interval_ms=100")
async def test_an_edge_that_was_away_for_longer_than_its_lease_overwrites_nothing(
    order: Order, victim: Victim, second: str
) -> None:
    """Both callers get their answer, both are on record, and whoever comes again gets that of the key's owner."""
    first = asyncio.create_task(order.send(victim.url))
    await order.is_begun()
    with victim.frozen("edge"):
        await order.let_lease_end()
        answer, _ = await order.insist(second)
    await asyncio.wait((first,))
    replays = [(await order.insist(url))[0] for url in (victim.url, second)]

    assert [answer.content] * 2 == [replay.content for replay in replays]
    assert 2 == await order.attempts()
    assert {"settled"} == {row["state"] for row in await order.rows()}
    assert 2 == len(await order.rows())
