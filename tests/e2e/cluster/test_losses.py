"""Pods that vanish under running streams: nobody is lied to, and nothing that was spent is missing."""

from __future__ import annotations

import asyncio

import pytest

from .cluster import Cluster
from .load_clients import ONE_SECOND, TEN_SECONDS, LoadClients, with_clients

# gRPC's own pauses are above 40 s then, and grow.
_AWAY_SECONDS = 120.0
# The cluster's DNS may remember for 5 s that there was nobody and need 3 s for an answer; pauses are below 4 s.
_FOUND_SECONDS = 15.0


@with_clients("router")
async def test_the_streams_of_a_killed_router_end_honestly_and_are_recorded(
    cluster: Cluster, clients: LoadClients
) -> None:
    """What it carried ends with an error that says so, all others are whole."""
    routers = await cluster.ready_pods("llm-router")
    async with clients.streaming(TEN_SECONDS, 20):
        await cluster.delete(routers[0], grace_seconds=0)
        await cluster.until_ready("llm-router", len(routers))

    assert {"stop", "stream_interrupted"} == set(clients.ends)
    assert len(clients.transcripts) >= 20
    await clients.reconcile()


@with_clients("away")
async def test_routers_that_were_all_away_for_long_are_found_when_they_are_back(
    cluster: Cluster, clients: LoadClients
) -> None:
    """Requests are refused meanwhile, before anything is spent; gRPC by itself asks ever more seldom for the name."""
    routers = len(await cluster.ready_pods("llm-router"))
    await cluster.scale("llm-router", 0)
    await asyncio.sleep(_AWAY_SECONDS)
    await clients.ask()
    await cluster.scale("llm-router", routers)
    await asyncio.sleep(_FOUND_SECONDS)
    await clients.ask(count=10)

    assert {"router_unavailable": 1, "stop": 10} == clients.ends
    await clients.reconcile()


@pytest.mark.parametrize(
    ("component", "clients"),
    [("valkey", "valkey"), ("postgres", "postgres")],
    indirect=["clients"],
    ids=["valkey", "postgres"],
)
async def test_a_store_that_is_deleted_costs_no_answer_and_no_event(
    cluster: Cluster, clients: LoadClients, component: str
) -> None:
    """Answers go on while it is away, and what they cost is recorded when it is back."""
    async with clients.streaming(ONE_SECOND, 20):
        await cluster.until_replaced(component, f"{cluster.named(component)}-0")

    assert {"stop"} == set(clients.ends)
    await clients.reconcile()
