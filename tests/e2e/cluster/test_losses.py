"""Pods that vanish under running streams: nobody is lied to, and nothing that was spent is missing."""

from __future__ import annotations

import asyncio

import pytest

from .cluster import Cluster
from .crowd import ONE_SECOND, TEN_SECONDS, Crowd, asked_by

# gRPC's own pauses are above 40 s then, and grow.
_AWAY_SECONDS = 120.0
# The cluster's DNS may remember for 5 s that there was nobody and need 3 s for an answer; pauses are below 4 s.
_FOUND_SECONDS = 15.0


@asked_by("router")
async def test_the_streams_of_a_killed_router_end_honestly_and_are_recorded(cluster: Cluster, crowd: Crowd) -> None:
    """What it carried ends with an error that says so, all others are whole."""
    routers = await cluster.ready_pods("llm-router")
    async with crowd.streaming(TEN_SECONDS, 20):
        await cluster.delete(routers[0], grace_seconds=0)
        await cluster.until_ready("llm-router", len(routers))

    assert {"stop", "stream_interrupted"} == set(crowd.ends)
    assert len(crowd.transcripts) >= 20
    await crowd.reconcile()


@asked_by("away")
async def test_routers_that_were_all_away_for_long_are_found_when_they_are_back(cluster: Cluster, crowd: Crowd) -> None:
    """Requests are refused meanwhile, before anything is spent; gRPC by itself asks ever more seldom for the name."""
    routers = len(await cluster.ready_pods("llm-router"))
    await cluster.scale("llm-router", 0)
    await asyncio.sleep(_AWAY_SECONDS)
    await crowd.ask()
    await cluster.scale("llm-router", routers)
    await asyncio.sleep(_FOUND_SECONDS)
    await crowd.ask(count=10)

    assert {"router_unavailable": 1, "stop": 10} == crowd.ends
    await crowd.reconcile()


@pytest.mark.parametrize(
    ("component", "crowd"),
    [("valkey", "valkey"), ("postgres", "postgres")],
    indirect=["crowd"],
    ids=["valkey", "postgres"],
)
async def test_a_store_that_is_deleted_costs_no_answer_and_no_event(
    cluster: Cluster, crowd: Crowd, component: str
) -> None:
    """Answers go on while it is away, and what they cost is recorded when it is back."""
    async with crowd.streaming(ONE_SECOND, 20):
        await cluster.until_replaced(component, f"{cluster.named(component)}-0")

    assert {"stop"} == set(crowd.ends)
    await crowd.reconcile()
