"""What a client sends to `/v1/responses`: OpenAI's Responses API, turned into a chat body.

Source: OpenAI API reference, "Create a model response". Targets are asked in chat completions, which all of them speak.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from edge.contracts.counts import counts_of
from edge.contracts.responses.items import ChatMessages
from edge.contracts.responses.tools import chat_fields, read_tools
from edge.contracts.validation import Items, validate
from edge.conversation import (
    CONTINUATIONS,
    ContinuationOption,
    Conversation,
    ResponsesForm,
    digest_of,
    encode_body,
    max_output_of,
)
from edge.problems import Problem
from pricing.estimate import estimate_prompt_tokens

Json = dict[str, Any]

# Fields whose loss would make another answer, or that promise what is not done here.
_REFUSED = {
    "background": "answers are not made in the background here; leave it out, and ask for a stream",
    "conversation": "conversations are not kept here; name the response before by previous_response_id",
    "prompt": "OpenAI's own prompts are not known here; send their text as instructions",
}
# They go on as they are: chat calls them the same.
_SAME = (
    *("temperature", "top_p", "presence_penalty", "frequency_penalty", "parallel_tool_calls", "metadata", "user"),
    *("service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
)
_KNOWN = frozenset(
    {
        *_SAME,
        *("model", "input", "instructions", "stream", "stream_options", "store", "previous_response_id", "tools"),
        *("tool_choice", "text", "reasoning", "max_output_tokens", "top_logprobs", "include", "max_tool_calls"),
        *("truncation", "continuation", "background"),
    }
)
# What the response repeats, with OpenAI's defaults.
_ECHOED: Json = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "user": None,
}
_LOGPROBS = "message.output_text.logprobs"
RESPONSE_ID = re.compile(r"resp_([0-9a-f]{32})")
_ITEM_ID = re.compile(r"[a-z]+_([0-9a-f]{32})_[0-9]{1,6}")


class ResponsesRequest(BaseModel):
    """Body of `POST /v1/responses`."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        json_schema_extra={
            "examples": [{"model": "default", "input": "What is the capital of France?", "stream": True}],
        },
    )

    model: Annotated[str, Field(min_length=1, description="A name from `GET /v1/models`.")]
    input: str | Items[Json] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    store: Annotated[bool | None, Field(description="Whether the response may be kept; by default it is.")] = None
    stream: bool | None = None
    max_output_tokens: Annotated[int | None, Field(ge=1)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    tools: Items[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    text: Json | None = None
    reasoning: Json | None = None
    include: Items[str] | None = None
    truncation: str | None = None
    metadata: Json | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    background: bool | None = None
    continuation: Annotated[
        ContinuationOption | None,
        Field(description="Not OpenAI's: whether another model may carry on an answer that broke off."),
    ] = None

    def to_conversation(self, endpoint: str, raw: Json) -> Conversation:
        """Turn the body into a conversation; `raw` is the body as it came.

        When it goes on from other responses, these have to be put in front: `with_responses`.
        """
        for name, reason in _REFUSED.items():
            if raw.get(name):
                raise Problem("unsupported_parameter", f"{name}: {reason}", param=name)
        items = self._items()
        tools = read_tools(self.tools or ())
        fields = {
            **{name: raw[name] for name in _SAME if raw.get(name) is not None},
            **self._answer_fields(),
            **chat_fields(tools, self.tool_choice),
        }
        form = ResponsesForm(
            echo=_echo(raw),
            input=encode_body_of(items),
            names=tools.names,
            dropped=(*tools.dropped, *_unknown_fields(raw)),
            may_store=self.store is not False,
            needs=tuple(dict.fromkeys(self._needed(items))),
            previous=self.previous_response_id or "",
        )
        conversation = Conversation(
            endpoint=endpoint,
            requested_model=self.model,
            encoded_body=b"",
            digest=b"",
            estimated_input_tokens=0,
            is_streaming=bool(self.stream),
            continuation=CONTINUATIONS[self.continuation],
            is_drawn=bool(self.temperature),
            responses_form=form,
        )
        return _with_messages(conversation, form, fields, [] if form.needs else items)

    def _items(self) -> list[Json]:
        if isinstance(self.input, str):
            return [{"type": "message", "role": "user", "content": self.input}]
        if not self.input and not self.previous_response_id:
            raise Problem("invalid_request", "input: must be a text or a list of items", param="input")
        return self.input or []

    def _needed(self, items: Sequence[Json]) -> Iterator[str]:
        """Return the responses that the request goes on from or refers to."""
        if self.previous_response_id:
            yield self.previous_response_id
        for index, item in enumerate(items):
            if item.get("type") == "item_reference":
                found = _ITEM_ID.fullmatch(str(item.get("id")))
                if found is None:
                    raise item_missing(f"input.{index}")
                yield f"resp_{found[1]}"

    def _answer_fields(self) -> Json:
        """Return how the answer shall be, in the words of chat."""
        fields: Json = {}
        if self.max_output_tokens is not None:
            fields["max_completion_tokens"] = self.max_output_tokens
        if self.top_logprobs or _LOGPROBS in (self.include or ()):
            fields |= {"logprobs": True, "top_logprobs": self.top_logprobs or 0}
        effort = (self.reasoning or {}).get("effort")
        if isinstance(effort, str):
            fields["reasoning_effort"] = effort
        text = self.text or {}
        if isinstance(text.get("verbosity"), str):
            fields["verbosity"] = text["verbosity"]
        wanted = text.get("format")
        if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
            schema = {name: value for name, value in wanted.items() if name != "type" and value is not None}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif isinstance(wanted, dict) and wanted.get("type") != "text":
            fields["response_format"] = wanted
        return fields


def is_responses_body(raw: Any) -> bool:
    """Tell whether a body is one of the Responses API, wherever it was sent to."""
    return isinstance(raw, dict) and "input" in raw and "messages" not in raw


def chat_body_of(raw: Json) -> Json:
    """Return a body of the Responses API as one of chat completions; Problem (400) as `to_conversation`."""
    conversation = validate(ResponsesRequest, raw).to_conversation("", raw)
    form = conversation.responses_form
    if form is not None and (form.needs or form.names):
        raise Problem("unsupported_parameter", "what this request has can only be answered at /v1/responses")
    delivered = ("model", "stream", "stream_options", "continuation")
    own = {name: raw[name] for name in delivered if name in raw}
    return {**orjson.loads(conversation.encoded_body), **own}


def with_responses(conversation: Conversation, chain: Sequence[bytes], referred: Sequence[bytes]) -> Conversation:
    """Return a request with what it goes on from.

    `chain` are the stored responses before it, the first one first; `referred` those with items that it refers to.
    Takes time in proportion to their length. Problem (404) when an item is in none of them.
    """
    form = conversation.responses_form
    assert form is not None  # noqa: S101 - of a request to the Responses API
    before = [orjson.loads(each) for each in chain]
    known = {item["id"]: item for each in (*before, *map(orjson.loads, referred)) for item in each["output"]}
    items: list[Json] = [item for each in before for item in (*each["input"], *each["output"])]
    own: list[Json] = []
    for index, item in enumerate(orjson.loads(form.input)):
        if item.get("type") == "item_reference":
            if item.get("id") not in known:
                raise item_missing(f"input.{index}")
            own.append(known[item["id"]])
        else:
            own.append(item)
    present = {item.get("id") for item in items}
    items += [item for item in own if item.get("id") is None or item["id"] not in present]
    body = orjson.loads(conversation.encoded_body)
    del body["messages"]
    ids = tuple(each["id"] for each in before)
    form = replace(form, input=orjson.dumps(own), needs=(), chain=ids)
    return _with_messages(replace(conversation, responses_form=form), form, body, items)


def _with_messages(
    conversation: Conversation, form: ResponsesForm, fields: Json, items: Sequence[Json]
) -> Conversation:
    """Return a request that tells the model its instructions and these items."""
    messages = ChatMessages()
    instructions = orjson.loads(form.echo)["instructions"]
    if instructions:
        messages.add([{"role": "system", "content": instructions}], "instructions")
    messages.add(items, "input")
    body = {"messages": messages.close(), **fields}
    return replace(
        conversation,
        encoded_body=encode_body(body),
        digest=digest_of(body),
        estimated_input_tokens=estimate_prompt_tokens(body),
        counts=counts_of(body),
        max_output_tokens=max_output_of(body),
        responses_form=replace(form, dropped=tuple(dict.fromkeys((*form.dropped, *messages.dropped)))),
    )


def encode_body_of(items: Sequence[Json]) -> bytes:
    """Write items as JSON; Problem (400) when they are nested too deeply."""
    try:
        return orjson.dumps(items)
    except TypeError as error:
        raise Problem("invalid_request", "input: is nested too deeply", param="input") from error


def response_missing(response_id: str) -> Problem:
    """Say that a response is not there: it never was, belongs to another tenant, or was kept long enough."""
    return Problem(
        "previous_response_not_found",
        f"there is no response {response_id[:50]!r}: it was not stored, has expired, or is another tenant's; send the"
        " whole conversation as input",
        param="previous_response_id",
    )


def item_missing(where: str) -> Problem:
    """Say that an item is in no response that is kept."""
    return Problem("previous_response_not_found", f"{where}: there is no such item; send it whole", param=where)


def _unknown_fields(raw: Json) -> Iterator[str]:
    """Return the fields that nobody here knows: chat would be refused for them, and clients add new ones often."""
    for name, value in raw.items():
        if name not in _KNOWN and name not in _REFUSED and value is not None:
            yield name[:100]


def _echo(raw: Json) -> bytes:
    echo = {name: default if raw.get(name) is None else raw[name] for name, default in _ECHOED.items()}
    echo["reasoning"] = _ECHOED["reasoning"] | echo["reasoning"]
    echo["text"] = _ECHOED["text"] | echo["text"]
    echo["tools"] = [_told(tool) for tool in echo["tools"]]
    return encode_body(echo)


def _told(tool: Json) -> Json:
    """Return a tool as a response tells it, with every field that it may have."""
    if tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": False} | {
        name: value for name, value in tool.items() if value is not None
    }
