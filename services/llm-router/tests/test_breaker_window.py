"""The window of outcomes against its plain definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.breaker.window import BUCKET_SECONDS, BUCKETS, Totals, Window

MAX_AGE = BUCKET_SECONDS * BUCKETS


@given(st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=60), st.floats(0, 40))
def test_the_window_holds_the_last_half_minute(outcomes: list[tuple[float, bool]], pause: float) -> None:
    """What is younger than 27 s counts, what is older than 30 s does not, between them the bucket decides."""
    window, now, ended = Window(), 5000.0, []
    for distance, failed in outcomes:
        now += distance
        window.add(now, Totals(1, int(failed)))
        ended.append((now, failed))
    now += pause

    totals = window.totals(now)
    surely = [failed for at, failed in ended if now - at < MAX_AGE - BUCKET_SECONDS]
    perhaps = [failed for at, failed in ended if now - at <= MAX_AGE]
    assert len(surely) <= totals.attempts <= len(perhaps)
    assert sum(surely) <= totals.failures <= sum(perhaps)


@pytest.mark.parametrize(
    ("attempts", "failures", "exceeds"),
    [(0, 0, False), (4, 4, False), (5, 5, True), (5, 3, True), (5, 2, False), (6, 3, True), (100, 49, False)],
)
def test_half_of_at_least_five_exceeds_the_threshold(attempts: int, failures: int, exceeds: bool) -> None:
    """The rule by which a breaker opens."""
    assert exceeds is Totals(attempts, failures).exceeds_threshold
