"""Clients that ask one question after the other, read every byte, and sometimes leave or ask again."""

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
# Nobody is there, at the front door or behind it, and will be again soon.
# Fifty that ask at once again keep it from coming up.
_PAUSES_SECONDS = (0.5, 2.0)


@dataclass(frozen=True)
class FrontDoor:
    """Where a client asks, and how long it waits for the end of an answer."""

    url: str
    key: str
    hung_after_seconds: float

    def open(self) -> httpx2.AsyncClient:
        """Return what connects to it, with no patience of its own."""
        return httpx2.AsyncClient(base_url=self.url, timeout=None, trust_env=False)


class Client:
    """One of the clients; it has one connection at a time."""

    def __init__(self, door: FrontDoor, name: str, chance: random.Random, done: Callable[[Transcript], None]) -> None:
        """`done` gets each transcript; tags of questions begin with `name`."""
        self._door = door
        self._name = name
        self._chance = chance
        self._done = done
        self._count = 0

    async def ask_until(self, moment: float) -> None:
        """Ask until `moment` on the monotonic clock; the last answer is read to its end."""
        answered: list[Question] = []
        async with self._door.open() as http:
            while time.monotonic() < moment:
                transcript = await self.ask(http, self._choose(answered))
                self._done(transcript)
                if transcript.status == 503 or (transcript.end == "cut" and transcript.status == 0):
                    await asyncio.sleep(self._chance.uniform(*_PAUSES_SECONDS))
                if transcript.end == "complete" and read(transcript).is_success:
                    answered.append(transcript.question)

    def _choose(self, answered: list[Question]) -> Question:
        if answered and self._chance.random() < _ASK_AGAIN:
            return self._chance.choice(answered)
        self._count += 1
        return make_question(self._chance, f"{self._name}-{self._count}")

    async def ask(self, http: httpx2.AsyncClient, question: Question) -> Transcript:
        """Ask one question, under an id of the client's own, and read what comes."""
        request_id = str(uuid_utils.compat.uuid7())
        begun = time.monotonic()
        response: httpx2.Response | None = None
        content = bytearray()
        end: End = "complete"
        broken_by = ""
        stays = (
            self._door.hung_after_seconds if question.leaves_after_seconds is None else question.leaves_after_seconds
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
            seconds=time.monotonic() - begun,
            broken_by=broken_by,
            minted_id=response.headers.get("x-request-id", "") if response else "",
        )

    def _headers(self, question: Question, request_id: str) -> Mapping[str, str]:
        key = self._door.key
        headers = {"x-request-id": request_id}
        headers |= {"x-api-key": key} if question.path == MESSAGES else {"authorization": f"Bearer {key}"}
        return headers | ({"cache-control": question.cache_control} if question.cache_control else {})
