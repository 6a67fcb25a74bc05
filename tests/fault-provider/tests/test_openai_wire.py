"""The OpenAI wire, asked by the official client and byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import orjson
import pytest

from fault_provider.answers import TOOL_ARGUMENTS, TOOL_NAME, expected_text, expected_usage

MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture(name="client")
async def _client(fault_provider_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{fault_provider_url}/v1", api_key="sk-test", max_retries=0) as client:
        yield client


async def _frames(url: str, body: dict[str, Any]) -> list[str]:
    async with httpx2.AsyncClient() as client:
        response = await client.post(f"{url}/v1/chat/completions", json={"messages": MESSAGES, "stream": True, **body})
    return response.text.split("\n\n")[:-1]


async def test_a_stream_carries_the_text_and_usage_that_answers_computes(client: openai.AsyncOpenAI) -> None:
    """The official client reads the stream; text, finish reason and usage are the expected ones."""
    model = "ok?chunks=5&cached=3&reasoning=7&test=stream"
    stream = await client.chat.completions.create(
        model=model, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert expected_text(model) == text == "w0 w1 w2 w3 w4 "
    assert "stop" == chunks[-2].choices[0].finish_reason
    assert chunks[-1].usage is not None
    assert expected_usage(model, "openai") == chunks[-1].usage.model_dump(exclude_none=True)
    assert 15 == chunks[-1].usage.prompt_tokens
    assert 12 == chunks[-1].usage.completion_tokens


async def test_a_stream_without_include_usage_has_no_usage(fault_provider_url: str) -> None:
    """Neither a usage field nor a chunk without choices, and the end marker last."""
    frames = await _frames(fault_provider_url, {"model": "ok?chunks=2"})

    assert "data: [DONE]" == frames[-1]
    assert 1 + 2 + 1 + 1 == len(frames)
    assert all("usage" not in frame for frame in frames)


async def test_a_whole_answer_says_the_same_as_the_stream(client: openai.AsyncOpenAI) -> None:
    """With stream false text and usage are the same, and max_tokens is respected."""
    answer = await client.chat.completions.create(model="gpt-6-luna", messages=MESSAGES, max_completion_tokens=3)

    assert expected_text("gpt-6-luna", max_tokens=3) == answer.choices[0].message.content == "w0 w1 w2 "
    assert "length" == answer.choices[0].finish_reason
    assert answer.usage is not None
    assert expected_usage("gpt-6-luna", "openai", max_tokens=3) == answer.usage.model_dump(exclude_none=True)


async def test_several_choices_and_logprobs_are_given_when_asked_for(client: openai.AsyncOpenAI) -> None:
    """Each choice has the whole text, each token its logprob, and all choices are in the usage."""
    stream = await client.chat.completions.create(
        model="ok?chunks=4", messages=MESSAGES, n=2, logprobs=True, top_logprobs=1, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    texts = {0: "", 1: ""}
    logprobs = 0
    async for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            logprobs += len(choice.logprobs.content or []) if choice.logprobs else 0

    assert {0: expected_text("ok?chunks=4"), 1: expected_text("ok?chunks=4")} == texts
    assert 8 == logprobs
    assert chunk.usage is not None
    assert expected_usage("ok?chunks=4", "openai", n=2) == chunk.usage.model_dump(exclude_none=True)


async def test_a_tool_call_comes_in_fragments(client: openai.AsyncOpenAI) -> None:
    """Id and name are in the first fragment only; the arguments are JSON once joined."""
    stream = await client.chat.completions.create(model="tool-call", messages=MESSAGES, stream=True)
    calls = []
    async for chunk in stream:
        calls += chunk.choices[0].delta.tool_calls or []
        reason = chunk.choices[0].finish_reason

    functions = [call.function for call in calls if call.function]
    assert [TOOL_NAME] + [None] * (len(functions) - 1) == [function.name for function in functions]
    assert TOOL_ARGUMENTS == "".join(function.arguments or "" for function in functions)
    assert len(functions) > 3
    assert "tool_calls" == reason


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("status-401", openai.AuthenticationError),
        ("status-404", openai.NotFoundError),
        ("status-422", openai.UnprocessableEntityError),
        ("status-429?retry_after=2", openai.RateLimitError),
        ("status-500", openai.InternalServerError),
        ("status-529", openai.InternalServerError),
        ("insufficient-quota", openai.RateLimitError),
        ("context-too-long", openai.BadRequestError),
        ("reset", openai.APIConnectionError),
    ],
)
async def test_a_refusal_is_the_error_that_the_official_client_knows(
    client: openai.AsyncOpenAI, model: str, error: type[openai.APIError]
) -> None:
    """Each refusing behaviour raises the client's own class for it."""
    with pytest.raises(error):
        await client.chat.completions.create(model=model, messages=MESSAGES, stream=True)


async def test_refusals_carry_their_codes_and_retry_after(fault_provider_url: str) -> None:
    """The codes that decide about a retry, and the header, are as the vendor sends them."""
    async with httpx2.AsyncClient(base_url=fault_provider_url) as client:

        async def refused(model: str) -> tuple[int, str | None, str | None]:
            response = await client.post("/v1/chat/completions", json={"model": model, "messages": MESSAGES})
            return response.status_code, response.json()["error"]["code"], response.headers.get("retry-after")

        assert (429, "rate_limit_exceeded", "2") == await refused("status-429?retry_after=2")
        assert (429, "insufficient_quota", None) == await refused("insufficient-quota")
        assert (400, "context_length_exceeded", None) == await refused("context-too-long")
        assert (401, "invalid_api_key", None) == await refused("status-401")
        assert (404, "model_not_found", None) == await refused("status-404")


@pytest.mark.parametrize(
    ("model", "last", "finish"),
    [
        ("missing-end", '"w7 "', None),
        ("missing-done", '"finish_reason"', "stop"),
        ("unknown-finish", "[DONE]", "abort"),
        ("error-frame?after=0", '"server_error"', None),
        ("content-filter", "[DONE]", "content_filter"),
        ("empty", "[DONE]", "stop"),
        ("malformed", "[DONE]", "stop"),
    ],
)
async def test_a_stream_ends_as_its_behaviour_says(
    fault_provider_url: str, model: str, last: str, finish: str | None
) -> None:
    """The last frame and the finish reason are those of the behaviour, in a response that is whole as HTTP."""
    frames = await _frames(fault_provider_url, {"model": model})

    assert last in frames[-1]
    assert (f'"finish_reason":"{finish}"' in "".join(frames)) is (finish is not None)


async def test_a_malformed_chunk_stands_after_the_chunks_asked_for(fault_provider_url: str) -> None:
    """Exactly one data frame is not JSON, and text comes before and after it."""
    frames = await _frames(fault_provider_url, {"model": "malformed?after=2"})

    broken = [number for number, frame in enumerate(frames[:-1]) if not _is_json(frame.removeprefix("data: "))]
    assert [1 + 2] == broken
    assert '"w7 "' in frames[-3]


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_is_a_broken_transfer_for_the_client(fault_provider_url: str, stream: bool) -> None:
    """The connection closes before HTTP says the body is over."""
    body = {"model": "cut", "messages": MESSAGES, "stream": stream}
    async with httpx2.AsyncClient() as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.post(f"{fault_provider_url}/v1/chat/completions", json=body)


async def test_a_reset_is_a_reset_and_no_mere_close(fault_provider_url: str) -> None:
    """The client's socket gets ECONNRESET before any byte."""
    host, _, port = fault_provider_url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = orjson.dumps({"model": "reset", "messages": MESSAGES})
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_a_request_can_ask_for_its_own_faults(fault_provider_url: str) -> None:
    """Each place by its own part of the question; without one it is a 400."""
    question = "{{1: status-503?test=asked-1}} {{2: ok?chunks=2&text=b&test=asked-2}}"
    async with httpx2.AsyncClient(base_url=fault_provider_url) as client:
        answers = [
            await client.post(
                "/v1/chat/completions",
                json={"model": f"asked?place={place}", "messages": [{"role": "user", "content": question}]},
            )
            for place in (1, 2, 3)
        ]
        seen = (await client.get("/admin/attempts", params={"test": "asked-2"})).json()["attempts"]

    assert [503, 200, 400] == [answer.status_code for answer in answers]
    assert "b0 b1 " == answers[1].json()["choices"][0]["message"]["content"]
    assert ["ok?chunks=2&text=b&test=asked-2"] == [attempt["model"] for attempt in seen]


async def test_a_client_that_leaves_while_words_come_is_noticed(fault_provider_url: str) -> None:
    """However the moment falls: no attempt stays open."""
    body = {"model": "ok?chunks=2000&interval_ms=1&test=leaves", "stream": True, "messages": MESSAGES}

    async def visit(client: httpx2.AsyncClient) -> None:
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            async for _ in response.aiter_raw():
                return

    async with httpx2.AsyncClient(base_url=fault_provider_url) as client:
        await asyncio.gather(*(visit(client) for _ in range(40)))
        async with asyncio.timeout(20):
            while True:
                seen = (await client.get("/admin/attempts", params={"test": "leaves"})).json()["attempts"]
                if "open" not in {attempt["finish"] for attempt in seen}:
                    break
                await asyncio.sleep(0.05)

    assert ["client_closed"] * 40 == [attempt["finish"] for attempt in seen]


async def test_flaky_fails_as_often_as_asked_and_then_answers(fault_provider_url: str) -> None:
    """The count is per exact model name."""
    async with httpx2.AsyncClient(base_url=fault_provider_url) as client:

        async def status(test: str) -> int:
            body = {"model": f"flaky?fail=2&status=502&test={test}", "messages": MESSAGES}
            return (await client.post("/v1/chat/completions", json=body)).status_code

        assert [502, 502, 200, 200] == [await status("one") for _ in range(4)]
        assert 502 == await status("two")


@pytest.mark.parametrize(
    "body",
    [
        {"model": "ok?chunk=3"},
        {"model": "ok?chunks=many"},
        {"model": "ok?chunks=1000000"},
        {"model": "ok?cached=5&prompt_tokens=3"},
        {"model": "ok", "stream": False, "stream_options": {"include_usage": True}},
        {"model": "ok", "n": "two"},
        {"model": "ok", "messages": []},
        {},
    ],
)
async def test_a_wrong_request_is_refused_and_named(fault_provider_url: str, body: dict[str, Any]) -> None:
    """A typo in a parameter is never taken for the default."""
    async with httpx2.AsyncClient() as client:
        response = await client.post(f"{fault_provider_url}/v1/chat/completions", json={"messages": MESSAGES, **body})

    assert 400 == response.status_code
    assert "invalid_request_error" == response.json()["error"]["type"]
