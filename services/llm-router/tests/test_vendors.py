"""Each vendor of the table: asked as it wants to be, and read as it answers, byte by byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import orjson
import pytest

from kit.router.hostile import (
    CREDENTIAL,
    DONE,
    Asked,
    HostileProvider,
    HostileRouter,
    Script,
    event,
    head,
    plays,
    running_hostile_router,
)
from llm_router.routes.load import load_routes
from llm_router.vendors import PROVIDERS, VENDORS
from spillway.router.v1 import router_pb2 as routerpb

pytestmark = pytest.mark.integration

Json = dict[str, Any]


def piece(delta: Json, reason: str | None = None, choice: Json | None = None, **more: object) -> bytes:
    """Write a chunk."""
    said = {"index": 0, "delta": delta, "finish_reason": reason, **(choice or {})}
    return event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [said], **more})


def usage(prompt: int = 10, completion: int = 3, total: int | None = None, **more: object) -> Json:
    """Write usage on OpenAI's wire."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion if total is None else total,
        **more,
    }


def apart(counts: Json, **more: object) -> bytes:
    """Write the usage in a chunk of its own, as OpenAI does."""
    return event({"id": "c", "choices": [], "usage": counts, **more})


ROLE = piece({"role": "assistant", "content": ""})
THINKING: Json = {"completion_tokens_details": {"reasoning_tokens": 2}}
# What a vendor sends for the thought "hm" and the text "good": deltas, the end, the usage, each where it has them.
BYTES: dict[str, list[bytes]] = {
    "openai": [ROLE, piece({"content": "good"}), piece({}, "stop"), apart(usage(**THINKING)), DONE],
    "azure": [
        event({"choices": [], "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]}),
        ROLE,
        piece({"content": "good"}, choice={"content_filter_results": {"hate": {"filtered": False}}}),
        piece({}, "stop", {"content_filter_results": {}}),
        apart(usage(**THINKING)),
        DONE,
    ],
    # No role, the finish with the last text, thoughts counted only in the total.
    "gemini": [
        piece({"role": "assistant", "content": "go"}),
        piece({"content": "od"}, "stop", usage=usage(10, 1, 13)),
        DONE,
    ],
    "bedrock": [
        ROLE,
        piece({"content": "<reasoning>hm</reasoning>"}),
        piece({"content": "good"}, "end_turn"),
        apart(usage()),
        DONE,
    ],
    # Parts, and the usage with the finish although nobody has asked for it.
    "mistral": [
        ROLE,
        piece({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}),
        piece({"content": [{"type": "text", "text": "good"}]}),
        piece({"content": ""}, "stop", usage=usage()),
        DONE,
    ],
    "groq": [
        piece({"role": "assistant", "content": ""}, x_groq={"id": "req_1"}),
        piece({"reasoning": "hm"}),
        piece({"content": "good"}),
        piece({}, "stop", x_groq={"id": "req_1", "usage": {**usage(), "queue_time": 0.1, "total_time": 0.2}}),
        DONE,
    ],
    "deepseek": [
        b": keep-alive\n\n",
        piece({"role": "assistant", "content": None, "reasoning_content": ""}),
        piece({"content": None, "reasoning_content": "hm"}),
        piece({"content": "good", "reasoning_content": None}),
        piece(
            {"content": "", "reasoning_content": None},
            "stop",
            usage=usage(prompt_cache_hit_tokens=4, prompt_cache_miss_tokens=6, **THINKING),
        ),
        DONE,
    ],
    "xai": [
        piece({"role": "assistant", "reasoning_content": "hm"}),
        piece({"content": "good"}),
        piece({}, "stop"),
        apart(usage(10, 1, 13, completion_tokens_details={"reasoning_tokens": 2}, num_sources_used=0)),
        DONE,
    ],
    "openrouter": [
        b": OPENROUTER PROCESSING\n\n",
        piece({"role": "assistant", "content": "", "reasoning": "hm"}, provider="X"),
        piece({"role": "assistant", "content": "good"}, provider="X"),
        piece({"role": "assistant", "content": ""}, "stop", {"native_finish_reason": "end_turn"}),
        piece({"role": "assistant", "content": ""}, usage=usage(cost=0.1, **THINKING)),
        DONE,
    ],
    "together": [
        piece({"token_id": 1, "role": "assistant", "content": "good"}, choice={"text": "good", "seed": None}),
        piece({"token_id": 2, "role": "assistant", "content": ""}, "eos", {"text": ""}, usage=usage()),
        DONE,
    ],
    "fireworks": [ROLE, piece({"content": "good"}), piece({}, "stop", usage=usage()), DONE],
    "cohere": [
        event(
            {"id": "c", "choices": [{"index": 0, "finish_reason": None, "delta": {"content": "", "role": "assistant"}}]}
        ),
        piece({"content": "good"}),
        piece({}, "stop"),
        apart(usage()),
        DONE,
    ],
    "moonshot": [
        ROLE,
        piece({"reasoning_content": "hm"}),
        piece({"content": "good"}),
        piece({}, "stop", {"usage": usage()}),
        DONE,
    ],
    "perplexity": [
        piece({"role": "assistant", "content": "good"}, citations=["https://x.test"], usage=usage(10, 1, 11)),
        piece(
            {"content": ""},
            "stop",
            {"message": {"role": "assistant", "content": "good"}},
            usage=usage(num_search_queries=1),
        ),
    ],
    "cerebras": [
        ROLE,
        piece({"reasoning": "hm"}),
        piece({"content": "good"}),
        piece({}, "stop", usage=usage(), time_info={}),
        DONE,
    ],
    "zai": [
        piece({"role": "assistant", "reasoning_content": "hm"}),
        piece({"role": "assistant", "content": "good"}),
        piece({"role": "assistant", "content": ""}, "stop", usage=usage(prompt_tokens_details={"cached_tokens": 4})),
        DONE,
    ],
    "vllm": [
        ROLE,
        piece({"reasoning_content": "hm"}),
        piece({"content": "good"}, choice={"logprobs": None}),
        piece({"content": ""}, "stop", {"stop_reason": None}),
        apart(usage()),
        DONE,
    ],
    "sglang": [
        piece({"role": "assistant", "content": "", "reasoning_content": None, "tool_calls": None}),
        piece({"role": None, "content": "good", "reasoning_content": None, "tool_calls": None}),
        piece({"content": None}, "stop", {"matched_stop": 151645}),
        apart(usage(reasoning_tokens=0)),
        DONE,
    ],
    "llamacpp": [
        piece({"role": "assistant", "content": None}, system_fingerprint="b1"),
        piece({"reasoning_content": "hm"}),
        piece({"content": "good"}),
        piece({}, "stop"),
        apart(usage(), timings={"predicted_ms": 1.5}),
        DONE,
    ],
    "ollama": [
        piece({"role": "assistant", "content": "", "reasoning": "hm"}, system_fingerprint="fp_ollama"),
        piece({"role": "assistant", "content": "good"}),
        piece({"role": "assistant", "content": ""}, "stop"),
        apart(usage()),
        DONE,
    ],
    "lmstudio": [piece({"role": "assistant", "content": "good"}), piece({}, "stop"), apart(usage()), DONE],
    "tgi": [
        piece({"role": "assistant", "content": "good"}),
        piece({"role": "assistant", "content": ""}, "eos_token", {"logprobs": None}, usage=None),
        apart(usage()),
        DONE,
    ],
}
ON_OPENAIS_WIRE = [vendor.name for vendor in VENDORS if vendor.wire == "openai" and vendor.name != "voyageai"]
THINKERS = [name for name, pieces in BYTES.items() if any(b'"hm"' in each for each in pieces)]


def good(_asked: Asked) -> Iterable[bytes]:
    """Answer as OpenAI does."""
    return [head(), *BYTES["openai"]]


# A vendor that nobody here has heard of: all that is known of it stands in the file.
ACME: Json = {
    "vendor": "acme",
    "auth": "api-key",
    "quirks": {"answer_limit": "max_tokens", "stream_options": False, "reasoning_is_beside": True},
}


@pytest.fixture(scope="module", name="router")
async def _router(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HostileRouter]:
    scripts: dict[str, Script] = {name: plays(*pieces) for name, pieces in BYTES.items()}
    acme = [ROLE, piece({"content": "good"}), piece({}, "stop", usage=usage(10, 3, 99, **THINKING)), DONE]
    scripts |= {"acme": plays(*acme), "token": good, "keyless": good}
    routes = {name: [f"{name}:{name}"] for name in BYTES}
    routes |= {"acme": ["openai:acme"], "token": ["azure:token"], "keyless": ["openai:keyless"]}
    options: dict[str, Json] = {
        "openai:acme": ACME,
        "azure:token": {"auth": "bearer"},
        "openai:keyless": {"auth": "none"},
    }
    async with (
        HostileProvider(scripts).serving() as provider,
        running_hostile_router(tmp_path_factory.mktemp("vendors"), provider, routes, target_options=options) as router,
    ):
        yield router


def test_the_table_is_whole() -> None:
    """Each vendor on this wire has a test with its bytes, a source, and hosts of its own where it has an address."""
    assert sorted(ON_OPENAIS_WIRE) == sorted(BYTES)
    assert all(vendor.source for vendor in VENDORS)
    assert all(vendor.hosts and vendor.base_url.startswith("https://") for vendor in VENDORS if vendor.base_url)


@pytest.mark.parametrize("name", BYTES)
async def test_an_answer_is_read_as_its_vendor_writes_it(router: HostileRouter, name: str) -> None:
    """Its text, its end and its counts, recorded under its name."""
    stream = await router.complete(name, {"messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 50})

    (attempt,) = stream.attempts
    texts = "".join(stream.texts) + "".join(
        choice.get("delta", {}).get("content") or "" for choices in stream.choices for choice in choices
    )
    assert (name, routerpb.OUTCOME_OK, "") == (attempt.provider, attempt.outcome, attempt.error_code)
    assert texts.endswith("good")
    assert routerpb.FINISH_REASON_STOP == attempt.finish_reason
    assert (10, 3) == (attempt.usage.input_tokens, attempt.usage.output_tokens)
    assert routerpb.USAGE_SOURCE_REPORTED == attempt.usage_source
    if name in THINKERS:
        deltas = [choice["delta"] for choices in stream.choices for choice in choices]
        assert "hm" in [delta.get("reasoning_content") or delta.get("reasoning") for delta in deltas]


@pytest.mark.parametrize("name", BYTES)
async def test_a_vendor_is_asked_in_its_own_way(router: HostileRouter, name: str) -> None:
    """The credential, the limit of the answer and the wish for usage as its row has it."""
    await router.complete(name, {"messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 50})

    asked, vendor = router.provider.asked[name][-1], PROVIDERS[name]
    body = orjson.loads(asked.body)
    assert f"/{name}/v1/chat/completions" == asked.path
    assert 50 == body[vendor.answer_limit or "max_completion_tokens"]
    assert vendor.stream_options is ("stream_options" in body)
    sent = {"authorization": f"Bearer {CREDENTIAL}"} if vendor.auth == "bearer" else {"api-key": CREDENTIAL}
    assert sent == {header: asked.headers[header] for header in ("authorization", "api-key") if header in asked.headers}


async def test_a_new_vendor_needs_no_code(router: HostileRouter) -> None:
    """All that is known of it stands in the routes file: address, header, fields, how it counts, its name."""
    stream = await router.complete("acme", {"messages": [], "max_completion_tokens": 50})

    (attempt,) = stream.attempts
    asked = router.provider.asked["acme"][-1]
    body = orjson.loads(asked.body)
    assert ["good"] == stream.texts
    assert ("acme", 10, 5) == (attempt.provider, attempt.usage.input_tokens, attempt.usage.output_tokens)
    assert (50, False, False) == (body["max_tokens"], "max_completion_tokens" in body, "stream_options" in body)
    assert (CREDENTIAL, None) == (asked.headers["api-key"], asked.headers.get("authorization"))


async def test_a_token_is_shown_where_the_file_says_so(router: HostileRouter) -> None:
    """A token of Entra ID goes as Bearer; where no credential is to be sent, none is."""
    for route in ("token", "keyless"):
        await router.complete(route, {"messages": []})

    token, keyless = router.provider.asked["token"][-1], router.provider.asked["keyless"][-1]
    assert (f"Bearer {CREDENTIAL}", None) == (token.headers.get("authorization"), token.headers.get("api-key"))
    assert (None, None) == (keyless.headers.get("authorization"), keyless.headers.get("api-key"))


def test_a_name_is_enough(tmp_path: Path) -> None:
    """A provider of the table needs an address only where each customer has another one."""
    (tmp_path / "key").write_text("sk-x")
    lines = []
    for vendor in VENDORS:
        address = "" if vendor.base_url else ", base_url: 'http://10.0.0.7:8000/v1'"
        key = f", credential_file: {tmp_path / 'key'}" if vendor.needs_credential else ""
        lines.append(f"  {vendor.name}: {{provider: {vendor.name}, model: m{address}{key}}}\n")
    names = ", ".join(PROVIDERS)
    (tmp_path / "routes.yaml").write_text("targets:\n" + "".join(lines) + f"routes:\n  m: {{targets: [{names}]}}\n")

    targets = load_routes(tmp_path / "routes.yaml")["m"].targets

    assert list(PROVIDERS) == [target.billed_by.name for target in targets]
