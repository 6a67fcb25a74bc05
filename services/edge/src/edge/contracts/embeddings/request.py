"""The contract of `/v1/embeddings`: OpenAI's, to the letter."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from pricing.estimate import estimate_input_tokens
from spillway.router.v1 import router_pb2 as routerpb

Json = dict[str, Any]
EncodingFormat = Literal["float", "base64"]

_MOST_INPUTS = 2048
_BYTES_PER_NUMBER = 4


@dataclass(frozen=True, slots=True)
class EmbeddingWish:
    """What a client wants to have embedded."""

    requested_model: str
    body: Json
    """Without `model` and `encoding_format`; no value is None."""
    encoding_format: EncodingFormat
    longest_input_tokens: int
    """Of the longest input, by estimate."""
    input_tokens: int
    """Of all inputs, by estimate."""


def _check_input(given: Any) -> Any:
    """Return the input as it came; ValueError when there is nothing to embed or not only text and tokens."""
    inputs: list[Any] = [given] if isinstance(given, str) or _are_tokens(given) else given
    if not isinstance(inputs, list):
        fault = "must be text, tokens, or a list of either"
    elif not inputs:
        fault = "must not be empty"
    elif len(inputs) > _MOST_INPUTS:
        fault = f"has {len(inputs)} inputs; at most {_MOST_INPUTS} are allowed"
    else:
        fault = next((f"input {index} {fault}" for index, each in enumerate(inputs) if (fault := _fault_of(each))), "")
    if fault:
        raise ValueError(fault)
    return given


def _are_tokens(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and type(given[0]) is int


def _fault_of(each: Any) -> str:
    """Say what is wrong with one input; empty when nothing is."""
    if not isinstance(each, str | list):
        return "is neither text nor a list of tokens"
    if not each:
        return "is empty"
    if isinstance(each, list) and ({type(token) for token in each} != {int} or min(each) < 0):
        return "has a token that is no integer, or a negative one"
    return ""


class EmbeddingRequest(BaseModel):
    """Body of `POST /v1/embeddings`; fields not named here pass through to the provider."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        json_schema_extra={
            "examples": [
                {"model": "text-embedding-3-small", "input": "The pool opens at 9 on weekdays."},
                {
                    "model": "text-embedding-3-small",
                    "input": ["The pool opens at 9 on weekdays.", "It is closed on Mondays."],
                    "encoding_format": "base64",
                    "dimensions": 256,
                },
            ]
        },
    )

    model: Annotated[str, Field(min_length=1, description="A name from `GET /v1/models` that has embeddings.")]
    input: Annotated[
        Any,
        PlainValidator(_check_input, json_schema_input_type=str | list[str] | list[int] | list[list[int]]),
        Field(description=f"A text, its tokens, or up to {_MOST_INPUTS} of either; none of them empty."),
    ]
    encoding_format: Annotated[
        EncodingFormat | None, Field(description="`base64`: of little-endian float32; default `float`.")
    ] = None
    dimensions: Annotated[int | None, Field(ge=1, description="Length of a vector, where the model allows it.")] = None
    user: str | None = None

    def to_wish(self, raw: Json) -> EmbeddingWish:
        """Turn the body into what the router needs; `raw` is the body as it came, and passes through unharmed."""
        own = {"model", "encoding_format"}
        inputs = [self.input] if isinstance(self.input, str) or _are_tokens(self.input) else self.input
        return EmbeddingWish(
            requested_model=self.model,
            body={name: value for name, value in raw.items() if name not in own and value is not None},
            encoding_format=self.encoding_format or "float",
            longest_input_tokens=max(map(estimate_input_tokens, inputs)),
            input_tokens=estimate_input_tokens(self.input),
        )


def write_answer(response: routerpb.EmbedResponse, encoding_format: EncodingFormat) -> bytes:
    """Write the JSON of a good answer. Takes a second for the largest ones: not for the event loop."""
    write = _as_base64 if encoding_format == "base64" else _as_numbers
    # Vector by vector, so that other threads get their turn in between.
    items = (
        b'{"object":"embedding","index":%d,"embedding":%b}' % (index, write(vector))
        for index, vector in enumerate(response.vectors)
    )
    tokens = response.usage.input_tokens
    rest = orjson.dumps({"model": response.response_model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})
    return b'{"object":"list","data":[%b],%b' % (b",".join(items), rest[1:])


def _as_base64(vector: bytes) -> bytes:
    return b'"%b"' % base64.b64encode(vector)


def _as_numbers(vector: bytes) -> bytes:
    """Write each float32 as the double of the same value: read back, both formats are bit for bit the same."""
    return orjson.dumps(struct.unpack(f"<{len(vector) // _BYTES_PER_NUMBER}f", vector))
