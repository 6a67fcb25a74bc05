"""The OpenAPI document, held against what the system answers to requests that are made from it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from kit.front_door.document import Document

_MODELS = (
    *("document-ok", "document-claude", "document-tools", "vectors"),
    *("document-down", "document-limited", "document-refused", "document-cut"),
)
_OPERATIONS = (
    *("POST /chat", "POST /v1/chat", "POST /v1/chat/completions", "POST /v1/messages", "POST /v1/embeddings"),
    *("POST /v1/responses", "GET /v1/responses/{response_id}", "DELETE /v1/responses/{response_id}"),
    *("GET /v1/responses/{response_id}/input_items", "POST /v1/responses/{response_id}/cancel"),
    *("GET /v1/models", "GET /v1/models/{model}", "GET /v1/costs", "GET /v1/requests", "GET /v1/requests/{request_id}"),
    *("GET /v1/cache/stats", "GET /health", "GET /health/live", "GET /health/ready"),
)
_EXAMPLES, _SEED = 5, 10


@pytest.fixture(scope="module")
async def document(url: str, keys: Mapping[str, str]) -> Document:
    """Return the document of the running system."""
    return await asyncio.to_thread(Document, url, keys["blue"], _MODELS)


async def test_every_operation_is_tried(document: Document) -> None:
    """One that is new comes into the list above."""
    assert sorted(_OPERATIONS) == sorted(document.operations)


@pytest.mark.parametrize("operation", _OPERATIONS)
async def test_answers_are_those_that_the_document_promises(document: Document, operation: str) -> None:
    """Status, content type, body and events; for good requests, for bad ones, and for methods that there are not."""
    await asyncio.to_thread(document.check_listed, operation)
    await asyncio.to_thread(document.check_generated, operation, _EXAMPLES, _SEED)


@pytest.mark.parametrize("operation", _OPERATIONS)
async def test_a_line_that_is_too_long_is_refused_as_documented(document: Document, operation: str) -> None:
    """Any request may be: the document says so everywhere."""
    await asyncio.to_thread(document.check_too_long, operation)


@pytest.mark.parametrize("operation", _OPERATIONS)
async def test_strangers_are_refused_as_documented(document: Document, operation: str) -> None:
    """With 401, wherever the document says that a key is needed; nowhere else."""
    await asyncio.to_thread(document.check_strangers, operation)
