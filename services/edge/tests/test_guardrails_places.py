"""Every field by which words of a model or its vendor can reach a client: what is planted there does not go out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry

from edge.events.spool import Spool
from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import Edge, running_edge
from .scripted_router import STOP, Response, Visit, attempted, choices, fails, messages_events, started, texts

CHAT, COMPLETIONS, MESSAGES = "/chat", "/v1/chat/completions", "/v1/messages"
ALL = {CHAT, COMPLETIONS, MESSAGES}
SECRET = "ada@lovelace.org"
SAID = f"of {SECRET} and"
LINE = "All work and no play makes Jack a dull boy. " * 12


def _choice(**fields: Any) -> Response:
    return choices([{"index": 0, "delta": {}, "logprobs": None, "finish_reason": None, **fields}])


def _delta(**fields: Any) -> Response:
    return _choice(delta=fields)


def _call(**fields: Any) -> Response:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "pay", "arguments": "{}"}}
    return _delta(tool_calls=[call | fields])


def _custom(**fields: Any) -> Response:
    call = {"index": 0, "id": "c1", "type": "custom", "custom": {"name": "pay", "input": ""} | fields}
    return _delta(tool_calls=[call])


def _block(kind: str, **fields: Any) -> Response:
    return messages_events({"type": "content_block_start", "content_block": {"type": kind, **fields}})


def _in_block(kind: str, delta_kind: str, **fields: Any) -> Response:
    start = {"type": "content_block_start", "content_block": {"type": kind, **_EMPTY.get(kind, {})}}
    return messages_events(start, {"type": "content_block_delta", "delta": {"type": delta_kind, **fields}})


_EMPTY: Mapping[str, dict[str, Any]] = {
    "thinking": {"thinking": "", "signature": ""},
    "server_tool_use": {"id": "s1", "name": "search", "input": {}},
}
_TOKEN = {"token": "a", "logprob": -0.1, "bytes": None, "top_logprobs": []}
_ODD_TOKEN = _TOKEN | {"token": SECRET}


def _begins(**fields: Any) -> Response:
    return messages_events({"type": "message_start", "message": fields})


def _ends(**fields: Any) -> Response:
    delta = {"stop_reason": "end_turn", "stop_sequence": None, **fields}
    return messages_events({"type": "message_delta", "delta": delta, "usage": {"tier": "x"}})


# What comes, and at which endpoints its words reach a client that no policy guards, in a stream or whole.
PLACES: Mapping[str, tuple[set[str], Response]] = {
    "text": (ALL, texts(SAID)),
    "content": (ALL, _delta(content=SAID, role="assistant")),
    "refusal": (ALL, _delta(refusal=SAID)),
    "reasoning_content": ({COMPLETIONS, MESSAGES}, _delta(reasoning_content=SAID)),
    "reasoning": ({COMPLETIONS, MESSAGES}, _delta(reasoning=SAID)),
    "reasoning_details": ({COMPLETIONS}, _delta(reasoning_details=[{"type": "reasoning.text", "text": SAID}])),
    "name of a call": (ALL, _call(function={"name": SECRET, "arguments": "{}"})),
    "arguments": (ALL, _call(function={"name": "pay", "arguments": orjson.dumps({"to": SAID}).decode()})),
    "beside a call": ({COMPLETIONS}, _call(extra_content={"google": {"thought": SAID}})),
    "beside arguments": ({COMPLETIONS}, _call(function={"name": "pay", "arguments": "{}", "why": SAID})),
    "type of a call": ({COMPLETIONS}, _call(type=SAID)),
    "name of a custom call": ({CHAT, COMPLETIONS}, _custom(name=SECRET)),
    "input of a custom call": ({CHAT, COMPLETIONS}, _custom(input=SAID)),
    "name of a function": ({COMPLETIONS}, _delta(function_call={"name": SECRET, "arguments": "{}"})),
    "arguments of a function": ({COMPLETIONS}, _delta(function_call={"name": "f", "arguments": f'"{SAID}"'})),
    "transcript": ({COMPLETIONS}, _delta(audio={"id": "a1", "transcript": SAID})),
    "beside a transcript": ({COMPLETIONS}, _delta(audio={"id": "a1", "voice": SAID})),
    "role": ({COMPLETIONS}, _delta(role=SAID, content="x")),
    "annotations": ({COMPLETIONS}, _delta(annotations=[{"type": "url_citation", "url_citation": {"title": SAID}}])),
    "citations": ({COMPLETIONS}, _delta(citations=[{"url": f"https://x.org/?{SECRET}"}])),
    "parts of content": ({COMPLETIONS}, _delta(content_parts=[{"type": "image", "alt": SAID}])),
    "images": ({COMPLETIONS}, _delta(images=[{"image_url": {"url": f"https://x.org/{SECRET}"}}])),
    "token": ({COMPLETIONS}, _choice(delta={"content": "a"}, logprobs={"content": [_ODD_TOKEN]})),
    "other token": (
        {COMPLETIONS},
        _choice(delta={"content": "a"}, logprobs={"content": [_TOKEN | {"top_logprobs": [_ODD_TOKEN]}]}),
    ),
    "token of a refusal": ({COMPLETIONS}, _choice(logprobs={"refusal": [_ODD_TOKEN]})),
    "stop_reason": (ALL - {CHAT}, _choice(delta={"content": "a"}, stop_reason=SAID)),
    "matched_stop": (ALL - {CHAT}, _choice(delta={"content": "a"}, matched_stop=SAID)),
    "native_finish_reason": ({COMPLETIONS}, _choice(delta={"content": "a"}, native_finish_reason=SAID)),
    "beside a delta": ({COMPLETIONS}, _choice(delta={"content": "a"}, meta_info={"output": [[1, SECRET]]})),
    "safety": ({COMPLETIONS}, _choice(delta={"content": "a"}, content_filter_results={"custom": {"id": SAID}})),
    "block of text": ({MESSAGES}, _block("text", text=SAID)),
    "citations of a block": ({MESSAGES}, _block("text", text="", citations=[{"cited_text": SAID}])),
    "thinking": ({MESSAGES}, _block("thinking", thinking=SAID, signature="")),
    "signature of a block": ({MESSAGES}, _block("thinking", thinking="", signature=SAID)),
    "redacted thinking": ({MESSAGES}, _block("redacted_thinking", data=SAID)),
    "name of a server's tool": ({MESSAGES}, _block("server_tool_use", id="s1", name=SECRET, input={})),
    "input of a server's tool": ({MESSAGES}, _block("server_tool_use", id="s1", name="search", input={SECRET: 1})),
    "result of a server's tool": ({MESSAGES}, _block("web_search_tool_result", content=[{"title": SAID}])),
    "unknown block": ({MESSAGES}, _block("poem", lines=[{"of": SAID}])),
    "text_delta": ({MESSAGES}, _in_block("text", "text_delta", text=SAID)),
    "thinking_delta": ({MESSAGES}, _in_block("thinking", "thinking_delta", thinking=SAID)),
    "signature_delta": ({MESSAGES}, _in_block("thinking", "signature_delta", signature=SAID)),
    "partial_json": ({MESSAGES}, _in_block("server_tool_use", "input_json_delta", partial_json=f'{{"q":"{SAID}"}}')),
    "citations_delta": ({MESSAGES}, _in_block("text", "citations_delta", citation={"cited_text": SAID})),
    "unknown delta": ({MESSAGES}, _in_block("poem", "poem_delta", lines=[SAID])),
    "container": ({MESSAGES}, _begins(container={"id": SAID})),
    "usage at the start": ({MESSAGES}, _begins(usage={"tier": SAID})),
    "stop_sequence": ({MESSAGES}, _ends(stop_reason="stop_sequence", stop_sequence=SAID)),
    "stop_details": ({MESSAGES}, _ends(stop_details={"explanation": SAID})),
    "reason of the end": ({MESSAGES}, _ends(stop_reason=SAID)),
    "usage at the end": (
        {MESSAGES},
        messages_events({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"tier": SAID}}),
    ),
    "fields of the answer": ({COMPLETIONS}, texts("x")),
    "names of such fields": ({COMPLETIONS}, texts("x")),
}  # fmt: skip
_FIELDS = {
    "fields of the answer": {"service_tier": "default", "search_results": [{"title": SAID}]},
    "names of such fields": {"x": {SECRET: 1}, SECRET: 2},
}
# What a whole answer has no place for: its role is ours, and what is joined is what is known.
ONLY_STREAMED = {"role", "beside arguments", "unknown delta"}


@pytest.fixture(params=["redact", "block"], name="guarded")
async def _guarded(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    edge: Edge,
    redis_url: str,
    spool: Spool,
) -> AsyncIterator[Edge]:
    """Yield an edge with rules for answers; `edge` has none, and both have one cache."""
    (folder := tmp_path / "guarded").mkdir()
    policy = f'version: "1"\noutput: {{pii: {request.param}}}\n'
    async with running_edge(folder, redis_url, spool, CollectorRegistry(), policy=policy) as guarded:
        yield guarded


def script_of(place: str) -> list[Any]:
    """Return an answer with the secret in a place, with much before and behind it."""
    end = Response()
    end.CopyFrom(STOP)
    if place in _FIELDS:
        end.finished.response_fields = orjson.dumps(_FIELDS[place])
    if "function" in place:
        end.finished.finish_reasons[:] = [routerpb.FINISH_REASON_TOOL_CALL]
    return [started(), PLACES[place][1], attempted(), end]


async def ask(edge: Edge, path: str, place: str, *, stream: bool, script: list[Any] | None = None) -> Visit:
    """Ask a question of its own for each place."""
    edge.router.script = script or script_of(place)
    question = [{"role": "user", "content": place}]
    body = {"query": place} if path == CHAT else {"model": "default", "messages": question, "max_tokens": 9}
    return await edge.visit(path, {**body, "stream": stream}).done()


def is_told(visit: Visit) -> bool:
    """Tell whether a client can read the secret, in the answer or in its headers."""
    return b"lovelace" in visit.content or "lovelace" in str(visit.headers)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("path", sorted(ALL))
async def test_what_is_planted_in_any_place_of_an_answer_does_not_go_out(
    edge: Edge, guarded: Edge, path: str, stream: bool
) -> None:
    """New, and from the cache of a time without a policy; without one it does arrive, or the place is none."""
    for place, (arrives_at, _) in PLACES.items():
        live = await ask(guarded, path, place, stream=stream)
        for key in await guarded.stored():
            await guarded.redis.delete(key)
        open_ = await ask(edge, path, place, stream=stream)
        is_kept = bool(await edge.stored())
        hit = await ask(guarded, path, place, stream=stream)

        assert {200} == {live.status, open_.status, hit.status}, place
        assert not is_told(live), (place, live.content)
        assert not is_told(hit), (place, hit.content)
        assert (path in arrives_at and (stream or place not in ONLY_STREAMED)) == is_told(open_), (place, open_.content)
        assert ("edge; hit" == hit.headers["cache-status"]) == is_kept, place
        for key in await guarded.stored():
            await guarded.redis.delete(key)


@pytest.mark.parametrize("path", sorted(ALL))
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_what_a_provider_says_of_its_fault_is_looked_at_too(guarded: Edge, path: str, stream: bool) -> None:
    """It may quote what the model has written."""
    visit = await ask(guarded, path, "error", stream=stream, script=[fails("all_targets_failed")])
    told = await ask(
        guarded, path, "error", stream=stream, script=[fails("all_targets_failed", message=f"failed at: {SAID}")]
    )

    assert b"reported: all_targets_failed" in visit.content
    assert not is_told(told)
    assert told.status == visit.status
