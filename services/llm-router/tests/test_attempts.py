"""When a target that has failed is asked a second time."""

from __future__ import annotations

import asyncio
import random

from kit.router.breaker_pods import Pod
from llm_router.breaker.permit import Permit
from llm_router.chain.attempts import Attempts, ChainDependencies, Limits
from llm_router.chain.embed_attempt import EmbedAttempt
from llm_router.errors import ProviderError, TargetUnreachable
from llm_router.strategies.hedging import HedgeAllowances
from llm_router.strategies.latency import Latencies
from llm_router.target import Target
from spillway.router.v1 import router_pb2 as routerpb

DOWN = TargetUnreachable("nobody listens")


class Pauses(random.Random):
    """The chain draws the length of each pause; this one makes them short and counts them."""

    def __init__(self) -> None:
        super().__init__(7)
        self.count = 0

    def uniform(self, a: float, b: float) -> float:
        """Return nearly nothing."""
        self.count += 1
        return 0.001


async def failing_request(pod: Pod, pauses: random.Random, error: ProviderError = DOWN) -> list[routerpb.Attempt]:
    """Ask the one target of a route, which fails; return the records."""
    records: list[routerpb.Attempt] = []
    target = Target(name="t", provider="vllm", model="m", base_url="http://127.0.0.1:9/v1")
    deadline = asyncio.get_running_loop().time() + 60
    dependencies = ChainDependencies(
        breakers=pod.breakers,
        latencies=Latencies(pod.clock),
        allowances=HedgeAllowances(),
        metrics=pod.metrics,
        rng=pauses,
        router_address="",
    )
    attempts: Attempts[EmbedAttempt] = Attempts([target], Limits(4, deadline), dependencies, records.append)

    async def ask(target: Target, permit: Permit) -> None:
        attempt = EmbedAttempt(attempts.count + 1, target, permit, deadline=deadline, input_tokens=1, inputs=1)
        attempts.start(attempt)
        attempts.fail(attempt, error)

    await attempts.find(ask)
    return records


async def test_a_failure_that_opens_the_breaker_is_not_followed_by_a_pause_for_a_retry() -> None:
    """Requests with two attempts each, until the fifth failure opens the breaker: that request has one."""
    pod, pauses = Pod(), Pauses()

    tried = [len(await failing_request(pod, pauses)) for _ in range(3)]

    assert [2, 2, 1] == tried
    assert 2 == pauses.count
    assert 2 == pod.counted("llm_router_retries_total", target="t", reason="target_unreachable")


async def test_a_probe_that_fails_is_not_followed_by_a_retry() -> None:
    """Whether the target is back is known after one attempt."""
    pod, pauses = Pod(), Pauses()
    await pod.fails(5)
    pod.clock.advance(20.0)

    assert 1 == len(await failing_request(pod, pauses))
    assert 0 == pauses.count
    assert not pod.counted("llm_router_retries_total", target="t", reason="target_unreachable")
