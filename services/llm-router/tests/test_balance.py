"""Targets of equal rank share the requests by weight, or by how quickly they answer."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from llm_router.routes.file import Balance, Hedge, Route
from llm_router.strategies.balance import order_targets
from llm_router.strategies.hedging import HedgeAllowances, hedge_delay
from llm_router.strategies.latency import Latencies
from llm_router.target import Target


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.now


def target(name: str, weight: float = 1.0) -> Target:
    """Make a target."""
    return Target(name=name, provider="vllm", model="m", base_url="http://127.0.0.1:9/v1", weight=weight)


def route(*ranks: tuple[Target, ...], balance: Balance = "weighted") -> Route:
    """Make a route."""
    return Route(name="r", ranks=ranks, balance=balance)


A, B, C, LAST = target("a", 3.0), target("b"), target("c"), target("last")


def firsts(chosen: Route, latencies: Latencies, times: int = 4000) -> Counter[str]:
    """Count who is asked first."""
    chance = random.Random(7)
    return Counter(order_targets(chosen, latencies, chance)[0].name for _ in range(times))


def test_weights_share_the_requests() -> None:
    """Three to one is three to one."""
    counts = firsts(route((A, B), (LAST,)), Latencies(Clock()))

    assert 0.72 < counts["a"] / counts.total() < 0.78
    assert 0 == counts["last"]


def test_every_target_stands_in_the_order_once_and_ranks_keep_theirs() -> None:
    """The targets that were not chosen are fallbacks; a lower rank comes after them."""
    for seed in range(50):
        order = order_targets(route((A, B, C), (LAST,)), Latencies(Clock()), random.Random(seed))
        assert {"a", "b", "c"} == {member.name for member in order[:3]}
        assert ["last"] == [member.name for member in order[3:]]


def test_quicker_of_two_is_asked_first() -> None:
    """The target that is ten times as quick is tried first, until it slows down."""
    clock = Clock()
    latencies = Latencies(clock)
    latencies.observe("b", 1.0)
    latencies.observe("c", 0.1)
    chosen = route((B, C), balance="least_latency")

    assert {"c"} == firsts(chosen, latencies).keys()
    latencies.observe("c", 5.0)
    assert {"b"} == firsts(chosen, latencies).keys()


def test_busy_target_counts_as_slower() -> None:
    """Attempts that run there count."""
    latencies = Latencies(Clock())
    latencies.observe("b", 0.2)
    latencies.observe("c", 0.3)
    latencies.begin("b")
    chosen = route((B, C), balance="least_latency")

    assert {"c"} == firsts(chosen, latencies).keys()
    latencies.end("b")
    assert {"b"} == firsts(chosen, latencies).keys()


def test_best_of_many_targets_is_not_swamped() -> None:
    """The better of two random ones is tried first: never the worst of three, not always the best."""
    latencies = Latencies(Clock())
    for name, seconds in (("b", 0.1), ("c", 0.2), ("last", 0.3)):
        latencies.observe(name, seconds)
    counts = firsts(route((B, C, LAST), balance="least_latency"), latencies)

    assert 0 == counts["last"]
    assert 0.6 < counts["b"] / counts.total() < 0.73


def test_slow_target_is_tried_again_after_a_while() -> None:
    """Its figure fades; otherwise it would count as slow for ever."""
    clock = Clock()
    latencies = Latencies(clock)
    latencies.observe("b", 5.0)
    latencies.observe("c", 0.5)
    chosen = route((B, C), balance="least_latency")
    assert {"c"} == firsts(chosen, latencies).keys()
    clock.now += 30
    latencies.observe("c", 0.5)

    assert {"b"} == firsts(chosen, latencies).keys()


def test_hedge_waits_for_the_usual_time_within_its_bounds() -> None:
    """The recent 95th percentile; the upper bound while there are too few samples."""
    hedge = Hedge(min_delay_seconds=0.2, max_delay_seconds=2.0, max_extra_ratio=0.1)
    latencies = Latencies(Clock())
    assert 2.0 == hedge_delay(hedge, "b", latencies)
    for number in range(100):
        latencies.observe("b", 0.3 + number / 100)
        latencies.observe("c", 0.01)
        latencies.observe("last", 30.0)

    assert pytest.approx(0.3 + 0.94) == hedge_delay(hedge, "b", latencies)
    assert 0.2 == hedge_delay(hedge, "c", latencies)
    assert 2.0 == hedge_delay(hedge, "last", latencies)


def test_hedging_costs_no_more_than_its_share() -> None:
    """A tenth of the requests, and two saved up at most."""
    hedge, allowances = Hedge(min_delay_seconds=0.2, max_delay_seconds=4.0, max_extra_ratio=0.1), HedgeAllowances()
    taken = 0
    for _ in range(1000):
        allowances.add_request("r", hedge)
        taken += allowances.take("r")

    assert 99 <= taken <= 102
    for _ in range(1000):
        allowances.add_request("r", hedge)
    assert [True, True, False] == [allowances.take("r") for _ in range(3)]
