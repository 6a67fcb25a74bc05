"""The OpenAI embeddings wire, read in one piece: for the providers `openai` and `vllm`."""

from __future__ import annotations

import base64
import math
import struct
from dataclasses import dataclass, field, replace
from typing import Any

from llm_router.errors import StreamBroken
from llm_router.providers.events import MAX_NAME_CHARACTERS
from llm_router.providers.numbers import whole_number
from llm_router.providers.openai.usage import OpenAIUsage
from llm_router.providers.stream_error import read_stream_error
from pricing.usage import Usage
from servicekit.lenient_json import loads

_BYTES_PER_NUMBER = 4
_MAX_OTHER_CONTAINERS, _MAX_CONTAINERS_PER_INPUT = 1000, 8


@dataclass(slots=True)
class EmbeddingsAnswer:
    """The content of a reply, as far as it could be read."""

    counting: OpenAIUsage = field(default_factory=OpenAIUsage)
    """Counts as the vendor of the target does."""
    response_model: str = ""
    usage: Usage | None = None
    vectors: list[bytes] = field(default_factory=list)
    """By index; little-endian float32."""

    def read(self, body: bytes, inputs: int) -> None:
        """Take the whole body of a reply to `inputs` inputs. ProviderError when the vectors are not all there and good.

        The facts are noted first: what was billed is known though the vectors are of no use. Takes up to a second for
        the largest replies: not for the event loop.
        """
        _check_parts(body, inputs)
        reply = _parse(body)
        if reply.get("error"):
            raise read_stream_error(reply)
        if isinstance(reply.get("model"), str):
            self.response_model = reply["model"][:MAX_NAME_CHARACTERS]
        self.counting.add(reply.get("usage"))
        usage = self.counting.known()
        if usage is not None and usage.input_tokens is not None:
            self.usage = replace(usage, output_tokens=0)  # vectors are not counted, so the wire has no word for it
        self.vectors = _vectors(reply.get("data"), inputs)


def _check_parts(body: bytes, inputs: int) -> None:
    """StreamBroken when the reply has more lists and objects than these vectors need: each takes much memory."""
    if body.count(b"[") + body.count(b"{") > _MAX_OTHER_CONTAINERS + inputs * _MAX_CONTAINERS_PER_INPUT:
        raise StreamBroken("the reply has more parts than its vectors can have")


def _parse(body: bytes) -> dict[str, Any]:
    try:
        reply = loads(body)
    except ValueError as error:
        raise StreamBroken("the reply is not JSON") from error
    if not isinstance(reply, dict):
        raise StreamBroken("the reply is not an object")
    return reply


def _vectors(data: Any, inputs: int) -> list[bytes]:
    if not isinstance(data, list) or len(data) != inputs:
        raise StreamBroken("the reply has not as many vectors as there were inputs")
    by_index: dict[int, bytes] = {}
    for place, item in enumerate(data):
        if not isinstance(item, dict):
            raise StreamBroken("a vector of the reply is not an object")
        given = item.get("index")
        index = place if given is None or given == "" else whole_number(given)
        if index is None or not 0 <= index < inputs or index in by_index:
            raise StreamBroken("the indexes of the vectors are not those of the inputs")
        by_index[index] = _vector(item.get("embedding"))
    vectors = [by_index[index] for index in range(inputs)]
    if len({len(vector) for vector in vectors}) > 1:
        raise StreamBroken("the vectors have not all the same dimensions")
    return vectors


def _vector(embedding: Any) -> bytes:
    """Return one vector as little-endian float32, from base64 of the same or from numbers."""
    try:
        if isinstance(embedding, str):
            vector = base64.b64decode(embedding, validate=True)
        else:
            vector = struct.pack(f"<{len(embedding)}f", *embedding)
        numbers = struct.unpack(f"<{len(vector) // _BYTES_PER_NUMBER}f", vector)
    except (TypeError, ValueError, OverflowError, struct.error) as error:
        raise StreamBroken("a vector is neither base64 of float32 nor a list of numbers") from error
    # The sum of float32 numbers cannot leave the range of a double: it is finite if and only if all of them are.
    if not numbers or not math.isfinite(sum(numbers)):
        raise StreamBroken("a vector is empty or holds a number that is not finite")
    return vector
