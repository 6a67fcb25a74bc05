"""Every pod replaced while fifty streams run: none is cut."""

from __future__ import annotations

import asyncio
import itertools

from .cluster import Cluster, uid_of
from .installation import Installation
from .load_clients import LoadClients, with_clients

SERVICES = ("edge", "llm-router", "cost-ledger")
STORES = ("postgres", "valkey")
_VALUES = {"llm-router": "llmRouter", "cost-ledger": "costLedger"}


@with_clients("roll")
async def test_each_deployment_is_rolled_under_fifty_streams_and_none_is_cut(
    cluster: Cluster, clients: LoadClients
) -> None:
    """One after the other, then all at once."""
    async with clients.streaming():
        for component in (*SERVICES, "vllm"):
            await cluster.restart(component)
        await cluster.restart(*SERVICES)

    assert {"stop"} == set(clients.ends)
    await clients.reconcile()


@with_clients("upgrade")
async def test_an_upgrade_and_a_rollback_under_fifty_streams_cut_none(
    cluster: Cluster, clients: LoadClients, installation: Installation
) -> None:
    """Every pod of every service and of both stores is another one afterwards, twice."""
    mark = {"e2e.spillway/upgraded": "yes"}
    changed = {_VALUES.get(component, component): {"podAnnotations": mark} for component in (*SERVICES, *STORES)}
    async with clients.streaming():
        before = await _pods(cluster)
        await installation.upgrade(values=changed)
        upgraded = await _pods(cluster)
        await installation.rollback()
        after = await _pods(cluster)

    assert not before & upgraded
    assert not upgraded & after
    assert {"stop"} == set(clients.ends)
    await clients.reconcile()


async def _pods(cluster: Cluster) -> set[str]:
    """Wait until all rollouts are done; return the ids of the pods."""
    for component in SERVICES:
        await cluster.rolled_out(component)
    for component in STORES:
        await cluster.rolled_out(component, "statefulset")
    pods = itertools.chain(*[await cluster.pods(component) for component in (*SERVICES, *STORES)])
    return set(map(uid_of, pods))


@with_clients("scale")
async def test_new_edges_use_every_router(cluster: Cluster, clients: LoadClients) -> None:
    """One edge becomes three, and one again, under streams; each new one sends calls to each router."""
    (first,) = await cluster.scale("edge", 1)
    routers = await cluster.scale("llm-router", 3)
    async with clients.streaming(count=20):
        edges = await cluster.scale("edge", 3)
        answers = list(await clients.ask(count=30))
        answers += await clients.ask(count=60)
        ids = {transcript.minted_id for transcript in answers}
        logs = dict(
            zip(
                [*edges, *routers],
                await asyncio.gather(*(cluster.log(pod) for pod in (*edges, *routers))),
                strict=True,
            )
        )
        asked_of = {pod: {request_id for request_id in ids if request_id in log} for pod, log in logs.items()}
        await cluster.scale("edge", 1)
        await cluster.scale("llm-router", 2)

    pairs = {(edge, router) for edge in edges for router in routers if asked_of[edge] & asked_of[router]}
    assert {(edge, router) for edge in edges if edge != first for router in routers} <= pairs
    assert {"stop"} == set(clients.ends)
    await cluster.scale("edge", 2)
    await clients.reconcile()
