"""What the provider records of each attempt."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
from typing import Any

import httpx2
import pytest

from fault_provider.answers import expected_text, usage_for
from fault_provider.plan import parse_model

MESSAGES = [{"role": "user", "content": "hello"}]


async def _attempts(url: str, test: str) -> list[dict[str, Any]]:
    async with httpx2.AsyncClient() as client:
        response = await client.get(f"{url}/admin/attempts", params={"test": test})
    attempts: list[dict[str, Any]] = response.json()["attempts"]
    return attempts


async def _closed_attempt(url: str, test: str) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            attempts = await _attempts(url, test)
            if attempts and attempts[0]["finish"] != "open":
                return attempts[0]
            await asyncio.sleep(0.01)


async def test_a_whole_stream_is_recorded_with_its_times_and_usage(fault_provider_url: str) -> None:
    """Everything a test may want to know is in the record, and no header's value."""
    model = "ok?chunks=6&interval_ms=5&test=whole"
    async with httpx2.AsyncClient() as client:
        await client.post(
            f"{fault_provider_url}/v1/chat/completions",
            json={"model": model, "messages": MESSAGES, "stream": True, "temperature": 0},
            headers={"authorization": "Bearer sk-secret", "x-request-id": "r1"},
        )
    [attempt] = await _attempts(fault_provider_url, "whole")

    assert ("openai", model, "ok", True, 200) == tuple(
        attempt[name] for name in ("wire", "model", "behaviour", "stream", "status")
    )
    times = [attempt[name] for name in ("received_at", "first_chunk_at", "last_chunk_at", "ended_at")]
    assert all(earlier <= later for earlier, later in itertools.pairwise(times))
    assert attempt["last_chunk_at"] - attempt["first_chunk_at"] > 0.02
    assert (6, len(expected_text(model)), "completed") == (
        attempt["chunks_sent"],
        attempt["text_sent_characters"],
        attempt["finish"],
    )
    assert usage_for(parse_model(model), "openai", 6) == attempt["usage"]
    assert 0 == attempt["body"]["temperature"]
    assert {"authorization", "x-request-id"} <= set(attempt["header_names"])
    assert attempt["has_authorization"]
    assert "cret" == attempt["credential_tail"]
    assert "sk-secret" not in str(attempt)


@pytest.mark.parametrize(
    "behaviour", ["silence", "silence?after_headers=1", "stall", "role-only", "pings-only", "ok?interval_ms=60000"]
)
@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_a_client_that_leaves_is_noticed(fault_provider_url: str, wire: str, behaviour: str) -> None:
    """Also while the provider is silent; then the attempt is closed with the time."""
    test = f"leaves-{wire}-{behaviour}"
    model = f"{behaviour}{'&' if '?' in behaviour else '?'}test={test.replace('?', '').replace('=', '')}"
    path = "/v1/chat/completions" if wire == "openai" else "/v1/messages"
    body = {"model": model, "messages": MESSAGES, "stream": True, "max_tokens": 100}
    async with httpx2.AsyncClient() as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.15):
                await client.post(f"{fault_provider_url}{path}", json=body)
    attempt = await _closed_attempt(fault_provider_url, parse_model(model).test)

    assert "client_closed" == attempt["finish"]
    assert attempt["ended_at"] >= attempt["received_at"]


@pytest.mark.parametrize(("model", "finish"), [("reset", "reset"), ("cut", "cut"), ("status-500", "refused")])
async def test_faults_are_recorded_as_what_they_were(fault_provider_url: str, model: str, finish: str) -> None:
    """A reset, a cut and a refusal can be told apart afterwards."""
    body = {"model": f"{model}?test=finish-{finish}", "messages": MESSAGES, "stream": True}
    async with httpx2.AsyncClient() as client:
        with contextlib.suppress(httpx2.TransportError):
            await client.post(f"{fault_provider_url}/v1/chat/completions", json=body)

    assert finish == (await _closed_attempt(fault_provider_url, f"finish-{finish}"))["finish"]


async def test_attempts_of_one_test_are_forgotten_without_the_others(fault_provider_url: str) -> None:
    """DELETE with a selection leaves the rest."""
    async with httpx2.AsyncClient(base_url=fault_provider_url) as client:
        for test in ("forgotten", "kept", "forgotten"):
            body = {"model": f"ok?test={test}", "messages": MESSAGES}
            await client.post("/v1/chat/completions", json=body)
        forgotten = await client.delete("/admin/attempts", params={"test": "forgotten"})

    assert {"forgotten": 2} == forgotten.json()
    assert [] == await _attempts(fault_provider_url, "forgotten")
    assert 1 == len(await _attempts(fault_provider_url, "kept"))


async def test_a_hundred_streams_at_once_arrive_whole(fault_provider_url: str) -> None:
    """No chunk is lost or mixed up when many streams are paced at the same time."""
    model = "ok?chunks=64&interval_ms=2&test=many"
    body = {"model": model, "messages": MESSAGES, "stream": True}
    limits = httpx2.Limits(max_connections=100)
    async with httpx2.AsyncClient(limits=limits, timeout=30) as client:
        answers = await asyncio.gather(
            *(client.post(f"{fault_provider_url}/v1/chat/completions", json=body) for _ in range(100))
        )

    assert {64 + 3} == {answer.text.count("data: ") for answer in answers}
    attempts = await _attempts(fault_provider_url, "many")
    assert {"completed"} == {attempt["finish"] for attempt in attempts}
    assert 100 == len(attempts)


def test_a_taken_port_is_one_clear_line(fault_provider_url: str) -> None:
    """The second process on a port says so and fails."""
    port = fault_provider_url.rpartition(":")[2]

    second = subprocess.run([sys.executable, "-m", "fault_provider", "--port", port], capture_output=True, text=True)

    assert 1 == second.returncode
    assert [f"fault_provider: cannot listen on 127.0.0.1:{port}: Address already in use"] == second.stderr.splitlines()
