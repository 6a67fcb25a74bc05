"""Ask every cell, and collect what its client got, what its provider was asked, and what the receipt says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson

from kit.front_door.edge_client import EdgeClient

from .cells import Cell

Json = dict[str, Any]

_AT_A_TIME = 8
_SECONDS = 60.0
# The machine is: clients try again then.
_BUSY = 503


@dataclass(frozen=True)
class Outcome:
    """What became of a cell."""

    status: int
    content: bytes
    attempt: Json | None
    """What the second target was asked, as the fault provider saw it; None: nothing."""
    receipt: Json | None
    """None: nothing was admitted."""


async def ask_all(matrix: Sequence[Cell], url: str, key: str, provider_url: str) -> Mapping[str, Outcome]:
    """Ask some at a time; return the outcomes by route."""
    turn = asyncio.Semaphore(_AT_A_TIME)
    edge = EdgeClient(url, key, "clients")
    async with httpx2.AsyncClient(timeout=_SECONDS) as client:

        async def ask(cell: Cell) -> Outcome:
            async with turn:
                return await _ask(cell, url, key, client, edge, provider_url)

        try:
            outcomes = await asyncio.gather(*(ask(cell) for cell in matrix))
        finally:
            await edge.close()
    return {cell.route: outcome for cell, outcome in zip(matrix, outcomes, strict=True)}


async def _ask(
    cell: Cell, url: str, key: str, client: httpx2.AsyncClient, edge: EdgeClient, provider_url: str
) -> Outcome:
    asked = cell.asked
    headers = {**asked.headers, "cache-control": "no-store"}
    for name in asked.key_in:
        headers[name] = f"Bearer {key}" if name == "authorization" else key
    body = orjson.dumps({**asked.body, "model": cell.route})
    query = f"?{asked.query}" if asked.query else ""
    answer = await client.post(f"{url}{asked.path}{query}", content=body, headers=headers)
    while answer.status_code == _BUSY:
        await asyncio.sleep(float(answer.headers["retry-after"]))
        answer = await client.post(f"{url}{asked.path}{query}", content=body, headers=headers)
    seen = await client.get(f"{provider_url}/admin/attempts", params={"test": cell.route})
    attempts = seen.json()["attempts"]
    receipt = await edge.receipt(answer.headers["x-request-id"]) if attempts else None
    return Outcome(answer.status_code, answer.content, attempts[-1] if attempts else None, receipt)
