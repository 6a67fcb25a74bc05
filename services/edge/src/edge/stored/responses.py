"""Responses that are kept, so that a later request can go on from one: in Redis, by tenant, for a bounded time.

Each has its own input and output and the ids of those before it, so a conversation of n turns takes n entries and not
the sum of all its beginnings. Using one keeps all before it for as long again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson

from edge.contracts.responses.frames import whole_object
from edge.contracts.responses.request import RESPONSE_ID, response_missing
from edge.conversation import Conversation, ResponsesForm
from edge.events.redis import Command, RedisAway, RedisStore
from edge.exchange.exchange import Exchange
from edge.exchange.settlement import Ending
from edge.problems import Problem

Json = dict[str, Any]

# Of one response with its input; a longer one is not kept, and says so.
MAX_STORED_BYTES = 4 * 1024 * 1024
# Of one conversation; that many were never seen with real clients.
_MAX_CHAIN = 500

Complete = Callable[[Conversation, Sequence[bytes], Sequence[bytes]], Awaitable[Conversation]]


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One response as it was kept."""

    response: Json
    """As its client got it."""
    input: list[Json]
    """Its own input items."""


class StoredResponses:
    """Keeps the responses of all tenants; none can see another's."""

    def __init__(self, store: RedisStore, ttl_seconds: int, complete: Complete) -> None:
        """`ttl_seconds` 0: nothing is kept. `complete` does `with_responses`, beside the event loop when it is long."""
        self._store = store
        self._ttl = ttl_seconds
        self._complete = complete

    async def complete(self, tenant: str, conversation: Conversation) -> Conversation:
        """Return the request with the responses that it goes on from; Problem (404) when one is not there."""
        form = conversation.responses_form
        if form is None or not form.needs:
            return conversation
        entries = dict(zip(form.needs, await self._fetch(tenant, form.needs), strict=True))
        for response_id, entry in entries.items():
            if entry is None:
                raise response_missing(response_id)
        chain: list[bytes] = []
        if form.previous:
            newest = cast("bytes", entries.pop(form.previous))
            before = orjson.loads(newest)["chain"]
            found = await self._fetch(tenant, before)
            for response_id, entry in zip(before, found, strict=True):
                if entry is None:
                    raise response_missing(response_id)
            chain = [*cast("list[bytes]", found), newest]
        referred = cast("list[bytes]", list(entries.values()))
        return await self._complete(conversation, chain, referred)

    def keeping(self, exchange: Exchange, ending: Ending) -> list[Command]:
        """Return the commands that keep a whole answer; none when it is not to be kept, or is too long."""
        form = _form_of(exchange)
        if not self._ttl or form is None or not form.may_store or len(form.chain) >= _MAX_CHAIN:
            return []
        # What was redacted is put back for the client alone, and kept nowhere.
        if exchange.inspected.originals or not ending.answer.is_kept:
            return []
        response = whole_object(exchange, ending, is_kept=True)
        entry = {
            "id": response["id"],
            "chain": form.chain,
            "input": orjson.Fragment(form.input),
            "output": response["output"],
            "response": response,
        }
        value = orjson.dumps(entry)
        if len(value) > MAX_STORED_BYTES:
            return []
        tenant = exchange.facts.identity.tenant
        again: list[Command] = [("EXPIRE", _key(tenant, each), self._ttl) for each in form.chain]
        return [("SET", _key(tenant, response["id"]), value, "EX", self._ttl), *again]

    async def get(self, tenant: str, response_id: str) -> StoredResponse:
        """Return a response; Problem (404) when it is not there."""
        (entry,) = await self._fetch(tenant, [response_id])
        if entry is None:
            raise response_missing(response_id)
        document = orjson.loads(entry)
        return StoredResponse(document["response"], document["input"])

    async def delete(self, tenant: str, response_id: str) -> None:
        """Forget a response; Problem (404) when it is not there."""
        (count,) = await self._run([("DEL", _key(tenant, response_id))])
        if not count:
            raise response_missing(response_id)

    async def _fetch(self, tenant: str, response_ids: Sequence[str]) -> Sequence[bytes | None]:
        for response_id in response_ids:
            if RESPONSE_ID.fullmatch(response_id) is None:
                raise response_missing(response_id)
        return await self._run([("GET", _key(tenant, each)) for each in response_ids]) if response_ids else []

    async def _run(self, commands: Sequence[Command]) -> Sequence[Any]:
        try:
            return await self._store.run(commands)
        except RedisAway as error:
            raise Problem(
                "responses_unavailable",
                "stored responses cannot be read at the moment; try again, or send the whole conversation as input",
            ) from error


def _form_of(exchange: Exchange) -> ResponsesForm | None:
    content = exchange.content
    return content.responses_form if isinstance(content, Conversation) else None


def _key(tenant: str, response_id: str) -> str:
    digest = hashlib.sha256(orjson.dumps([tenant, response_id])).hexdigest()
    return f"spillway:response:{digest}"
