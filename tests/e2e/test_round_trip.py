"""The two halves of a translation are written in two services: together they lose nothing, whatever is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from edge.contracts.messages.frames import MessagesRequest
from edge.http.body import validate
from edge.problems import Problem
from llm_router.errors import ProviderError
from llm_router.providers.anthropic.request import to_messages_body
from llm_router.providers.openai.request import to_openai_body

Json = dict[str, Any]

words = st.text(st.characters(codec="utf-8"), max_size=6)
names = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=5)
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(words, documents, max_size=3)


def block(kind: str, optional: Json | None = None, /, **fields: Any) -> st.SearchStrategy[Json]:
    """Return blocks of a kind, some with what any block may have besides."""
    extra = {"cache_control": st.just({"type": "ephemeral"}), "of_next_year": documents, **(optional or {})}
    return st.fixed_dictionaries({"type": st.just(kind), **fields}, optional=extra)


texts = block("text", {"citations": st.none() | st.lists(objects, max_size=1)}, text=words)
images = block(
    "image",
    source=st.one_of(
        st.fixed_dictionaries({"type": st.just("base64"), "media_type": st.just("image/png"), "data": names}),
        st.fixed_dictionaries({"type": st.just("url"), "url": names.map("https://a.test/{}".format) | words}),
        st.fixed_dictionaries({"type": st.just("file"), "file_id": names}),
        documents,
    ),
)
strange = block("document", source=documents) | block("a_block_of_next_year")
thoughts = st.fixed_dictionaries({"type": st.just("thinking"), "thinking": words, "signature": names}) | block(
    "redacted_thinking", data=words
)
calls = block("tool_use", {"caller": objects}, id=names, name=names, input=objects)
said = st.lists(texts | images | strange, max_size=3)
results = block("tool_result", {"content": words | said, "is_error": st.booleans() | st.none()}, tool_use_id=names)
more = {"of_next_year": documents}
turns = st.one_of(
    st.fixed_dictionaries(
        {"role": st.just("user"), "content": words | st.lists(texts | images | strange | results, max_size=4)},
        optional=more,
    ),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": words | st.lists(texts | thoughts | calls | strange, max_size=4)},
        optional=more,
    ),
    st.fixed_dictionaries({"role": st.just("system"), "content": words | st.lists(texts, max_size=2)}, optional=more),
)
tools = st.one_of(
    st.fixed_dictionaries(
        {"name": names, "input_schema": objects.filter(bool)},
        optional={"description": words, "strict": st.booleans(), "type": st.sampled_from(["custom", None]), **more},
    ),
    st.fixed_dictionaries({"type": st.just("bash_20250124"), "name": st.just("bash")}, optional=more),
)
choices = st.fixed_dictionaries(
    {"type": st.sampled_from(["auto", "any"])}, optional={"disable_parallel_tool_use": st.booleans(), **more}
) | st.fixed_dictionaries({"type": st.just("tool"), "name": names})
configs = st.fixed_dictionaries(
    {},
    optional={
        "effort": st.sampled_from(["low", "medium", "high", "xhigh", "max"]),
        "format": st.fixed_dictionaries({"type": st.just("json_schema"), "schema": objects}) | documents,
        **more,
    },
).filter(bool)
bodies = st.fixed_dictionaries(
    {"max_tokens": st.integers(0, 9), "messages": st.lists(turns, min_size=1, max_size=4)},
    optional={
        "system": words.filter(bool) | st.lists(texts, min_size=1, max_size=2),
        "stop_sequences": st.lists(words, min_size=1, max_size=2),
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(0, 9),
        "thinking": objects,
        "output_config": configs,
        "metadata": st.fixed_dictionaries({"user_id": names}) | objects.filter(bool),
        "of_next_year": documents.filter(lambda value: value is not None),
        "cache_control": objects,
    },
)
with_tools = st.builds(
    lambda body, tools, choice: {**body, "tools": tools, **choice},
    bodies,
    st.lists(tools, min_size=1, max_size=2),
    st.fixed_dictionaries({}, optional={"tool_choice": choices}),
)


def chat_body(body: Json) -> Json:
    """Translate as the edge does, and send it as the edge sends it."""
    raw = {"model": "m", **body}
    conversation = validate(MessagesRequest, raw).to_conversation("/v1/messages", raw)
    sent: Json = orjson.loads(orjson.dumps(conversation.body))
    return sent


def refused(translate: Callable[[Json], Json], body: Json) -> Any:
    """Return what `translate` makes of `body`, or why it does not."""
    try:
        return translate(body)
    except (Problem, ProviderError) as error:
        return error


@given(bodies | with_tools)
def test_what_anthropics_contract_says_comes_back_as_it_was(body: Json) -> None:
    """Through the chat body and back into Anthropic's words: equal in every field, at any depth."""
    assert orjson.loads(orjson.dumps(body)) == to_messages_body(chat_body(body))


def _has(document: object, name: str) -> bool:
    if isinstance(document, dict):
        return name in document or any(_has(value, name) for value in document.values())
    return isinstance(document, list) and any(_has(value, name) for value in document)


@given(bodies | with_tools)
def test_what_is_said_to_openai_holds_nothing_of_our_own(body: Json) -> None:
    """Either a field is named that cannot be said, or every message and tool has OpenAI's shape."""
    plain = refused(to_openai_body, chat_body(body))
    if isinstance(plain, ProviderError):
        assert plain.param
        return

    assert not _has(plain["messages"], "anthropic")
    assert not {"anthropic", "top_k", "thinking", "metadata", "of_next_year"} & plain.keys()
    for message in plain["messages"]:
        assert message.keys() <= {"role", "content", "tool_calls", "tool_call_id"}
        if not isinstance(message["content"], str | None):
            assert {"text", "image_url"} >= {part["type"] for part in message["content"]}
        assert message["content"] is not None or message["tool_calls"]
    assert {"function"} >= {tool["type"] for tool in plain.get("tools", [])}


# Right names around anything at all.
kinds = st.sampled_from(["text", "image", "tool_use", "tool_result", "thinking", "document"])
loose_blocks = st.fixed_dictionaries(
    {},
    optional={
        "type": kinds | documents,
        **dict.fromkeys(("text", "source", "id", "name", "input", "tool_use_id", "content", "is_error"), documents),
    },
)
loose_turns = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]) | documents},
    optional={"content": st.lists(loose_blocks | documents, max_size=3) | documents},
)
loose_bodies = st.fixed_dictionaries(
    {"max_tokens": st.integers(-1, 9) | documents, "messages": st.lists(loose_turns, max_size=3) | documents},
    optional={
        name: documents | objects | st.lists(objects, max_size=2)
        for name in (
            "system",
            "tools",
            "tool_choice",
            "thinking",
            "output_config",
            "metadata",
            "stop_sequences",
            "stream",
        )
    },
)


@given(loose_bodies)
def test_no_body_at_all_raises_anything_but_what_the_caller_is_told(body: Json) -> None:
    """A Problem at the door or a ProviderError behind it, never a traceback."""
    sent = refused(chat_body, body)
    if isinstance(sent, Problem):
        assert (400, True) == (sent.kind.status, bool(sent.message))
        return
    for translate in (to_messages_body, to_openai_body):
        translated = refused(translate, sent)
        assert isinstance(translated, dict) or translated.param
