"""What vendors count, each in its own way, becomes inclusive totals and units that a price knows or must not ignore."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.providers.anthropic.usage import AnthropicUsage
from llm_router.providers.anthropic.wire import AnthropicWire
from llm_router.providers.openai.usage import OpenAIUsage
from llm_router.providers.openai.wire import OpenAIWire
from llm_router.vendors import VENDORS, vendor_of
from pricing.usage import Usage

Json = dict[str, Any]


def counted(usage: Json, vendor: str = "openai", model: str = "m", body: Json | None = None) -> Usage | None:
    """Return what `usage` of a vendor on OpenAI's wire means."""
    counting = OpenAIUsage(vendor_of("openai", None, vendor), model, body)
    counting.add(usage)
    return counting.known()


def reported(prompt: int, completion: int, total: int | None = None, reasoning: int | None = None) -> Json:
    """Write a `usage` object of OpenAI's wire."""
    usage: Json = {"prompt_tokens": prompt, "completion_tokens": completion}
    if total is not None:
        usage["total_tokens"] = total
    if reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return usage


@pytest.mark.parametrize(
    ("vendor", "usage", "expected"),
    [
        # Contained: by the table, and by the total.
        ("openai", reported(10, 50, reasoning=30), Usage(10, 50, None, None, 30)),
        ("openai", reported(10, 50, 60, 30), Usage(10, 50, None, None, 30)),
        ("xai", reported(10, 50, 60, 30), Usage(10, 50, None, None, 30)),
        # Beside: by the table, by the total whoever says it, and because no part is larger than its whole.
        ("xai", reported(32, 9, 135, 94), Usage(32, 103, None, None, 94)),
        ("xai", reported(10, 50, reasoning=30), Usage(10, 80, None, None, 30)),
        ("gemini", reported(10, 50, reasoning=30), Usage(10, 80, None, None, 30)),
        ("acme", reported(1000, 4000, 8000, 3000), Usage(1000, 7000, None, None, 3000)),
        ("acme", reported(10, 5, reasoning=30), Usage(10, 35, None, None, 30)),
        # Only the total tells of Gemini's thoughts.
        ("gemini", reported(20, 198, 623), Usage(20, 603, None, None, 405)),
        ("gemini", reported(20, 198, 218), Usage(20, 198)),
        ("acme", reported(20, 198, 623), Usage(20, 198)),
        # The same counts by other names.
        (
            "deepseek",
            {**reported(100, 5, 105), "prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36},
            Usage(100, 5, 64),
        ),
        ("moonshot", {**reported(100, 5, 105), "cached_tokens": 64}, Usage(100, 5, 64)),
        ("acme", {"input_tokens": 100, "output_tokens": 5}, Usage(100, 5)),
        ("voyageai", {"total_tokens": 100}, Usage(100)),
        # Cached tokens beside the prompt.
        ("acme", {**reported(10, 5), "prompt_tokens_details": {"cached_tokens": 64}}, Usage(74, 5, 64)),
        ("acme", {**reported(100, 5, 169), "prompt_tokens_details": {"cached_tokens": 64}}, Usage(164, 5, 64)),
        # Numbers as they are written.
        ("acme", {"prompt_tokens": 12.0, "completion_tokens": "5"}, Usage(12, 5)),
    ],
)
def test_every_vendor_counts_in_its_own_way(vendor: str, usage: Json, expected: Usage) -> None:
    """By the table of vendors, unless the total shows that it is otherwise."""
    assert expected == counted(usage, vendor)


@pytest.mark.parametrize(
    ("url", "name", "expected"),
    [
        (None, None, "openai"),
        ("https://api.x.ai/v1", None, "xai"),
        ("https://eu-west-1.api.x.ai/v1", None, "xai"),
        ("https://us-east5-aiplatform.googleapis.com/v1", None, "gemini"),
        ("https://api.x.ai.evil.test/v1", None, "openai"),
        ("http://10.0.0.7:8000/v1", None, "openai"),
        ("http://10.0.0.7:8000/v1", "xai", "xai"),
        ("https://api.x.ai/v1", "acme", "acme"),
    ],
)
def test_a_vendor_is_known_by_its_address_or_named(url: str | None, name: str | None, expected: str) -> None:
    """Its whole host decides, or the setting; who is unknown is who speaks the wire."""
    assert expected == vendor_of("openai", url, name).name


def test_every_vendor_of_the_table_has_a_source() -> None:
    """How it counts was read somewhere."""
    assert all(vendor.source for vendor in VENDORS)
    assert len(VENDORS) == len({vendor.name for vendor in VENDORS})


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_counts_never_fall(steps: list[tuple[int, int, int]]) -> None:
    """Whatever comes later, smaller or 0, on both wires: the largest of each count holds."""
    openai, anthropic = OpenAIUsage(), AnthropicUsage()
    for prompt, cached, completion in steps:
        openai.add({"prompt_tokens": 10 + prompt, "completion_tokens": completion})
        anthropic.add({"input_tokens": prompt, "cache_read_input_tokens": cached, "output_tokens": completion})
    most = [max(counts) for counts in zip(*steps, strict=True)]

    known = openai.known()
    assert known is not None
    assert (10 + most[0], most[2]) == (known.input_tokens, known.output_tokens)
    assert Usage(most[0] + most[1], most[2], most[1]) == anthropic.known()


def test_a_later_zero_does_not_make_a_prompt_free() -> None:
    """As seen at a vendor that speaks Anthropic's wire: 1,000 in `message_start`, 0 in `message_delta`."""
    wire = AnthropicWire(keeps_events=False)
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 1000, "output_tokens": 1}}}
    end = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"input_tokens": 0, "output_tokens": 50},
    }
    for event in (start, end):
        wire.read(orjson.dumps(event))

    assert Usage(1000, 50) == wire.answer.usage


@pytest.mark.parametrize(
    ("vendor", "usage", "disagreement"),
    [
        ("openai", reported(10, 5, 15), None),
        ("openai", reported(10, 5), None),
        ("openai", reported(10, 5, 99), (99, 15)),
        ("openai", reported(10, 5, 14), (14, 15)),
        ("xai", reported(32, 9, 135, 94), None),
        ("gemini", reported(20, 198, 623), None),
    ],
)
def test_a_total_that_disagrees_is_noticed(vendor: str, usage: Json, disagreement: tuple[int, int] | None) -> None:
    """It is a cross-check: what it cannot explain is reported, and the parts are what is billed."""
    usage_of = OpenAIUsage(vendor_of("openai", None, vendor))
    usage_of.add(usage)
    usage_of.known()

    assert disagreement == usage_of.total_disagrees


def units(usage: Usage | None) -> Json:
    """Return what is known beyond the totals."""
    assert usage is not None
    names = [name for name in Usage.__slots__ if name not in {"input_tokens", "output_tokens"}]
    return {name: value for name in names if (value := getattr(usage, name)) is not None}


MORE: dict[str, tuple[Json, Json]] = {
    "sound and pictures": (
        {
            "prompt_tokens_details": {"audio_tokens": 7, "image_tokens": 3, "text_tokens": 0},
            "completion_tokens_details": {"audio_tokens": 2, "image_tokens": 1},
        },
        {"audio_input_tokens": 7, "image_input_tokens": 3, "audio_output_tokens": 2, "image_output_tokens": 1},
    ),
    "predictions are output": (
        {"completion_tokens_details": {"accepted_prediction_tokens": 1, "rejected_prediction_tokens": 2}},
        {},
    ),
    "searches as OpenRouter counts them": (
        {"server_tool_use": {"web_search_requests": 2}},
        {"web_search_requests": 2},
    ),
    "searches as Perplexity counts them": (
        {"num_search_queries": 3, "citation_tokens": 5},
        {"web_search_requests": 3, "unpriced_units": "citation_tokens"},
    ),
    "a unit of next year": ({"hologram_tokens": 5}, {"unpriced_units": "hologram_tokens"}),
    "a unit in the details": (
        {"prompt_tokens_details": {"video_tokens": "9"}},
        {"unpriced_units": "prompt_tokens_details.video_tokens"},
    ),
    "seconds of sound": ({"prompt_audio_seconds": 12}, {"unpriced_units": "prompt_audio_seconds"}),
    "nothing of a unit": ({"hologram_tokens": 0, "num_sources_used": 0, "prompt_audio_seconds": None}, {}),
    "times and costs": ({"queue_time": 5, "cost": 1, "cost_in_usd_ticks": 7, "tokens_per_second": 80}, {}),
    "a count that can be none": (
        {"completion_tokens_details": {"audio_tokens": 10**15, "reasoning_tokens": 10**15}},
        {"unpriced_units": "completion_tokens_details.audio_tokens"},
    ),
    "no name": ({"a b_tokens": 5}, {"unpriced_units": "unknown"}),
    "very many": (
        {f"x{n}_tokens": 1 for n in range(500)},
        {"unpriced_units": "x0_tokens,x100_tokens,x101_tokens,x102_tokens,x103_tokens"},
    ),
}


@pytest.mark.parametrize(("more", "expected"), MORE.values(), ids=MORE.keys())
def test_units_are_counted_or_named(more: Json, expected: Json) -> None:
    """What no field of ours counts is named, so that no price can leave it out."""
    assert expected == units(counted({**reported(20, 10), **more}))


def test_an_engine_of_our_own_bills_nothing_by_use() -> None:
    """Whatever it counts: neither units nor tiers change what is paid."""
    usage = OpenAIUsage(vendor_of("vllm", "http://gpu:8000/v1", None), "m", {"web_search_options": {}})
    usage.note_tier("priority")
    usage.add({**reported(20, 10), "hologram_tokens": 5})

    assert Usage(20, 10) == usage.known()


@pytest.mark.parametrize(
    ("asked", "said", "tier"),
    [
        (None, None, None),
        (None, "default", None),
        (None, "on_demand", None),
        (None, "flex", "flex"),
        (None, "Priority", "priority"),
        (None, "scale", "scale"),
        (None, "a tier of next year", "unknown"),
        (None, 5, "unknown"),
        ("auto", "priority", "priority"),
        ("priority", "default", None),
        # Not confirmed, the dearer one is believed.
        ("priority", None, "priority"),
        ("flex", None, None),
    ],
)
def test_the_tier_that_served_counts(asked: str | None, said: object, tier: str | None) -> None:
    """The standard is none; what nobody knows has a name, and so no price."""
    wire = OpenAIWire(1, usage=OpenAIUsage(body={"service_tier": asked}))
    for _ in range(2):
        wire.read(orjson.dumps({"choices": [], "service_tier": said}))
    wire.read(orjson.dumps({"choices": [], "usage": reported(1, 1)}))

    assert wire.answer.usage == Usage(1, 1, service_tier=tier)


@pytest.mark.parametrize(
    ("model", "body", "expected"),
    [
        ("gpt-4o-search-preview", {}, {"web_search_requests": 1}),
        ("gpt-4o-mini-search-preview-2025-03-11", {"web_search_options": {}}, {"web_search_requests": 1}),
        ("gpt-5-search-api", {}, {"web_search_requests": 1}),
        ("m", {"web_search_options": {}}, {"unpriced_units": "web_search_options"}),
        ("m", {"search_parameters": {"mode": "auto"}}, {"unpriced_units": "search_parameters"}),
        ("m", {"search_parameters": {"mode": "off"}}, {}),
        ("m", {"tools": [{"type": "function"}, {"type": "custom"}]}, {}),
        ("m", {"tools": [{"type": "code_interpreter"}, 5]}, {"unpriced_units": "tools.code_interpreter"}),
        ("m:online", {}, {"unpriced_units": "web_search_plugin"}),
    ],
)
def test_work_that_no_count_tells_of_is_known_by_the_request(model: str, body: Json, expected: Json) -> None:
    """A search model searches once; other work that is billed by use makes the cost unknown."""
    assert expected == units(counted(reported(20, 10), "openai", model, body))


def test_searches_that_are_counted_are_priced() -> None:
    """What was asked for and is counted is no riddle."""
    usage = {**reported(20, 10), "server_tool_use": {"web_search_requests": 2}}

    assert {"web_search_requests": 2} == units(counted(usage, "openrouter", "m:online"))


@pytest.mark.parametrize("place", ["x_groq", "choice"])
def test_usage_is_found_where_vendors_put_it(place: str) -> None:
    """Groq has it beside what OpenAI's contract has, Moonshot in the choice that ends."""
    choice: Json = {"index": 0, "delta": {}, "finish_reason": "stop"}
    chunk: Json = {"choices": [choice]}
    (choice if place == "choice" else chunk.setdefault("x_groq", {}))["usage"] = reported(20, 10, 30)
    wire = OpenAIWire(1)
    wire.read(orjson.dumps(chunk))

    assert Usage(20, 10) == wire.answer.usage


def anthropic(*usages: Json, body: Json | None = None) -> Json:
    """Return the units of a message with these `usage` objects."""
    usage = AnthropicUsage(body)
    for each in usages:
        usage.add({"input_tokens": 10, "output_tokens": 2, **each})
    return units(usage.known())


@pytest.mark.parametrize(
    ("usages", "expected"),
    [
        (
            [
                {
                    "cache_creation_input_tokens": 70,
                    "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 40},
                }
            ],
            {"provider_cache_write_input_tokens": 70, "provider_cache_write_1h_input_tokens": 40},
        ),
        (
            [{"cache_creation": {"ephemeral_1h_input_tokens": 40}}],
            {"provider_cache_write_input_tokens": 40, "provider_cache_write_1h_input_tokens": 40},
        ),
        (
            [{"cache_creation": {"ephemeral_24h_input_tokens": 40}}],
            {"unpriced_units": "cache_creation.ephemeral_24h_input_tokens"},
        ),
        ([{"service_tier": "standard", "speed": "standard", "inference_geo": "global"}], {}),
        ([{"inference_geo": "not_available"}], {}),
        ([{"service_tier": "standard", "speed": "fast", "inference_geo": "us"}], {"service_tier": "fast+us"}),
        ([{"service_tier": "priority"}, {}], {"service_tier": "priority"}),
        ([{"server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 2}}], {"web_search_requests": 3}),
        (
            [{"server_tool_use": {"web_search_requests": 10**15}}],
            {"unpriced_units": "server_tool_use.web_search_requests"},
        ),
        ([{"server_tool_use": {"dream_requests": 1}}], {"unpriced_units": "server_tool_use.dream_requests"}),
        ([{"iterations": [{"type": "message"}]}], {}),
        ([{"iterations": [{"type": "compaction"}]}, {}], {"unpriced_units": "iterations.compaction"}),
        ([{"output_tokens_details": {"thinking_tokens": 1}}], {"reasoning_output_tokens": 1}),
    ],
)
def test_anthropic_bills_more_than_tokens(usages: list[Json], expected: Json) -> None:
    """Writes by how long they stay, tiers, speed, region, tools of its own, other models' work."""
    assert expected == anthropic(*usages)


def test_a_wish_for_speed_is_believed_until_it_is_answered() -> None:
    """An answer that was cut off may have been served so; one that says otherwise was not."""
    assert {"service_tier": "fast"} == anthropic({}, body={"speed": "fast"})
    assert {} == anthropic({"speed": "standard"}, body={"speed": "fast"})


def test_tools_are_counted_while_they_run() -> None:
    """Before the end no usage tells of them: of a message that breaks off their blocks do."""
    found = {"type": "web_search_tool_result", "content": [{"type": "web_search_result"}]}
    failed = {"type": "web_search_tool_result", "content": {"type": "web_search_tool_result_error"}}
    code = {"type": "server_tool_use", "id": "s", "name": "bash_code_execution", "input": {}}
    wire = AnthropicWire(keeps_events=True)
    for index, block in enumerate((found, failed, found, code)):
        wire.read(orjson.dumps({"type": "content_block_start", "index": index, "content_block": block}))
    assert {"web_search_requests": 2, "code_execution_seconds": 300} == units(wire.answer.usage)

    usage = {"input_tokens": 1, "output_tokens": 1, "server_tool_use": {"web_search_requests": 2}}
    wire.read(orjson.dumps({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}))
    assert {"web_search_requests": 2, "code_execution_seconds": 300} == units(wire.answer.usage)


def test_a_container_is_billed_though_no_code_ran() -> None:
    """Files are loaded into it."""
    wire = AnthropicWire(keeps_events=True)
    delta = {"stop_reason": "end_turn", "container": {"id": "c1"}}
    wire.read(orjson.dumps({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 1}}))

    assert {"code_execution_seconds": 300} == units(wire.answer.usage)


@pytest.mark.parametrize(
    ("tool", "seconds"), [("web_search_20260209", None), ("web_fetch_20260318", None), ("web_search_20250305", 300)]
)
def test_code_is_free_beside_the_newer_web_tools(tool: str, seconds: int | None) -> None:
    """As Anthropic's page says."""
    usage = AnthropicUsage({"tools": [{"type": tool, "name": "x"}]})
    usage.note_block({"type": "server_tool_use", "name": "code_execution"})
    known = usage.known()

    assert seconds == (known.code_execution_seconds if known else None)
