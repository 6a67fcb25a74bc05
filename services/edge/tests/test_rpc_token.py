"""An edge whose token the other services refuse says so in its log, and answers that nothing is behind it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest
from prometheus_client import CollectorRegistry, Counter

from kit.front_door.lone_edge import running_lone_edge
from servicekit.rpc import RpcServer
from servicekit.rpc_token import OneToken, TokenGuard
from spillway_local.ports import free_port

pytestmark = pytest.mark.integration

TOKEN = "a-token-of-more-than-32-characters"
_MAX_SECONDS = 60.0


@pytest.mark.parametrize("token", [TOKEN + "x", None])
async def test_a_refused_token_is_named_in_the_log(tmp_path: Path, token: str | None) -> None:
    """Router and ledger alike; callers learn no more than that no router answers."""
    address = f"127.0.0.1:{free_port()}"
    refusals = Counter("refused", "Refused calls.", ["reason"], registry=CollectorRegistry())
    server = RpcServer(address, [], lambda _: None, guard=TokenGuard(OneToken(TOKEN), refusals))
    await server.start()
    settings = {"EDGE_ROUTER_ADDRESS": address, "EDGE_LEDGER_ADDRESS": address}
    if token is not None:
        (tmp_path / "token").write_text(token)
        settings["EDGE_RPC_TOKEN_FILE"] = str(tmp_path / "token")
    try:
        await asyncio.to_thread(_check, tmp_path, settings)
    finally:
        await server.stop(0)


def _check(folder: Path, settings: dict[str, str]) -> None:
    with running_lone_edge(folder, None, **settings) as edge:
        edge.wait_for_lines("model_list_refresh_failed", "price_book_refresh_failed", timeout_seconds=_MAX_SECONDS)
        headers = {"authorization": f"Bearer {edge.key}"}
        answer = httpx2.post(f"{edge.url}/chat", json={"query": "who?"}, headers=headers, timeout=_MAX_SECONDS)
        assert (503, "router_unavailable") == (answer.status_code, answer.json()["error"]["code"])
        assert "token" not in answer.text
        health = httpx2.get(f"{edge.metrics_url}/health", timeout=_MAX_SECONDS).json()["dependencies"]
        assert ["down", "down"] == [health[name]["status"] for name in ("llm-router", "cost-ledger")]
    log = (folder / "edge.log").read_text()
    assert 2 <= log.count("the server refuses our token")
    assert TOKEN not in log
