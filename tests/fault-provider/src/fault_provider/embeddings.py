"""The OpenAI embeddings wire: vectors that tests can compute, and what may be wrong with them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import struct
from typing import Any

import orjson

from fault_provider.attempts import Attempt
from fault_provider.connection import Connection
from fault_provider.plan import Plan
from fault_provider.refusals import status_body

EmbeddingInput = str | list[int]

_MAX_SILENCE_SECONDS = 300.0


class UnusableInput(ValueError):
    """An `input` or `encoding_format` that the vendor would refuse; the message says why."""


def expected_vector(embedded: EmbeddingInput, dimensions: int = 8) -> list[float]:
    """Return the vector of one input; its numbers are the same in 32 and in 64 bits."""
    digest = hashlib.shake_128(orjson.dumps(embedded)).digest(dimensions)
    return [(byte - 128) / 128 for byte in digest]


def expected_embeddings_usage(plan: Plan) -> dict[str, int]:
    """Return the usage that an answer to `plan` reports: there is no output."""
    return {"prompt_tokens": plan.input_tokens, "total_tokens": plan.input_tokens}


def inputs_of(body: dict[str, Any]) -> list[EmbeddingInput]:
    """Return the inputs of a request, one for each vector; UnusableInput when there is none or it is refused."""
    if body.get("encoding_format", "float") not in {"float", "base64"}:
        raise UnusableInput("encoding_format: Input should be 'float' or 'base64'")
    given = body.get("input")
    inputs: list[Any] = [given] if isinstance(given, str) or _are_tokens(given) else given  # type: ignore[assignment]
    if not isinstance(inputs, list) or not inputs:
        raise UnusableInput("'$.input' is invalid.")
    if not all((isinstance(each, str) and each) or _are_tokens(each) for each in inputs):
        raise UnusableInput("'$.input' is invalid.")
    return inputs


def _are_tokens(given: object) -> bool:
    return isinstance(given, list) and bool(given) and all(type(token) is int for token in given)


class EmbeddingsPerformance:
    """Plays one plan for one request for vectors."""

    def __init__(self, plan: Plan, body: dict[str, Any], connection: Connection, attempt: Attempt) -> None:
        self._plan = plan
        self._body = body
        self._connection = connection
        self._attempt = attempt

    async def play(self, headers: dict[str, str]) -> None:
        """Answer as the plan says, and note how it ended."""
        plan, connection = self._plan, self._connection
        if plan.behaviour == "reset":
            self._attempt.end("reset")
            await connection.reset()
            return
        if plan.behaviour == "silence" and not plan.after_headers:
            await self._hang()
            return
        await asyncio.sleep(plan.first_ms / 1000 + (plan.seconds if plan.behaviour == "slow-first" else 0))
        data = self._data()
        self._attempt.status = 200
        self._attempt.usage = expected_embeddings_usage(plan)
        length = {"content-type": "application/json", "content-length": str(len(data))}
        await connection.start(200, {**headers, **length})
        match plan.behaviour:
            case "silence" | "role-only" | "pings-only":
                await self._hang()
            case "stall":
                await connection.send_part(data[: len(data) // 2])
                await self._hang()
            case "cut":
                await connection.send_part(data[: len(data) // 2])
                self._attempt.end("cut")
                await connection.cut()
            case _:
                self._attempt.end("completed")
                await connection.finish(data)

    def _data(self) -> bytes:
        if self._plan.behaviour == "error-frame":
            return orjson.dumps(status_body("openai", 500))
        answer: dict[str, Any] = {"object": "list", "data": self._items(), "model": self._plan.answered_model}
        if self._plan.behaviour != "no-usage":
            answer["usage"] = expected_embeddings_usage(self._plan)
        data = orjson.dumps(answer)
        return data[: len(data) // 2] if self._plan.behaviour == "malformed" else data

    def _items(self) -> list[dict[str, Any]]:
        plan, inputs = self._plan, inputs_of(self._body)
        vectors = [expected_vector(each, self._body.get("dimensions") or plan.dimensions) for each in inputs]
        indexes = [*range(len(vectors))]
        match plan.behaviour:
            case "empty":
                vectors = []
            case "wrong-count":
                vectors.pop()
            case "wrong-index":
                indexes[-1] += 1
            case "wrong-dimensions":
                vectors[-1] = vectors[-1][:-1]
            case "not-finite":
                vectors[-1][-1] = math.nan
        wants_base64 = self._body.get("encoding_format") == "base64" and plan.behaviour != "floats"
        return [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if wants_base64 else vector}
            for index, vector in zip(indexes, vectors, strict=False)
        ]

    async def _hang(self) -> None:
        await asyncio.sleep(_MAX_SILENCE_SECONDS)
        self._attempt.end("cut")
        await self._connection.cut()


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
