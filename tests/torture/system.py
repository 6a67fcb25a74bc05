"""The whole local system without its supervision: parts can be killed, frozen and restarted.

Processes, settings, data and ports are those of `spillway up`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import psutil
import redis.asyncio as redis
import yaml

from edge.guard.keys import add_key
from kit.load.provider import Provider, Seen
from kit.load.questions import routes_file
from kit.load.records import LedgerRequest, read_entries
from spillway_local import processes
from spillway_local.home import Home, lock_home
from spillway_local.local_system import STOP_ORDER, LocalSystem
from spillway_local.ports import free_port
from spillway_local.supervisor import Child, Supervisor

Json = dict[str, Any]

REQUEST_SECONDS = 10.0
UNSETTLED_AFTER_SECONDS = 20.0
PARTS = ("edge", "llm-router", "cost-ledger", "valkey", "postgres")
STREAM = "spillway:cost-events"
_PRICE_BOOK = Path(__file__).with_name("price_book.yaml")
_START_SECONDS = 60.0
_MAX_RESTARTS, _RESTART_PAUSE_SECONDS = 10, 1.0
_SETTINGS = {
    "EDGE_REQUEST_TIMEOUT_SECONDS": str(REQUEST_SECONDS),
    "EDGE_KEEPALIVE_SECONDS": "0.5",
    "EDGE_STATUS_HOLD_SECONDS": "0.3",
    "COST_LEDGER_UNSETTLED_AFTER_SECONDS": str(UNSETTLED_AFTER_SECONDS),
    "COST_LEDGER_PRICE_BOOK_FILE": str(_PRICE_BOOK),
}


class Victim:
    """The running system, with methods to kill, freeze and restart its parts."""

    def __init__(self, home: Home, supervisor: Supervisor, keys: Mapping[str, str]) -> None:
        self._home = home
        self._supervisor = supervisor
        self._starts: Counter[str] = Counter()
        self.keys = keys
        """An API key for each client, by the client's name."""

    @property
    def url(self) -> str:
        """The address of the edge."""
        return str(self._run["url"])

    async def kill(self, name: str) -> None:
        """Kill all processes of a part with SIGKILL, as a container ends; return when none is left."""
        processes = _family(self._child(name))
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._child(name).process.wait()
        _, alive = await asyncio.to_thread(psutil.wait_procs, processes, 10.0)
        if alive:
            raise RuntimeError(f"{name} survived SIGKILL")

    async def start(self, name: str) -> None:
        """Restart a killed part on the same data and port; return when it answers. Its old log is kept.

        A part that ends during its start is started again, as in Kubernetes: on a shared machine another process may
        use its port for a moment. ChildDied when it does not start.
        """
        for is_last in (False,) * _MAX_RESTARTS + (True,):
            self._keep_log(name)
            launching = asyncio.create_task(self._supervisor.launch_until_ready(self._child(name).program))
            await asyncio.sleep(0)  # the child is replaced now
            while not launching.done() and (is_last or self._child(name).process.poll() is None):
                await asyncio.sleep(0.05)
            if launching.done():
                launching.result()
                return
            launching.cancel()
            await asyncio.wait((launching,))
            await asyncio.sleep(_RESTART_PAUSE_SECONDS)

    def _keep_log(self, name: str) -> None:
        self._starts[name] += 1
        log_file = self._child(name).log_file
        log_file.replace(log_file.with_suffix(f".{self._starts[name]:03}.log"))

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Freeze a part during the block: it keeps its connections and does not answer."""
        family = _family(self._child(name))
        try:
            _signal(family, signal.SIGSTOP)
            yield
        finally:
            # Children first: a PostgreSQL that resumes before them assumes that a debugger stopped them.
            _signal(reversed(family), signal.SIGCONT)

    async def waiting_events(self) -> int:
        """Return the number of cost events in the spool and on the stream."""
        async with httpx2.AsyncClient(base_url=self.url, timeout=20, trust_env=False) as client:
            spooled = (await client.get("/health")).json()["spool_events"]
        async with self.redis() as client:
            return int(spooled) + int(await client.xlen(STREAM))

    async def receipt_state(self, client_request_id: str, key: str) -> str:
        """Return the state in the receipt of a request, as its user sees it; empty when there is no receipt."""
        async with httpx2.AsyncClient(base_url=self.url, timeout=20, trust_env=False) as client:
            headers = {"authorization": f"Bearer {key}"}
            found = await client.get(f"/v1/requests?client_request_id={client_request_id}", headers=headers)
            rows = found.json()["data"] if found.status_code == 200 else []
            if len(rows) != 1:
                return ""
            response = await client.get(f"/v1/requests/{rows[0]['request_id']}", headers=headers)
        return str(response.json()["state"]) if response.status_code == 200 else ""

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """Yield a connection to the ledger's database."""
        password = Path(self._run["postgres_password_file"]).read_text().strip()
        connection = await asyncpg.connect(self._run["postgres_url"], password=password)
        try:
            yield connection
        finally:
            await connection.close()

    async def verify(self) -> tuple[bool, str]:
        """Run the ledger's own `verify`; return whether all costs and sums agree, and its report."""
        environment = self._child("cost-ledger").program.environment
        checking = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cost_ledger", "verify"),
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        report, _ = await checking.communicate()
        return checking.returncode == 0, report.decode().strip()

    def environment_of(self, name: str) -> Mapping[str, str]:
        """Return the settings of a part."""
        return self._child(name).program.environment

    @asynccontextmanager
    async def second_edge(self) -> AsyncIterator[str]:
        """Run one more edge beside the first, with a spool of its own; yield its address."""
        port, log = free_port(), self._home.logs / "second-edge.log"
        own = {
            "EDGE_PORT": str(port),
            "EDGE_METRICS_PORT": str(free_port()),
            "EDGE_SPOOL_FILE": str(self._home.logs.parent / "second-spool.sqlite"),
        }
        environment = {**self.environment_of("edge"), **own}
        process = processes.start([sys.executable, "-m", "edge"], log, environment=environment)
        try:
            is_started = lambda: '"started"' in log.read_text()  # noqa: E731
            await asyncio.to_thread(processes.wait_until_ready, process, is_started, log, _START_SECONDS)
            yield f"http://127.0.0.1:{port}"
        finally:
            await asyncio.to_thread(processes.stop, process, signal.SIGTERM, _START_SECONDS)

    @property
    def spool_file(self) -> Path:
        """The spool of the edge."""
        return self._home.spool_file

    @asynccontextmanager
    async def redis(self) -> AsyncIterator[redis.Redis]:
        """Yield a client of Valkey."""
        async with redis.Redis.from_url(self._run["redis_url"]) as client:
            yield client

    @property
    def _run(self) -> Json:
        run = self._home.read_run()
        assert run is not None
        return run

    def _child(self, name: str) -> Child:
        return next(child for child in self._supervisor.children if child.program.name == name)


@asynccontextmanager
async def running_system(
    home_path: Path, provider_url: str, clients: Iterable[str], **settings: object
) -> AsyncIterator[Victim]:
    """Run the system on its own home with a key for each client; ChildDied when a part does not start."""
    home = Home(home_path)
    (home_path / "provider-key").write_text("sk-torture")
    routes = home_path / "torture-routes.yaml"
    routes.write_text(yaml.safe_dump(routes_file(provider_url, home_path / "provider-key")))
    keys = {name: add_key(home.keys_file, "torture", name, "test") for name in clients}
    home.development_key_file.write_text(next(iter(keys.values())))
    with lock_home(home):
        environment = {**os.environ, **_SETTINGS, **{name: str(value) for name, value in settings.items()}}
        system = LocalSystem(home, free_port(), environment, routes)
        supervisor = Supervisor(home.logs, lambda line: None)
        try:
            await system.start(supervisor)
            system.publish(supervisor)
            yield Victim(home, supervisor, keys)
        finally:
            await supervisor.stop(STOP_ORDER)


async def idle_records(
    victim: Victim, provider: Provider, within_seconds: float
) -> tuple[Mapping[str, Sequence[Seen]], Mapping[str, LedgerRequest]]:
    """Wait until no attempt is open, no event is pending and each request is settled or unsettled.

    Return what the provider saw, by the tag of the question, and the ledger, also when the time is over.
    """
    deadline = time.monotonic() + within_seconds
    before = -1
    while True:
        seen = await provider.attempts()
        is_open = any(attempt.finish == "open" for attempts in seen.values() for attempt in attempts)
        waiting = await victim.waiting_events()
        async with victim.database() as connection:
            ledger = await read_entries(connection)
        is_admitted = any(entry.state == "admitted" for entry in ledger.values())
        is_quiet = not (is_open or waiting or is_admitted) and len(ledger) == before
        if is_quiet or time.monotonic() > deadline:
            return seen, ledger
        before = len(ledger)
        await asyncio.sleep(0.5)


def _family(child: Child) -> list[psutil.Process]:
    server = psutil.Process(child.process.pid)
    return [server, *server.children(recursive=True)]


def _signal(family: Iterable[psutil.Process], signum: signal.Signals) -> None:
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signum)
