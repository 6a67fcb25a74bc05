"""The GPU pool: who lands there, who does not, who answers from there, and what happens when it is drained."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kit.front_door.edge_client import EdgeClient, Json

from .cluster import Cluster, name_of, node_of, until
from .installation import Installation
from .load_clients import LoadClients, end_of, with_clients

GPU = "nvidia.com/gpu"
QUESTION: Json = {"query": "What is the capital of France?", "temperature": 0, "max_tokens": 20}
DOWN = "status-503"


@pytest.fixture(scope="module")
async def pool(cluster: Cluster) -> set[str]:
    """Return the names of the nodes of the pool."""
    nodes = (await cluster.core.list_node(label_selector="pool=gpu")).items
    names = {node.metadata.name for node in nodes if node.metadata and node.metadata.name}
    assert names, "no node has the label pool=gpu: k8s/kind.yaml makes one, k8s/pretend-gpu gives it GPUs"
    return names


async def test_the_model_lands_on_the_pool_and_nothing_else_does(cluster: Cluster, pool: set[str]) -> None:
    """Only there, with a GPU of its own; every other pod of the namespace is elsewhere."""
    (model,) = await cluster.pods("vllm")
    others = (await cluster.core.list_namespaced_pod(cluster.place.namespace)).items

    assert model.spec is not None
    limits = model.spec.containers[0].resources and model.spec.containers[0].resources.limits
    assert node_of(model) in pool
    assert "1" == (limits or {}).get(GPU)
    assert not pool & {node_of(pod) for pod in others if name_of(pod) != name_of(model)}


@pytest.mark.usefixtures("pool")
async def test_a_pod_that_does_not_tolerate_the_pool_is_not_put_there(cluster: Cluster) -> None:
    """Even one that asks for it: the taint keeps it out."""
    async with cluster.idle_pod("wants-the-pool", nodeSelector={"pool": "gpu"}) as name:

        async def is_refused() -> bool:
            pod = await cluster.core.read_namespaced_pod(name, cluster.place.namespace)
            conditions = (pod.status and pod.status.conditions) or []
            return any(each.type == "PodScheduled" and each.reason == "Unschedulable" for each in conditions)

        await until(is_refused, "a pod that finds no node")


async def test_with_both_vendors_down_the_answer_comes_from_the_pool(cluster: Cluster, edge: EdgeClient) -> None:
    """Its Service leads to the pod on the pool and to no other."""
    (model,) = await cluster.pods("vllm")
    service = await cluster.core.read_namespaced_endpoints(cluster.named("vllm"), cluster.place.namespace)
    chat = await edge.ask({**QUESTION, "model": "both-down"}, {"cache-control": "no-store"})

    assert model.status is not None
    addresses = [each.ip for subset in service.subsets or [] for each in subset.addresses or []]
    assert [model.status.pod_ip] == addresses
    assert "Paris" in chat.text
    assert ("vllm", "smollm2-135m-instruct") == (chat.last["provider"], chat.last["model"])
    receipt = await edge.receipt(chat.request_id)
    assert ["openai"] * 2 + ["anthropic"] * 2 + ["vllm"] == [attempt["provider"] for attempt in receipt["attempts"]]


@pytest.fixture
async def cordoned(cluster: Cluster, pool: set[str]) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Yield what closes the pool to new pods, as a drain does first; afterwards it is open and has one model."""

    async def cordon() -> None:
        for node in pool:
            await cluster.kubectl("cordon", node)

    yield cordon
    await _uncordon(cluster, pool)
    await cluster.scale("vllm", 1)


async def _uncordon(cluster: Cluster, pool: set[str]) -> None:
    for node in pool:
        await cluster.kubectl("uncordon", node)


@with_clients("drain")
async def test_a_drain_takes_one_model_at_a_time(
    cluster: Cluster, clients: LoadClients, pool: set[str], cordoned: Callable[[], Awaitable[None]]
) -> None:
    """The last one stays until another is ready, and goes on answering."""
    first, second = await cluster.scale("vllm", 2)
    await cordoned()

    assert await cluster.evict(first)
    assert not await cluster.evict(second)
    await until(lambda: _is_gone(cluster, first), f"{first} gone")
    await clients.ask(DOWN, 3, "streams-to-the-pool", max_tokens=5)
    await _uncordon(cluster, pool)
    await cluster.until_ready("vllm", 2)
    assert await cluster.evict(second)
    assert {"stop", "length"} >= set(clients.ends)
    await clients.reconcile()


@with_clients("pool")
async def test_a_pool_that_is_drained_to_the_last_is_missed_honestly_and_comes_back(
    cluster: Cluster, clients: LoadClients, pool: set[str], cordoned: Callable[[], Awaitable[None]]
) -> None:
    """While it is empty and both vendors are down there is one error for each question, and all of it is recorded."""
    (model,) = await cluster.scale("vllm", 1)
    await cordoned()

    assert await cluster.evict(model)
    await until(lambda: _is_gone(cluster, model), f"{model} gone")
    missed = await clients.ask(DOWN, 3, "streams-to-the-pool", max_tokens=5)
    await _uncordon(cluster, pool)
    await cluster.until_ready("vllm", 1)
    answered = await clients.ask(DOWN, 3, "streams-to-the-pool", max_tokens=5)

    assert {"all_targets_failed"} == set(map(end_of, missed))
    assert {"stop", "length"} >= set(map(end_of, answered))
    await clients.reconcile()


async def _is_gone(cluster: Cluster, pod: str) -> bool:
    return pod not in map(name_of, await cluster.pods("vllm"))


async def test_without_a_pool_a_model_on_the_cpu_stands_in(
    cluster: Cluster, edge: EdgeClient, installation: Installation
) -> None:
    """Under the same name: no route changes."""
    await installation.upgrade(values={"vllm": {"enabled": False}, "localModel": {"enabled": True}})
    try:
        (model,) = await cluster.until_ready("local-model", 1)
        await until(lambda: _are_gone(cluster, "vllm"), "the pool's model gone")
        chat = await edge.ask({**QUESTION, "model": "both-down"}, {"cache-control": "no-store"})
    finally:
        await installation.upgrade()
        await cluster.until_ready("vllm", 1)

    assert model
    assert "Paris" in chat.text
    assert ("vllm", "smollm2-135m-instruct") == (chat.last["provider"], chat.last["model"])
    assert "ok" == (await edge.receipt(chat.request_id))["outcome"]


async def _are_gone(cluster: Cluster, component: str) -> bool:
    return not await cluster.pods(component)
