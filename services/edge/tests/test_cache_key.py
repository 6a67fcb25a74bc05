"""Two requests share an answer only when nothing that can change it differs: every field of both contracts is tried."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from edge.cache.key import cache_key
from edge.contracts.chat.request import ChatRequest
from edge.contracts.completions.request import CompletionRequest
from edge.contracts.messages.frames import MessagesRequest
from edge.conversation import WITHOUT_EFFECT, Conversation
from edge.problems import Problem

Json = dict[str, Any]

ANY_TOOL = {"type": "function", "function": {"name": "look"}}
# Two values of each field besides its absence. A field added to a contract has to be added here as well.
CHAT_VALUES: dict[str, list[object]] = {
    "query": ["Who?", "Why?"],
    "system_prompt": ["Be brief.", "Be long."],
    "retrieved_context": ["It is so.", ["It is so.", "It is not."]],
    "model": ["small", "large"],
    "max_tokens": [1, 2],
    "temperature": [0, 1],
    "tools": [[], [ANY_TOOL]],
}
COMPLETION_VALUES: dict[str, list[object]] = {
    "model": ["small", "large"],
    "messages": [[{"role": "user", "content": "Who?"}], [{"role": "system", "content": "Who?"}]],
    "max_tokens": [1, 2],
    "max_completion_tokens": [1, 2],
    "temperature": [0, 1],
    "top_p": [0, 1],
    "n": [1, 2],
    "stop": ["A", ["A", "B"]],
    "seed": [0, 1],
    "presence_penalty": [0, 1],
    "frequency_penalty": [0, 1],
    "logit_bias": [{}, {"5": 1}],
    "logprobs": [False, True],
    "top_logprobs": [0, 1],
    "response_format": [{"type": "text"}, {"type": "json_object"}],
    "tools": [[], [ANY_TOOL]],
    "tool_choice": ["auto", ANY_TOOL],
    "parallel_tool_calls": [False, True],
    "reasoning_effort": ["low", "high"],
}
MESSAGES_VALUES: dict[str, list[object]] = {
    "model": ["small", "large"],
    "messages": [
        [{"role": "user", "content": "Who?"}],
        [{"role": "user", "content": [{"type": "text", "text": "Who?"}]}],
    ],
    "max_tokens": [1, 2],
    "system": ["Be brief.", [{"type": "text", "text": "Be brief."}]],
    "stop_sequences": [["A"], ["A", "B"]],
    "temperature": [0, 1],
    "top_p": [0, 1],
    "top_k": [0, 1],
    "tools": [[{"name": "look", "input_schema": {}}], [{"name": "hear", "input_schema": {}}]],
    "thinking": [{"type": "adaptive"}, {"type": "disabled"}],
    "output_config": [{"effort": "low"}, {"format": {"type": "json_schema", "schema": {}}}],
    "tool_choice": [{"type": "any"}, {"type": "none"}],
}
# What cannot matter, and values that show it.
CHAT_WITHOUT_EFFECT: dict[str, list[object]] = {"stream": [True, False], "continuation": ["allow", "never"]}
COMPLETION_WITHOUT_EFFECT: dict[str, list[object]] = {
    "stream": [True, False],
    "stream_options": [{"include_usage": True}, {"include_usage": False}],
    "user": ["ada", "bob"],
    "metadata": [{"a": "b"}, {}],
    "store": [True, False],
    "continuation": ["allow", "never"],
}
MESSAGES_WITHOUT_EFFECT: dict[str, list[object]] = {
    "stream": [True, False],
    "metadata": [{"user_id": "ada"}, {"user_id": "bob"}],
    "continuation": ["allow", "never"],
}


SMALLEST: Json = {"max_tokens": 9, "messages": [{"role": "user", "content": "What?"}]}


def key_of(tenant: str, conversation: Conversation) -> str:
    """Return the key of a conversation; one that names no model runs with `default`."""
    return cache_key(tenant, conversation.requested_model or "default", conversation)


def chat_key(tenant: str = "acme", /, **fields: object) -> str:
    """Return the key of a `/chat` body, which has a query unless told otherwise."""
    body = ChatRequest.model_validate({"query": "What?", **fields})
    return key_of(tenant, body.to_conversation("/chat"))


def completion_key(tenant: str = "acme", /, **fields: object) -> str:
    """Return the key of a `/v1/chat/completions` body, which has model and messages unless told otherwise."""
    streams = {"stream": True} if "stream_options" in fields else {}
    raw = {"model": "default", "messages": [{"role": "user", "content": "What?"}], **streams, **fields}
    return key_of(tenant, CompletionRequest.model_validate(raw).to_conversation("/v1/chat/completions", raw))


def messages_key(tenant: str = "acme", /, **fields: object) -> str:
    """Return the key of a `/v1/messages` body, which has model, limit and messages unless told otherwise."""
    raw = {"model": "default", "max_tokens": 9, "messages": [{"role": "user", "content": "What?"}], **fields}
    return native_key(raw, tenant=tenant)


def native_key(raw: Json, beta: str = "", *, version: str = "", tenant: str = "acme") -> str:
    """Return the key of a whole `/v1/messages` body."""
    request = MessagesRequest.model_validate(raw)
    conversation = request.to_conversation("/v1/messages", raw, orjson.dumps(raw), beta=beta, version=version)
    return key_of(tenant, conversation)


def test_every_field_of_messages_is_in_the_key_or_cannot_matter() -> None:
    """A new field makes this fail until somebody has decided which it is."""
    assert not MESSAGES_VALUES.keys() & MESSAGES_WITHOUT_EFFECT.keys()
    assert MessagesRequest.model_fields.keys() == MESSAGES_VALUES.keys() | MESSAGES_WITHOUT_EFFECT.keys()


@pytest.mark.parametrize("field", MESSAGES_VALUES)
def test_each_field_of_messages_changes_the_key(field: str) -> None:
    """Absent and its two values are three different requests."""
    keys = {messages_key(), *(messages_key(**{field: value}) for value in MESSAGES_VALUES[field])}

    assert 3 == len(keys)


@pytest.mark.parametrize("field", MESSAGES_WITHOUT_EFFECT)
def test_what_cannot_matter_does_not_change_the_key_of_messages(field: str) -> None:
    """Delivery, and who asks within the tenant."""
    assert {messages_key()} == {messages_key(**{field: value}) for value in MESSAGES_WITHOUT_EFFECT[field]}


def test_a_choice_among_tools_changes_the_key() -> None:
    """Also what Anthropic alone has: a field of next year, a mark on a tool."""
    tools = [{"name": "look", "input_schema": {}}]
    kinds: list[Json] = [{}, {"type": "any"}, {"type": "none"}, {"type": "any", "disable_parallel_tool_use": True}]
    keys = {messages_key(tools=tools, **({"tool_choice": kind} if kind else {})) for kind in kinds}
    marked = messages_key(tools=[{**tools[0], "cache_control": {"type": "ephemeral"}}])

    assert 6 == len(keys | {marked, messages_key(tools=tools, a_field_of_next_year=1)})


def test_a_version_changes_the_key() -> None:
    """One and the same body may be taken by one version of the contract and refused by another."""
    raw: Json = {"model": "default", "max_tokens": 9, "messages": [{"role": "user", "content": "What?"}]}

    assert 3 == len({native_key(raw, version=version) for version in ("", "2023-06-01", "2026-10-21")})


def test_a_beta_changes_the_key() -> None:
    """It says what the target understands of the same body."""
    raw: Json = {"model": "default", "max_tokens": 9, "messages": [{"role": "user", "content": "What?"}]}

    assert messages_key() != native_key(raw, "more-2026-01-01") != native_key(raw, "less-2026-01-01")


@pytest.mark.parametrize("field", [name for name in MESSAGES_VALUES if name not in {"model", "max_tokens", "messages"}])
def test_null_is_absent_at_messages(field: str) -> None:
    """Clients write null for what they do not set."""
    assert messages_key() == messages_key(**{field: None})


def test_blocks_that_the_translation_leaves_out_change_the_key() -> None:
    """What a target of the same contract is asked counts, and not what is left of it for others."""
    kinds: list[Json] = [
        {"type": "dream", "of": "sheep"},
        {"type": "dream", "of": "goats"},
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": "", "cache_control": {"type": "ephemeral"}},
    ]
    keys = {messages_key(messages=[{"role": "user", "content": [block]}]) for block in kinds}

    assert len(kinds) == len(keys)


def test_an_answer_to_anthropics_contract_is_its_own() -> None:
    """It may hold what an OpenAI client is not told, such as a thought's signature."""
    assert completion_key(max_completion_tokens=9) != messages_key()
    assert completion_key(max_tokens=9) != messages_key()


def test_every_field_of_chat_is_in_the_key_or_cannot_matter() -> None:
    """A new field makes this fail until somebody has decided which it is."""
    assert not CHAT_VALUES.keys() & CHAT_WITHOUT_EFFECT.keys()
    assert ChatRequest.model_fields.keys() == CHAT_VALUES.keys() | CHAT_WITHOUT_EFFECT.keys()


def test_every_field_of_completions_is_in_the_key_or_cannot_matter() -> None:
    """A new field makes this fail; what cannot matter is what the cache itself leaves out."""
    known = CompletionRequest.model_fields.keys()

    assert known == COMPLETION_VALUES.keys() | COMPLETION_WITHOUT_EFFECT.keys()
    assert known & WITHOUT_EFFECT == COMPLETION_WITHOUT_EFFECT.keys()


@pytest.mark.parametrize("field", CHAT_VALUES)
def test_each_field_of_chat_changes_the_key(field: str) -> None:
    """Absent and its two values are three different requests."""
    keys = {chat_key(), *(chat_key(**{field: value}) for value in CHAT_VALUES[field])}

    assert 3 == len(keys)


@pytest.mark.parametrize("field", COMPLETION_VALUES)
def test_each_field_of_completions_changes_the_key(field: str) -> None:
    """Absent and its two values are three different requests; 0, false and empty are values."""
    keys = {completion_key(), *(completion_key(**{field: value}) for value in COMPLETION_VALUES[field])}

    assert 3 == len(keys)


@pytest.mark.parametrize("field", CHAT_WITHOUT_EFFECT)
def test_how_an_answer_is_delivered_does_not_change_the_key_of_chat(field: str) -> None:
    """A stream may be answered from what was asked for whole."""
    assert {chat_key()} == {chat_key(**{field: value}) for value in CHAT_WITHOUT_EFFECT[field]}


@pytest.mark.parametrize("field", COMPLETION_WITHOUT_EFFECT)
def test_what_cannot_matter_does_not_change_the_key_of_completions(field: str) -> None:
    """Delivery, and who asks within the tenant."""
    assert {completion_key()} == {completion_key(**{field: value}) for value in COMPLETION_WITHOUT_EFFECT[field]}


@pytest.mark.parametrize("field", sorted(WITHOUT_EFFECT - CompletionRequest.model_fields.keys()))
def test_fields_on_the_list_that_only_providers_know_do_not_change_the_key(field: str) -> None:
    """They pass through and are left out of the key."""
    assert completion_key() == completion_key(**{field: "x"})


@pytest.mark.parametrize("value", [0, 1, "", False, [], {}])
def test_a_field_that_nobody_knows_changes_the_key(value: object) -> None:
    """It passes through to the provider, so it may change the answer."""
    assert completion_key() != completion_key(a_field_of_next_year=value)
    assert completion_key(a_field_of_next_year="other") != completion_key(a_field_of_next_year=value)


@pytest.mark.parametrize("field", [name for name in COMPLETION_VALUES if name not in {"model", "messages"}])
def test_null_is_absent(field: str) -> None:
    """Clients write null for what they do not set."""
    assert completion_key() == completion_key(**{field: None})


def test_another_tenant_never_shares_an_answer() -> None:
    """Whatever else is equal."""
    assert chat_key("acme") != chat_key("umbrella")
    assert completion_key("acme") != completion_key("umbrella")


def test_parts_of_the_key_cannot_run_into_each_other() -> None:
    """What is moved from one field into its neighbour is another request."""
    assert chat_key("a", model="bc") != chat_key("ab", model="c")
    assert chat_key(system_prompt="x", query="y") != chat_key(query="x\n\ny")
    assert chat_key(retrieved_context="x") != chat_key(system_prompt="x")
    assert completion_key(tools=[ANY_TOOL]) != completion_key(tool_choice=[ANY_TOOL][0])


def test_the_order_of_names_does_not_matter_and_that_of_lists_does() -> None:
    """JSON objects are unordered at any depth; messages are not."""
    one = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"a": 1, "b": {"c": 2, "d": 3}}}}
    two = {"json_schema": {"schema": {"b": {"d": 3, "c": 2}, "a": 1}, "name": "n"}, "type": "json_schema"}
    turns = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]

    assert completion_key(response_format=one) == completion_key(response_format=two)
    assert completion_key(messages=turns) == completion_key(messages=[dict(reversed(turn.items())) for turn in turns])
    assert completion_key(messages=turns) != completion_key(messages=turns[::-1])


def test_fields_inside_a_message_change_the_key() -> None:
    """Also those that only the provider knows."""
    turn: Json = {"role": "user", "content": "What?"}

    assert completion_key(messages=[turn]) != completion_key(messages=[{**turn, "name": "ada"}])
    assert completion_key(messages=[turn]) != completion_key(messages=[{**turn, "content": [{"type": "text"}]}])


def test_both_contracts_share_an_answer_to_the_same_question() -> None:
    """The key is of what is asked and not of how."""
    assert chat_key() == completion_key()


def test_stream_options_need_a_stream() -> None:
    """OpenAI refuses it as well."""
    raw = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream_options": {"include_usage": True}}
    with pytest.raises(Problem) as caught:
        CompletionRequest.model_validate(raw).to_conversation("/v1/chat/completions", raw)

    assert ("invalid_request", "stream_options") == (caught.value.code, caught.value.param)


def test_the_clients_word_for_a_model_is_not_in_the_key() -> None:
    """The route is: by an alias the same answer is found, in the native form of `/v1/messages` too."""
    bodies = [
        MessagesRequest.model_validate(raw).to_conversation("/v1/messages", raw, orjson.dumps(raw))
        for raw in ({**SMALLEST, "model": name} for name in ("claude-sonnet-4-5", "claude-latest"))
    ]

    assert 1 == len({cache_key("acme", "claude-*", body) for body in bodies})
    assert cache_key("acme", "other", bodies[0]) != cache_key("acme", "claude-*", bodies[0])
