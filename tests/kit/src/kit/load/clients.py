"""Clients that send one question after the other, read every byte, and sometimes disconnect or repeat a question."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx2
import uuid_utils.compat

from kit.load.questions import MESSAGES, Question, make_question
from kit.load.reading import End, Transcript, read

_ASK_AGAIN = 0.1
# The edge or a service behind it is down for a moment. Fifty clients that retry at once would keep it from starting.
_PAUSES_SECONDS = (0.5, 2.0)


@dataclass(frozen=True)
class EdgeClient:
    """The address and key of an edge, and how long a client waits for the end of an answer."""

    url: str
    key: str
    hung_after_seconds: float

    def open(self) -> httpx2.AsyncClient:
        """Return an HTTP client without a timeout of its own."""
        return httpx2.AsyncClient(base_url=self.url, timeout=None, trust_env=False)


class LoadClient:
    """A client with one connection at a time."""

    def __init__(self, edge: EdgeClient, name: str, rng: random.Random, done: Callable[[Transcript], None]) -> None:
        """`done` receives each transcript; tags of questions begin with `name`."""
        self._edge = edge
        self._name = name
        self._rng = rng
        self._done = done
        self._count = 0

    async def ask_until(self, moment: float) -> None:
        """Send questions until `moment` on the monotonic clock; read the last answer to its end."""
        answered: list[Question] = []
        async with self._edge.open() as http:
            while time.monotonic() < moment:
                transcript = await self.ask(http, self._choose(answered))
                self._done(transcript)
                if transcript.status == 503 or (transcript.end == "cut" and transcript.status == 0):
                    await asyncio.sleep(self._rng.uniform(*_PAUSES_SECONDS))
                if transcript.end == "complete" and read(transcript).is_success:
                    answered.append(transcript.question)

    def _choose(self, answered: list[Question]) -> Question:
        if answered and self._rng.random() < _ASK_AGAIN:
            return self._rng.choice(answered)
        self._count += 1
        return make_question(self._rng, f"{self._name}-{self._count}")

    async def ask(self, http: httpx2.AsyncClient, question: Question) -> Transcript:
        """Send one question with a request id of the client, and read the response."""
        request_id = str(uuid_utils.compat.uuid7())
        started = time.monotonic()
        response: httpx2.Response | None = None
        content = bytearray()
        end: End = "complete"
        broken_by = ""
        stays = (
            self._edge.hung_after_seconds if question.leaves_after_seconds is None else question.leaves_after_seconds
        )
        try:
            async with asyncio.timeout(stays):
                headers = self._headers(question, request_id)
                async with http.stream("POST", question.path, json=question.body, headers=headers) as response:
                    async for part in response.aiter_raw():
                        content += part
        except TimeoutError:
            end = "hung" if question.leaves_after_seconds is None else "left"
        except httpx2.TransportError as error:
            end = "cut"
            broken_by = repr(error)
        return Transcript(
            question=question,
            request_id=request_id,
            status=response.status_code if response else 0,
            cache_status=response.headers.get("cache-status", "") if response else "",
            content=bytes(content),
            end=end,
            seconds=time.monotonic() - started,
            broken_by=broken_by,
            minted_id=response.headers.get("x-request-id", "") if response else "",
        )

    def _headers(self, question: Question, request_id: str) -> Mapping[str, str]:
        key = self._edge.key
        headers = {"x-request-id": request_id}
        headers |= {"x-api-key": key} if question.path == MESSAGES else {"authorization": f"Bearer {key}"}
        return headers | ({"cache-control": question.cache_control} if question.cache_control else {})
