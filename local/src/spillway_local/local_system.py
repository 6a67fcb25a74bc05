"""The six processes of the local system: their settings, and the order of their start."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from spillway_local import ports, postgres, valkey
from spillway_local.development_key import ensure_development_key
from spillway_local.home import CommandError, Home, write_secret
from spillway_local.ports import LOOPBACK
from spillway_local.processes import StartFailed
from spillway_local.routes import collect_vendors, follow_routes, write_routes
from spillway_local.supervisor import Program, Supervisor

STOP_ORDER = ("edge", "llm-router", "cost-ledger", "local-model", "valkey", "postgres")
# Passed on through the routes file only, never in the environment of a process.
_SECRET_VARIABLES = frozenset({"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "SPILLWAY_API_KEY"})
# The edge and the router finish running streams. Those may last half an hour; who ends the system on his own machine
# waits for no more than this.
_STREAM_DRAIN_SECONDS = "130"
_MAX_END_SECONDS = 10.0
# The model keeps a laptop's cores busy: a short delay must not bypass the cache, as it should with a shared Redis.
_LOOK_UP_TIMEOUT_SECONDS = "0.25"


class LocalSystem:
    """The six processes of one home, with ports chosen at the start."""

    def __init__(self, home: Home, edge_port: int, environment: Mapping[str, str], custom_routes: Path | None) -> None:
        self._home = home
        self._custom_routes = custom_routes
        self._provider_environment = environment
        self._environment = {name: value for name, value in environment.items() if name not in _SECRET_VARIABLES}
        self._ports = _distinct_ports(edge_port)
        self._rpc_token = secrets.token_urlsafe(32)
        self._started = time.monotonic()

    async def start(self, supervisor: Supervisor) -> None:
        """Start all processes, in parallel where possible; return when all are ready."""
        write_secret(self._home.rpc_token_file, self._rpc_token)
        if not self._home.key_pepper_file.exists():
            write_secret(self._home.key_pepper_file, secrets.token_urlsafe(32))
        local_model = self._python("local-model", "LOCAL_MODEL", {})
        routes = write_routes(
            self._home,
            collect_vendors(self._home, self._provider_environment),
            self._local_model_url,
            self._custom_routes,
        )
        router = self._python(
            "llm-router",
            "LLM_ROUTER",
            {"ROUTES_FILE": str(routes), "REDIS_URL": self._redis_url, "DRAIN_TIMEOUT_SECONDS": _STREAM_DRAIN_SECONDS},
            drain=float(_STREAM_DRAIN_SECONDS) + _MAX_END_SECONDS,
        )
        ledger = self._python("cost-ledger", "COST_LEDGER", self._ledger_settings())
        async with asyncio.TaskGroup() as group:
            group.create_task(supervisor.launch_until_ready(local_model))
            group.create_task(supervisor.launch_until_ready(router))
            group.create_task(self._start_ledger(supervisor, ledger))
            group.create_task(asyncio.to_thread(ensure_development_key, self._home, self._environment))
        # Last, so that its port opens when everything behind it is ready, and the first answer can state its cost.
        await supervisor.launch_until_ready(self._edge(router, ledger))

    async def _start_ledger(self, supervisor: Supervisor, ledger: Program) -> None:
        async with asyncio.TaskGroup() as stores:
            stores.create_task(self._start_postgres(supervisor))
            stores.create_task(supervisor.launch_until_ready(self._valkey()))
        migrate = Program("migrate", [*ledger.command, "migrate"], ledger.port, ledger.environment)
        await supervisor.run_to_end(migrate)
        await supervisor.launch_until_ready(ledger)

    async def _start_postgres(self, supervisor: Supervisor) -> None:
        log_file = self._home.logs / "initdb.log"
        try:
            cluster = await asyncio.to_thread(postgres.ensure_cluster, self._postgres_dir, log_file)
        except StartFailed as error:
            reason = str(error).splitlines()
            raise CommandError(
                f"cannot create the database: {reason[0]}: {reason[-1]} (complete output: {log_file})"
            ) from error
        port = self._ports["postgres"]
        await supervisor.launch_until_ready(
            Program(
                "postgres",
                cluster.command(port),
                port,
                self._environment,
                owner=cluster.owner,
                stop_signal=postgres.STOP_SIGNAL,
                kill_signal=signal.SIGQUIT,
            )
        )

    def _edge(self, router: Program, ledger: Program) -> Program:
        settings = {
            "ROUTER_ADDRESS": router.address,
            "LEDGER_ADDRESS": ledger.address,
            "REDIS_URL": self._redis_url,
            "KEYS_FILE": str(self._home.keys_file),
            "KEY_PEPPER_FILE": str(self._home.key_pepper_file),
            "SPOOL_FILE": str(self._home.spool_file),
            "EXPOSE": self._environment.get("EDGE_EXPOSE", "docs,health"),
            "LOOK_UP_TIMEOUT_SECONDS": self._environment.get("EDGE_LOOK_UP_TIMEOUT_SECONDS", _LOOK_UP_TIMEOUT_SECONDS),
            "DRAIN_TIMEOUT_SECONDS": _STREAM_DRAIN_SECONDS,
        }
        return self._python("edge", "EDGE", settings, drain=float(_STREAM_DRAIN_SECONDS) + _MAX_END_SECONDS)

    async def follow_routes(self) -> None:
        """Pass on changes of the user's routes file, if there is one, until cancelled."""
        if self._custom_routes is None:
            await asyncio.Event().wait()
        else:
            await follow_routes(self._home, self._local_model_url, self._custom_routes)

    @property
    def _local_model_url(self) -> str:
        return f"http://{LOOPBACK}:{self._ports['local-model']}/v1"

    def publish(self, supervisor: Supervisor) -> None:
        """Write run.json with the address of each process."""
        processes = [
            {
                "name": child.program.name,
                "pid": child.process.pid,
                "address": child.program.address,
                "metrics_address": self._metrics_address(child.program),
                "log_file": str(child.log_file),
            }
            for child in supervisor.children
        ]
        self._home.write_run(
            {
                "pid": os.getpid(),
                "started_at": datetime.now(UTC).isoformat(),
                "url": self.url,
                "processes": processes,
                "postgres_url": self._postgres_url,
                "postgres_password_file": str(self._postgres_dir / "password"),
                "redis_url": self._redis_url,
            }
        )

    @property
    def url(self) -> str:
        """The address of the edge."""
        return f"http://{LOOPBACK}:{self._ports['edge']}"

    def banner(self) -> str:
        """Return the text for the user: address, API key, a first request."""
        key = self._home.development_key_file.read_text()
        curl = f"curl -N {self.url}/chat -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
        body = shlex.quote('{"query": "What is the capital of France?"}')
        return "\n".join(
            [
                f"Spillway is up after {time.monotonic() - self._started:.1f} s.",
                "",
                f"  address  {self.url}   (documentation at /docs)",
                f"  API key  {key}",
                f"  logs     {self._home.logs}",
                "",
                f"  {curl} -d {body}",
                "",
                "Ctrl-C stops everything.",
            ]
        )

    @property
    def _postgres_dir(self) -> Path:
        return self._home.path / "postgres"

    @property
    def _postgres_url(self) -> str:
        return f"postgresql://postgres@{LOOPBACK}:{self._ports['postgres']}/spillway"

    @property
    def _valkey_dir(self) -> Path:
        return self._home.path / "valkey"

    @property
    def _redis_url(self) -> str:
        return valkey.url(self._ports["valkey"], valkey.ensure_password(self._valkey_dir))

    def _ledger_settings(self) -> dict[str, str]:
        return {
            "POSTGRES_URL": self._postgres_url,
            "POSTGRES_PASSWORD_FILE": str(self._postgres_dir / "password"),
            "REDIS_URL": self._redis_url,
            "KEY_PEPPER_FILE": str(self._home.key_pepper_file),
        }

    def _valkey(self) -> Program:
        port = self._ports["valkey"]
        password = valkey.ensure_password(self._valkey_dir)
        return Program("valkey", valkey.command(self._valkey_dir, port), port, self._environment, password=password)

    def _python(self, name: str, prefix: str, settings: Mapping[str, str], drain: float = 20.0) -> Program:
        port = self._ports[name]
        metrics_port = self._ports.get(f"{name} metrics")
        own = {"HOST": LOOPBACK, "PORT": str(port), **settings}
        token = ""
        if name != "local-model":
            own["RPC_TOKEN_FILE"] = str(self._home.rpc_token_file)
            token = self._rpc_token
        if metrics_port is not None:
            own["METRICS_PORT"] = str(metrics_port)
        return Program(
            name,
            [sys.executable, "-m", name.replace("-", "_")],
            port,
            {**self._environment, **{f"{prefix}_{key}": value for key, value in own.items()}},
            metrics_port=metrics_port,
            drain_seconds=drain,
            password=token,
        )

    def _metrics_address(self, program: Program) -> str | None:
        if program.name == "local-model":
            return program.address
        return f"{LOOPBACK}:{program.metrics_port}" if program.metrics_port else None


def _distinct_ports(edge_port: int) -> dict[str, int]:
    services = ("llm-router", "cost-ledger")
    names = ("postgres", "valkey", "local-model", *services, *(f"{name} metrics" for name in ("edge", *services)))
    free = (port for port in ports.free_ports() if port != edge_port)
    chosen = dict(zip(names, itertools.islice(free, len(names)), strict=True))
    return {**chosen, "edge": edge_port}
