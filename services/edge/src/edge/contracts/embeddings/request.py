"""What a client sends to `/v1/embeddings`: OpenAI's contract, to the letter."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from edge.conversation import EmbeddingInput, PromptSize, encode_body
from pricing.estimate import estimate_input_tokens

Json = dict[str, Any]
EncodingFormat = Literal["float", "base64"]
_MAX_INPUTS = 2048


def _check_input(given: Any) -> Any:
    """Return the input as it came; ValueError when there is nothing to embed or not only text and tokens."""
    inputs: list[Any] = [given] if isinstance(given, str) or _are_tokens(given) else given
    if not isinstance(inputs, list):
        fault = "must be text, tokens, or a list of either"
    elif not inputs:
        fault = "must not be empty"
    elif len(inputs) > _MAX_INPUTS:
        fault = f"has {len(inputs)} inputs; at most {_MAX_INPUTS} are allowed"
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
        Field(description=f"A text, its tokens, or up to {_MAX_INPUTS} of either; none of them empty."),
    ]
    encoding_format: Annotated[
        EncodingFormat | None, Field(description="`base64`: of little-endian float32; default `float`.")
    ] = None
    dimensions: Annotated[int | None, Field(ge=1, description="Length of a vector, where the model allows it.")] = None
    user: str | None = None

    def to_input(self, endpoint: str, raw: Json) -> EmbeddingInput:
        """Turn the body into what the router needs; `raw` is the body as it came, and passes through unharmed."""
        own = {"model", "encoding_format"}
        inputs = [self.input] if isinstance(self.input, str) or _are_tokens(self.input) else self.input
        tokens = [estimate_input_tokens(each) for each in inputs]
        return EmbeddingInput(
            endpoint=endpoint,
            requested_model=self.model,
            encoded_body=encode_body({n: value for n, value in raw.items() if n not in own and value is not None}),
            estimated_input_tokens=sum(tokens),
            longest=PromptSize(max(tokens), "input", "input"),
            encoding_format=self.encoding_format or "float",
        )
