"""How large one request may be: prompt and answer by the limits' rules, messages, tools and images by the settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from edge.conversation import Counts
from edge.limits.rules import LimitsError, Rule, parse_limits
from edge.settings import Settings
from spillway.accounts.v1 import accounts_pb2 as accountspb

from .scripted_edge import QUESTION
from .test_limits import Limited, _limited  # noqa: F401 - a fixture
from .test_rights import give_key

pytestmark = pytest.mark.integration

Counted = Callable[..., float]
Json = dict[str, Any]
LONG = "x" * 800
# A contract's path -> a request whose prompt has about 200 tokens.
LONG_REQUESTS: dict[str, Json] = {
    "/chat": {"query": LONG},
    "/v1/chat/completions": {"model": "default", "messages": [{"role": "user", "content": LONG}]},
    "/v1/messages": {"model": "default", "max_tokens": 5, "messages": [{"role": "user", "content": LONG}]},
    "/v1/embeddings": {"model": "default", "input": [LONG[:400], LONG[:400]]},
}


@pytest.mark.parametrize("path", LONG_REQUESTS)
async def test_a_prompt_that_is_too_long_for_its_tier_is_refused(limited: Limited, counted: Counted, path: str) -> None:
    """In the words and with the code that agents know it by, before anything is spent; another tier's runs."""
    async with limited(Rule(name="small", tier="gold", max_input_tokens=199)) as edge:
        refused = await edge.visit(path, LONG_REQUESTS[path]).done()
        give_key(edge, tier=accountspb.TIER_PREMIUM)
        other = await edge.visit(path, LONG_REQUESTS[path]).done()

        error = refused.json["error"]
        what = "input" if path == "/v1/embeddings" else "prompt"
        assert 400 == refused.status
        assert error["message"].startswith(f"{what} is too long: 200 tokens > 199 maximum (by estimate; limit 'small')")
        assert "invalid_request_error" == error["type"]
        code = error["details"]["error_code"] if path == "/v1/messages" else error["code"]
        assert ("context_length_exceeded", "false") == (code, refused.headers["x-should-retry"])
        assert 200 == other.status
        assert 1 == counted("edge_limits_exceeded_total", limit="small", unit="input_tokens")
        assert 1 == len(edge.router.requests) + len(edge.router.embed_requests)


async def test_a_prompt_as_long_as_allowed_runs(limited: Limited) -> None:
    """And the tightest of several rules decides, whichever comes first."""
    wide, narrow = Rule(name="wide", max_input_tokens=500), Rule(name="narrow", model="default", max_input_tokens=200)
    async with limited(wide, narrow) as edge:
        assert 200 == (await edge.chat(LONG).done()).status
        assert "limit 'narrow'" in (await edge.chat(LONG + "x").done()).json["error"]["message"]


@pytest.mark.parametrize(
    ("path", "asked", "sent"),
    [
        ("/chat", {"max_tokens": 32000}, {"max_completion_tokens": 4096}),
        ("/chat", {}, {"max_completion_tokens": 4096}),
        ("/v1/chat/completions", {"max_tokens": 32000}, {"max_tokens": 4096}),
        ("/v1/chat/completions", {"max_completion_tokens": 32000}, {"max_completion_tokens": 4096}),
        (
            "/v1/chat/completions",
            {"max_tokens": 100, "max_completion_tokens": 5000},
            {"max_tokens": 100, "max_completion_tokens": 4096},
        ),
        ("/v1/chat/completions", {"max_tokens": None}, {"max_completion_tokens": 4096}),
        ("/v1/messages", {"max_tokens": 32000}, {"max_completion_tokens": 4096}),
    ],
)
async def test_an_answer_that_may_be_too_long_is_kept_to_the_limit(
    limited: Limited, path: str, asked: Json, sent: Json
) -> None:
    """Agents ask for 32,000 tokens whatever they need: the request runs, and the header says what it runs with."""
    body = {"query": "Who?"} if path == "/chat" else {"model": "default", "messages": QUESTION, "temperature": 0.5}
    async with limited(Rule(name="wide", max_output_tokens=9000), Rule(name="n", max_output_tokens=4096)) as edge:
        visit = await edge.visit(path, {**body, **asked}).done()
        (request,) = edge.router.requests

        limits = {name: value for name, value in orjson.loads(request.body).items() if name.startswith("max_")}
        assert (200, "4096", sent) == (visit.status, visit.headers["x-max-output-tokens"], limits)
        if path == "/v1/messages":
            native = orjson.loads(request.messages_form.body)
            assert {**body, "max_tokens": 4096} == native


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_request_within_the_limits_goes_on_as_it_came(limited: Limited, path: str) -> None:
    """Byte for byte, in its native form."""
    raw = b'{ "max_tokens":4096,"model" :"default", "messages":[{"role":"user","content":"Who?"}] }'
    async with limited(Rule(name="n", max_output_tokens=4096, max_input_tokens=200)) as edge:
        visit = await edge.visit(path, orjson.Fragment(raw)).done()
        (request,) = edge.router.requests

        assert 200 == visit.status
        assert "x-max-output-tokens" not in visit.headers
        assert path != "/v1/messages" or raw == request.messages_form.body


@pytest.mark.parametrize(
    ("limit", "budget", "sent"), [(8000, 31999, 4000), (8000, 8000, 4000), (8000, 7999, 7999), (2047, 5000, None)]
)
async def test_a_budget_of_thinking_still_fits_into_the_answer(
    limited: Limited, limit: int, budget: int, sent: int | None
) -> None:
    """Anthropic refuses one that does not; where the limit is too small for any the client is told."""
    thinking = {"type": "enabled", "budget_tokens": budget}
    body = {"model": "default", "max_tokens": 32000, "messages": QUESTION, "thinking": thinking}
    async with limited(Rule(name="n", max_output_tokens=limit)) as edge:
        visit = await edge.visit("/v1/messages", body).done()

        if sent is None:
            assert 400 == visit.status
            assert "at most 2047 tokens here, which is too few to think" in visit.json["error"]["message"]
            assert [] == edge.router.requests
        else:
            native = orjson.loads(edge.router.requests[0].messages_form.body)
            assert {**thinking, "budget_tokens": sent} == native["thinking"]


async def test_a_shortened_answer_is_not_given_to_who_may_have_a_longer_one(limited: Limited) -> None:
    """Nor the other way round: what may be answered is another question."""
    async with limited(Rule(name="small", tier="gold", max_output_tokens=50)) as edge:
        bodies = [{"model": "default", "max_tokens": 9000, "messages": QUESTION}] * 2
        first = [await edge.visit("/v1/messages", body).done() for body in bodies]
        give_key(edge, tier=accountspb.TIER_PREMIUM)
        other = await edge.visit("/v1/messages", bodies[0]).done()

        assert ["edge; fwd=miss; stored", "edge; hit"] == [visit.headers["cache-status"] for visit in first]
        assert "edge; fwd=miss; stored" == other.headers["cache-status"]


async def test_in_shadow_nothing_is_refused_nor_changed(limited: Limited, counted: Counted) -> None:
    """What would have been is counted."""
    async with limited(Rule(name="soon", max_input_tokens=10, max_output_tokens=10, shadow=True)) as edge:
        visit = await edge.chat(LONG, max_tokens=20).done()

        assert 200 == visit.status
        assert 20 == orjson.loads(edge.router.requests[0].body)["max_completion_tokens"]
        for unit in ("input_tokens", "output_tokens"):
            assert 1 == counted("edge_limits_exceeded_in_shadow_total", limit="soon", unit=unit)


def test_a_limit_of_sizes_is_read_and_its_values_are_checked(tmp_path: Any) -> None:
    """It may stand alone."""
    content = b"limits: [{name: a, tier: free, max_input_tokens: 8000, max_output_tokens: 1}]"
    (rule,) = parse_limits(tmp_path, content)

    assert (8000, 1) == (rule.max_input_tokens, rule.max_output_tokens)
    with pytest.raises(LimitsError, match="max_output_tokens"):
        parse_limits(tmp_path, content.replace(b"tokens: 1}", b"tokens: 0}"))


_PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
_NATIVE = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
_RESULT = {"type": "tool_result", "tool_use_id": "t", "content": [_NATIVE, _NATIVE]}
_DOCUMENT = {"type": "document", "source": {"type": "content", "content": [_NATIVE]}}
_FUNCTION = {"type": "function", "function": {"name": "f"}}
_TOOL = {"name": "f", "input_schema": {"type": "object"}}


def _said(*parts: Json) -> Json:
    return {"role": "user", "content": [{"type": "text", "text": "Who?"}, *parts]}


@pytest.mark.parametrize(
    ("path", "fields", "refusal", "param"),
    [
        ("/v1/chat/completions", {"messages": QUESTION * 4}, "4 messages; at most 3", "messages"),
        ("/v1/chat/completions", {"messages": QUESTION * 3}, "", ""),
        ("/v1/chat/completions", {"tools": [_FUNCTION] * 3}, "3 tools; at most 2", "tools"),
        ("/v1/chat/completions", {"tools": [_FUNCTION], "functions": [{"name": "f"}] * 2}, "3 tools", "tools"),
        ("/v1/chat/completions", {"tools": [_FUNCTION] * 2}, "", ""),
        ("/v1/chat/completions", {"messages": [_said(_PICTURE), _said(_PICTURE)]}, "2 images; at most 1", "messages"),
        ("/v1/chat/completions", {"messages": [_said(_PICTURE)]}, "", ""),
        ("/v1/messages", {"messages": QUESTION * 4}, "4 messages; at most 3", "messages"),
        ("/v1/messages", {"tools": [_TOOL] * 3}, "3 tools; at most 2", "tools"),
        ("/v1/messages", {"messages": [_said(_RESULT)]}, "2 images; at most 1", "messages"),
        ("/v1/messages", {"messages": [_said(_DOCUMENT, _NATIVE)]}, "2 images; at most 1", "messages"),
        ("/v1/messages", {"messages": [_said(_NATIVE)], "tools": [_TOOL] * 2}, "", ""),
        ("/v1/chat/completions", {"messages": [_said({"type": {}, "content": 1, "source": 2}, {})]}, "", ""),
        ("/chat", {"tools": [_FUNCTION] * 3}, "3 tools; at most 2", "tools"),
        ("/chat", {"tools": [_FUNCTION] * 2}, "", ""),
    ],
)
async def test_messages_tools_and_images_have_limits(
    limited: Limited, path: str, fields: Json, refusal: str, param: str
) -> None:
    """400 that says of what there is too much; images count wherever they are."""
    own = {"query": "Who?"} if path == "/chat" else {"model": "default", "messages": QUESTION, "max_tokens": 9}
    async with limited(counts=Counts(3, 2, 1), max_prompt_tokens=10_000) as edge:
        visit = await edge.visit(path, {**own, **fields}).done()

        assert (400 if refusal else 200) == visit.status
        if refusal:
            error = visit.json["error"]
            assert f"the request has {refusal}" in error["message"]
            assert param == error.get("param", param)
            assert [] == edge.router.requests


IN_A_READER = """
import asyncio
from prometheus_client import CollectorRegistry
from edge.contracts.messages.contract import MessagesContract
from edge.http.readers import BodyReaders, Mother
from edge.metrics import Metrics
mother = Mother([MessagesContract()])
registry = CollectorRegistry()
text = b"lorem ipsum " * 20_000
body = b'{"model": "m", "max_tokens": 32000, "messages": [{"role": "user", "content": "%b"}]}' % text
async def main():
    readers = BodyReaders(mother, Metrics(registry))
    content = await readers.read(mother.contracts[0], "/v1/messages", body, {})
    short = await readers.shorten(content, 4096)
    assert registry.get_sample_value("edge_bodies_read_here_total") == 0
    print(short.messages_form.body == body.replace(b"32000", b"4096").replace(b": ", b":").replace(b", ", b","))
    print(short.encoded_body[-35:], short.max_output_tokens)
    readers.close()
asyncio.run(main())
"""


def test_a_long_request_is_shortened_by_a_reader() -> None:
    """In its own process: no other request waits for it."""
    command = [sys.executable, "-c", IN_A_READER]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert 0 == said.returncode, said.stderr
    assert 'True\nb\'"}],"max_completion_tokens":4096}\' 4096' in said.stdout.replace("lorem ipsum ", "").replace(
        "m ", ""
    )


def test_the_defaults_let_agents_work() -> None:
    """Long sessions with many servers of tools and screenshots."""
    settings = Settings()
    assert (settings.max_messages, settings.max_tools, settings.max_images) >= (2000, 512, 100)
