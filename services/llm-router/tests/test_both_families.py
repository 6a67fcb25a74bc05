"""A router listens for edges of IPv4 and of IPv6."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx2
import pytest

from kit.router.process import running_llm_router
from servicekit.rpc import create_channel, is_serving

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6"),
]

ROUTES = {
    "targets": {"t": {"provider": "vllm", "model": "m", "base_url": "http://127.0.0.1:9/v1"}},
    "routes": {"default": {"targets": ["t"]}},
}


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_every_address_is_one_of_both_families(tmp_path: Path, host: str) -> None:
    """Calls, probes and metrics."""
    settings = {"LLM_ROUTER_HOST": "::"}
    async with running_llm_router(tmp_path, ROUTES, tmp_path / "router.log", settings) as router:
        async with create_channel(f"{host}:{router.port}") as channel:
            assert await is_serving(channel, "spillway.router.v1.RouterService", 10.0)
        async with httpx2.AsyncClient() as client:
            answer = await client.get(f"http://{host}:{router.metrics_port}/health/ready", timeout=10)
    assert 200 == answer.status_code
