"""Over a real router process: the routes on disk change while it runs, or are wrong when it starts."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx2
import orjson
import psutil
import pytest
import yaml

from fault_provider.answers import expected_text
from kit.router.process import Router, Seen
from kit.router.wrong_routes import WRONG_ROUTES
from servicekit.rpc import create_channel
from spillway.router.v1 import router_pb2 as routerpb
from spillway_local import processes
from spillway_local.ports import free_port

# The machine may be busy with other tests.
_MAX_SECONDS = 60.0


@dataclass
class Running:
    """A router process whose routes file the test rewrites."""

    folder: Path
    provider_url: str
    metrics_url: str
    process: psutil.Process
    router: Router

    @property
    def file(self) -> Path:
        """The routes file."""
        return self.folder / "routes.yaml"

    def target(self, model: str, **settings: object) -> dict[str, object]:
        """Return the settings of a target that the fault provider plays."""
        credential = {"credential_file": str(self.folder / "key")}
        return {"provider": "openai", "model": model, "base_url": f"{self.provider_url}/v1", **credential, **settings}

    def write(self, **models: dict[str, object]) -> None:
        """Write a file with a route to each of the targets `models`, in one go."""
        write_routes(self.file, models)

    async def reload(self, **models: dict[str, object]) -> dict[str, Any]:
        """Write a file as `write` does and return the log line that says it is in force."""
        before = len(self.lines("routes_reloaded"))
        self.write(**models)
        return (await self.wait_for("routes_reloaded", before + 1))[-1]

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return the log lines about `event`."""
        return [line for line in read_log(self.folder / "router.log") if line["event"] == event]

    async def wait_for(self, event: str, count: int) -> list[dict[str, Any]]:
        """Wait until there are `count` log lines about `event` and return them."""

        async def enough() -> bool:
            return len(self.lines(event)) >= count

        await until(enough)
        return self.lines(event)

    async def metric(self, name: str) -> float:
        """Return the value of a metric without labels, or with the labels written out."""
        (value,) = await self.values(name)
        return value

    async def values(self, name: str) -> list[float]:
        """Return the value of a metric, or none while there is none."""
        async with httpx2.AsyncClient() as client:
            text = (await client.get(f"{self.metrics_url}/metrics")).text
        return [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.rpartition(" ")[0] == name]

    def connections(self) -> set[int]:
        """Return the local ports of the connections to the provider."""
        port = int(self.provider_url.rpartition(":")[2])
        return {c.laddr.port for c in self.process.net_connections("tcp4") if c.raddr and c.raddr.port == port}


async def until(is_true: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(_MAX_SECONDS):
        while not await is_true():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def relay(port: int, url: str) -> AsyncIterator[None]:
    """Listen on `port` and pass every connection on to the server at `url`."""
    writers: list[asyncio.StreamWriter] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        await asyncio.gather(pipe(reader, to_server[1]), pipe(to_server[0], writer))

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield
        for writer in writers:
            writer.close()


async def answered_by(router: Router, model: str) -> str:
    """Ask, and return the target that answers."""
    return (await router.complete(model)).attempts[-1].target


def write_routes(path: Path, models: dict[str, dict[str, object]]) -> None:
    """Replace the file at `path` in one go, as Kubernetes does."""
    file = {"targets": models, "routes": {model: {"targets": [model]} for model in models}}
    path.with_suffix(".new").write_text(yaml.safe_dump(file, sort_keys=False))
    path.with_suffix(".new").replace(path)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a log."""
    return [orjson.loads(line) for line in path.read_bytes().split(b"\n")[:-1] if line.startswith(b"{")]


def environment(folder: Path, **settings: object) -> dict[str, str]:
    """Return the environment of a router with its routes in `folder`."""
    return {
        **os.environ,
        "LLM_ROUTER_ROUTES_FILE": str(folder / "routes.yaml"),
        **{f"LLM_ROUTER_{name.upper()}": str(value) for name, value in settings.items()},
    }


@pytest.fixture(name="running", scope="module")
async def _running(tmp_path_factory: pytest.TempPathFactory, fault_provider_url: str) -> AsyncIterator[Running]:
    folder = tmp_path_factory.mktemp("reload")
    port, metrics_port = free_port(), free_port()
    (folder / "key").write_text("sk-test-0001")
    log_file = folder / "router.log"
    first: dict[str, object] = {"provider": "vllm", "model": "ok?test=first", "base_url": f"{fault_provider_url}/v1"}
    write_routes(folder / "routes.yaml", {"first": first})
    settings = environment(folder, port=port, metrics_port=metrics_port)
    process = processes.start([sys.executable, "-m", "llm_router"], log_file, environment=settings)
    channel = create_channel(f"127.0.0.1:{port}")
    try:
        processes.wait_until_ready(process, lambda: '"started"' in log_file.read_text(), log_file, _MAX_SECONDS)
        yield Running(
            folder,
            fault_provider_url,
            f"http://127.0.0.1:{metrics_port}",
            psutil.Process(process.pid),
            Router(channel),
        )
    finally:
        await channel.close()
        assert 0 == processes.stop(process, signal.SIGTERM, _MAX_SECONDS)


async def test_a_new_model_is_served_without_a_restart(running: Running) -> None:
    """What is on disk is served within moments, what is gone from it is not, and the log names both."""
    old, new = running.target("ok?test=old"), running.target("ok?test=new")
    await running.reload(old=old, both=old)
    unknown = await running.router.complete("new")
    reloads = await running.metric('llm_router_routes_reloads_total{outcome="ok"}')

    line = await running.reload(both=old, new=new)

    assert grpc.StatusCode.NOT_FOUND == unknown.status
    assert expected_text("ok") == "".join((await running.router.complete("new")).texts)
    assert expected_text("ok") == "".join((await running.router.complete("both")).texts)
    assert grpc.StatusCode.NOT_FOUND == (await running.router.complete("old")).status
    listed = await running.router.stub.ListModels(routerpb.ListModelsRequest(), timeout=10)
    assert ["both", "new"] == [model.route for model in listed.models]
    assert (["new"], ["old"], []) == (line["models_added"], line["models_removed"], line["models_changed"])
    assert (["new"], ["old"], []) == (line["targets_added"], line["targets_removed"], line["targets_changed"])
    assert reloads + 1 == await running.metric('llm_router_routes_reloads_total{outcome="ok"}')


async def test_names_and_cache_modes_follow_the_file(running: Running) -> None:
    """What a model can be called, and which of its answers are kept, is listed anew; the log names the model."""
    await running.reload(named=running.target("ok?test=names"))
    document: dict[str, Any] = yaml.safe_load(running.file.read_text())
    document["routes"]["named"] |= {"aliases": ["nick", "nick-*"], "cache": "never"}
    before = len(running.lines("routes_reloaded"))
    running.file.write_text(yaml.safe_dump(document))
    line = (await running.wait_for("routes_reloaded", before + 1))[-1]

    assert (["named"], []) == (line["models_changed"], line["targets_changed"])
    listed = await running.router.stub.ListModels(routerpb.ListModelsRequest(), timeout=10)
    assert [("named", ["nick", "nick-*"], routerpb.CACHE_MODE_NEVER)] == [
        (model.route, list(model.aliases), model.cache_mode) for model in listed.models
    ]


async def test_a_target_of_a_kind_that_was_not_used_before_answers(running: Running) -> None:
    """The SDK of another vendor is imported while streams run."""
    target = running.target("ok?test=kind", provider="anthropic", base_url=running.provider_url)

    await running.reload(claude=target)

    assert expected_text("ok") == "".join((await running.router.complete("claude")).texts)


async def test_what_alerts_look_at_is_there_before_it_happens(running: Running) -> None:
    """Of each model and target in a route: the first failure then is an increase, and not a series that begins."""
    await running.reload(known=running.target("ok?test=known"))
    counters = [
        'llm_router_all_targets_failed_total{requested_model="known"}',
        'llm_router_target_refusals_total{reason="credential_refused",target="known"}',
        'llm_router_target_refusals_total{reason="target_model_not_found",target="known"}',
    ]

    async def are_shown() -> bool:
        return [[0]] * 3 == [await running.values(counter) for counter in counters]

    await until(are_shown)


async def test_a_target_behind_which_nothing_runs_is_wanted_all_the_same(running: Running) -> None:
    """A pool that was scaled to zero: each request fails at once and counts as demand, also behind the open breaker.

    The first one after the pool has woken up is answered, although the breaker is still open.
    """
    port = free_port()
    asleep = running.target("ok?test=asleep", provider="vllm", base_url=f"http://127.0.0.1:{port}/v1")
    demand = 'llm_router_target_demand_total{provider="vllm",target="asleep"}'
    await running.reload(asleep=asleep)

    async def shows_no_demand() -> bool:
        return [0] == await running.values(demand)

    await until(shows_no_demand)
    failed = [await running.router.complete("asleep") for _ in range(8)]

    assert 8 == await running.metric(demand)
    assert {grpc.StatusCode.UNAVAILABLE} == {stream.status for stream in failed}
    assert {"target_unreachable"} == {attempt.error_code for stream in failed for attempt in stream.attempts}
    assert 1 == await running.metric('llm_router_breaker_open{target="asleep"}')
    async with relay(port, running.provider_url):
        awake = await running.router.complete("asleep")
    assert expected_text("ok") == "".join(awake.texts)
    assert 9 == await running.metric(demand)


async def test_a_broken_file_keeps_what_was_there(running: Running) -> None:
    """It is told with its line, a metric says that the routes are stale, and requests go on as before."""
    good = running.target("ok?test=good")
    await running.reload(good=good)
    refused, rejected = len(running.lines("routes_refused")), 'llm_router_routes_reloads_total{outcome="rejected"}'
    rejections = await running.metric(rejected)

    running.write(good=good, bad={**good, "timeouts": {"gap_seconds": 0}})
    line = (await running.wait_for("routes_refused", refused + 1))[-1]

    assert expected_text("ok") == "".join((await running.router.complete("good")).texts)
    assert grpc.StatusCode.NOT_FOUND == (await running.router.complete("bad")).status
    assert str(running.file) == line["file"]
    assert "gap_seconds: 0" in running.file.read_text().splitlines()[line["line"] - 1]
    assert "targets.bad.timeouts.gap_seconds: Input should be greater than 0" == line["reason"]
    assert "error" == line["level"]
    assert rejections + 1 == await running.metric(rejected)
    assert 1 == await running.metric("llm_router_routes_stale")
    await running.reload(good=good, bad=good)
    assert 0 == await running.metric("llm_router_routes_stale")
    assert expected_text("ok") == "".join((await running.router.complete("bad")).texts)


async def test_a_rotated_credential_is_used(running: Running, seen: Seen) -> None:
    """A Secret is swapped under its path, as Kubernetes does it; the next request carries the new key, no log does."""
    for number in ("1111", "2222"):
        (running.folder / number).mkdir()
        (running.folder / number / "key").write_text(f"sk-rotated-{number}\n")
    (running.folder / "secret").symlink_to("1111")
    target = running.target("ok?test=rotated", credential_file=str(running.folder / "secret" / "key"))
    await running.reload(rotated=target)
    await running.router.complete("rotated")
    reloads = len(running.lines("routes_reloaded"))

    (running.folder / "secret-new").symlink_to("2222")
    (running.folder / "secret-new").replace(running.folder / "secret")
    line = (await running.wait_for("routes_reloaded", reloads + 1))[-1]
    await running.router.complete("rotated")

    assert ["1111", "2222"] == [attempt["credential_tail"] for attempt in seen.attempts("rotated")]
    assert ([], ["rotated"]) == (line["models_changed"], line["targets_changed"])
    assert "sk-rotated" not in (running.folder / "router.log").read_text()


async def test_a_key_that_replaces_a_refused_one_is_used_at_once(running: Running, seen: Seen) -> None:
    """The breaker that the old one has opened, which may rest for a minute, is not the new one's."""
    key = running.folder / "expired-key"
    key.write_text("sk-old-key-0000\n")
    target = running.target("ok?accepts=9999&test=replaced", credential_file=str(key))
    other = running.target("ok?test=replaced-next")
    routes = {"targets": {"first": target, "next": other}, "routes": {"replaced": {"targets": ["first", "next"]}}}
    reloads, refused = len(running.lines("routes_reloaded")), len(running.lines("routes_refused"))
    running.file.write_text(yaml.safe_dump(routes))
    await running.wait_for("routes_reloaded", reloads + 1)
    assert "next" == await answered_by(running.router, "replaced")
    assert 1 == await running.metric('llm_router_breaker_open{target="first"}')

    key.write_text("")
    await running.wait_for("routes_refused", refused + 1)
    key.unlink()
    await running.wait_for("routes_refused", refused + 2)
    assert "next" == await answered_by(running.router, "replaced")
    assert 1 == await running.metric("llm_router_routes_stale")
    assert 1 == len(seen.attempts("replaced"))
    key.write_text("sk-new-key-9999\n")
    await running.wait_for("routes_reloaded", reloads + 2)

    assert "first" == await answered_by(running.router, "replaced")
    assert 0 == await running.metric('llm_router_breaker_open{target="first"}')
    assert 0 == await running.metric("llm_router_routes_stale")
    assert not {"sk-old-key", "sk-new-key"} & set(re.findall("sk-...-key", (running.folder / "router.log").read_text()))


async def test_a_lost_key_keeps_no_other_from_being_replaced(running: Running, seen: Seen) -> None:
    """The one that is missing stays as it was, and is reported; the other one is followed."""
    for name in ("lost", "replaced"):
        (running.folder / f"key-{name}").write_text(f"sk-{name}-1111\n")
    targets = {
        name: running.target(f"ok?test=one-{name}", credential_file=str(running.folder / f"key-{name}"))
        for name in ("lost", "replaced")
    }
    await running.reload(**targets)
    reloads, refused = len(running.lines("routes_reloaded")), len(running.lines("routes_refused"))

    (running.folder / "key-lost").unlink()
    await running.wait_for("routes_refused", refused + 1)
    (running.folder / "key-replaced").write_text("sk-replaced-2222\n")
    line = (await running.wait_for("routes_reloaded", reloads + 1))[-1]
    for name in targets:
        assert expected_text("ok") == "".join((await running.router.complete(name)).texts)

    assert ["replaced"] == line["targets_changed"]
    assert ["1111"] == [attempt["credential_tail"] for attempt in seen.attempts("one-lost")]
    assert ["2222"] == [attempt["credential_tail"] for attempt in seen.attempts("one-replaced")]
    assert 1 == await running.metric("llm_router_routes_stale")
    (running.folder / "key-lost").write_text("sk-lost-3333\n")
    await running.wait_for("routes_reloaded", reloads + 2)
    assert 0 == await running.metric("llm_router_routes_stale")


async def test_a_stream_outlives_the_target_that_it_comes_from(running: Running, seen: Seen) -> None:
    """A reload in the middle of an answer leaves it alone; when it has ended, its connection is closed."""
    model = "ok?chunks=120&interval_ms=50&test=outlives"
    await running.reload(leaving=running.target(model))
    before = running.connections()
    running_on = asyncio.create_task(running.router.complete("leaving", timeout_seconds=_MAX_SECONDS))

    async def has_begun() -> bool:
        return any(attempt["first_chunk_at"] for attempt in seen.attempts("outlives"))

    await until(has_begun)
    await running.reload(staying=running.target("ok?test=staying"))
    reloaded_at = time.time()
    stream = await running_on

    (attempt,) = seen.attempts("outlives")
    assert float(str(attempt["ended_at"])) > reloaded_at, "the stream was over before the reload: nothing was tried"
    assert expected_text(model) == "".join(stream.texts)
    assert stream.finished is not None
    assert routerpb.USAGE_SOURCE_REPORTED == stream.finished.usage_source
    assert "completed" == attempt["finish"]
    assert grpc.StatusCode.NOT_FOUND == (await running.router.complete("leaving")).status

    async def is_closed() -> bool:
        return running.connections() <= before

    await until(is_closed)


async def test_reloads_under_load_lose_no_stream(running: Running) -> None:
    """Twenty clients, a reload with other settings of their target every moment: every answer is whole."""
    model = "ok?chunks=10&interval_ms=5&test=load"
    await running.reload(load=running.target(model))
    done = asyncio.Event()

    async def keep_asking() -> list[str]:
        answers = []
        while not done.is_set():
            answers.append("".join((await running.router.complete("load")).texts))
        return answers

    clients = [asyncio.create_task(keep_asking()) for _ in range(20)]
    for number in range(4):
        await running.reload(load=running.target(model, context_tokens=1000 + number))
    done.set()
    answers = [answer for client in clients for answer in await client]

    assert len(answers) >= 20
    assert {expected_text(model)} == set(answers)


# All of them are tested without a process in test_routes.py.
_ON_A_PROCESS = ("unknown target", "zero timers")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("text", "reported"),
    [
        pytest.param(*case, id=name, marks=() if name in _ON_A_PROCESS else pytest.mark.nightly)
        for name, case in WRONG_ROUTES.items()
    ],
)
def test_the_process_does_not_start_on_wrong_routes(tmp_path: Path, text: str, reported: list[str]) -> None:
    """It ends with 1 and one line a fault: file, line and reason."""
    (tmp_path / "routes.yaml").write_text(text)
    settings = environment(tmp_path, port=free_port(), metrics_port=free_port())
    ended = subprocess.run(
        [sys.executable, "-m", "llm_router"], env=settings, capture_output=True, timeout=_MAX_SECONDS, check=False
    )

    lines = [orjson.loads(line) for line in ended.stdout.splitlines()]
    assert 1 == ended.returncode
    assert b"" == ended.stderr
    assert ["start_failed"] * len(reported) == [line["event"] for line in lines]
    for line, reason in zip(lines, reported, strict=True):
        assert line["reason"].startswith(f"{tmp_path / 'routes.yaml'}:{reason}")
