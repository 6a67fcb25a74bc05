"""An edge listens for clients of IPv4 and of IPv6."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx2
import pytest

from kit.front_door.lone_edge import running_lone_edge

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6"),
]


def test_every_address_is_one_of_both_families(tmp_path: Path) -> None:
    """On all its ports; the log writes its address as a URL would."""
    with running_lone_edge(tmp_path, EDGE_HOST="::") as edge:
        for url in (edge.url, edge.metrics_url):
            for address in (url, url.replace("127.0.0.1", "[::1]")):
                assert 200 == httpx2.get(f"{address}/health/live", timeout=10).status_code, address
        port = edge.url.rpartition(":")[2]
        assert f'"address":"[::]:{port}"' in edge.log_file.read_text().replace(" ", "")
