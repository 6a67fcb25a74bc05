"""A router starts, serves and ends well where no log line can be written."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx2
import yaml

from spillway_local import processes
from spillway_local.ports import free_port

_MAX_SECONDS = 60.0


async def test_a_full_disk_keeps_no_router_from_serving(tmp_path: Path) -> None:
    """Its metrics say how many lines are missing."""
    target = {"provider": "vllm", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
    routes = {"targets": {"one": target}, "routes": {"one": {"targets": ["one"]}}}
    (tmp_path / "routes.yaml").write_text(yaml.safe_dump(routes))
    metrics_port = free_port()
    settings = {"PORT": free_port(), "METRICS_PORT": metrics_port, "ROUTES_FILE": tmp_path / "routes.yaml"}
    environment = {**os.environ, **{f"LLM_ROUTER_{name}": str(value) for name, value in settings.items()}}
    process = processes.start([sys.executable, "-m", "llm_router"], Path("/dev/full"), environment=environment)
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{metrics_port}", timeout=_MAX_SECONDS) as http:
            async with asyncio.timeout(_MAX_SECONDS):
                while not await _is_ready(http):
                    await asyncio.sleep(0.05)
            lines = (await http.get("/metrics")).text.splitlines()
        lost = next(line for line in lines if line.startswith("llm_router_log_lines_lost_total "))
        assert float(lost.split()[1]) >= 1
    finally:
        status = processes.stop(process, signal.SIGTERM, 30.0)
    assert 0 == status


async def _is_ready(http: httpx2.AsyncClient) -> bool:
    try:
        return (await http.get("/health/ready")).status_code == 200
    except httpx2.TransportError:
        return False
