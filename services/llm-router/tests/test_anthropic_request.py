"""An OpenAI chat body translated for the Messages API: nothing that matters is lost, and nothing is lost silently."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from llm_router.errors import RequestRejected, RequestUntranslatable
from llm_router.providers.anthropic.request import to_messages_request
from llm_router.providers.dropped import Dropped

Json = dict[str, Any]

USER: Json = {"role": "user", "content": "hi"}
TOOL: Json = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CLOSED: Json = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}


def translated(*messages: Json, **fields: object) -> Json:
    """Translate a body of these messages and fields."""
    return to_messages_request({"messages": list(messages or (USER,)), **fields}, Dropped()).body


def dropped(*messages: Json, **fields: object) -> tuple[str, ...]:
    """Return the names of what the translation of a body leaves out."""
    lost = Dropped()
    to_messages_request({"messages": list(messages or (USER,)), **fields}, lost)
    return lost.names


def call(arguments: object = '{"a": 1}', **more: object) -> Json:
    """Write a tool call of an assistant."""
    return {"id": "c1", "type": "function", "function": {"name": "look", "arguments": arguments}, **more}


def test_plain_question_gets_only_a_limit() -> None:
    """The Messages API requires a limit; no other field is added."""
    body = translated()

    assert {"messages", "max_tokens"} == body.keys()
    assert [USER] == body["messages"]
    assert body["max_tokens"] > 0


def test_system_and_developer_messages_become_the_system_prompt_in_order() -> None:
    """The Messages API takes them apart from the turns, wherever they were."""
    body = translated(
        {"role": "system", "content": "one"},
        USER,
        {"role": "developer", "content": [{"type": "text", "text": "two"}]},
    )

    assert [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}] == body["system"]
    assert [USER] == body["messages"]


def test_tool_call_and_its_results_become_blocks() -> None:
    """The assistant's call keeps its id and arguments; results go into one user turn, before what the user says."""
    second = {**call("{}"), "id": "c2"}
    body = translated(
        USER,
        {"role": "assistant", "content": "Let me look.", "tool_calls": [call(), second]},
        {"role": "tool", "tool_call_id": "c1", "content": "red"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "blue"}]},
        USER,
    )

    _, assistant, results = body["messages"]
    assert [
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "c1", "name": "look", "input": {"a": 1}},
        {"type": "tool_use", "id": "c2", "name": "look", "input": {}},
    ] == assistant["content"]
    assert "user" == results["role"]
    assert [
        {"type": "tool_result", "tool_use_id": "c1", "content": "red"},
        {"type": "tool_result", "tool_use_id": "c2", "content": "blue"},
        {"type": "text", "text": "hi"},
    ] == results["content"]


@pytest.mark.parametrize("arguments", [None, ""])
def test_tool_call_without_arguments_has_an_empty_input(arguments: str | None) -> None:
    """Some clients send no arguments at all for a function that takes none."""
    body = translated(USER, {"role": "assistant", "content": None, "tool_calls": [call(arguments)]})

    assert [{"type": "tool_use", "id": "c1", "name": "look", "input": {}}] == body["messages"][1]["content"]


@pytest.mark.parametrize("arguments", ["{", "5", "[1]", '"x"', "NaN"])
def test_arguments_that_are_no_object_are_told_as_they_are(arguments: str) -> None:
    """A model wrote them and its client sends them back: they keep no other vendor from answering."""
    body = translated(USER, {"role": "assistant", "tool_calls": [call(arguments)]})

    assert {"INVALID_JSON": arguments} == body["messages"][1]["content"][0]["input"]


def test_arguments_that_are_no_text_are_the_callers_error() -> None:
    """The message names the fault without quoting the conversation."""
    with pytest.raises(RequestRejected) as caught:
        translated(USER, {"role": "assistant", "tool_calls": [call(5)]})

    assert "messages.1.tool_calls.0" == caught.value.param
    assert not caught.value.moves_on


def test_images_travel_as_bytes_or_by_address() -> None:
    """A data URL becomes base64 with its media type, any other URL stays a URL."""
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
        {"type": "image_url", "image_url": {"url": "https://pictures.test/a.png", "detail": "low"}},
        {"type": "text", "text": "Which?"},
    ]
    (turn,) = translated({"role": "user", "content": parts})["messages"]

    assert [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
        {"type": "image", "source": {"type": "url", "url": "https://pictures.test/a.png"}},
        {"type": "text", "text": "Which?"},
    ] == turn["content"]


TEXT: Json = {"type": "text", "text": "hi"}
PDF = "data:application/pdf;base64,JVBERi0="


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ({"file_data": PDF, "filename": "a.pdf"}, {"title": "a.pdf"}),
        ({"file_data": "JVBERi0=", "filename": "A.PDF"}, {"title": "A.PDF"}),
        ({"file_data": PDF}, {}),
    ],
)
def test_a_pdf_becomes_a_document(file: Json, expected: Json) -> None:
    """Its bytes are in the request, as a data URL or plain; its name is the title."""
    (turn,) = translated({"role": "user", "content": [{"type": "file", "file": file}, TEXT]})["messages"]

    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    assert [{"type": "document", "source": source, **expected}, TEXT] == turn["content"]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            "messages.1.content.1",
            {"role": "user", "content": [TEXT, {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]},
        ),
        ("messages.1.content.0", {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}),
        (
            "messages.1.content.0",
            {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:text/csv;base64,YQ=="}}]},
        ),
        *(
            ("messages.1.content.0", {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]})
            for url in ("data:image/svg+xml,<svg/>", "data:image/bmp;base64,QUJD", "http://pictures.test/a.png")
        ),
        ("messages.1.content.0", {"role": "tool", "tool_call_id": "c", "content": [{"type": "dream"}]}),
        ("messages.1.content", {"role": "system", "content": [{"type": "file", "file": {"file_data": PDF}}]}),
        ("messages.1.role", {"role": "function", "content": "red"}),
        ("messages.1.audio", {"role": "assistant", "audio": {"id": "a"}}),
        ("messages.1.function_call", {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}),
        ("messages.1.tool_calls.0", {"role": "assistant", "tool_calls": [{"id": "c", "type": "dream"}]}),
    ],
)
def test_content_without_a_counterpart_is_named(where: str, message: Json) -> None:
    """Sound, files that are kept elsewhere, parts and roles that nobody knows are left to another target."""
    with pytest.raises(RequestUntranslatable) as caught:
        translated(USER, message)

    assert where == caught.value.param
    assert where in str(caught.value)
    assert caught.value.moves_on


@pytest.mark.parametrize(
    ("where", "message", "plain"),
    [
        ("messages.1.name", {"role": "user", "name": "ada", "content": "hi"}, USER),
        ("messages.1.id", {"role": "user", "id": "m1", "content": "hi"}, USER),
        ("messages.1.later", {"role": "user", "content": "hi", "later": 1}, USER),
        (
            "messages.1.reasoning_content",
            {"role": "assistant", "content": "hi", "reasoning_content": "Hm."},
            {"role": "assistant", "content": "hi"},
        ),
        ("messages.1.content.0.later", {"role": "user", "content": [{**TEXT, "later": False}]}, USER),
        (
            "messages.1.tool_calls.0.later",
            {"role": "assistant", "tool_calls": [call(later="x")]},
            {"role": "assistant", "tool_calls": [call()]},
        ),
        (
            "messages.1.content.0.image_url.detail",
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "https://a.test", "detail": "low"}}],
            },
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.test"}}]},
        ),
    ],
)
def test_what_changes_no_answer_is_left_out_and_named(where: str, message: Json, plain: Json) -> None:
    """Names, ids, thoughts of others and fields that nobody knows: the receipt has their names."""
    assert translated(USER, plain) == translated(USER, message)
    assert (where,) == dropped(USER, message)


def test_what_says_nothing_is_no_loss() -> None:
    """Clients send answers back as they received them, with all the fields that are empty there."""
    decorated = call(index=0, extra_content={"google": {"thought_signature": "x"}}, later=None)
    answer = {
        "role": "assistant",
        "content": [{**TEXT, "later": None}],
        "tool_calls": [decorated],
        **dict.fromkeys(("annotations", "audio", "function_call", "refusal")),
    }
    result = {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "red"}

    assert () == dropped(USER, answer, result, tools=[TOOL])


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({"max_completion_tokens": 8}, {"max_tokens": 8}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 1}, {"temperature": 1}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["A", "B"]}, {"stop_sequences": ["A", "B"]}),
        ({"top_k": 5}, {"top_k": 5}),
        ({"top_k": -1}, {}),
        ({"top_p": 1, "temperature": 0.5}, {"temperature": 0.5}),
        ({"cache_control": {"type": "ephemeral"}}, {"cache_control": {"type": "ephemeral"}}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": CLOSED}}},
            {"output_config": {"format": {"type": "json_schema", "schema": CLOSED}}},
        ),
        (
            {
                "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": CLOSED}},
                "reasoning_effort": "low",
            },
            {"output_config": {"format": {"type": "json_schema", "schema": CLOSED}, "effort": "low"}},
        ),
        *(
            ({"reasoning_effort": effort}, {"output_config": {"effort": effort}})
            for effort in ("low", "medium", "high", "xhigh", "max")
        ),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"user": "u"}, {"metadata": {"user_id": "u"}}),
        ({"user": "u", "safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
        ({"tools": [TOOL]}, {"tools": [{"name": "look", "input_schema": {"type": "object"}}]}),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": CLOSED, "strict": True}}]},
            {"tools": [{"name": "f", "input_schema": CLOSED, "strict": True}]},
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}, "strict": False}}]},
            {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]},
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "description": "d"}}]},
            {"tools": [{"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}]},
        ),
        ({"tools": []}, {}),
    ],
)
def test_field_with_a_counterpart_is_translated(fields: Json, expected: Json) -> None:
    """Each field by itself, 0 included."""
    plain = translated()

    assert {**plain, **expected} == translated(**fields)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "look"}}, {"type": "tool", "name": "look"}),
    ],
)
def test_choice_of_a_tool_is_translated(choice: object, expected: Json) -> None:
    """All four of OpenAI's choices have a counterpart; so has the ban on parallel calls."""
    assert expected == translated(tools=[TOOL], tool_choice=choice)["tool_choice"]

    for parallel in (False, True):
        more = {} if choice == "none" else {"disable_parallel_tool_use": not parallel}
        body = translated(tools=[TOOL], tool_choice=choice, parallel_tool_calls=parallel)
        assert {**expected, **more} == body["tool_choice"]


def test_translations_do_not_leak_into_each_other() -> None:
    """One request that forbids parallel calls must not forbid them to the next."""
    translated(tools=[TOOL], tool_choice="auto", parallel_tool_calls=False)

    assert {"type": "auto"} == translated(tools=[TOOL], tool_choice="auto")["tool_choice"]


def test_choice_without_tools_is_left_out() -> None:
    """The Messages API refuses a choice among no tools."""
    assert translated() == translated(tool_choice="none", parallel_tool_calls=False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("best_of", 2),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("prompt_logprobs", 1),
        ("logit_bias", {"50256": -100}),
        ("logit_bias", {"1": 1, "2": 100}),
        ("modalities", ["text", "audio"]),
        ("functions", [{"name": "f"}]),
        ("web_search_options", {}),
        ("guided_regex", "a+"),
        ("stop", "\n\n"),
        ("response_format", {"type": "json_schema"}),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": "x"}}),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": {"type": "object"}, "strict": True}}),
        ("response_format", {"type": "regex"}),
    ],
)
def test_field_that_changes_the_answer_is_named(field: str, value: object) -> None:
    """What was asked for would not be there, or another thing would: another target may have it."""
    with pytest.raises(RequestUntranslatable) as caught:
        translated(**{field: value})

    assert field == caught.value.param


@pytest.mark.parametrize(
    ("field", "value", "instead"),
    [
        ("temperature", 1.01, {"temperature": 1}),
        ("seed", 0, {}),
        ("presence_penalty", 0.1, {}),
        ("frequency_penalty", -1, {}),
        ("logit_bias", {"50256": -99}, {}),
        ("verbosity", "low", {}),
        ("prediction", {"type": "content", "content": "x"}, {}),
        ("reasoning_effort", "minimal", {"output_config": {"effort": "low"}}),
        ("reasoning_effort", "a level of next year", {}),
        ("metadata", {"a": "b"}, {}),
        ("store", True, {}),
        ("service_tier", "flex", {}),
        ("prompt_cache_key", "k", {}),
        ("user", "u" * 257, {}),
        ("chat_template_kwargs", {"enable_thinking": False}, {}),
        ("a_field_of_next_year", 0, {}),
        ("a_field_of_next_year", False, {}),
        ("anthropic", {"model": "large"}, {}),
    ],
)
def test_field_that_does_not_is_left_out_and_named(field: str, value: object, instead: Json) -> None:
    """Or said as nearly as Anthropic can: no such field keeps it from answering."""
    assert {**translated(), **instead} == translated(**{field: value})
    assert (field,) == dropped(**{field: value})


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"temperature": 0.2, "top_p": 0.4}, {"temperature": 0.2}),
        ({"temperature": 2, "top_p": 0.4}, {"temperature": 1}),
    ],
)
def test_of_temperature_and_top_p_one_is_told(fields: Json, kept: Json) -> None:
    """Newer models refuse both."""
    assert {**translated(), **kept} == translated(**fields)
    assert "top_p" in dropped(**fields)


@pytest.mark.parametrize(
    ("tool", "where"),
    [({"type": "dream"}, "tools.1"), ({"type": "function"}, "tools.1"), ({"type": "custom"}, "tools.1")],
)
def test_tool_of_another_kind_is_named(tool: Json, where: str) -> None:
    """The second of two, by its place."""
    with pytest.raises(RequestUntranslatable) as caught:
        translated(tools=[TOOL, tool])

    assert where == caught.value.param


@pytest.mark.parametrize(
    ("where", "tool"),
    [
        ("tools.0.later", {**TOOL, "later": 1}),
        ("tools.0.function.later", {"type": "function", "function": {**TOOL["function"], "later": 1}}),
        ("tools.0.function.strict", {"type": "function", "function": {**TOOL["function"], "strict": True}}),
    ],
)
def test_what_a_tool_says_besides_is_left_out_and_named(where: str, tool: Json) -> None:
    """Also `strict` for a schema that Anthropic cannot hold a model to: it would refuse the request."""
    assert translated(tools=[TOOL]) == translated(tools=[tool])
    assert (where,) == dropped(tools=[tool])


MARK: Json = {"cache_control": {"type": "ephemeral"}}
HOUR: Json = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


def test_marks_of_the_cache_are_mapped() -> None:
    """On parts, on messages and on tools, in Anthropic's own way of writing them and in OpenAI's."""
    body = translated(
        {"role": "system", "content": "long", **HOUR},
        {"role": "user", "content": [{**TEXT, **MARK}]},
        {"role": "assistant", "content": "Let me.", "tool_calls": [call()]},
        {"role": "tool", "tool_call_id": "c1", "content": "red", **MARK},
        tools=[{**TOOL, "prompt_cache_breakpoint": {"mode": "explicit"}}],
    )

    assert [{"type": "text", "text": "long", **HOUR}] == body["system"]
    assert [{**TEXT, **MARK}] == body["messages"][0]["content"]
    assert [{"type": "tool_result", "tool_use_id": "c1", "content": "red", **MARK}] == body["messages"][2]["content"]
    assert [{"name": "look", "input_schema": {"type": "object"}, **MARK}] == body["tools"]


def test_more_marks_than_anthropic_takes_are_left_out_from_the_front() -> None:
    """It takes four; the last ones cover the longest beginnings of the prompt."""
    messages = [{"role": "user", "content": [{"type": "text", "text": str(number), **MARK}]} for number in range(6)]
    (turn,) = translated(*messages)["messages"]

    assert [False, False, True, True, True, True] == ["cache_control" in block for block in turn["content"]]
    assert ("cache_control",) == dropped(*messages)


def test_a_mark_that_is_none_is_left_out() -> None:
    """Anthropic knows one kind and two lifetimes, and refuses others."""
    odd = [{"cache_control": mark} for mark in ("x", {"type": "forever"})]
    body = translated(*({"role": "user", "content": [{**TEXT, **mark}]} for mark in odd))

    assert [TEXT, TEXT] == body["messages"][0]["content"]
    ttl = {"cache_control": {"type": "ephemeral", "ttl": "9y"}}
    assert [{**TEXT, **MARK}] == translated({"role": "user", "content": [{**TEXT, **ttl}]})["messages"][0]["content"]


def test_the_description_of_a_format_is_told() -> None:
    """It says how to answer, and becomes part of the schema."""
    named = {"name": "n", "description": "As a poem.", "schema": {**CLOSED, "description": "A verse."}}
    wanted = {"type": "json_schema", "json_schema": named}

    schema = translated(response_format=wanted)["output_config"]["format"]["schema"]
    assert {**CLOSED, "description": "As a poem.\nA verse."} == schema
    assert () == dropped(response_format=wanted)


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ({"type": "json_object"}, "response_format"),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
            "response_format.json_schema",
        ),
    ],
)
def test_a_format_without_a_counterpart_is_asked_for_in_words(wanted: Json, name: str) -> None:
    """Any object, and what a schema allows that Anthropic cannot hold a model to; the receipt says so."""
    body = translated({"role": "system", "content": "Be brief."}, USER, response_format=wanted)

    first, words = body["system"]
    assert "Be brief." == first["text"]
    assert "one JSON object" in words["text"]
    assert ('{"type":"object"}' in words["text"]) == ("json_schema" in wanted)
    assert "output_config" not in body
    assert (name,) == dropped(response_format=wanted)


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, {"type": "adaptive"}),
        ({"thinking": {"type": "disabled"}}, {"type": "disabled"}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 3000},
            {"type": "enabled", "budget_tokens": 2000},
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 2000}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 100}}, None),
        ({"thinking": {"type": "enabled"}}, None),
        ({"thinking": True}, None),
        ({"thinking": {"type": "adaptive"}, "tools": [TOOL], "tool_choice": "required"}, None),
    ],
)
def test_a_wish_to_think_keeps_no_request_from_an_answer(fields: Json, thinking: Json | None) -> None:
    """Where Anthropic would refuse it, it is left out: too short, longer than the answer, or beside a forced tool."""
    assert thinking == translated(**fields).get("thinking")
    assert (("thinking",) if thinking is None else ()) == dropped(**fields)


def test_a_limit_leaves_room_for_thoughts() -> None:
    """They are part of what `max_tokens` counts."""
    body = translated(thinking={"type": "enabled", "budget_tokens": 20_000})

    assert body["max_tokens"] > 20_000 == body["thinking"]["budget_tokens"]


def test_calls_without_thoughts_are_not_thought_about() -> None:
    """Manual thinking demands a signed thought before the calls of the last answer, and no other vendor signs any."""
    talk = [
        USER,
        {"role": "assistant", "tool_calls": [call()]},
        {"role": "tool", "tool_call_id": "c1", "content": "red"},
    ]
    manual = {"type": "enabled", "budget_tokens": 1024}

    assert "thinking" not in translated(*talk, thinking=manual)
    assert ("thinking",) == dropped(*talk, thinking=manual)
    assert "thinking" in translated(*talk, thinking={"type": "adaptive"})
    assert "thinking" in translated(*talk, {"role": "assistant", "content": "Red."}, USER, thinking=manual)


def test_sampling_is_left_out_where_the_model_thinks() -> None:
    """Anthropic refuses it there."""
    fields = {"thinking": {"type": "adaptive"}, "temperature": 0.2, "top_p": 0.5, "top_k": 9}

    assert {**translated(), "thinking": {"type": "adaptive"}} == translated(**fields)
    assert ("temperature", "top_p", "top_k") == dropped(**fields)


CUSTOM: Json = {"type": "custom", "custom": {"name": "patch", "description": "Apply it."}}


def test_a_tool_that_takes_any_text_becomes_a_function_of_one_text() -> None:
    """So do its calls in the conversation; a grammar is told in words."""
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: WORD"}}
    tool = {"type": "custom", "custom": {**CUSTOM["custom"], "format": grammar}}
    said = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "*** Begin"}}
    body = translated(
        USER,
        {"role": "assistant", "tool_calls": [said]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
        tools=[tool],
        tool_choice={"type": "custom", "custom": {"name": "patch"}},
    )

    (written,) = body["tools"]
    assert ["input"] == written["input_schema"]["required"]
    assert written["description"].startswith("Apply it.")
    assert written["description"].endswith("lark grammar:\nstart: WORD")
    assert {"type": "tool", "name": "patch"} == body["tool_choice"]
    assert [{"type": "tool_use", "id": "c1", "name": "patch", "input": {"input": "*** Begin"}}] == body["messages"][1][
        "content"
    ]
    assert ("tools.0.custom.format",) == dropped(tools=[tool])
    assert {"patch"} == to_messages_request({"messages": [USER], "tools": [TOOL, tool]}, Dropped()).custom_tools


def test_only_allowed_tools_are_shown() -> None:
    """Anthropic has no list of tools that may be called, so that the others are left out."""
    other = {"type": "function", "function": {"name": "other"}}
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "look"}}]}
    body = translated(tools=[TOOL, other], tool_choice={"type": "allowed_tools", "allowed_tools": allowed})

    assert (["look"], {"type": "any"}) == ([tool["name"] for tool in body["tools"]], body["tool_choice"])


def test_tools_that_were_called_are_defined_though_none_are_given() -> None:
    """Anthropic refuses calls in a conversation without tools; they may not be called again."""
    body = translated(USER, {"role": "assistant", "tool_calls": [call()]})

    assert [{"name": "look", "input_schema": {"type": "object", "properties": {}}}] == body["tools"]
    assert {"type": "none"} == body["tool_choice"]


@pytest.mark.parametrize("name", ["fs.read", "a/b", "läger", "n" * 65])
def test_names_of_tools_become_those_that_anthropic_takes(name: str) -> None:
    """The same everywhere in a request, and the same in the next one."""
    tool = {"type": "function", "function": {"name": name}}
    asked = {
        "messages": [USER, {"role": "assistant", "tool_calls": [{**call(), "function": {"name": name}}]}],
        "tools": [tool],
        "tool_choice": tool,
    }
    written = to_messages_request(asked, Dropped())

    (shown,) = written.body["tools"]
    assert re.fullmatch("[a-zA-Z0-9_-]{1,64}", shown["name"])
    assert name == written.names.original(shown["name"])
    assert shown["name"] == written.body["tool_choice"]["name"] == written.body["messages"][1]["content"][0]["name"]
    assert written.body == to_messages_request(asked, Dropped()).body


def test_refusal_sent_back_is_kept() -> None:
    """It is part of what the assistant said."""
    declined = {"role": "assistant", "content": None, "refusal": "No."}
    in_parts = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    body = translated(USER, declined, USER, in_parts)

    assert ["hi", "No.", "hi", "No."] == [turn["content"] for turn in body["messages"]]


def test_name_of_a_tool_in_its_result_is_left_out() -> None:
    """The call that it answers already has the name."""
    result = {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "red"}
    body = translated(USER, {"role": "assistant", "tool_calls": [call()]}, result)

    assert [{"type": "tool_result", "tool_use_id": "c1", "content": "red"}] == body["messages"][2]["content"]


@pytest.mark.parametrize("name", ["", "u" * 257, 5, None])
def test_user_that_anthropic_refuses_is_left_out(name: object) -> None:
    """The user does not change the answer."""
    assert translated() == translated(user=name)


@pytest.mark.parametrize("choice", ["perhaps", {"type": "dream"}])
def test_unknown_choice_of_a_tool_is_named(choice: object) -> None:
    """A choice that is not understood must not become `auto`."""
    with pytest.raises(RequestUntranslatable) as caught:
        translated(tools=[TOOL], tool_choice=choice)

    assert "tool_choice" == caught.value.param


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 1),
        ("logprobs", False),
        ("presence_penalty", 0),
        ("frequency_penalty", 0.0),
        ("logit_bias", {}),
        ("modalities", ["text"]),
        ("parallel_tool_calls", True),
        ("store", False),
        ("service_tier", "auto"),
        ("top_logprobs", 0),
        ("function_call", "none"),
        ("model", "m"),
        ("stream", True),
        ("stream_options", {"include_usage": True}),
        ("verbosity", "medium"),
    ],
)
def test_what_changes_nothing_is_left_out(field: str, value: object) -> None:
    """Neutral values and fields about delivery need no counterpart, and are no loss."""
    assert translated() == translated(**{field: value})
    assert () == dropped(**{field: value})


@pytest.mark.parametrize(
    "field",
    ["temperature", "stop", "tools", "tool_choice", "response_format", "n", "seed", "max_tokens", "anything"],
)
def test_null_is_absent(field: str) -> None:
    """Clients write null for what they do not set."""
    assert translated() == translated(**{field: None})


def test_translation_does_not_change_the_given_body() -> None:
    """The next target gets the same body as this one did."""
    body = {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "assistant", "tool_calls": [call()]},
            {"role": "tool", "tool_call_id": "c1", "content": "red"},
            {"role": "tool", "tool_call_id": "c2", "content": "blue"},
        ],
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": False,
    }
    before = orjson.dumps(body)
    to_messages_request(body, Dropped())

    assert before == orjson.dumps(body)
