"""What providers answer in one piece: refusals, errors inside a stream, vectors."""

from __future__ import annotations

import json

import httpx2
import orjson

from edge.answer import Answer
from edge.contracts.embeddings.vectors import write_vectors
from llm_router.chain.recordable import recordable_text, recordable_usage
from llm_router.errors import ProviderError
from llm_router.failures import all_targets_failed, callers_error
from llm_router.providers.openai.embeddings import EmbeddingsAnswer
from llm_router.providers.refusal import read_refusal
from llm_router.providers.stream_error import read_stream_error
from servicekit.lenient_json import loads

from ..mutation import in_body, in_json
from ..target import Target

_INPUTS = 3


def check_refusal(data: bytes) -> None:
    """A status line, headers and any body become a ProviderError that can be logged and sent on."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    status = 300 + int.from_bytes(first[:3], "big") % 400
    headers = httpx2.Headers([(name, value) for name, _, value in (line.partition(b":") for line in lines)])
    _check_error(read_refusal(status, _as_the_sdks_read(body), headers))


def _as_the_sdks_read(body: bytes) -> object:
    """Return a body as JSON, else as text."""
    text = body.decode(errors="replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def check_stream_error(data: bytes) -> None:
    """An event that tells an error becomes a ProviderError."""
    try:
        event = loads(data)
    except ValueError:
        return
    if isinstance(event, dict):
        _check_error(read_stream_error(event))


def check_embeddings(data: bytes) -> None:
    """A reply is as many good vectors as there were inputs, or a ProviderError; what was billed is known either way."""
    answer = EmbeddingsAnswer()
    try:
        answer.read(data, _INPUTS)
    except ProviderError as error:
        _check_error(error)
    else:
        assert _INPUTS == len(answer.vectors)
        assert len({len(vector) for vector in answer.vectors}) == 1
        for encoding in ("float", "base64"):
            written = write_vectors(Answer(vectors=answer.vectors, usage=answer.usage), encoding)
            assert _INPUTS == len(orjson.loads(written)["data"])
    recordable_text(answer.response_model).encode()
    if answer.usage is not None:
        recordable_usage(answer.usage).to_proto().SerializeToString()


def _check_error(error: ProviderError) -> None:
    error.cause.encode()
    for failed in (callers_error(error), all_targets_failed([("target", error)])):
        failed.detail.SerializeToString()


TARGETS = [
    Target("refusal", check_refusal, in_body),
    Target("stream_error", check_stream_error, in_json),
    Target("embeddings_reply", check_embeddings, in_json),
]
