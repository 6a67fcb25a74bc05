"""Edge, llm-router and cost-ledger as real processes that call each other over mutual TLS."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import grpc
import httpx2
import orjson
import pytest
import redis.asyncio as redis
import yaml
from cryptography.x509.oid import ExtendedKeyUsageOID

from kit.tls_secret import Authority, SecretFolder
from servicekit.rpc import create_channel, is_serving
from spillway_local import processes
from spillway_local.ports import free_port

pytestmark = pytest.mark.integration

_MAX_SECONDS = 60.0
_CALLED = ("llm_router", "cost_ledger")


@dataclass
class Service:
    """One process, its folder with certificates, and its log."""

    process: subprocess.Popen[bytes]
    secret: SecretFolder
    log_file: Path
    port: int
    metrics_port: int

    async def metric(self, name: str) -> float:
        """Return the value of a metric, with its labels written out."""
        async with httpx2.AsyncClient(timeout=_MAX_SECONDS) as http:
            text = (await http.get(f"http://127.0.0.1:{self.metrics_port}/metrics")).text
        (value,) = [line.rpartition(" ")[2] for line in text.splitlines() if line.rpartition(" ")[0] == name]
        return float(value)

    async def logs(self, event: str, count: int = 1) -> list[Any]:
        """Wait for log lines about `event`."""
        async with asyncio.timeout(_MAX_SECONDS):
            while len(lines := [line for line in read_log(self.log_file) if line["event"] == event]) < count:
                await asyncio.sleep(0.05)
        return lines


def read_log(path: Path) -> list[Any]:
    """Return the whole lines of a log; gRPC's own lines are not among them."""
    return [orjson.loads(line) for line in path.read_bytes().split(b"\n")[:-1] if line.startswith(b"{")]


def environment(name: str, settings: dict[str, object]) -> dict[str, str]:
    """Return the environment of a service; `settings` without their prefix."""
    return {**os.environ, **{f"{name.upper()}_{key}": str(value) for key, value in settings.items()}}


@asynccontextmanager
async def running(name: str, folder: Path, secret: SecretFolder, **settings: object) -> AsyncIterator[Service]:
    """Run a service with TLS until the block ends, and well."""
    port, metrics_port, log_file = free_port(), free_port(), folder / f"{name}.log"
    own = {"PORT": port, "METRICS_PORT": metrics_port, "TLS_DIRECTORY": secret.path, **settings}
    process = processes.start([sys.executable, "-m", name], log_file, environment=environment(name, own))
    try:
        processes.wait_until_ready(process, lambda: '"started"' in log_file.read_text(), log_file, _MAX_SECONDS)
        yield Service(process, secret, log_file, port, metrics_port)
    finally:
        assert 0 == processes.stop(process, signal.SIGTERM, _MAX_SECONDS), processes.tail_of(log_file)


@dataclass
class System:
    """The three of them, and a client of the edge."""

    authority: Authority
    edge: Service
    called: dict[str, Service]
    http: httpx2.AsyncClient

    @property
    def services(self) -> list[Service]:
        """Return all three."""
        return [*self.called.values(), self.edge]

    async def ask(self, model: str) -> str:
        """Ask `/chat` and return the name of the event that ends the answer, or the status."""
        body = {"query": "hello", "model": model}
        answer = await self.http.post("/chat", json=body, headers={"cache-control": "no-store"})
        if answer.status_code != 200:
            return str(answer.status_code)
        return [line for line in answer.text.splitlines() if line.startswith("event: ")][-1]


@pytest.fixture(name="system", scope="module")
async def _system(
    tmp_path_factory: pytest.TempPathFactory, fault_provider_url: str, postgres_url: str, redis_url: str
) -> AsyncIterator[System]:
    folder, authority = tmp_path_factory.mktemp("tls"), Authority()
    secrets = {name: SecretFolder(folder / name) for name in ("edge", *_CALLED)}
    for name, secret in secrets.items():
        is_caller = name == "edge"
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if is_caller else ExtendedKeyUsageOID.SERVER_AUTH
        secret.put(authority.sign_for(usage, name if is_caller else "127.0.0.1"), authority.certificate)
    models = {"short": "ok?test=tls", "long": "ok?chunks=2000&interval_ms=50&test=tls"}
    target = {"provider": "vllm", "base_url": f"{fault_provider_url}/v1"}
    routes = {
        "targets": {name: {**target, "model": model} for name, model in models.items()},
        "routes": {name: {"targets": [name]} for name in models},
    }
    (folder / "routes.yaml").write_text(yaml.safe_dump(routes))
    stores = {"POSTGRES_URL": urlunsplit(urlsplit(postgres_url)._replace(path="/tls")), "REDIS_URL": redis_url}
    migrate = [sys.executable, "-m", "cost_ledger", "migrate"]
    await asyncio.to_thread(
        subprocess.run, migrate, env=environment("cost_ledger", {**stores}), check=True, timeout=120
    )
    owner = ["--tenant", "acme", "--user", "ada", "--tier", "gold"]
    add_key = [sys.executable, "-m", "edge.guard.keys", "add", str(folder / "keys.yaml"), *owner]
    added = await asyncio.to_thread(subprocess.run, add_key, check=True, capture_output=True, text=True, timeout=60)
    async with AsyncExitStack() as stack:
        router = running("llm_router", folder, secrets["llm_router"], ROUTES_FILE=folder / "routes.yaml")
        ledger = running("cost_ledger", folder, secrets["cost_ledger"], **stores)
        called = dict(zip(_CALLED, [await stack.enter_async_context(each) for each in (router, ledger)], strict=True))
        addresses = {f"{name.split('_')[1].upper()}_ADDRESS": f"127.0.0.1:{each.port}" for name, each in called.items()}
        own = {"KEYS_FILE": folder / "keys.yaml", "SPOOL_FILE": folder / "spool.sqlite", "REDIS_URL": redis_url}
        edge = await stack.enter_async_context(running("edge", folder, secrets["edge"], **own, **addresses))
        headers = {"authorization": f"Bearer {added.stdout.strip()}"}
        client = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{edge.port}", headers=headers, timeout=_MAX_SECONDS)
        yield System(authority, edge, called, await stack.enter_async_context(client))
    async with redis.Redis.from_url(redis_url) as store:
        await store.flushall()


def certificate_shown(service: Service, secret: SecretFolder) -> str:
    """Connect as anybody may who has a certificate; return that of the server, as PEM."""
    context = ssl.create_default_context(cafile=secret.path / "ca.crt")
    context.load_cert_chain(secret.path / "tls.crt", secret.path / "tls.key")
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", service.port), timeout=_MAX_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        return ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"")


async def test_a_request_goes_its_way_over_tls(system: System) -> None:
    """An answer from the router, figures from the ledger, and all is told to be well."""
    assert "event: done" == await system.ask("short")
    assert 200 == (await system.http.get("/v1/costs")).status_code
    health = (await system.http.get(f"http://127.0.0.1:{system.edge.metrics_port}/health")).json()
    assert ["ok", "ok"] == [health["dependencies"][name]["status"] for name in ("llm-router", "cost-ledger")]


async def test_a_client_that_leaves_has_its_call_stopped_over_tls(system: System) -> None:
    """At the address of the one router that runs it, which shows the name of them all; its own record counts."""
    request_id = ""
    body = {"query": "hello", "model": "long"}
    async with system.http.stream("POST", "/chat", json=body, headers={"cache-control": "no-store"}) as answer:
        request_id = answer.headers["x-request-id"]
        await until_delta(answer.aiter_lines())
    async with asyncio.timeout(_MAX_SECONDS):
        while True:
            receipt = (await system.http.get(f"/v1/requests/{request_id}")).json()
            if "settled" == receipt.get("state"):
                break
            await asyncio.sleep(0.05)

    assert "client_cancelled" == receipt["outcome"]
    assert 200 == receipt["attempts"][0]["http_status"]  # of which the edge knows nothing by itself
    assert 0 == await system.edge.metric("edge_stops_unanswered_total")


@pytest.mark.parametrize("name", _CALLED)
async def test_strangers_are_served_by_neither(system: System, name: str) -> None:
    """Not in plain text, not without a certificate, not with that of another authority; with ours they are."""
    address, trusted = f"127.0.0.1:{system.called[name].port}", system.authority.certificate
    ours, others = system.authority.sign("somebody"), Authority().sign("edge")
    for credentials, is_served in (
        (None, False),
        (grpc.ssl_channel_credentials(trusted), False),
        (grpc.ssl_channel_credentials(trusted, *others[::-1]), False),
        (grpc.ssl_channel_credentials(trusted, *ours[::-1]), True),
    ):
        async with create_channel(address, credentials) as channel:
            assert is_served is await is_serving(channel, "", 20.0)


async def test_all_certificates_are_replaced_while_an_answer_streams(system: System) -> None:
    """No process is restarted, the answer goes on, and what is shown and told from then on is of the new ones."""
    body = {"query": "hello", "model": "long"}
    async with system.http.stream("POST", "/chat", json=body, headers={"cache-control": "no-store"}) as answer:
        lines = answer.aiter_lines()
        await until_delta(lines)
        before = await system.edge.metric('edge_tls_certificate_expires_timestamp_seconds{file="tls.crt"}')
        for service in system.services:
            service.secret.put(system.authority.sign("127.0.0.1", days=180), system.authority.certificate)
            await service.logs("tls_files_reloaded")
        for name, service in system.called.items():
            shown = await asyncio.to_thread(certificate_shown, service, system.edge.secret)
            assert (service.secret.path / "tls.crt").read_text().split() == shown.split()
            assert before < await service.metric(f'{name}_tls_certificate_expires_timestamp_seconds{{file="tls.crt"}}')
        assert before < await system.edge.metric('edge_tls_certificate_expires_timestamp_seconds{file="tls.crt"}')
        await until_delta(lines)
        assert "event: done" == await system.ask("short")
        await until_delta(lines)


async def until_delta(lines: AsyncIterator[str]) -> None:
    """Read on to the next words of an answer."""
    async for line in lines:
        assert line not in ("event: error", "event: done")
        if line == "event: delta":
            return
    raise AssertionError("the answer broke off")


async def test_broken_files_are_told_and_what_worked_goes_on(system: System) -> None:
    """All three say which file and why, and answer as before; then they are mended."""
    for service in system.services:
        content = [(service.secret.path / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt")]
        prefix = service.log_file.stem
        service.secret.put((content[0], b"what"), content[2])
        (line,) = await service.logs("tls_files_refused")
        assert f"{service.secret.path}/tls.key: not the key of " in line["reason"]
        assert 1 == await service.metric(f"{prefix}_tls_files_stale")
        assert "event: done" == await system.ask("short")
        service.secret.put((content[0], content[1]), content[2])
        async with asyncio.timeout(_MAX_SECONDS):
            while await service.metric(f"{prefix}_tls_files_stale"):
                await asyncio.sleep(0.05)


def test_no_service_starts_with_files_it_cannot_use(tmp_path: Path) -> None:
    """Status 1, and one line with the file and the reason."""
    folder, authority, nowhere = SecretFolder(tmp_path / "tls"), Authority(), free_port()
    folder.put(authority.sign("127.0.0.1", days=-1), authority.certificate)
    needed: dict[str, dict[str, object]] = {
        "edge": {"KEYS_FILE": tmp_path / "keys.yaml", "SPOOL_FILE": tmp_path / "spool.sqlite"},
        "llm_router": {"ROUTES_FILE": tmp_path / "routes.yaml"},
        "cost_ledger": {"POSTGRES_URL": f"postgresql://a@127.0.0.1:{nowhere}/b", "REDIS_URL": f"redis://a:{nowhere}"},
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-m", name],
            env=environment(name, {"PORT": nowhere, "TLS_DIRECTORY": folder.path, **settings}),
            stdout=subprocess.PIPE,
        )
        for name, settings in needed.items()
    ]
    for process in started:
        with process:
            output, _ = process.communicate(timeout=_MAX_SECONDS)
        (line,) = map(orjson.loads, output.splitlines())
        assert (1, "start_failed") == (process.returncode, line["event"])
        assert f"{folder.path}/tls.crt: a peer that trusts {folder.path}/ca.crt refuses it" in line["reason"]
        assert "certificate has expired" in line["reason"]
