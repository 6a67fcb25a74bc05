"""An OpenAI chat body translated for the Messages API: nothing is lost silently, nothing is invented."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from llm_router.errors import RequestRejected, RequestUntranslatable
from llm_router.providers.anthropic.request import to_messages_body

Json = dict[str, Any]

USER: Json = {"role": "user", "content": "hi"}
TOOL: Json = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def translated(*messages: Json, **fields: object) -> Json:
    """Translate a body of these messages and fields."""
    return to_messages_body({"messages": list(messages or (USER,)), **fields})


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
    """The assistant's call keeps its id and arguments; results of one turn go into one user turn."""
    second = {**call("{}"), "id": "c2"}
    body = translated(
        USER,
        {"role": "assistant", "content": "Let me look.", "tool_calls": [call(), second]},
        {"role": "tool", "tool_call_id": "c1", "content": "red"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "blue"}]},
        USER,
    )

    _, assistant, results, last = body["messages"]
    assert [
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "c1", "name": "look", "input": {"a": 1}},
        {"type": "tool_use", "id": "c2", "name": "look", "input": {}},
    ] == assistant["content"]
    assert "user" == results["role"]
    assert [
        {"type": "tool_result", "tool_use_id": "c1", "content": "red"},
        {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "blue"}]},
    ] == results["content"]
    assert USER == last


@pytest.mark.parametrize("arguments", [None, ""])
def test_tool_call_without_arguments_has_an_empty_input(arguments: str | None) -> None:
    """Some clients send no arguments at all for a function that takes none."""
    body = translated(USER, {"role": "assistant", "content": None, "tool_calls": [call(arguments)]})

    assert [{"type": "tool_use", "id": "c1", "name": "look", "input": {}}] == body["messages"][1]["content"]


@pytest.mark.parametrize("arguments", ["{", {"a": 1}, 5])
def test_arguments_that_are_not_json_are_the_callers_error(arguments: object) -> None:
    """The message names the fault without quoting the conversation."""
    with pytest.raises(RequestRejected) as caught:
        translated(USER, {"role": "assistant", "tool_calls": [call(arguments)]})

    assert "messages.1.tool_calls" == caught.value.param
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
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/svg+xml,<svg/>"}}]},
        ),
        ("messages.1.content.0", {"role": "tool", "tool_call_id": "c", "content": [{"type": "file"}]}),
        ("messages.1.role", {"role": "function", "content": "red"}),
        ("messages.1.name", {"role": "user", "name": "ada", "content": "hi"}),
        ("messages.1.audio", {"role": "assistant", "audio": {"id": "a"}}),
        ("messages.1.function_call", {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}),
        ("messages.1.tool_calls", {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]}),
        ("messages.1.later", {"role": "user", "content": "hi", "later": 1}),
        ("messages.1.content.0.later", {"role": "user", "content": [{**TEXT, "later": False}]}),
        ("messages.1.content.1.later", {"role": "assistant", "content": [TEXT, {**TEXT, "later": 0}]}),
        ("messages.1.content.0.later", {"role": "tool", "tool_call_id": "c", "content": [{**TEXT, "later": {}}]}),
        ("messages.1.tool_calls.1.later", {"role": "assistant", "tool_calls": [call(), call(later="x")]}),
    ],
)
def test_content_without_a_counterpart_is_named(where: str, message: Json) -> None:
    """Audio, files, names and old function calls are left to another target, not dropped."""
    with pytest.raises(RequestUntranslatable) as caught:
        translated(USER, message)

    assert where == caught.value.param
    assert where in str(caught.value)
    assert caught.value.moves_on


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
        ({"response_format": {"type": "text"}}, {}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        (
            {
                "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
                "reasoning_effort": "low",
            },
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}, "effort": "low"}},
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
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}]},
            {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}, "strict": True}]},
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
        ("temperature", 1.01),
        ("seed", 0),
        ("n", 2),
        ("logprobs", True),
        ("top_logprobs", 0),
        ("presence_penalty", 0.1),
        ("frequency_penalty", -1),
        ("logit_bias", {"50256": -100}),
        ("modalities", ["text", "audio"]),
        ("reasoning_effort", "minimal"),
        ("reasoning_effort", "a level of next year"),
        ("verbosity", "low"),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema"}),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": "x"}}),
        ("a_field_of_next_year", 0),
        ("a_field_of_next_year", False),
    ],
)
def test_field_without_a_counterpart_is_named(field: str, value: object) -> None:
    """A field that changes the answer is never dropped: another target may support it."""
    with pytest.raises(RequestUntranslatable) as caught:
        translated(**{field: value})

    assert field == caught.value.param


@pytest.mark.parametrize(
    ("tool", "where"),
    [
        ({"type": "custom", "custom": {"name": "x"}}, "tools.1"),
        ({"type": "function"}, "tools.1"),
        ({**TOOL, "later": {}}, "tools.1.later"),
    ],
)
def test_tool_of_another_kind_is_named(tool: Json, where: str) -> None:
    """The second of two, by its place."""
    with pytest.raises(RequestUntranslatable) as caught:
        translated(tools=[TOOL, tool])

    assert where == caught.value.param


def test_what_changes_the_price_or_decorates_an_answer_is_left_out() -> None:
    """Clients mark what to cache, and send answers back as they received them."""
    marks = {"cache_control": {"type": "ephemeral"}, "prompt_cache_breakpoint": {"mode": "explicit"}, "later": None}
    decorated = call(index=0, extra_content={"google": {"thought_signature": "x"}}, later=None)
    answer = {"role": "assistant", "content": [{**TEXT, **marks}], "tool_calls": [decorated], "annotations": []}
    plain = {"role": "assistant", "content": [TEXT], "tool_calls": [call()]}

    assert translated(USER, plain, tools=[TOOL]) == translated(USER, answer, tools=[{**TOOL, **marks}])


def test_described_schema_is_named() -> None:
    """The description tells the model how to answer, and has no place at Anthropic's."""
    schema = {"name": "n", "schema": {"type": "object"}, "description": "Answer as a poem."}
    with pytest.raises(RequestUntranslatable) as caught:
        translated(response_format={"type": "json_schema", "json_schema": schema})

    assert "response_format.json_schema.description" == caught.value.param


def test_refusal_sent_back_is_kept() -> None:
    """It is part of what the assistant said."""
    declined = {"role": "assistant", "content": None, "refusal": "No."}
    in_parts = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    body = translated(USER, declined, in_parts)

    assert ["No.", [{"type": "text", "text": "No."}]] == [turn["content"] for turn in body["messages"][1:]]


def test_name_of_a_tool_in_its_result_is_left_out() -> None:
    """The call that it answers already has the name."""
    body = translated(USER, {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "red"})

    assert [{"type": "tool_result", "tool_use_id": "c1", "content": "red"}] == body["messages"][1]["content"]


@pytest.mark.parametrize("name", ["", "u" * 257, 5, None])
def test_user_that_anthropic_refuses_is_left_out(name: object) -> None:
    """The user does not change the answer."""
    assert translated() == translated(user=name)


@pytest.mark.parametrize("choice", ["perhaps", {"type": "allowed_tools", "allowed_tools": {}}])
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
        ("metadata", {"a": "b"}),
        ("store", True),
        ("service_tier", "flex"),
        ("model", "m"),
        ("stream", True),
        ("stream_options", {"include_usage": True}),
        ("verbosity", "medium"),
        ("prompt_cache_key", "k"),
    ],
)
def test_what_changes_nothing_is_left_out(field: str, value: object) -> None:
    """Neutral values and fields about delivery need no counterpart."""
    assert translated() == translated(**{field: value})


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
    to_messages_body(body)

    assert before == orjson.dumps(body)
