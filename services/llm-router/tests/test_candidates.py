"""The order in which targets are tried while breakers are open."""

from __future__ import annotations

import pytest

from kit.router.breaker_pods import Pod
from llm_router.chain.candidates import Candidates
from llm_router.errors import ContextTooLong, TargetUnreachable
from llm_router.target import Target


def target(name: str, context_tokens: int | None = None) -> Target:
    """Make a target."""
    return Target(
        name=name, provider="vllm", model="m", base_url="http://127.0.0.1:9/v1", context_tokens=context_tokens
    )


A, B, C = target("a", 8000), target("b", 4000), target("c", 16000)


async def candidates_with_open(*names: str) -> tuple[Candidates, Pod]:
    """Return A, B and C as candidates in a process whose breakers of these names are open."""
    pod = Pod(targets=("a", "b", "c"))
    for name in names:
        await pod.fails(5, target=name)
    return Candidates([A, B, C], pod.breakers, pod.metrics), pod


async def turns(line: Candidates, *, insists: bool = True) -> list[str]:
    """Return the targets that get a turn, one after the other."""
    names = []
    while (following := await line.next(insists=insists)) is not None:
        names.append(following[0].name)
    return names


async def test_closed_breakers_keep_the_order_of_the_route() -> None:
    """Every target gets its turn."""
    line, _ = await candidates_with_open()

    assert ["a", "b", "c"] == await turns(line)
    assert [] == line.passed_over


async def test_target_with_an_open_breaker_is_tried_last() -> None:
    """A doubtful answer is better than none."""
    line, pod = await candidates_with_open("a")

    assert ["b", "c", "a"] == await turns(line)
    assert 1 == pod.counted("llm_router_targets_passed_over_total", target="a")


async def test_of_several_open_breakers_one_target_is_asked() -> None:
    """Never none, and never all: a request must not hammer every target that is down."""
    line, _ = await candidates_with_open("a", "b", "c")

    assert ["c"] == await turns(line)
    assert ["a", "b"] == line.passed_over


async def test_hedge_is_never_sent_behind_an_open_breaker() -> None:
    """It would rarely win."""
    line, _ = await candidates_with_open("b", "c")

    assert ["a"] == await turns(line, insists=False)


async def test_retry_needs_another_permit() -> None:
    """The breaker may have opened with the first one, unless it is the route's last chance."""
    line, _ = await candidates_with_open("a", "b", "c")
    following = await line.next()

    assert following is not None
    assert await line.again(following[0]) is not None
    assert await line.again(A) is None


async def test_prompt_too_long_is_tried_on_larger_targets_only() -> None:
    """This holds for those that were passed over, too."""
    line, _ = await candidates_with_open("b")
    following = await line.next()
    assert following is not None
    line.leave(following[0], ContextTooLong("x"))

    assert ["c"] == await turns(line)


@pytest.mark.parametrize(("said", "larger"), [(2000, ["b", "c"]), (9_000_000, ["c"])])
async def test_the_smaller_of_two_sizes_counts(said: int, larger: list[str]) -> None:
    """Of what a target says that it takes and what the routes file says of it: who is larger than one may be asked."""
    line, _ = await candidates_with_open()
    following = await line.next()
    assert following is not None
    line.leave(following[0], ContextTooLong("x", max_tokens=said))

    assert larger == await turns(line)


async def test_fallback_is_counted_with_where_it_came_from() -> None:
    """From the target that failed, or from the one whose breaker is open."""
    line, pod = await candidates_with_open("b")
    first = await line.next()
    assert first is not None
    line.leave(first[0], TargetUnreachable("x"))
    await line.next()

    labels = {"from_target": "a", "to_target": "c", "reason": "target_unreachable"}
    assert 1 == pod.counted("llm_router_fallbacks_total", **labels)


async def test_demand_for_a_target_is_counted_once_a_request() -> None:
    """Asked, passed over, or asked in the end after it was passed over; a second try is no second demand."""
    line, pod = await candidates_with_open("a", "c")
    pod.metrics.export_zeros([], [A, B, C])
    following = await line.next()
    assert following is not None
    assert await line.again(following[0]) is not None
    before = [pod.counted("llm_router_target_demand_total", target=name, provider="vllm") for name in "abc"]

    await turns(line)

    assert [1, 1, 0] == before
    assert [1, 1, 1] == [pod.counted("llm_router_target_demand_total", target=n, provider="vllm") for n in "abc"]
