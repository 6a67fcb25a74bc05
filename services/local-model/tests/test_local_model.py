"""The real process on the real weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import orjson
import psutil
import pytest

from spillway_local import processes
from spillway_local.ports import free_port

pytestmark = pytest.mark.integration

MODEL = "smollm2-135m-instruct"
QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]


def _start(port: int, log_file: Path, **settings: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "LOCAL_MODEL_PORT": str(port), **settings}
    return processes.start([sys.executable, "-m", "local_model"], log_file, environment=environment)


def _is_healthy(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health", timeout=1).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture(name="log_file", scope="module")
def _log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("local-model") / "local-model.log"


@pytest.fixture(name="url", scope="module")
def _url(log_file: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = _start(port, log_file)
    try:
        processes.wait_until_ready(process, lambda: _is_healthy(url), log_file, 60.0)
        yield url
    finally:
        processes.stop(process, signal.SIGTERM, 10.0)


async def test_a_streamed_answer_carries_its_usage(url: str) -> None:
    """The official client reads token after token, then the finish reason and the usage."""
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=QUESTION, temperature=0, max_tokens=30, stream=True,
            stream_options={"include_usage": True},
        )  # fmt: skip
        chunks = [chunk async for chunk in stream]

    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "Paris" in "".join(texts)
    assert len(texts) > 3
    assert "stop" == chunks[-2].choices[0].finish_reason
    assert chunks[-1].usage is not None
    assert len(texts) <= chunks[-1].usage.completion_tokens <= 30
    assert MODEL == chunks[0].model


def test_what_a_request_leaves_open_is_answered_plainly(url: str) -> None:
    """Without a temperature or a limit: the likeliest words, the same each time, and an end."""
    answers = [
        httpx2.post(f"{url}/v1/chat/completions", json={"messages": QUESTION}, timeout=60).json() for _ in range(2)
    ]

    assert ["The capital of France is Paris."] * 2 == [answer["choices"][0]["message"]["content"] for answer in answers]


async def test_max_completion_tokens_is_respected(url: str) -> None:
    """The newer name of the limit, which the official client sends, works like the older one."""
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        answer = await client.chat.completions.create(model=MODEL, messages=QUESTION, max_completion_tokens=3)

    assert answer.usage is not None
    assert 3 == answer.usage.completion_tokens
    assert "length" == answer.choices[0].finish_reason


def test_a_prompt_over_the_context_is_refused(url: str) -> None:
    """400 exceed_context_size_error with the number of tokens, also for a stream."""
    body = {"messages": [{"role": "user", "content": "hello " * 3000}], "stream": True}
    response = httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=30)

    error = response.json()["error"]
    assert (400, "exceed_context_size_error", 2048) == (response.status_code, error["type"], error["n_ctx"])


def test_a_prompt_never_stands_in_the_log(url: str, log_file: Path) -> None:
    """llama.cpp quotes bad bodies in its warnings; the log says only where they came from, and every line is JSON."""
    for body in (
        b'{"messages":[{"role":"user","content":"SECRET \xff"}]}',
        b'{"messages":[{"role":"user","content":"hi"}],"response_format":{"type":"SECRET"}}',
        b'{"messages":[{"role":"user","content":"hi"}],"grammar":"SECRET ::= ((("}',
    ):
        assert httpx2.post(f"{url}/v1/chat/completions", content=body).status_code == 400
    deadline = time.monotonic() + 10
    while b"process_sing" not in log_file.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)

    lines = [orjson.loads(line) for line in log_file.read_bytes().splitlines()]
    assert "SECRET" not in log_file.read_text()
    assert ("warning", "srv operator()") in [(line["level"], line.get("place")) for line in lines]


def test_metrics_are_on_and_the_rest_is_off(url: str) -> None:
    """No page, no look at other prompts, no leave for web pages to call."""
    assert "llamacpp:prompt_tokens_total" in httpx2.get(f"{url}/metrics").text
    assert 404 == httpx2.get(url).status_code
    assert 501 == httpx2.get(f"{url}/slots").status_code
    answer = httpx2.get(f"{url}/health", headers={"origin": "http://elsewhere"})
    assert "" == answer.headers["access-control-allow-origin"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_in_the_middle_of_an_answer(tmp_path: Path, signum: signal.Signals) -> None:
    """Status 0 although a client is still reading, and its log filter ends with it."""
    port, log_file = free_port(), tmp_path / "log"
    url = f"http://127.0.0.1:{port}"
    process = _start(port, log_file)
    processes.wait_until_ready(process, lambda: _is_healthy(url), log_file, 60.0)
    [log_filter] = psutil.Process(process.pid).children()
    body = {"messages": [{"role": "user", "content": "Tell a very long story"}], "stream": True, "max_tokens": 2000}
    with httpx2.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        next(response.iter_bytes())
        status = processes.stop(process, signum, 20.0)

    assert 0 == status, processes.tail_of(log_file)
    assert ["stopped"] == [
        event for event in (orjson.loads(line)["event"] for line in log_file.read_text().splitlines())
        if event.startswith("stopp")
    ]  # fmt: skip
    log_filter.wait(10)


def test_an_answer_is_finished_when_there_is_time_for_it(tmp_path: Path) -> None:
    """With a time to drain, a stop in the middle of an answer leaves it whole, and the process ends by itself."""
    port, log_file = free_port(), tmp_path / "log"
    url = f"http://127.0.0.1:{port}"
    process = _start(port, log_file, LOCAL_MODEL_DRAIN_TIMEOUT_SECONDS="600")
    processes.wait_until_ready(process, lambda: _is_healthy(url), log_file, 60.0)
    body = {"messages": [{"role": "user", "content": "Tell a long story"}], "stream": True, "max_tokens": 20}
    with httpx2.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=120) as response:
        pieces = response.iter_bytes()
        first = next(pieces)
        process.send_signal(signal.SIGTERM)
        answer = b"".join([first, *pieces])

    assert answer.rstrip().endswith(b"data: [DONE]")
    assert 0 == process.wait(60), processes.tail_of(log_file)


_SHORT_DELAYS = [pytest.param(seconds, marks=pytest.mark.nightly) for seconds in (0.002, 0.01)]


@pytest.mark.parametrize("delay_seconds", [0.0, *_SHORT_DELAYS, 0.05])
def test_it_stops_when_told_so_as_it_starts(tmp_path: Path, delay_seconds: float) -> None:
    """A stop that comes in the moment of the start is not forgotten."""
    log_file = tmp_path / "local-model.log"
    process = _start(free_port(), log_file)
    try:
        processes.wait_until_ready(process, lambda: '"serving"' in log_file.read_text(), log_file, 60.0)
        time.sleep(delay_seconds)
        process.send_signal(signal.SIGTERM)

        assert 0 == process.wait(10)
    finally:
        processes.kill(process)


def test_a_crash_of_the_server_is_in_the_log(tmp_path: Path) -> None:
    """What llama.cpp writes just before it aborts is not lost with the process."""
    program = (
        "import os; from local_model import llama_log; llama_log.redirect('local-model');"
        "llama_log.withhold_from_now_on(); os.write(2, b'SECRET\\n/src/x.cpp:12: GGML_ASSERT(n > 0) failed\\n');"
        "os.abort()"
    )
    process = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=tmp_path)

    [line] = [orjson.loads(line) for line in process.stdout.splitlines()]
    assert -signal.SIGABRT == process.returncode
    assert ("critical", "/src/x.cpp:12: GGML_ASSERT(n > 0) failed") == (line["level"], line["text"])


@pytest.mark.parametrize(
    ("settings", "status", "line"),
    [
        ({"LOCAL_MODEL_MODEL_FILE": "/nowhere/model.gguf"}, 1, "local-model: no model file at /nowhere/model.gguf"),
        ({"LOCAL_MODEL_THREADS": "0"}, 2, "settings: LOCAL_MODEL_THREADS: Input should be greater than or equal to 1"),
    ],
)
def test_what_cannot_work_is_one_clear_line(tmp_path: Path, settings: dict[str, str], status: int, line: str) -> None:
    """No traceback, a status that is not zero."""
    process = _start(free_port(), tmp_path / "log", **settings)

    assert status == process.wait(30)
    assert [line] == (tmp_path / "log").read_text().splitlines()


def test_a_taken_port_is_one_clear_line(url: str, tmp_path: Path) -> None:
    """The second process on a port says so before it loads anything."""
    port = int(url.rpartition(":")[2])
    process = _start(port, tmp_path / "log")

    assert 1 == process.wait(30)
    assert [f"local-model: cannot listen on 127.0.0.1:{port}: Address already in use"] == (
        (tmp_path / "log").read_text().splitlines()
    )


def test_a_file_that_is_no_model_is_reported(tmp_path: Path) -> None:
    """llama.cpp's reason stands in the log, then one line that names the failure."""
    (tmp_path / "bad.gguf").write_bytes(b"garbage")
    process = _start(free_port(), tmp_path / "log", LOCAL_MODEL_MODEL_FILE=str(tmp_path / "bad.gguf"))

    assert 1 == process.wait(30)
    text = (tmp_path / "log").read_text()
    assert "invalid magic" in text
    assert "Traceback" not in text
