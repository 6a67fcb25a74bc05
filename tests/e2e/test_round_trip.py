"""A request of Anthropic's contract, from the edge to either wire of the router, whatever it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from edge.contracts.messages.frames import MessagesRequest
from edge.contracts.validation import validate
from edge.problems import Problem
from llm_router.errors import ProviderError, RequestUntranslatable
from llm_router.providers.anthropic.native import native_body
from llm_router.providers.anthropic.provider import request_for
from llm_router.providers.chat_body import ChatBody, MessagesForm
from llm_router.providers.dropped import Dropped
from llm_router.providers.openai.request import to_openai_body
from llm_router.providers.tool_names import ToolNames

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


def as_the_router_gets_it(body: Json) -> ChatBody:
    """Read as the edge does, send as the edge sends, take as the router takes."""
    raw = {"model": "m", **body}
    conversation = validate(MessagesRequest, raw).to_conversation("/v1/messages", raw, orjson.dumps(raw))
    form = conversation.messages_form
    assert form is not None
    native = MessagesForm(orjson.loads(form.body), form.beta, form.untranslatable)
    return ChatBody(orjson.loads(conversation.encoded_body), native)


@given(bodies | with_tools)
def test_a_request_of_anthropics_contract_reaches_anthropic_as_it_was(body: Json) -> None:
    """Equal in every field, at any depth."""
    chat = as_the_router_gets_it(body)
    assert chat.messages_form is not None

    assert {"model": "m", **orjson.loads(orjson.dumps(body))} == native_body(chat.messages_form.body, Dropped())


@given(bodies | with_tools)
def test_the_translation_for_others_is_plain(body: Json) -> None:
    """Every message and tool has OpenAI's shape, also when something is untranslatable."""
    plain = as_the_router_gets_it(body).openai

    assert not {"anthropic", "top_k", "thinking", "metadata", "of_next_year", "cache_control"} & plain.keys()
    for message in plain["messages"]:
        assert message.keys() <= {"role", "content", "tool_calls", "tool_call_id"}
        if not isinstance(message["content"], str | None):
            assert {"text", "image_url"} >= {part["type"] for part in message["content"]}
    assert {"function"} >= {tool["type"] for tool in plain.get("tools", ())}


@given(bodies | with_tools)
def test_the_translation_keeps_every_text_and_every_call(body: Json) -> None:
    """What is added are the texts for a failed tool, for a missing result, and around what a result has besides."""
    plain = as_the_router_gets_it(body).openai["messages"]
    system = [{"role": "system", "content": body["system"]}] if "system" in body else []
    native = [*system, *orjson.loads(orjson.dumps(body["messages"]))]

    # Results stand behind their calls, so that texts may have moved.
    assert sorted(text for turn in native for text in _native_texts(turn["content"])) == sorted(
        text for message in plain for text in _plain_texts(message["content"]) if not text.startswith(_ADDED)
    )
    assert [(block["id"], block["input"]) for turn in native for block in turn["content"] if _is_call(block)] == [
        (call["id"], orjson.loads(call["function"]["arguments"]))
        for message in plain
        for call in message.get("tool_calls", ())
    ]


@given(bodies | with_tools)
def test_a_target_on_openais_wire_is_asked_when_nothing_is_untranslatable(body: Json) -> None:
    """Otherwise the error names the first untranslatable field."""
    chat = as_the_router_gets_it(body)
    assert chat.messages_form is not None

    lost = chat.messages_form.untranslatable
    assert (lost[0] if lost else chat.openai) == _asked_of_openai(chat)


def _asked_of_openai(chat: ChatBody) -> Json | str | None:
    """Return what the target is asked, or the field for which it is not."""
    try:
        return to_openai_body(chat, frozenset(), ToolNames(), Dropped())
    except RequestUntranslatable as error:
        return error.param


_ADDED = ("(no result)", "(the rest of this result", "From the result of the tool call")


def _is_call(block: object) -> bool:
    return isinstance(block, dict) and block["type"] == "tool_use"


def _native_texts(content: object) -> list[str]:
    """Return the texts of a turn, or of a tool result, in order."""
    if isinstance(content, str):
        return [content] if content else []
    found: list[str] = []
    for block in content if isinstance(content, list) else ():
        if block["type"] == "text":
            found.append(block["text"])
        elif block["type"] == "tool_result":
            result, is_whole = _native_texts(block.get("content")), not isinstance(block.get("content"), list)
            if block.get("is_error"):
                result = [f"Error: {''.join(result)}"] if is_whole else ["Error:", *result]
            found += result
    return found


def _plain_texts(content: object) -> list[str]:
    if isinstance(content, str):
        return [content] if content else []
    return [part["text"] for part in content if part["type"] == "text"] if isinstance(content, list) else []


# Valid field names with arbitrary values.
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
def test_any_body_is_translated_or_refused(body: Json) -> None:
    """A Problem at the edge or a ProviderError behind it, never a traceback."""
    chat = refused(lambda: as_the_router_gets_it(body))
    if isinstance(chat, Problem):
        assert (400, True) == (chat.kind.status, bool(chat.message))
        return
    for write in (
        lambda: native_body(chat.messages_form.body, Dropped()),
        lambda: to_openai_body(chat, frozenset(), ToolNames(), Dropped()),
        lambda: request_for(ChatBody(chat.openai), Dropped()).body,
    ):
        written = refused(write)
        assert isinstance(written, dict) or written.param


def refused(work: Callable[[], Any]) -> Any:
    """Return what `work` returns, or the error for the caller that it raises."""
    try:
        return work()
    except (Problem, ProviderError) as error:
        return error
