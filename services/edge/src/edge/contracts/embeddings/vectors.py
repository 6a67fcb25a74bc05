"""What `/v1/embeddings` answers: OpenAI's contract, to the letter."""

from __future__ import annotations

import base64
import struct
from typing import Literal

import orjson

from edge.answer import Answer

_BYTES_PER_NUMBER = 4


def write_vectors(answer: Answer, encoding_format: Literal["float", "base64"]) -> bytes:
    """Write the JSON of a good answer. Takes a second for the largest ones: not for the event loop."""
    write = _as_base64 if encoding_format == "base64" else _as_numbers
    # Vector by vector, so that other threads get their turn in between.
    items = (
        b'{"object":"embedding","index":%d,"embedding":%b}' % (index, write(vector))
        for index, vector in enumerate(answer.vectors)
    )
    tokens = (answer.usage.input_tokens if answer.usage else None) or 0
    rest = orjson.dumps({"model": answer.response_model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
    return b'{"object":"list","data":[%b],%b' % (b",".join(items), rest[1:])


def _as_base64(vector: bytes) -> bytes:
    return b'"%b"' % base64.b64encode(vector)


def _as_numbers(vector: bytes) -> bytes:
    """Write each float32 as the double of the same value: read back, both formats are bit for bit the same."""
    return orjson.dumps(struct.unpack(f"<{len(vector) // _BYTES_PER_NUMBER}f", vector))
