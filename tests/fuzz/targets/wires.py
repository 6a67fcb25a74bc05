"""The answers of providers: an answer, an honest end or a ProviderError, and the same however the bytes are cut."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from kit.router import answers
from llm_router.chain.recordable import recordable_text, recordable_usage
from llm_router.errors import ProviderError
from llm_router.failures import all_targets_failed, callers_error, interrupted
from llm_router.providers.anthropic.usage import AnthropicUsage
from llm_router.providers.anthropic.wire import AnthropicWire
from llm_router.providers.openai.usage import OpenAIUsage
from llm_router.providers.openai.wire import OpenAIWire
from llm_router.providers.provider import Answer, Content, MessagesEvent, Wire
from llm_router.strategies.continuation import Delivered
from spillway.router.v1 import router_pb2 as routerpb

from ..mutation import in_events
from ..target import Target, finish_in_loop, ways_to_cut

# Ids that a wire makes up for calls without one differ each time.
_MADE_UP = re.compile(r"(?:call|toolu)_[0-9a-f]{24}")


def read_answer(chunks: Sequence[bytes], wire: Wire) -> tuple[list[Content], ProviderError | None]:
    """See `kit.router.answers`."""
    return finish_in_loop(answers.read_answer(chunks, wire))


def _checker(make_wire: Callable[[], Wire], choices: int) -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        results = []
        for chunks in ways_to_cut(data):
            wire = make_wire()
            contents, error = read_answer(chunks, wire)
            for content in contents:
                _check_content(content, choices)
            Delivered(keeps_text=True).add(contents)
            results.append(_MADE_UP.sub("id", repr((_joined(contents), _facts(wire.answer), _described(error)))))
        first, *others = results
        for other in others:
            assert first == other

    return check


def _joined(contents: list[Content]) -> list[Content]:
    """Return content with texts side by side as one."""
    joined: list[Content] = []
    for content in contents:
        if isinstance(content, str) and joined and isinstance(joined[-1], str):
            joined[-1] += content
        else:
            joined.append(content)
    return joined


def _check_content(content: Content, choices: int) -> None:
    """What is sent on can be written into a message, and read by whoever reads it next."""
    if isinstance(content, str):
        assert content
        content.encode()
        return
    if isinstance(content, MessagesEvent):
        assert isinstance(orjson.loads(content.data)["type"], str)
        return
    for choice in orjson.loads(content):
        assert 0 <= choice["index"] < choices
        assert isinstance(choice["delta"], dict)


def _facts(answer: Answer) -> Any:
    """Return what is recorded of an answer, written as it is recorded."""
    usage = None if answer.usage is None else recordable_usage(answer.usage).to_proto().SerializeToString()
    finished = routerpb.Finished(
        finish_reasons=[answer.finish_reasons[index] for index in sorted(answer.finish_reasons)],
        response_model=recordable_text(answer.response_model),
        system_fingerprint=recordable_text(answer.system_fingerprint),
        response_fields=orjson.dumps(answer.fields, option=orjson.OPT_SORT_KEYS),
    )
    return usage, finished.SerializeToString(), answer.total_disagrees, answer.may_end, answer.has_ended


def _described(error: ProviderError | None) -> Any:
    """Return what becomes of an error, written as callers and logs get it."""
    if error is None:
        return None
    failed = (callers_error(error), all_targets_failed([("target", error)]), interrupted("target", error, 1))
    details = [each.detail.SerializeToString() for each in failed]
    error.cause.encode()
    return type(error), str(error), error.http_status, error.param, error.provider_code, details


def make_openai_wire() -> OpenAIWire:
    """Return the wire of a request for two choices with two tools."""
    tools = {"weather": True, "clock": False}
    return OpenAIWire(2, tools, has_functions=False, usage=OpenAIUsage())


def make_anthropic_wire() -> AnthropicWire:
    """Return the wire of a request in Anthropic's own contract."""
    return AnthropicWire(keeps_events=True, usage=AnthropicUsage())


TARGETS = [
    Target("openai_wire", _checker(make_openai_wire, 2), in_events),
    Target("openai_wire_functions", _checker(lambda: OpenAIWire(1), 1), in_events),
    Target("anthropic_wire", _checker(make_anthropic_wire, 1), in_events),
    Target("anthropic_wire_translated", _checker(lambda: AnthropicWire(keeps_events=False), 1), in_events),
]
