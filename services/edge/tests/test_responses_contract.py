"""OpenAI's Responses API over a scripted router: its events in order, one honest end, and every field it requires."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from edge.contracts.reading import read_content
from edge.contracts.responses.contract import ResponsesContract
from edge.conversation import Conversation
from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import Edge
from .scripted_router import STOP, Script, Visit, attempted, choices, dies, fails, finished, started, texts

Json = dict[str, Any]

# Open Responses, specification of 2026-04-24, ResponseResource: what no response may lack, null or not.
REQUIRED = {
    *("id", "object", "created_at", "completed_at", "status", "incomplete_details", "model", "previous_response_id"),
    *("instructions", "output", "error", "tools", "tool_choice", "truncation", "parallel_tool_calls", "text", "top_p"),
    *("presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "reasoning", "user", "usage", "store"),
    *("max_output_tokens", "max_tool_calls", "background", "service_tier", "metadata", "safety_identifier"),
    "prompt_cache_key",
}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
USER = {"role": "user", "content": "Who?"}
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tells it.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def call(index: int, arguments: str, name: str = "", call_id: str = "") -> Json:
    """Return a fragment of a call as a router sends it."""
    function = {**({"name": name} if name else {}), "arguments": arguments}
    head = {"id": call_id, "type": "function"} if call_id else {}
    return {"index": 0, "delta": {"tool_calls": [{"index": index, **head, "function": function}]}}


CALLS: Script = [
    started(),
    choices(
        [call(0, "", "weather", "call_a")], [call(0, '{"city":')], [call(1, '{"city": "Rome"}', "weather", "call_b")]
    ),
    choices([call(0, ' "Oslo"}')]),
    attempted(),
    finished(routerpb.FINISH_REASON_TOOL_CALL),
]


async def events_of(visit: Visit) -> list[Json]:
    """Return the events, each of which OpenAI's own types accept, numbered from 0."""
    await visit.done()
    found = [data for _, data in visit.events]
    assert [event["type"] for event in found] == [name for name, _ in visit.events]
    assert list(range(len(found))) == [event["sequence_number"] for event in found]
    for event in found:
        EVENT.validate_python(event)
    return found


async def test_a_text_comes_in_openais_events(edge: Edge) -> None:
    """Created, the item, its part, the pieces, the ends, and `completed` with the whole response; nothing behind it."""
    events = await events_of(edge.respond())

    assert [
        *("response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"),
        *("response.output_text.delta", "response.output_text.delta", "response.output_text.delta"),
        *("response.output_text.done", "response.content_part.done", "response.output_item.done"),
        "response.completed",
    ] == [event["type"] for event in events]
    last = events[-1]["response"]
    assert set(last) >= REQUIRED
    assert ("completed", "m-1", True) == (last["status"], last["model"], last["store"])
    assert "Paris." == Response.model_validate(last).output_text
    assert {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12,
    } == last["usage"]
    (settled,) = await edge.settled()
    assert "resp_" + settled.request.request_id.replace("-", "") == last["id"] == events[0]["response"]["id"]


async def test_a_whole_response_is_that_of_the_stream(edge: Edge) -> None:
    """The same object but for its times, though the one is asked for whole."""
    streamed = (await events_of(edge.respond("a", instructions="Be brief.")))[-1]["response"]
    whole = (await edge.respond("a", instructions="Be brief.", stream=False).done()).json

    assert set(whole) == set(streamed)
    same = set(whole) - {"id", "output", "created_at", "completed_at"}
    assert {name: whole[name] for name in same} == {name: streamed[name] for name in same}
    assert [item["content"] for item in whole["output"]] == [item["content"] for item in streamed["output"]]
    Response.model_validate(whole)


async def test_calls_may_overlap(edge: Edge) -> None:
    """Each is an item with its own place and arguments; all end, in order, before the response does."""
    edge.router.script = CALLS
    events = await events_of(edge.respond(tools=[WEATHER]))

    deltas = [event for event in events if event["type"] == "response.function_call_arguments.delta"]
    assert [0, 1, 0] == [event["output_index"] for event in deltas]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert [("call_a", '{"city": "Oslo"}'), ("call_b", '{"city": "Rome"}')] == [
        (item["call_id"], item["arguments"]) for item in done
    ]
    assert done == events[-1]["response"]["output"]
    assert {"completed"} == {item["status"] for item in done}


async def test_thoughts_are_a_summary(edge: Edge) -> None:
    """An item of its own before the message, with the events that OpenAI and Codex agree on."""
    edge.router.script = [
        started(),
        choices(
            [{"index": 0, "delta": {"reasoning_content": "Hm"}}], [{"index": 0, "delta": {"reasoning_content": "m"}}]
        ),
        texts("Oslo"),
        attempted(),
        STOP,
    ]
    events = await events_of(edge.respond())

    thought, message = events[-1]["response"]["output"]
    assert [{"type": "summary_text", "text": "Hmm"}] == thought["summary"]
    assert "Oslo" == message["content"][0]["text"]
    names = [event["type"] for event in events]
    assert names.index("response.reasoning_summary_text.done") < names.index("response.content_part.added")


async def test_a_refusal_is_a_part_of_its_own(edge: Edge) -> None:
    """Beside what was said before it."""
    edge.router.script = [
        started(),
        texts("No. "),
        choices([{"index": 0, "delta": {"refusal": "I won't."}}]),
        attempted(),
        STOP,
    ]
    events = await events_of(edge.respond())

    (message,) = events[-1]["response"]["output"]
    assert ["output_text", "refusal"] == [part["type"] for part in message["content"]]
    assert [0, 1] == [event["content_index"] for event in events if event["type"] == "response.content_part.done"]


async def test_probabilities_come_with_every_field(edge: Edge) -> None:
    """Chat may leave out bytes; a response may not."""
    token = {"token": "Pa", "logprob": -0.5, "top_logprobs": [{"token": "Lo", "logprob": -2.0, "bytes": None}]}
    chunk = [{"index": 0, "delta": {"content": "Pa"}, "logprobs": {"content": [token], "refusal": None}}]
    edge.router.script = [started(), choices(chunk), attempted(), STOP]
    events = await events_of(edge.respond(top_logprobs=1, include=["message.output_text.logprobs"]))

    asked = orjson.loads(edge.router.requests[0].body)
    assert (True, 1) == (asked["logprobs"], asked["top_logprobs"])
    (found,) = events[-1]["response"]["output"][0]["content"][0]["logprobs"]
    assert {"token": "Lo", "logprob": -2.0, "bytes": []} == found["top_logprobs"][0]


@pytest.mark.parametrize(
    ("reason", "told"),
    [(routerpb.FINISH_REASON_LENGTH, "max_output_tokens"), (routerpb.FINISH_REASON_CONTENT_FILTER, "content_filter")],
)
async def test_what_is_cut_short_is_incomplete(edge: Edge, reason: routerpb.FinishReason.ValueType, told: str) -> None:
    """Never `completed`, streamed and whole, and it says why."""
    edge.router.script = [started(), texts("Pa"), attempted(), finished(reason)]
    events = await events_of(edge.respond("a"))
    whole = (await edge.respond("b", stream=False).done()).json

    assert "response.incomplete" == events[-1]["type"]
    for response in (events[-1]["response"], whole):
        assert ("incomplete", {"reason": told}) == (response["status"], response["incomplete_details"])
        assert ["incomplete"] == [item["status"] for item in response["output"]]
        assert response["completed_at"] is None


BROKEN: dict[str, Script] = {
    "the router dies": [started(), texts("Pa"), dies],
    "the answer breaks off": [started(), texts("Pa"), fails("stream_interrupted")],
    "within a call": [
        started(),
        texts("Pa"),
        choices([call(0, '{"ci', "weather", "call_a")]),
        fails("stream_interrupted"),
    ],
    "a chunk of the wrong shape": [started(), texts("Pa"), choices({"index": 0}), attempted(), STOP],
    "no end": [started(), texts("Pa")],
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN.keys())
async def test_what_breaks_off_has_failed(edge: Edge, script: Script) -> None:
    """`failed` comes last; the text has ended before it, and a call that is not whole has not: clients run those."""
    edge.router.script = script
    events = await events_of(edge.respond(tools=[WEATHER]))

    assert "response.failed" == events[-1]["type"]
    response = events[-1]["response"]
    assert ("failed", "server_error", None) == (response["status"], response["error"]["code"], response["usage"])
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    status = (
        "completed" if script is BROKEN["within a call"] else "incomplete"
    )  # the call began when the text was whole
    assert [("message", status)] == [(item["type"], item["status"]) for item in done]
    names = {event["type"] for event in events}
    assert not names & {"response.completed", "response.incomplete", "response.function_call_arguments.done"}
    assert not await edge.stored()


async def test_what_fails_before_the_first_word_is_an_http_error(edge: Edge) -> None:
    """In OpenAI's shape, with the status of its kind."""
    edge.router.script = [fails("context_length_exceeded", message="too long")]
    visit = await edge.respond().done()

    assert 400 == visit.status
    assert "context_length_exceeded" == visit.json["error"]["code"]


async def test_the_same_question_is_answered_from_the_cache(edge: Edge) -> None:
    """With ids of its own, and nothing asked."""
    first = (await events_of(edge.respond()))[-1]["response"]
    visit = edge.respond()
    second = (await events_of(visit))[-1]["response"]

    assert visit.headers["cache-status"].startswith("edge; hit")
    assert first["output"][0]["content"] == second["output"][0]["content"]
    assert first["id"] != second["id"]
    assert 1 == len(edge.router.requests)


async def test_tools_of_every_kind_reach_the_target_as_functions(edge: Edge) -> None:
    """A custom tool has one text, tools of a namespace its name in front; what is called comes back as the client's."""
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /x+/"}
    tools = [
        WEATHER,
        {"type": "custom", "name": "patch", "description": "Patches.", "format": grammar},
        {"type": "namespace", "name": "files", "description": "Files.", "tools": [{**WEATHER, "name": "read"}]},
        {"type": "web_search"},
    ]
    arguments = orjson.dumps({"input": 'say "x"'}).decode()
    edge.router.script = [
        started(),
        choices([call(0, arguments, "patch", "call_p")], [call(1, "{}", "files__read", "call_f")]),
        attempted(),
        finished(routerpb.FINISH_REASON_TOOL_CALL),
    ]
    events = await events_of(edge.respond(tools=tools))

    asked = orjson.loads(edge.router.requests[0].body)
    assert ["weather", "patch", "files__read"] == [tool["function"]["name"] for tool in asked["tools"]]
    patch = asked["tools"][1]["function"]
    assert ["input"] == patch["parameters"]["required"]
    assert "start: /x+/" in patch["description"]
    custom, named = events[-1]["response"]["output"]
    assert ("custom_tool_call", "patch", 'say "x"', "call_p") == (
        *(custom["type"], custom["name"]),
        *(custom["input"], custom["call_id"]),
    )
    assert ("function_call", "read", "files", "{}") == (
        *(named["type"], named["name"]),
        *(named["namespace"], named["arguments"]),
    )
    assert tools[3] in events[-1]["response"]["tools"]
    (settled,) = await edge.settled()
    assert ["tools.3"] == list(settled.attempts[0].dropped)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"tools": [{"type": "web_search"}]}, "tools.0"),
        ({"tools": [WEATHER, {"type": "file_search", "vector_store_ids": []}]}, "tools.1"),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools.0.name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "wether"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": "any"}, "tool_choice"),
        ({"input": [{"type": "computer_call_output", "call_id": "c"}]}, "input.0"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input.0.role"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input.0.content.0.file_id",
        ),
        ({"input": [{"role": "user", "content": [{"type": "hologram"}]}]}, "input.0.content.0"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input.0.call_id"),
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"temperature": 3}, "temperature"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_its_name(edge: Edge, fields: Json, param: str) -> None:
    """Nothing is asked, nothing is spent."""
    visit = await edge.visit("/v1/responses", {"model": "default", "input": "x", **fields}).done()

    assert 400 == visit.status
    assert param == visit.json["error"]["param"]
    assert not edge.router.requests


def test_all_kinds_of_input_become_messages() -> None:
    """Words and calls of a turn are one message, results follow their calls, and pictures follow the results."""
    asked = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
        {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Look", "annotations": []}],
        },
        {"type": "function_call", "call_id": "1", "name": "read", "namespace": "files", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "2", "name": "patch", "input": "x"},
        {
            "type": "function_call_output",
            "call_id": "1",
            "output": [
                {"type": "input_text", "text": "seen"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
            ],
        },
        {"type": "custom_tool_call_output", "call_id": "2", "output": "done"},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_file", "filename": "a.pdf", "file_data": "data:,"}],
        },
    ]
    fields = {"instructions": "Answer.", "reasoning": {"effort": "low"}, "text": {"verbosity": "low"}}
    asked_for = orjson.dumps({"model": "default", "input": asked, **fields})
    content = read_content(ResponsesContract(), "/v1/responses", asked_for, {})
    assert isinstance(content, Conversation)
    assert content.responses_form is not None

    assert ("input.2",) == content.responses_form.dropped
    body = orjson.loads(content.encoded_body)
    assert ("low", "low") == (body["reasoning_effort"], body["verbosity"])
    assert [
        {"role": "system", "content": "Answer."},
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": "Look",
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "files__read", "arguments": "{}"}},
                {"id": "2", "type": "function", "function": {"name": "patch", "arguments": '{"input":"x"}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "seen"},
        {"role": "tool", "tool_call_id": "2", "content": "done"},
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}],
        },
        {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:,", "filename": "a.pdf"}}]},
    ] == body["messages"]


async def test_a_schema_for_the_answer_is_that_of_chat(edge: Edge) -> None:
    """The same fields, one level deeper."""
    schema = {"type": "json_schema", "name": "city", "schema": {"type": "object"}, "strict": True}
    await edge.respond(text={"format": schema}, max_output_tokens=7, metadata={"a": "b"}).done()

    body = orjson.loads(edge.router.requests[0].body)
    json_schema = {"name": "city", "schema": {"type": "object"}, "strict": True}
    assert {"type": "json_schema", "json_schema": json_schema} == body["response_format"]
    assert (7, {"a": "b"}) == (body["max_completion_tokens"], body["metadata"])


async def test_only_allowed_tools_are_offered(edge: Edge) -> None:
    """What a choice leaves out, no target sees."""
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}
    await edge.respond(tools=[WEATHER, {**WEATHER, "name": "other"}], tool_choice=choice).done()

    body = orjson.loads(edge.router.requests[0].body)
    assert ["weather"] == [tool["function"]["name"] for tool in body["tools"]]
    assert "required" == body["tool_choice"]


async def test_a_body_of_this_contract_is_answered_at_chat_completions_too(edge: Edge) -> None:
    """In chunks of chat, as Cursor reads them."""
    body = {"model": "default", "input": "Who?", "tools": [WEATHER], "max_output_tokens": 9, "stream": True}
    visit = await edge.visit("/v1/chat/completions", body).done()

    assert visit.content.endswith(b"data: [DONE]\n\n")
    asked = orjson.loads(edge.router.requests[0].body)
    assert ([{"role": "user", "content": "Who?"}], 9) == (asked["messages"], asked["max_completion_tokens"])
    assert "weather" == asked["tools"][0]["function"]["name"]


async def test_the_receipt_says_what_was_left_out(edge: Edge) -> None:
    """Fields that nobody here knows, and thoughts of other models: the first 50 by name."""
    asked = [*({"type": "reasoning", "id": f"rs_{number}", "summary": []} for number in range(60)), USER]
    await edge.respond(asked, client_metadata={"a": "b"}).done()

    (settled,) = await edge.settled()
    dropped = list(settled.attempts[0].dropped)
    assert ["client_metadata", "input.0", "input.1"] == dropped[:3]
    assert (51, "11 more") == (len(dropped), dropped[-1])
