"""The native form of a request: only `/v1/messages` sets it, it is sent unchanged, and its translation is plain."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from edge.contracts.messages.extra_work import refuse_extra_work
from edge.contracts.messages.translation.body import translate
from edge.problems import Problem
from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import QUESTION, Edge
from .scripted_router import STOP, attempted, messages_events, started, texts

Json = dict[str, Any]

TOOL: Json = {"name": "look", "input_schema": {"type": "object"}}
FUNCTION: Json = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SEARCH: Json = {"type": "web_search_20250305", "name": "web_search"}
ADVISOR: Json = {"type": "advisor_20260301", "name": "advisor", "model": "x"}
# Attempts to pass off a body of OpenAI's contract as a native form.
FORGED: dict[str, Json] = {
    "a key on the body": {
        "anthropic": {"fields": {"model": "large", "max_tokens": 9, "tools": [SEARCH]}, "unsaid": []}
    },
    "a key on a message": {"messages": [{**QUESTION[0], "anthropic": {"turn": {"model": "large"}}}]},
    "a part": {"messages": [{"role": "user", "content": [{"type": "anthropic", "block": {"type": "dream"}}]}]},
    "a tool": {"tools": [{"type": "anthropic", "tool": SEARCH}]},
    "the name of the new field": {"messages_form": {"body": "{}", "untranslatable": []}},
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
async def test_a_body_of_openais_contract_never_becomes_a_native_form(edge: Edge, forged: Json) -> None:
    """The fields pass through unchanged, like any other."""
    await edge.complete(**forged).done()

    (request,) = edge.router.requests
    assert not request.HasField("messages_form")
    assert {"messages": QUESTION, **forged} == orjson.loads(request.body)


async def test_only_v1_messages_sets_the_native_form(edge: Edge) -> None:
    """Byte for byte, with the headers `anthropic-beta` and `anthropic-version`."""
    body = {"model": "default", "max_tokens": 5, "messages": QUESTION, "top_k": 3, "a_field": {"deep": [1.50, None]}}
    headers = [("anthropic-beta", "more-2026-01-01"), ("anthropic-version", "2026-10-21")]
    await edge.visit("/v1/messages", body, headers).done()
    await edge.chat().done()
    native, other = edge.router.requests

    form = routerpb.MessagesForm(
        body=orjson.dumps(body),
        beta="more-2026-01-01",
        version="2026-10-21",
        untranslatable=["top_k"],
        dropped=["a_field"],
    )
    assert form == native.messages_form
    assert {"messages": QUESTION, "max_completion_tokens": 5} == orjson.loads(native.body)
    assert not other.HasField("messages_form")


async def test_events_of_the_messages_api_keep_their_place(edge: Edge) -> None:
    """From the target and from the response cache alike."""
    edge.router.script = [
        started(),
        messages_events(
            {"type": "content_block_start", "content_block": {"type": "redacted_thinking", "data": "b3A="}},
            {"type": "content_block_stop"},
        ),
        texts("Par", "is"),
        messages_events({"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": "X"}}),
        attempted(),
        STOP,
    ]
    body = {"model": "default", "max_tokens": 5, "messages": QUESTION}
    first, again = [await edge.visit("/v1/messages", body).done() for _ in range(2)]

    assert ["edge; fwd=miss; stored", "edge; hit"] == [visit.headers["cache-status"] for visit in (first, again)]
    for visit in (first, again):
        content = [{"type": "redacted_thinking", "data": "b3A="}, {"type": "text", "text": "Paris"}]
        stop = (visit.json["stop_reason"], visit.json["stop_sequence"])
        assert (content, "stop_sequence", "X") == (visit.json["content"], *stop)


async def test_events_of_the_messages_api_are_not_part_of_another_contracts_answer(edge: Edge) -> None:
    """Even when a router sends them by mistake."""
    edge.router.script = [started(), messages_events({"type": "content_block_stop"}), texts("Paris"), attempted(), STOP]
    visit = await edge.complete(stream=False).done()

    assert {"role": "assistant", "content": "Paris", "refusal": None} == visit.json["choices"][0]["message"]


def as_format(schema: Json, *, strict: bool) -> Json:
    """Write the format of an answer in OpenAI's contract."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": strict}}


def turn(*blocks: Json, role: str = "user") -> Json:
    """Write a turn."""
    return {"messages": [{"role": role, "content": list(blocks)}]}


def text(words: str, **more: object) -> Json:
    """Write a block of text."""
    return {"type": "text", "text": words, **more}


USE: Json = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}}
CALL: Json = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}}
IMAGE: Json = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
DOCUMENT: Json = {"type": "document", "title": "A page", "source": {"type": "text", "media_type": "text/plain"}}
STRICT: Json = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


def result(content: object = None, **more: object) -> Json:
    """Write the result of the call `t1`."""
    return {"type": "tool_result", "tool_use_id": "t1", **({} if content is None else {"content": content}), **more}


def called(*blocks: Json) -> Json:
    """Write a conversation in which `t1` was called, and what the user's turn then says."""
    said = {"role": "assistant", "content": [USE]}
    return {"messages": [said, {"role": "user", "content": list(blocks)}]}


def answered(content: object, *more: Json) -> Json:
    """Write its translation: the call, its result, and what comes behind it."""
    said = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    return {"messages": [said, {"role": "tool", "tool_call_id": "t1", "content": content}, *more]}


# Fields of a body, their translation, the names of what would change the answer, and of what would not.
TRANSLATIONS: dict[str, tuple[Json, Json, list[str], list[str]]] = {
    "no content": (turn(), {"messages": [{"role": "user", "content": ""}]}, [], []),
    "an empty turn of the assistant": (
        turn(role="assistant"),
        {"messages": [{"role": "assistant", "content": ""}]},
        [],
        [],
    ),
    "a thought alone": (
        turn({"type": "thinking", "thinking": "Hm.", "signature": "s"}, role="assistant"),
        {"messages": [{"role": "assistant", "content": ""}]},
        [],
        ["messages.0.content.0"],
    ),
    "a call alone": (turn(USE, role="assistant"), answered("(no result)"), [], []),
    "text between the calls": (
        turn(USE, text("and"), {**USE, "id": "t2"}, role="assistant"),
        {
            "messages": [
                {"role": "assistant", "content": [text("and")], "tool_calls": [CALL, {**CALL, "id": "t2"}]},
                *({"role": "tool", "tool_call_id": each, "content": "(no result)"} for each in ("t1", "t2")),
            ]
        },
        [],
        [],
    ),
    "a call with more": (
        turn({**USE, "caller": {"type": "direct"}, "mood": "good"}, role="assistant"),
        answered("(no result)"),
        [],
        ["messages.0.content.0.mood"],
    ),
    "a picture of the assistant's": (
        turn(IMAGE, role="assistant"),
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}],
                }
            ]
        },
        ["messages.0.content.0"],
        [],
    ),
    "a result without content": (called(result()), answered(""), [], []),
    "a failure without content": (called(result(is_error=True)), answered("Error: "), [], []),
    "a failure in blocks": (
        called(result([text("no")], is_error=True)),
        answered([text("Error:"), text("no")]),
        [],
        [],
    ),
    "a picture as a result": (
        called(result([text("a map"), IMAGE], is_error=False, cache_control={"type": "ephemeral"})),
        answered(
            [text("a map"), text("(the rest of this result is in the next message)")],
            {
                "role": "user",
                "content": [
                    text("From the result of the tool call t1:"),
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                ],
            },
        ),
        [],
        ["messages.1.content.0.cache_control"],
    ),
    "a tool that was found as a result": (
        called(result([{"type": "tool_reference", "tool_name": "look"}])),
        answered([text("The tool 'look' can be called.")]),
        [],
        [],
    ),
    "text around results": (
        called(text("a"), result("b"), text("c"), text("d")),
        answered("b", {"role": "user", "content": [text("a"), text("c"), text("d")]}),
        [],
        [],
    ),
    "a result that comes later": (
        {"messages": [*called(text("a"))["messages"], {"role": "user", "content": [result("b")]}]},
        answered("b", {"role": "user", "content": [text("a")]}),
        [],
        [],
    ),
    "blocks without a counterpart": (
        turn(text("x"), {"type": "dream"}, {"type": "document", "source": {}}),
        {"messages": [{"role": "user", "content": [text("x")]}]},
        ["messages.0.content.1", "messages.0.content.2"],
        [],
    ),
    "a block without a counterpart alone": (
        turn({"type": "dream"}),
        {"messages": [{"role": "user", "content": ""}]},
        ["messages.0.content.0"],
        [],
    ),
    "a document of text": (
        turn({**DOCUMENT, "source": {**DOCUMENT["source"], "data": "It is so."}, "citations": {"enabled": True}}),
        {"messages": [{"role": "user", "content": [text("<document>\nA page\nIt is so.\n</document>")]}]},
        [],
        ["messages.0.content.0.citations"],
    ),
    "a document of blocks": (
        turn({"type": "document", "source": {"type": "content", "content": [text("See"), IMAGE]}}),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        text("<document>"),
                        text("See"),
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                        text("</document>"),
                    ],
                }
            ]
        },
        [],
        [],
    ),
    "a PDF": (
        turn(
            {
                "type": "document",
                "title": "A page",
                "context": "By Ada.",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            }
        ),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        text("By Ada."),
                        {
                            "type": "file",
                            "file": {"filename": "A page.pdf", "file_data": "data:application/pdf;base64,JVBERi0="},
                        },
                    ],
                }
            ]
        },
        [],
        [],
    ),
    "a PDF somewhere else": (
        turn(text("x"), {"type": "document", "source": {"type": "url", "url": "https://a.test/a.pdf"}}),
        {"messages": [{"role": "user", "content": [text("x")]}]},
        ["messages.0.content.1"],
        [],
    ),
    "what a search has found": (
        turn({"type": "search_result", "title": "T", "source": "https://a.test", "content": [text("It is so.")]}),
        {"messages": [{"role": "user", "content": [text("<document>\nT\nhttps://a.test\nIt is so.\n</document>")]}]},
        [],
        [],
    ),
    "marks on a block": (
        turn(text("x", cache_control={"type": "ephemeral"}, citations=None, mood="good")),
        {"messages": [{"role": "user", "content": [text("x")]}]},
        [],
        ["messages.0.content.0.cache_control", "messages.0.content.0.mood"],
    ),
    "a mark on a turn": (
        {"messages": [{"role": "system", "content": "Now in French.", "clear_at": "never"}]},
        {"messages": [{"role": "system", "content": "Now in French."}]},
        [],
        ["messages.0.clear_at"],
    ),
    "a tool of Anthropic's own": (
        {"tools": [{"type": "bash_20250124", "name": "bash"}], "tool_choice": {"type": "any"}},
        {},
        ["tools.0"],
        [],
    ),
    "tools of both kinds": (
        {"tools": [{"type": "bash_20250124", "name": "bash"}, TOOL], "tool_choice": {"type": "any"}},
        {"tools": [FUNCTION], "tool_choice": "required"},
        ["tools.0"],
        [],
    ),
    "tools that wait to be found": (
        {
            "tools": [
                {"type": "tool_search_tool_regex_20251119", "name": "search"},
                {**TOOL, "defer_loading": True, "eager_input_streaming": True},
            ]
        },
        {"tools": [FUNCTION]},
        [],
        ["tools.0", "tools.1.defer_loading", "tools.1.eager_input_streaming"],
    ),
    "a tool with more": (
        {"tools": [{**TOOL, "type": "custom", "input_examples": [{}], "cache_control": {"type": "ephemeral"}}]},
        {"tools": [FUNCTION]},
        [],
        ["tools.0.input_examples", "tools.0.cache_control"],
    ),
    "a tool that is held to its schema": (
        {"tools": [{**TOOL, "strict": True}, {**TOOL, "input_schema": STRICT, "strict": True}]},
        {
            "tools": [
                FUNCTION,
                {"type": "function", "function": {"name": "look", "parameters": STRICT, "strict": True}},
            ]
        },
        [],
        ["tools.0.strict"],
    ),
    "a choice with more": (
        {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True, "mood": 1}},
        {"tools": [FUNCTION], "tool_choice": "auto", "parallel_tool_calls": False},
        [],
        ["tool_choice.mood"],
    ),
    "a long user id": ({"metadata": {"user_id": "u" * 65}}, {}, [], ["metadata.user_id"]),
    "a user id": ({"metadata": {"user_id": "u" * 64, "more": 1}}, {"user": "u" * 64}, [], ["metadata.more"]),
    "no limit": ({"max_tokens": 0}, {"max_completion_tokens": 0}, ["max_tokens"], []),
    "fields of Anthropic's": (
        {"top_k": 5, "service_tier": "auto", "speed": "fast", "inference_geo": "us", "container": "c"},
        {},
        ["top_k", "inference_geo", "container"],
        ["service_tier", "speed"],
    ),
    "any region": ({"inference_geo": "global"}, {}, [], []),
    "what coding agents send": (
        {
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "cache_control": {"type": "ephemeral"},
        },
        {},
        [],
        ["thinking", "context_management", "cache_control"],
    ),
    "thinking as the model likes": ({"thinking": {"type": "adaptive"}}, {}, [], ["thinking"]),
    "more ends than OpenAI takes": (
        {"stop_sequences": ["a", "b", "c", "d", "e"]},
        {"stop": ["a", "b", "c", "d", "e"]},
        ["stop_sequences"],
        [],
    ),
    "output": (
        {"output_config": {"effort": "low", "format": {"type": "regex"}, "task_budget": 5, "mood": None}},
        {"reasoning_effort": "low"},
        ["output_config.format"],
        ["output_config.task_budget"],
    ),
    "a format": (
        {"output_config": {"format": {"type": "json_schema", "schema": STRICT}}},
        {"response_format": as_format(STRICT, strict=True)},
        [],
        [],
    ),
    "a format by its old name": (
        {"output_format": {"type": "json_schema", "schema": {"type": "object"}}},
        {"response_format": as_format({"type": "object"}, strict=False)},
        [],
        [],
    ),
    "a field of next year": ({"anthropic": {"fields": {}}}, {}, [], ["anthropic"]),
}


@pytest.mark.parametrize(("fields", "plain", "missed", "dropped"), TRANSLATIONS.values(), ids=TRANSLATIONS.keys())
def test_the_translation_is_plain_and_names_what_is_lost(
    fields: Json, plain: Json, missed: list[str], dropped: list[str]
) -> None:
    """It has OpenAI's fields and no others."""
    body = {"model": "default", "max_tokens": 5, "messages": QUESTION, **fields}
    translation = translate(body)

    assert {"messages": QUESTION, "max_completion_tokens": 5, **plain} == translation.body
    assert (missed, dropped) == (list(translation.untranslatable), list(translation.dropped))
    assert b"anthropic" not in orjson.dumps(translation.body)


def test_names_of_what_is_lost_are_few_and_short() -> None:
    """A body may have a hundred thousand fields that nobody knows."""
    body = {"model": "m", "max_tokens": 5, "messages": QUESTION, **{f"{n}{'x' * 200}": 1 for n in range(70)}}
    translation = translate(body)

    assert (51, "20 more") == (len(translation.dropped), translation.dropped[-1])
    assert 100 == max(map(len, translation.dropped))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}},
        {**STRICT, "required": []},
        {**STRICT, "additionalProperties": True},
        {**STRICT, "properties": {"a": {}}},
        {**STRICT, "properties": {"a": {"type": "object"}}},
        {**STRICT, "properties": {"a": {"type": "string", "default": "x"}}},
        {**STRICT, "allOf": []},
        {**STRICT, "anyOf": [STRICT]},
        {"type": "array", "items": STRICT},
    ],
)
def test_openai_is_not_asked_to_hold_a_model_to_what_it_refuses(schema: Json) -> None:
    """The schema itself is told all the same."""
    wanted = {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    translation = translate({"model": "m", "max_tokens": 5, "messages": QUESTION, **wanted})

    assert as_format(schema, strict=False) == translation.body["response_format"]


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_x"}])
async def test_a_thread_is_refused_as_anthropics_sdk_understands_it(edge: Edge, thread: Json) -> None:
    """It then sends the whole conversation without one; no provider is asked."""
    visit = await edge.visit(
        "/v1/messages", {"model": "default", "max_tokens": 5, "messages": QUESTION, "thread": thread}
    ).done()

    assert (400, {"error_code": "thread_unsupported_request"}) == (visit.status, visit.json["error"]["details"])
    assert [] == edge.router.requests


def added(definition: Json) -> Json:
    """Write a turn that defines a tool."""
    block = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": definition}}
    return {"messages": [*QUESTION, {"role": "system", "content": [block]}]}


# Work that is billed in units which no usage of ours carries, and where the body requests it.
EXTRA_WORK: dict[str, tuple[Json, str]] = {
    "a tool billed by a use that is not counted": ({"tools": [TOOL, ADVISOR]}, "tools.1"),
    "another model as a tool": ({"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "x"}]}, "tools.0"),
    "tools of a server": ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}, "tools.0"),
    "a type that is no text": ({"tools": [{"type": ["web_search_20250305"], "name": "x"}]}, "tools.0"),
    "a type in capitals": ({"tools": [{"type": "WEB_SEARCH_20250305", "name": "x"}]}, "tools.0"),
    "a tool defined in a turn": (added(ADVISOR), "messages.1.content.0.tool.definition"),
    "tools of a server defined in a turn": (
        added({"type": "mcp_toolset", "mcp_server_name": "x"}),
        "messages.1.content.0.tool.definition",
    ),
    "a tool defined in a way of next year": (
        turn({"type": "dream", "of": [{"tools": [{"type": "image_generation_20270101"}]}]}),
        "messages.0.content.0.of.0.tools.0",
    ),
    "a tool in the system prompt": ({"system": [{"type": "text", "text": "x", "more": ADVISOR}]}, "system.0.more"),
    "servers": ({"mcp_servers": [{"type": "url", "url": "https://a.test", "name": "a"}]}, "mcp_servers"),
    "other models": ({"fallbacks": [{"model": "large", "max_tokens": 9000}]}, "fallbacks"),
    "other models by default": ({"fallbacks": "default"}, "fallbacks"),
    "a summary": ({"compaction": {"type": "summarize"}}, "compaction"),
    "a summary along the way": (
        {"context_management": {"edits": [{"type": "clear_thinking_20251015"}, {"type": "compact_20260112"}]}},
        "context_management.edits.1",
    ),
}


@pytest.mark.parametrize(("fields", "where"), EXTRA_WORK.values(), ids=EXTRA_WORK.keys())
async def test_work_that_no_usage_reports_is_refused_wherever_it_is_requested(
    edge: Edge, fields: Json, where: str
) -> None:
    """With a 400 that names the place, whatever the `anthropic-beta` header says; the router is not called."""
    body = {"model": "default", "max_tokens": 5, "messages": QUESTION, **fields}
    visit = await edge.visit("/v1/messages", body, [("anthropic-beta", "inline-tools-2026-09-15")]).done()

    assert (400, {"error_code": "unsupported_parameter"}) == (visit.status, visit.json["error"]["details"])
    assert visit.json["error"]["message"].startswith(f"{where}: ")
    assert [] == edge.router.requests


@pytest.mark.parametrize("place", ["system", "messages", "a_field", "beside continuation"])
async def test_a_body_that_is_nested_too_deeply_is_the_clients_error(edge: Edge, place: str) -> None:
    """Deeper than JSON can be written, and than the edge recurses."""
    nested = b'{"of":[' * 500 + b"]}" * 500
    block = b'{"type":"dream","of":%b}' % nested
    content = {
        "system": b'"messages":[{"role":"user","content":"x"}],"system":[%b]' % block,
        "messages": b'"messages":[{"role":"user","content":[%b]}]' % block,
        "a_field": b'"messages":[{"role":"user","content":"x"}],"a_field":%b' % nested,
        "beside continuation": b'"messages":[{"role":"user","content":"x"}],"continuation":"allow","x":%b' % nested,
    }[place]
    body = b'{"model":"default","max_tokens":5,%b}' % content
    visit = await edge.visit("/v1/messages", orjson.Fragment(body)).done()

    assert (400, {"error_code": "invalid_request"}) == (visit.status, visit.json["error"]["details"])
    assert [] == edge.router.requests


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [TOOL, {**TOOL, "type": "custom"}, {**TOOL, "type": None}]},
        {"tools": [{"type": kind, "name": "x"} for kind in ("bash_20250124", "web_fetch_20260318", "memory_20250818")]},
        added(TOOL),
        added({"type": "bash_20250124", "name": "bash"}),
        turn({**USE, "input": SEARCH}, {**USE, "caller": {"type": "code_execution_20250825"}}, role="assistant"),
        {"tools": [SEARCH, {"type": "code_execution_20260521", "name": "code_execution"}]},
        {"container": "container_1"},
        {"container": {"id": "container_1", "skills": [{"type": "anthropic", "skill_id": "pdf"}]}},
        added(SEARCH),
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
        {"context_management": {"edits": 5}},
        {"container": None, "mcp_servers": [], "fallbacks": None, "compaction": None, "context_management": None},
        {"messages": [{"role": "user", "content": "web_search_20250305"}]},
    ],
)
def test_what_is_billed_by_tokens_or_by_counted_uses_is_not_refused(fields: Json) -> None:
    """Tools that the client runs, searches and code, texts that look like a type, and empty fields."""
    try:
        refuse_extra_work({"model": "default", "max_tokens": 5, "messages": QUESTION, **fields})
    except Problem as problem:
        pytest.fail(problem.message)


async def test_what_only_anthropic_says_of_message_and_usage_reaches_its_clients(edge: Edge) -> None:
    """Service tier, cache writes by age, searches, container: where Anthropic has them, in a stream and whole."""
    start = {"usage": {"service_tier": "standard", "cache_creation": {"ephemeral_1h_input_tokens": 9}}}
    delta = {"stop_reason": "end_turn", "container": {"id": "c1", "expires_at": "2026-12-01T00:00:00Z"}}
    usage = {"server_tool_use": {"web_search_requests": 2}}
    edge.router.script = [
        started(),
        messages_events({"type": "message_start", "message": {"context_management": {"a": 1}, **start}}),
        texts("Paris"),
        messages_events({"type": "message_delta", "delta": delta, "usage": usage}),
        attempted(),
        STOP,
    ]
    body = {"model": "default", "max_tokens": 5, "messages": QUESTION}
    stream = await edge.visit("/v1/messages", {**body, "stream": True}).done()
    whole = await edge.visit("/v1/messages", body).done()

    events = dict(stream.events)
    opened, ended = events["message_start"]["message"], events["message_delta"]
    assert {"a": 1} == opened["context_management"]
    assert ("standard", {"ephemeral_1h_input_tokens": 9}) == (
        opened["usage"]["service_tier"],
        opened["usage"]["cache_creation"],
    )
    assert (delta["container"], usage["server_tool_use"], 2) == (
        ended["delta"]["container"],
        ended["usage"]["server_tool_use"],
        ended["usage"]["output_tokens"],
    )
    assert whole.json["container"] == delta["container"]
    assert {**start["usage"], **usage} == {
        name: whole.json["usage"][name] for name in ("service_tier", "cache_creation", "server_tool_use")
    }
