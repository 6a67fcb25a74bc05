"""Who reaches whom: exactly the arrows of the map."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from .cluster import Cluster, run

CLIENT = {"spillway-e2e": "client"}
# What each may reach, as `component:port`; nothing else.
ARROWS: Mapping[str, Sequence[str]] = {
    "edge": ("llm-router:50051", "cost-ledger:50052", "valkey:6379"),
    "llm-router": ("vllm:8000", "valkey:6379", "fault-provider:9000"),
    "cost-ledger": ("postgres:5432", "valkey:6379"),
    "vllm": (),
}
PORTS: Mapping[str, Sequence[int]] = {
    "edge": (8080, 9103),
    "llm-router": (50051, 9101),
    "cost-ledger": (50052, 9102),
    "postgres": (5432,),
    "valkey": (6379,),
    "vllm": (8000,),
}
_KUBERNETES = "kubernetes:443"
_PROBE = """
import socket, sys, threading
def look(name, host, port):
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return
    print(name)
asked = [[name, *address.rsplit(":", 1)] for name, address in (each.split("=") for each in sys.argv[1:])]
threads = [threading.Thread(target=look, args=each) for each in asked]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
# A new pod's policies are in force a moment after it has its address.
_IN_FORCE_SECONDS = 60.0


@pytest.fixture(scope="module")
async def addresses(cluster: Cluster) -> Mapping[str, str]:
    """Return where everything listens, by `component:port`."""
    found: dict[str, str] = {}
    for component, ports in PORTS.items():
        pod = (await cluster.pods(component))[0]
        assert pod.status is not None
        found |= {f"{component}:{port}": f"{pod.status.pod_ip}:{port}" for port in ports}
    for name, namespace in (("fault-provider", cluster.place.namespace), ("kubernetes", "default")):
        service = await cluster.core.read_namespaced_service(name, namespace)
        assert service.spec is not None
        (port,) = service.spec.ports or []
        found[f"{name}:{port.port}"] = f"{service.spec.cluster_ip}:{port.port}"
    return found


async def _reached(cluster: Cluster, namespace: str, pod: str, addresses: Mapping[str, str]) -> set[str]:
    asked = [f"{name}={address}" for name, address in addresses.items()]
    where = ("--context", cluster.place.context, "--namespace", namespace)
    return set((await run("kubectl", *where, "exec", pod, "--", "python", "-c", _PROBE, *asked)).split())


async def _reaches_only(
    cluster: Cluster, pod: str, expected: set[str], addresses: Mapping[str, str], namespace: str = ""
) -> None:
    deadline = time.monotonic() + _IN_FORCE_SECONDS
    reached = await _reached(cluster, namespace or cluster.place.namespace, pod, addresses)
    while reached != expected and time.monotonic() < deadline:
        await asyncio.sleep(1.0)
        reached = await _reached(cluster, namespace or cluster.place.namespace, pod, addresses)
    assert expected == reached


@pytest.mark.parametrize("component", ARROWS)
async def test_a_service_reaches_what_the_map_says_and_nothing_else(
    cluster: Cluster, addresses: Mapping[str, str], component: str
) -> None:
    """The edge no Postgres, the ledger no provider, nobody the cluster's own API."""
    pod = (await cluster.ready_pods(component))[0]
    others = {name: address for name, address in addresses.items() if not name.startswith(f"{component}:")}

    await _reaches_only(cluster, pod, set(ARROWS[component]), others)


async def test_a_stranger_reaches_nothing(cluster: Cluster, addresses: Mapping[str, str]) -> None:
    """A pod beside it that nobody named; the API and the provider are not Spillway's to close."""
    own = {name: address for name, address in addresses.items() if name not in {_KUBERNETES, "fault-provider:9000"}}
    async with cluster.idle_pod("stranger") as pod:
        await cluster.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=120s")
        await _reaches_only(cluster, pod, set(), own)
        assert {_KUBERNETES} <= await _reached(cluster, cluster.place.namespace, pod, addresses)


async def test_a_client_that_is_named_reaches_the_front_door_only(
    cluster: Cluster, addresses: Mapping[str, str]
) -> None:
    """By its label, in this namespace."""
    own = {name: address for name, address in addresses.items() if name not in {_KUBERNETES, "fault-provider:9000"}}
    async with cluster.idle_pod("client", CLIENT) as pod:
        await cluster.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=120s")
        await _reaches_only(cluster, pod, {"edge:8080"}, own)


@pytest.fixture
async def elsewhere(cluster: Cluster) -> AsyncIterator[str]:
    """Yield another namespace."""
    name = f"{cluster.place.namespace}-elsewhere"
    await cluster.kubectl("create", "namespace", name)
    yield name
    await cluster.kubectl("delete", "namespace", name, "--wait=false")


async def test_a_label_is_worth_nothing_in_another_namespace(
    cluster: Cluster, addresses: Mapping[str, str], elsewhere: str
) -> None:
    """Anybody can write a label on a pod of his own."""
    own = {name: address for name, address in addresses.items() if name not in {_KUBERNETES, "fault-provider:9000"}}
    async with cluster.idle_pod("client", CLIENT, elsewhere) as pod:
        where = ("--context", cluster.place.context, "--namespace", elsewhere)
        await run("kubectl", *where, "wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=120s")
        await _reaches_only(cluster, pod, set(), own, elsewhere)
