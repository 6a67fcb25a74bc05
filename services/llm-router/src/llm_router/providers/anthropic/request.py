"""What a target on Anthropic's wire is asked instead of an OpenAI body.

What is translated, left out or refused: docs/adr/0008-one-chat-body-inside.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from llm_router.providers.anthropic.blocks import cache_mark, untranslatable
from llm_router.providers.anthropic.schema import OpenSchema, closed
from llm_router.providers.anthropic.thinking import thinking_of, thinks, without_thinking_where_refused
from llm_router.providers.anthropic.tools import Tools
from llm_router.providers.anthropic.turns import Turns
from llm_router.providers.chat_body import Json
from llm_router.providers.dropped import Dropped
from llm_router.providers.tool_names import ToolNames

# The Messages API requires a limit; a caller that sets none wants the whole answer.
_MAX_TOKENS_WHEN_UNSET = 8192
# Anthropic refuses a longer user id.
_MAX_USER_CHARACTERS = 256
# Claude API docs, Prompt caching: at most four.
_MAX_CACHE_MARKS = 4
# Read here or set for each call; the others are left out with a note.
_READ = frozenset(
    {
        *("messages", "model", "stream", "stream_options", "max_tokens", "max_completion_tokens"),
        *("temperature", "top_p", "top_k", "stop", "thinking", "reasoning_effort", "response_format"),
        *("tools", "tool_choice", "parallel_tool_calls", "user", "safety_identifier", "cache_control"),
    }
)
# Without them the answer would be another one, unless they say what holds anyway.
_MEANT: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "prompt_logprobs": (0, False),
    "modalities": (["text"],),
    "audio": (),
    "functions": ([],),
    "function_call": ("auto", "none"),
    "web_search_options": (),
    "search_parameters": (),
    "plugins": ([],),
    "documents": ([],),
    **dict.fromkeys(
        ("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "grammar"), ()
    ),
    **dict.fromkeys(("bad_words", "allowed_token_ids"), ([],)),
}
# These say what holds anyway.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "verbosity": ("medium",),
    "store": (False,),
    "service_tier": ("auto", "default"),
}
# OpenAI API reference, Chat, logit_bias: such a value bans a token, or lets the model write nothing else.
_BAN = 100
_JSON_ONLY = "Answer with one JSON object and nothing else: no words before or behind it, and no code fence."


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """A body of the Messages API, and what is needed to tell its answer in the caller's terms."""

    body: Json
    names: ToolNames
    custom_tools: frozenset[str]
    """The tools whose input is any text, by the names that stand in the body."""


def to_messages_request(body: Json, dropped: Dropped) -> MessagesRequest:
    """Translate `body` (without a model); `dropped` gets the fields that are left out.

    RequestUntranslatable names the first field that has no counterpart and would change the answer.
    """
    _check_rest(body, dropped)
    names = ToolNames()
    turns, tools = Turns(names, dropped), Tools(names, dropped)
    system, messages = turns.read(body["messages"])
    translated: Json = {"max_tokens": _max_tokens(body), "messages": messages, **_stop(body.get("stop"))}
    translated |= tools.read(body, turns.called)
    translated |= thinking_of(body, translated["max_tokens"], dropped)
    output, words = _response_format(body.get("response_format"), dropped)
    if output:
        translated["output_config"] = {**translated.get("output_config", {}), **output}
    if words:
        system = [*system, {"type": "text", "text": words}]
    if system:
        is_text = len(system) == 1 and system[0].keys() == {"type", "text"}
        translated["system"] = system[0]["text"] if is_text else system
    without_thinking_where_refused(translated, dropped, calls_without_thoughts=turns.ends_with_calls)
    translated |= _sampling(body, dropped, is_thinking=thinks(translated))
    translated |= _user(body, dropped) | cache_mark(body)
    _limit_cache_marks(translated, dropped)
    return MessagesRequest(translated, names, tools.customs)


def _check_rest(body: Json, dropped: Dropped) -> None:
    """Note what is left out. RequestUntranslatable names what must not be."""
    for name, value in body.items():
        if value is None or name in _READ:
            continue
        if name in _MEANT:
            if value not in _MEANT[name]:
                raise untranslatable(name)
        elif name == "logit_bias" and any(abs(bias) >= _BAN for bias in value.values()):
            raise untranslatable(name)
        elif value not in _NEUTRAL.get(name, ()):
            dropped.add(name)


def _max_tokens(body: Json) -> Any:
    given = body.get("max_completion_tokens")
    given = body.get("max_tokens") if given is None else given
    if given is not None:
        return given
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    return _MAX_TOKENS_WHEN_UNSET + (budget if isinstance(budget, int) else 0)


def _stop(stop: Any) -> Json:
    """Return the stop sequences; Anthropic takes none that is blank."""
    given = [stop] if isinstance(stop, str) else stop or []
    sequences = [each for each in given if each]
    if any(not each.strip() for each in sequences):
        raise untranslatable("stop")
    return {"stop_sequences": sequences} if sequences else {}


def _sampling(body: Json, dropped: Dropped, *, is_thinking: bool) -> Json:
    """Return the sampling fields that Anthropic takes: temperature or top_p, and neither while it thinks."""
    sampling: Json = {}
    temperature, top_p, top_k = (body.get(name) for name in ("temperature", "top_p", "top_k"))
    if temperature is not None:
        if temperature > 1 or (is_thinking and temperature != 1):
            dropped.add("temperature")
        if not is_thinking:
            sampling["temperature"] = min(temperature, 1)
    if top_p is not None and top_p != 1:
        if sampling or is_thinking:
            dropped.add("top_p")
        else:
            sampling["top_p"] = top_p
    if isinstance(top_k, int) and top_k > 0:  # engines write 0 or -1 for all tokens
        if is_thinking:
            dropped.add("top_k")
        else:
            sampling["top_k"] = top_k
    return sampling


def _response_format(wanted: Any, dropped: Dropped) -> tuple[Json, str]:
    """Return the field of `output_config` for a format, and the words that ask for one that the field cannot say."""
    if wanted is None or wanted.get("type") == "text":
        return {}, ""
    if wanted.get("type") == "json_object":
        dropped.add("response_format")
        return {}, _JSON_ONLY
    named = wanted.get("json_schema") or {}
    schema = named.get("schema")
    if wanted.get("type") != "json_schema" or not isinstance(schema, dict):
        raise untranslatable("response_format")
    if named.get("description"):
        schema = {**schema, "description": "\n".join(filter(None, [named["description"], schema.get("description")]))}
    try:
        return {"format": {"type": "json_schema", "schema": closed(schema)}}, ""
    except OpenSchema:
        if named.get("strict"):
            raise untranslatable("response_format") from None
    dropped.add("response_format.json_schema")
    return {}, f"{_JSON_ONLY} It must match this JSON Schema: {orjson.dumps(schema).decode()}"


def _user(body: Json, dropped: Dropped) -> Json:
    name = "safety_identifier" if body.get("safety_identifier") else "user"
    user = body.get(name)
    if isinstance(user, str) and 0 < len(user) <= _MAX_USER_CHARACTERS:
        return {"metadata": {"user_id": user}}
    if user:
        dropped.add(name)
    return {}


def _limit_cache_marks(translated: Json, dropped: Dropped) -> None:
    """Leave the last four marks: they cover the longest beginnings of the prompt."""
    blocks = [*_list(translated.get("tools")), *_list(translated.get("system"))]
    for turn in translated["messages"]:
        for block in _list(turn["content"]):
            blocks += [*_list(block.get("content")), block]
    marked = [block for block in blocks if "cache_control" in block]
    kept = _MAX_CACHE_MARKS - ("cache_control" in translated)
    for block in marked[: max(len(marked) - kept, 0)]:
        del block["cache_control"]
        dropped.add("cache_control")


def _list(value: Any) -> list[Json]:
    """Return blocks; none of a text."""
    return value if isinstance(value, list) else []
