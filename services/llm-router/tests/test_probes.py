"""What the kubelet is told by a real router process from its start to its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx2
import orjson
import yaml

from servicekit.rpc import create_channel
from spillway.router.v1 import router_pb2 as routerpb
from spillway.router.v1 import router_pb2_grpc
from spillway_local import processes
from spillway_local.ports import free_port

_MAX_SECONDS = 60.0


async def test_a_drain_is_told_while_the_last_stream_runs_on(tmp_path: Path, fault_provider_url: str) -> None:
    """Ready until SIGTERM and not from then on; alive, with metrics, for as long as the stream takes."""
    target = {"provider": "vllm", "model": "ok?chunks=2000&interval_ms=50", "base_url": f"{fault_provider_url}/v1"}
    routes = {"targets": {"long": target}, "routes": {"long": {"targets": ["long"]}}}
    (tmp_path / "routes.yaml").write_text(yaml.safe_dump(routes))
    port, metrics_port, log_file = free_port(), free_port(), tmp_path / "router.log"
    settings = {"PORT": port, "METRICS_PORT": metrics_port, "ROUTES_FILE": tmp_path / "routes.yaml"}
    environment = {**os.environ, **{f"LLM_ROUTER_{name}": str(value) for name, value in settings.items()}}
    process = processes.start([sys.executable, "-m", "llm_router"], log_file, environment=environment)
    channel = create_channel(f"127.0.0.1:{port}")
    try:
        processes.wait_until_ready(process, lambda: '"started"' in log_file.read_text(), log_file, _MAX_SECONDS)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{metrics_port}", timeout=_MAX_SECONDS) as http:
            assert 200 == (await http.get("/health/ready")).status_code
            body = orjson.dumps({"messages": [{"role": "user", "content": "hello"}]})
            request = routerpb.StreamCompletionRequest(request_id="test", tenant="t", route="long", body=body)
            stream = router_pb2_grpc.RouterServiceStub(channel).StreamCompletion(request, timeout=_MAX_SECONDS)
            await stream.read()

            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(_MAX_SECONDS):
                while (await http.get("/health/ready")).status_code == 200:
                    await asyncio.sleep(0.02)

            assert '{"status":"draining"}' == (await http.get("/health/ready")).text
            assert 200 == (await http.get("/health/live")).status_code
            assert "llm_router_open_streams 1.0" in (await http.get("/metrics")).text
            assert not stream.done()
        stream.cancel()
        assert 0 == await asyncio.to_thread(process.wait, _MAX_SECONDS)
    finally:
        await channel.close()
        processes.stop(process, signal.SIGTERM, 20.0)
