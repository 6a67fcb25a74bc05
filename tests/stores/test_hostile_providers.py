"""Whatever a provider says, the ledger records: from its frames over a real router into PostgreSQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from cost_ledger.schema.migrate import migrate
from cost_ledger.settings import Settings
from kit.ledger.cost_events import attempt, read_settled, request, settled
from kit.ledger.process import PRICE_BOOK, Parts, database, parts_on
from kit.router.process import Router, running_router
from llm_router.chain.recordable import max_count, recordable_text, recordable_usage
from pricing.usage import FIELDS, TEXT_FIELDS, Usage

Json = dict[str, Any]

_TEXTS: tuple[Any, ...] = ("", "a\0b", "x" * 5_000, "ü🙂" * 400, "\u202e\x1b[2J", 7, 1e300, None, [], {"a": 1}, True)
_COUNTS: tuple[Any, ...] = (
    -1,
    0,
    10**12 - 1,
    10**12,
    2**53,
    2**63 - 1,
    2**64 - 1,
    1e300,
    1.5,
    "12",
    None,
    True,
    [],
    {},
)


def _openai(model: Any, count: Any) -> list[Any]:
    head: Json = {"id": "c", "object": "chat.completion.chunk", "created": 1}
    head |= {"model": model, "system_fingerprint": model, "service_tier": model}
    parts = {"cached_tokens": count, "cache_write_tokens": count, "audio_tokens": count, "image_tokens": count}
    usage = {
        "prompt_tokens": count,
        "completion_tokens": count,
        "total_tokens": count,
        "prompt_tokens_details": parts,
        "completion_tokens_details": {**parts, "reasoning_tokens": count},
        "num_search_queries": count,
        "service_tier": model,
    }
    return [
        {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "yes"}, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**head, "choices": [], "usage": usage},
        "[DONE]",
    ]


def _anthropic(model: Any, count: Any) -> list[Any]:
    counts: Json = {"input_tokens": count, "cache_read_input_tokens": count, "cache_creation_input_tokens": count}
    counts |= {"service_tier": model, "speed": model, "inference_geo": model}
    counts |= {"server_tool_use": {"web_search_requests": count, "code_execution_requests": count, "of_its_own": count}}
    counts |= {"cache_creation": {"ephemeral_5m_input_tokens": count, "ephemeral_1h_input_tokens": count}}
    message = {"id": "m", "type": "message", "role": "assistant", "model": model, "content": [], "usage": counts}
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "yes"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {**counts, "output_tokens": count}},
        {"type": "message_stop"},
    ]


_SCRIPTS: dict[str, tuple[str, list[list[Any]]]] = {
    "names": ("plain-script", [_openai(text, 3) for text in _TEXTS]),
    "names-anthropic": ("native-script", [_anthropic(text, 3) for text in _TEXTS]),
    "counts": ("plain-script", [_openai("m", count) for count in _COUNTS]),
    "counts-anthropic": ("native-script", [_anthropic("m", count) for count in _COUNTS]),
    "errors": (
        "plain-script",
        [[{"error": {"code": each, "type": each, "param": each, "message": each}}] for each in (*_TEXTS, *_COUNTS)],
    ),
    "errors-anthropic": (
        "native-script",
        [[{"type": "error", "error": {"type": each, "message": each}}] for each in (*_TEXTS, *_COUNTS)],
    ),
}


@pytest.fixture(scope="module")
async def router(fault_provider_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Router]:
    """Yield a client of a real router process in front of the real fault provider."""
    folder = tmp_path_factory.mktemp("llm-router")
    async with running_router(folder, fault_provider_url, folder / "llm-router.log") as router:
        yield router


@pytest.fixture(scope="module")
async def parts(postgres_url: str, redis_url: str) -> AsyncIterator[Parts]:
    """Yield the ledger's parts on tables of their own."""
    url = database(postgres_url, "hostile-providers")
    await migrate(Settings(postgres_url=url, redis_url=redis_url, price_book_file=PRICE_BOOK))
    async with parts_on(url, redis_url) as parts:
        await parts.empty()
        yield parts
        await parts.client.flushall()


@pytest.mark.parametrize(("route", "scripts"), _SCRIPTS.values(), ids=_SCRIPTS.keys())
async def test_it_is_recorded(router: Router, parts: Parts, route: str, scripts: list[list[Any]]) -> None:
    """No attempt is missing, and none is set aside; a count that cannot be one is unknown, and not priced."""
    asked: dict[str, int] = {}
    for frames in scripts:
        stream = await router.complete(
            route, {"messages": [{"role": "user", "content": orjson.dumps(frames).decode()}]}
        )
        assert stream.attempts, (frames, stream.status)
        assert "internal_error" not in [
            stream.error and stream.error.code,
            *(each.error_code for each in stream.attempts),
        ]
        of_it = request()
        asked[of_it.request_id] = len(stream.attempts)
        await parts.send(settled(of_it, stream.attempts))
    await parts.consume_all()

    assert [] == await parts.dead()
    rows = await parts.pool.fetch(
        "SELECT request_id, response_model, provider_request_id, input_tokens FROM attempts WHERE request_id = ANY($1)",
        list(asked),
    )
    assert asked == Counter(str(row["request_id"]) for row in rows)
    assert all(len(row["response_model"]) <= 256 and len(row["provider_request_id"]) <= 256 for row in rows)
    assert all((row["input_tokens"] or 0) <= 10**10 for row in rows)


@pytest.mark.parametrize("name", FIELDS)
def test_the_ledger_takes_the_largest_counts_and_texts_of_the_router(name: str) -> None:
    """The two say so each for itself."""
    largest: Any = recordable_text("x" * 10**6) if name in TEXT_FIELDS else max_count(name)
    usage = recordable_usage(Usage(**{name: largest}))
    assert largest == getattr(usage, name)
    read_settled(settled(request(), [attempt(usage=usage.to_proto())]))
