"""Silence is borne for longer where a model was asked to think, or is known to."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from kit.router.hostile import DONE, Asked, HostileProvider, Script, chunk, head
from kit.router.process import Router, running_llm_router
from llm_router.providers.chat_body import ChatBody, MessagesForm
from llm_router.target import Timeouts
from servicekit.rpc import create_channel
from spillway.router.v1 import router_pb2 as routerpb

Json = dict[str, Any]


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_effort": "low"},
        {"reasoning_effort": "xhigh"},
        {"reasoning": {"effort": "high"}},
        {"reasoning": {"max_tokens": 2000}},
        {"reasoning": {"enabled": True}},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
        {"thinking": {"type": "adaptive"}},
        {"enable_thinking": True},
        {"chat_template_kwargs": {"enable_thinking": True}},
    ],
)
def test_a_request_that_asks_for_thinking_is_known(fields: Json) -> None:
    """By the fields of OpenAI, Anthropic, OpenRouter, DeepSeek, Qwen and vLLM."""
    assert ChatBody({"messages": [], **fields}).asks_for_thinking


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"reasoning_effort": "none"},
        {"reasoning_effort": "minimal"},
        {"reasoning_effort": None},
        {"reasoning": {"effort": "none"}},
        {"reasoning": {"enabled": False, "effort": "high"}},
        {"reasoning": "high"},
        {"thinking": {"type": "disabled"}},
        {"thinking": "enabled"},
        {"enable_thinking": False},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": [True]},
    ],
)
def test_any_other_request_does_not_ask_for_it(fields: Json) -> None:
    """An effort that lets no model think, and values that are none, change nothing."""
    assert not ChatBody({"messages": [], **fields}).asks_for_thinking


@pytest.mark.parametrize(("thinking", "asks"), [("enabled", True), ("adaptive", True), ("disabled", False)])
def test_the_native_form_says_it_too(thinking: str, asks: bool) -> None:
    """Whatever the translation has left of it."""
    form = MessagesForm({"messages": [], "max_tokens": 5, "thinking": {"type": thinking}})
    assert asks == ChatBody({"messages": []}, form).asks_for_thinking


def test_patience_never_shortens_a_timer() -> None:
    """A target that may be silent for longer than a thinking one stays so."""
    patient = Timeouts(first_content_seconds=600, gap_seconds=300).when_thinking()
    usual = Timeouts().when_thinking()

    assert (600, 300) == (patient.first_content_seconds, patient.gap_seconds)
    assert (120, 120, 1800) == (usual.first_content_seconds, usual.gap_seconds, usual.stream_seconds)


SILENT_SECONDS = 0.8


def silent(asked: Asked) -> Iterator[bytes]:
    """Answer after a silence, and be silent once more in the middle."""
    yield head()
    time.sleep(SILENT_SECONDS)
    yield chunk("Pa")
    time.sleep(SILENT_SECONDS)
    yield chunk("ris") + chunk(None, "stop") + DONE


@pytest.fixture(name="router", scope="module")
async def _router(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Router]:
    """Yield a router whose targets may be silent for 0.3 s, and for 10 s when they think."""
    folder = tmp_path_factory.mktemp("thinking")
    (folder / "key").write_text("sk-thinking")
    script: Script = silent
    async with HostileProvider({"v": script}).serving() as provider:
        target: Json = {
            "provider": "openai",
            "model": "m",
            "base_url": f"{provider.url}/v/v1",
            "credential_file": str(folder / "key"),
            "timeouts": {"first_content_seconds": 0.3, "gap_seconds": 0.3, "thinking_seconds": 10},
        }
        document = {
            "targets": {"plain": target, "thinker": {**target, "thinks": True}},
            "routes": {name: {"targets": [name]} for name in ("plain", "thinker")},
        }
        async with running_llm_router(folder, document, folder / "llm-router.log", {}) as process:
            router = Router(create_channel(f"127.0.0.1:{process.port}"))
            yield router
            await router.channel.close()


QUESTION = {"messages": [{"role": "user", "content": "q"}]}


@pytest.mark.integration
@pytest.mark.parametrize(
    ("route", "fields"), [("plain", {"reasoning_effort": "high"}), ("thinker", {})], ids=["asked for", "known to"]
)
async def test_a_model_that_thinks_may_be_silent(router: Router, route: str, fields: Json) -> None:
    """Before its first content and after it, in one attempt."""
    stream = await router.complete(route, {**QUESTION, **fields})

    assert "Paris" == "".join(stream.texts)
    assert [routerpb.OUTCOME_OK] == [attempt.outcome for attempt in stream.attempts]


@pytest.mark.integration
@pytest.mark.parametrize("fields", [{}, {"reasoning_effort": "minimal"}], ids=["nothing said", "not to think"])
async def test_any_other_model_may_not(router: Router, fields: Json) -> None:
    """The timers of the target hold."""
    stream = await router.complete("plain", {**QUESTION, **fields})

    assert [] == stream.texts
    assert {routerpb.OUTCOME_TIMEOUT} == {attempt.outcome for attempt in stream.attempts}
