"""The contract of OpenAI's embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from edge.answer import Answer
from edge.cache.policy import CacheMode
from edge.contracts.contract import Documentation, Frames, Json
from edge.contracts.embeddings.examples import EMBEDDINGS
from edge.contracts.embeddings.request import EmbeddingRequest
from edge.contracts.embeddings.vectors import write_vectors
from edge.contracts.validation import JsonBody, validate
from edge.conversation import EmbeddingInput
from edge.exchange.exchange import Exchange
from edge.exchange.settlement import Receipt
from edge.identity import Permission
from edge.problems import EMBEDDING_ERRORS, Problem


class EmbeddingsContract:
    """`/v1/embeddings`."""

    paths = ("/v1/embeddings",)
    cache_mode: CacheMode = "never"
    permission: Permission = "embeddings"
    documentation = Documentation(
        tag="embeddings",
        summary="Embeddings",
        description="Turn texts, or their tokens, into vectors, in OpenAI's contract.",
        body=EmbeddingRequest,
        whole=EMBEDDINGS,
        stream="",
        errors=EMBEDDING_ERRORS,
    )

    def read(self, path: str, body: JsonBody, _headers: Mapping[str, str]) -> EmbeddingInput:
        """Read an `EmbeddingRequest`; fields that it does not name pass through."""
        return validate(EmbeddingRequest, body.value).to_input(path, body.value)

    def headers(self, _request_id: str) -> dict[str, str]:
        """Return none."""
        return {}

    def frames(self, exchange: Exchange) -> Frames:
        """There is no stream: no request for vectors asks for one."""
        raise AssertionError(exchange.content)

    async def whole(self, exchange: Exchange, receipt: Receipt) -> bytes:
        """Write the vectors, in a thread: the largest answers take a second."""
        assert isinstance(exchange.content, EmbeddingInput)  # noqa: S101 - what `read` has returned
        return await asyncio.to_thread(write_vectors, receipt.answer, exchange.content.encoding_format)

    def check(self, answer: Answer) -> None:
        """Vectors are not kept."""

    def error(self, problem: Problem, _request_id: str) -> Json:
        """Write OpenAI's error object."""
        return problem.body()
