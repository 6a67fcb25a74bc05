"""`spillway up` with all six processes: start, requests, kills, stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import httpx2
import psutil
import pytest

from edge.guard.keys import add_key
from servicekit.rpc import create_channel
from servicekit.rpc_token import OneToken
from spillway_local import valkey
from spillway_local.ports import free_port

pytestmark = pytest.mark.integration

SPILLWAY = Path(sys.executable).with_name("spillway")
NAMES = ["edge", "llm-router", "cost-ledger", "local-model", "valkey", "postgres"]  # the order of the stop


class System:
    """One `spillway up` on a home of its own."""

    def __init__(self, home: Path, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        self.home = home
        self.environment = {**kept, "SPILLWAY_HOME": str(home), "SPILLWAY_PORT": str(free_port()), **environment}
        self._output = (home / "output").open("w+")
        # A shell starts what it puts in the background with SIGINT ignored.
        self.process = subprocess.Popen(
            ["sh", "-c", 'umask 0; trap "" INT; exec "$0" up', str(SPILLWAY)],
            env=self.environment,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def output(self) -> str:
        """Everything it has printed."""
        return (self.home / "output").read_text()

    def wait_until_ready(self) -> dict[str, Any]:
        """Return run.json once it exists."""
        deadline = time.monotonic() + 90
        while not (self.home / "run.json").exists() or "Ctrl-C" not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)
        run: dict[str, Any] = json.loads((self.home / "run.json").read_text())
        return run

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command on the same home."""
        return subprocess.run(
            [str(SPILLWAY), *arguments], env=self.environment, capture_output=True, text=True, timeout=90
        )

    def close(self) -> None:
        """Stop it in any state."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
        self._output.close()


def _all_processes(system: System) -> list[psutil.Process]:
    return psutil.Process(system.process.pid).children(recursive=True)


@contextmanager
def _running(home: Path, **environment: str) -> Iterator[System]:
    system = System(home, **environment)
    try:
        yield system
    finally:
        system.close()


@pytest.fixture(name="start")
def _start(tmp_path: Path) -> Iterator[Callable[[], System]]:
    systems: list[System] = []

    def start() -> System:
        systems.append(System(tmp_path))
        return systems[-1]

    yield start
    for system in systems:
        system.close()


def test_starts_answers_stops_and_keeps_its_data(start: Callable[[], System]) -> None:
    """Readiness, the printed curl, the commands, SIGINT; after a restart key and ledger are unchanged."""
    system = start()
    run = system.wait_until_ready()
    processes = _all_processes(system)

    ready = re.findall(r"^  ready +(\S+) +[\d.]+ s +127\.0\.0\.1:\d+$", system.output, re.MULTILINE)
    assert sorted(NAMES) == sorted(ready)
    assert sorted(NAMES) == sorted(process["name"] for process in run["processes"])

    curl = next(line for line in system.output.splitlines() if line.startswith("  curl "))
    answered = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, timeout=90)
    assert "event: done" in answered.stdout, answered

    first = system.ask("chat", "What is the capital of France?")
    assert "Paris" in first.stdout, first
    assert "cache    hit" in first.stdout
    assert 0 == first.returncode

    status = system.ask("status")
    assert 0 == status.returncode, status.stdout
    assert len(NAMES) == len(re.findall(r" ready$", status.stdout, re.MULTILINE))

    key = (system.home / "development-key").read_text()
    system.process.send_signal(signal.SIGINT)
    assert 0 == system.process.wait(60), system.output
    assert NAMES == re.findall(r"^  stopped +(\S+)", system.output, re.MULTILINE)
    assert [] == psutil.wait_procs(processes, timeout=10)[1]
    assert not (system.home / "run.json").exists()

    again = start()
    again.wait_until_ready()
    assert key == (system.home / "development-key").read_text()
    costs = again.ask("costs")
    assert 0 == costs.returncode, costs.stderr
    assert re.search(r"^total +2 +1 ", costs.stdout, re.MULTILINE), costs.stdout
    # The ledger's own commands use the same ledger.
    checked = again.ask("verify")
    assert (0, "") == (checked.returncode, checked.stderr), checked.stdout
    assert re.search(r"^verified 2 requests, 1 attempts, .*: 0 mismatches$", checked.stdout, re.MULTILINE)
    assert "vllm/smollm2-135m-instruct@2026-01-01" in again.ask("prices", "list", "--provider", "vllm").stdout


def test_only_the_owner_may_read_what_is_in_a_home(tmp_path: Path) -> None:
    """Keys, spool, database, logs, whatever the umask; another mode is mended, what a user keeps there is not."""
    home = tmp_path / "home"
    for folder in ("logs/old", "spool", "valkey", "credentials"):
        (home / folder).mkdir(parents=True)
    for file in ("logs/old/edge.log", "spool/old.sqlite", "keys.yaml.lock", "keys.yaml.new", "lock", "notes"):
        (home / file).touch()
    for path in (home, *home.rglob("*")):
        path.chmod(0o777)
    (home / "logs/link").symlink_to(home / "notes")
    with _running(home) as system:
        system.wait_until_ready()
        assert "Paris" in system.ask("chat", "What is the capital of France?").stdout

        assert {"notes", "output"} == _open_paths(home)


def _open_paths(home: Path) -> set[str]:
    """Return the paths in `home`, itself included, that others than their owner may use."""
    own = [path for path in (home, *home.rglob("*")) if not path.is_symlink()]
    return {str(path.relative_to(home)) for path in own if path.lstat().st_mode & 0o77}


async def test_other_users_of_the_machine_cannot_spend_or_read(tmp_path: Path) -> None:
    """Each port is on the loopback address; those that spend or store ask for a key, the token or a password."""
    home = tmp_path / "home"
    home.mkdir()
    with _running(home) as system:
        run = await asyncio.to_thread(system.wait_until_ready)
        addresses = {process["name"]: process["address"] for process in run["processes"]}
        listening = {
            (process.name(), connection.laddr.ip)
            for process in _all_processes(system)
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening
        assert {"127.0.0.1"} == {ip.removeprefix("::ffff:") for _, ip in listening}

        token = (home / "rpc-token").read_text()
        assert [grpc.StatusCode.UNAUTHENTICATED] * 4 == [
            await _code_of_call(addresses[name], method, shown)
            for name, method in (
                ("llm-router", "/spillway.router.v1.RouterService/ListModels"),
                ("cost-ledger", "/spillway.ledger.v1.LedgerService/GetPriceBook"),
            )
            for shown in (None, token + "x")
        ]
        assert grpc.StatusCode.OK == await _code_of_call(
            addresses["llm-router"], "/spillway.router.v1.RouterService/ListModels", token
        )
        assert not valkey.answers_ping(int(addresses["valkey"].rpartition(":")[2]))
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(run["postgres_url"], password="")
        assert 401 == httpx2.get(f"{run['url']}/v1/models", timeout=30).status_code
        for process in _all_processes(system):
            assert token not in " ".join([*process.cmdline(), *process.environ().values()])


def test_routes_and_keys_are_followed(tmp_path: Path) -> None:
    """A route that is added to the user's own file is there within seconds, a broken file changes nothing, keys too.

    A key of the ledger is shown with a call that works here.
    """
    home, own = tmp_path / "home", tmp_path / "routes.yaml"
    home.mkdir()
    target = {"provider": "vllm", "model": "m", "base_url": "${LOCAL_MODEL_URL}"}
    routes: dict[str, Any] = {"targets": {"one": target}, "routes": {"default": {"targets": ["one"]}}}
    own.write_text(json.dumps(routes))
    with _running(home, SPILLWAY_ROUTES=str(own)) as system:
        url = system.wait_until_ready()["url"]
        key = (home / "development-key").read_text()
        assert ["default"] == _models(url, key)

        system.ask("tenants", "create", "acme")
        made = system.ask("keys", "create", "--tenant", "acme").stdout
        assert f"curl {url}/v1/models" in made
        _until(lambda: _models(url, made.splitlines()[0]) == ["default"])

        own.write_text("{")
        _until(lambda: "routes_refused" in (home / "logs/llm-router.log").read_text())
        assert ["default"] == _models(url, key)
        routes["routes"]["added"] = {"targets": ["one"]}
        own.write_text(json.dumps(routes))
        _until(lambda: _models(url, key) == ["added", "default"])

        added = add_key(home / "keys.yaml", "acme", "ada", "gold")
        _until(lambda: _models(url, added) == ["added", "default"])
        (home / "keys.yaml").write_text("keys: []")
        _until(lambda: _models(url, added) == _models(url, key) == [])


def _models(url: str, key: str) -> list[str]:
    """Return the models that the edge lists; none for a key that is not known."""
    answer = httpx2.get(f"{url}/v1/models", headers={"authorization": f"Bearer {key}"}, timeout=30)
    assert answer.status_code in {200, 401}
    return sorted(model["id"] for model in answer.json().get("data", []))


def _until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


async def _code_of_call(address: str, method: str, token: str | None) -> grpc.StatusCode:
    async with create_channel(address, tokens=OneToken(token) if token is not None else None) as channel:
        call: Any = channel.unary_unary(method)
        try:
            await call(b"", timeout=30)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


@pytest.mark.parametrize("victim", ["local-model", pytest.param("valkey", marks=pytest.mark.nightly)])
def test_a_killed_child_is_reported_and_everything_stops(start: Callable[[], System], victim: str) -> None:
    """At once, with its name, its status and the end of its log; then all processes stop."""
    system = start()
    run = system.wait_until_ready()
    processes = _all_processes(system)
    [pid] = [process["pid"] for process in run["processes"] if process["name"] == victim]
    os.kill(pid, signal.SIGKILL)

    assert 1 == system.process.wait(60), system.output
    log_file = system.home / f"logs/{victim}.log"
    assert re.search(rf"^spillway: {victim} was killed by SIGKILL(;|:)", system.output, re.MULTILINE), system.output
    assert log_file.read_text().splitlines()[-1] in system.output
    assert [] == psutil.wait_procs(processes, timeout=10)[1]


@pytest.mark.nightly
def test_nothing_outlives_a_supervisor_killed_with_sigkill(start: Callable[[], System]) -> None:
    """The kernel signals the children; the home can be used again."""
    system = start()
    system.wait_until_ready()
    processes = _all_processes(system)
    system.process.kill()
    system.process.wait(10)

    assert [] == psutil.wait_procs(processes, timeout=30)[1]
    assert "nothing runs" in system.ask("status").stderr


def test_vendor_keys_are_not_in_the_environment_of_any_child(tmp_path: Path) -> None:
    """They are in files named by the routes."""
    with _running(tmp_path, OPENAI_API_KEY="sk-secret", OPENAI_BASE_URL="http://127.0.0.1:9/v1") as system:
        run = system.wait_until_ready()

        environments = [psutil.Process(process["pid"]).environ() for process in run["processes"]]
        assert [] == [name for environment in environments for name in environment if name == "OPENAI_API_KEY"]
        assert "sk-secret" == (tmp_path / "credentials/openai").read_text()
        assert "sk-secret" not in (tmp_path / "routes.yaml").read_text()


def test_a_signal_during_the_start_stops_what_has_started(start: Callable[[], System]) -> None:
    """A start can be cancelled."""
    system = start()
    _wait_for(system, "  ready ")
    processes = _all_processes(system)
    system.process.send_signal(signal.SIGTERM)

    assert 0 == system.process.wait(60), system.output
    assert [] == psutil.wait_procs(processes, timeout=10)[1]


@pytest.mark.parametrize("presses", [1, pytest.param(2, marks=pytest.mark.nightly)])
def test_ctrl_c_waits_for_a_running_answer_and_a_second_one_kills(start: Callable[[], System], presses: int) -> None:
    """Drained: the client gets the end and the status is 0. Killed: all processes end and the status is 1."""
    system = start()
    run = system.wait_until_ready()
    processes = _all_processes(system)
    key = (system.home / "development-key").read_text()
    request = {"query": "Tell a long story about a ship.", "max_tokens": 160}
    with httpx2.stream(
        "POST", f"{run['url']}/chat", json=request, headers={"authorization": f"Bearer {key}"}, timeout=60
    ) as response:
        pieces = response.iter_bytes()
        text = next(pieces)
        for _ in range(presses):
            system.process.send_signal(signal.SIGINT)
            _wait_for(system, "Stopping")
        with contextlib.suppress(httpx2.TransportError):
            for piece in pieces:
                text += piece

    assert (0 if presses == 1 else 1) == system.process.wait(90), system.output
    assert (b"event: done" in text) is (presses == 1)
    assert [] == psutil.wait_procs(processes, timeout=20)[1]


def _wait_for(system: System, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in system.output:
        assert time.monotonic() < deadline, system.output
        time.sleep(0.01)
