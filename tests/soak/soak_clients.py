"""Clients that ask one question after the other, read every byte, and sometimes leave or ask again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping

import httpx2
import uuid_utils.compat

from soak_questions import MESSAGES, Question, make_question
from soak_reading import End, Transcript, read
from soak_system import REQUEST_SECONDS, System

# Behind the request's own deadline, and a busy machine.
_HUNG_AFTER_SECONDS = REQUEST_SECONDS + 15.0
_ASK_AGAIN = 0.1


class Client:
    """One of the clients; it has one connection at a time."""

    def __init__(self, system: System, name: str, chance: random.Random, done: Callable[[Transcript], None]) -> None:
        """`done` gets each transcript; tags of questions begin with `name`."""
        self._system = system
        self._name = name
        self._chance = chance
        self._done = done
        self._count = 0

    async def ask_until(self, moment: float) -> None:
        """Ask until `moment` on the monotonic clock; the last answer is read to its end."""
        answered: list[Question] = []
        async with httpx2.AsyncClient(base_url=self._system.url, timeout=None, trust_env=False) as http:
            while time.monotonic() < moment:
                transcript = await self._ask(http, self._choose(answered))
                self._done(transcript)
                if transcript.end == "complete" and read(transcript).is_success:
                    answered.append(transcript.question)

    def _choose(self, answered: list[Question]) -> Question:
        if answered and self._chance.random() < _ASK_AGAIN:
            return self._chance.choice(answered)
        self._count += 1
        return make_question(self._chance, f"{self._name}-{self._count}")

    async def _ask(self, http: httpx2.AsyncClient, question: Question) -> Transcript:
        request_id = str(uuid_utils.compat.uuid7())
        begun = time.monotonic()
        response: httpx2.Response | None = None
        content = bytearray()
        end: End = "complete"
        stays = _HUNG_AFTER_SECONDS if question.leaves_after_seconds is None else question.leaves_after_seconds
        try:
            async with asyncio.timeout(stays):
                headers = self._headers(question, request_id)
                async with http.stream("POST", question.path, json=question.body, headers=headers) as response:
                    async for part in response.aiter_raw():
                        content += part
        except TimeoutError:
            end = "hung" if question.leaves_after_seconds is None else "left"
        except httpx2.TransportError:
            end = "cut"
        return Transcript(
            question=question,
            request_id=request_id,
            status=response.status_code if response else 0,
            cache_status=response.headers.get("cache-status", "") if response else "",
            content=bytes(content),
            end=end,
            seconds=time.monotonic() - begun,
        )

    def _headers(self, question: Question, request_id: str) -> Mapping[str, str]:
        key = self._system.key
        headers = {"x-request-id": request_id}
        headers |= {"x-api-key": key} if question.path == MESSAGES else {"authorization": f"Bearer {key}"}
        return headers | ({"cache-control": question.cache_control} if question.cache_control else {})
