"""`spillway status`: the running processes, and whether they answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx2

from spillway_local import valkey
from spillway_local.home import CommandError, Home
from spillway_local.readiness import check_of


def run_status(home: Home) -> bool:
    """Print a line per process and the edge's view of its dependencies; return whether all are healthy.

    CommandError when nothing runs.
    """
    run = home.read_run()
    if run is None:
        raise CommandError(home.not_running)
    states = asyncio.run(_states(run["processes"], _passwords(home)))
    print(f"spillway (pid {run['pid']}) since {run['started_at']}, {run['url']}")
    for process, is_ready in zip(run["processes"], states, strict=True):
        state = "ready" if is_ready else "not ready"
        print(f"  {process['name']:<12} pid {process['pid']:<8} {process['address']:<18} {state}")
    health = _edge_health(run["url"])
    for name, dependency in health.get("dependencies", {}).items():
        consequence = f": {dependency['consequence']}" if "consequence" in dependency else ""
        print(f"  edge reports {name:<12} {dependency['status']}{consequence}")
    print(f"  edge reports {health['status']}")
    return all(states) and health["status"] == "ok"


def _passwords(home: Home) -> dict[str, str]:
    token = home.rpc_token_file.read_text()
    return {"valkey": valkey.ensure_password(home.path / "valkey"), "llm-router": token, "cost-ledger": token}


async def _states(processes: list[dict[str, Any]], passwords: Mapping[str, str]) -> list[bool]:
    def check(process: dict[str, Any]) -> Any:
        name = process["name"]
        return check_of(name, int(process["address"].rpartition(":")[2]), passwords.get(name, ""))()

    return list(await asyncio.gather(*(check(process) for process in processes)))


def _edge_health(url: str) -> dict[str, Any]:
    try:
        health: dict[str, Any] = httpx2.get(f"{url}/health", timeout=5.0).json()
    except (httpx2.HTTPError, ValueError):
        return {"status": "no answer"}
    return health
