"""A plan played on a connection: the pace, the text, and the fault at its moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import orjson

from fault_provider.answers import chunk_count, chunk_texts, finish_reason, tool_fragments, usage_for
from fault_provider.attempts import Attempt
from fault_provider.connection import Connection
from fault_provider.plan import Plan, Wire
from fault_provider.refusals import status_body
from fault_provider.script import Ending

_MAX_SILENCE_SECONDS = 300.0
_DEFAULT_PING_SECONDS = 0.2
_STREAM_HEADERS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}


class Answer(Protocol):
    """One answer on one wire (see openai_wire, anthropic_wire)."""

    @property
    def choices(self) -> int: ...  # noqa: D102

    def script(self) -> bytes: ...  # noqa: D102
    def opening(self) -> bytes: ...  # noqa: D102
    def contents(self, count: int) -> Iterator[bytes]: ...  # noqa: D102
    def tool_call(self) -> Iterator[bytes]: ...  # noqa: D102
    def finish(self, reason: str, generated_tokens: int) -> bytes: ...  # noqa: D102
    def end(self) -> bytes: ...  # noqa: D102
    def ping(self) -> bytes: ...  # noqa: D102
    def malformed(self) -> bytes: ...  # noqa: D102
    def error(self, body: dict[str, Any]) -> bytes: ...  # noqa: D102
    def whole(self, reason: str | None, count: int, generated_tokens: int) -> dict[str, Any]: ...  # noqa: D102


class Performance:
    """Plays one plan for one attempt."""

    def __init__(
        self, plan: Plan, wire: Wire, answer: Answer, connection: Connection, attempt: Attempt, max_tokens: int | None
    ) -> None:
        self._plan = plan
        self._wire = wire
        self._answer = answer
        self._connection = connection
        self._attempt = attempt
        self._count = chunk_count(plan, max_tokens)
        self._reason = finish_reason(plan, max_tokens)

    async def play(self, stream: bool, headers: dict[str, str]) -> None:
        """Answer as the plan says, streamed or as one body, and note how it ended."""
        if self._plan.behaviour == "reset":
            self._attempt.end("reset")
            await self._connection.reset()
            return
        if self._plan.behaviour == "silence" and not self._plan.after_headers:
            await self._hang()
            return
        self._attempt.status = 200
        if stream:
            await self._stream(headers)
        else:
            await self._answer_whole(headers)

    async def play_bytes(self, steps: list[str | float], ending: Ending | None, headers: dict[str, str]) -> None:
        """Write the texts and pause as `steps` say, streaming or not, and end the connection so."""
        connection = self._connection
        self._attempt.status = 200
        await connection.start(200, {**_STREAM_HEADERS, **headers})
        for step in steps:
            if isinstance(step, str):
                await connection.write(step.encode())
            else:
                await asyncio.sleep(step)
        match ending:
            case "hang":
                await self._hang()
            case "cut":
                self._attempt.end("cut")
                await connection.cut()
            case "reset":
                self._attempt.end("reset")
                await connection.reset()
            case None:
                self._attempt.end("completed")
                await connection.finish()

    async def _stream(self, headers: dict[str, str]) -> None:
        plan, connection = self._plan, self._connection
        await connection.start(200, {**_STREAM_HEADERS, **headers})
        if plan.behaviour == "silence":
            await self._hang()
            return
        if plan.behaviour == "script":
            await connection.write(self._answer.script())
            self._attempt.end("completed")
            await connection.finish()
            return
        self._bill(0)
        await connection.write(self._answer.opening())
        match plan.behaviour:
            case "role-only":
                await self._hang()
            case "pings-only":
                await self._ping_on()
            case "tool-call":
                await self._send_paced(self._answer.tool_call(), [""] * (1 + len(tool_fragments())))
                await self._end_as_planned(len(tool_fragments()))
            case "tool-cut":
                fragments = list(self._answer.tool_call())[: 1 + plan.after]
                await self._send_paced(fragments, [""] * len(fragments))
                await self._end_as_planned(plan.after)
            case _:
                texts = list(chunk_texts(plan, self._count))
                await self._send_paced(self._answer.contents(self._count), texts)
                await self._end_as_planned(self._count * self._answer.choices)

    async def _send_paced(self, frames: Iterable[bytes], texts: list[str]) -> None:
        """Send the frames at their times; who is late sends what is due at once, so that the rate holds."""
        plan = self._plan
        loop = asyncio.get_running_loop()
        first_seconds = plan.first_ms / 1000 + (plan.seconds if plan.behaviour == "slow-first" else 0)
        first_due = loop.time() + first_seconds
        for number, (frame, text) in enumerate(zip(frames, texts, strict=True)):
            if number == plan.after and plan.behaviour == "malformed":
                await self._connection.write(self._answer.malformed())
            delay = first_due + number * plan.interval_ms / 1000 - loop.time()
            if delay > 0 or number % 64 == 63:
                await asyncio.sleep(max(delay, 0))
            await self._connection.write(frame)
            self._attempt.sent_chunks(self._answer.choices, len(text) * self._answer.choices)
        if plan.behaviour == "malformed" and len(texts) <= plan.after:
            await self._connection.write(self._answer.malformed())

    async def _end_as_planned(self, generated_tokens: int) -> None:
        connection, answer = self._connection, self._answer
        self._bill(generated_tokens)
        match self._plan.behaviour:
            case "cut" | "tool-cut":
                self._attempt.end("cut")
                await connection.cut()
                return
            case "stall":
                await self._hang()
                return
            case "error-frame":
                status = 500 if self._wire == "openai" else 529
                await connection.write(answer.error(status_body(self._wire, status)))
            case "missing-end":
                pass
            case "missing-done":
                await connection.write(answer.finish(self._reason, generated_tokens))
            case _:
                await connection.write(answer.finish(self._reason, generated_tokens) + answer.end())
        self._attempt.end("completed")
        await connection.finish()

    async def _answer_whole(self, headers: dict[str, str]) -> None:
        """Send one body, after the time that its chunks would have taken."""
        plan = self._plan
        generated = len(tool_fragments()) if plan.behaviour == "tool-call" else self._count * self._answer.choices
        reason = None if plan.behaviour == "missing-end" else self._reason
        data = orjson.dumps(self._answer.whole(reason, self._count, generated))
        if plan.behaviour == "error-frame":
            data = orjson.dumps(status_body(self._wire, 500))
        if plan.behaviour == "malformed":
            data = data[: len(data) // 2]
        breaks = plan.behaviour in {"cut", "tool-cut", "stall", "silence", "role-only", "pings-only"}
        if not breaks:
            slow = plan.seconds if plan.behaviour == "slow-first" else 0
            await asyncio.sleep(plan.first_ms / 1000 + slow + self._count * plan.interval_ms / 1000)
        self._bill(generated)
        length = {"content-type": "application/json", "content-length": str(len(data))}
        await self._connection.start(200, {**headers, **length})
        if breaks:
            await self._break_off(data)
            return
        for text in chunk_texts(plan, self._count):
            self._attempt.sent_chunks(self._answer.choices, len(text) * self._answer.choices)
        self._attempt.end("completed")
        await self._connection.finish(data)

    async def _break_off(self, data: bytes) -> None:
        if self._plan.behaviour in {"cut", "tool-cut", "stall"}:
            await self._connection.send_part(data[: len(data) // 2])
        if self._plan.behaviour not in {"cut", "tool-cut"}:
            await asyncio.sleep(_MAX_SILENCE_SECONDS)
        self._attempt.end("cut")
        await self._connection.cut()

    async def _hang(self) -> None:
        await asyncio.sleep(_MAX_SILENCE_SECONDS)
        self._attempt.end("cut")
        await self._connection.cut()

    async def _ping_on(self) -> None:
        interval_seconds = self._plan.interval_ms / 1000 or _DEFAULT_PING_SECONDS
        for _ in range(int(_MAX_SILENCE_SECONDS / interval_seconds)):
            await self._connection.write(self._answer.ping())
            await asyncio.sleep(interval_seconds)
        self._attempt.end("cut")
        await self._connection.cut()

    def _bill(self, generated_tokens: int) -> None:
        self._attempt.usage = usage_for(self._plan, self._wire, generated_tokens)
