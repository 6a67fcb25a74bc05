"""What Redis took is remembered until it is safe there, and told again to another run of it."""

from __future__ import annotations

import time

from edge.events.unsynced import SAFE_AFTER_SECONDS, RecentEvents


def test_another_run_may_have_lost_what_was_taken_just_now() -> None:
    """Also when the earlier run was asked in the meantime, as it is every second."""
    recent = RecentEvents()
    assert [] == recent.doubtful("first", time.monotonic())
    recent.took([b"one", b"two"])
    assert [] == recent.doubtful("first", time.monotonic())
    recent.took([b"three"])
    assert [] == recent.doubtful("first", time.monotonic() + SAFE_AFTER_SECONDS - 1.0)

    assert [b"one", b"two", b"three"] == recent.doubtful("second", time.monotonic())


def test_what_a_run_survived_for_long_enough_is_forgotten() -> None:
    """It is on the disk, and the memory is small."""
    recent = RecentEvents()
    recent.doubtful("first", time.monotonic())
    recent.took([b"one"])
    recent.doubtful("first", time.monotonic() + SAFE_AFTER_SECONDS + 1.0)

    assert [] == recent.doubtful("second", time.monotonic())


def test_while_nobody_answers_nothing_is_forgotten() -> None:
    """An outage may be long: what counts is when the earlier run was last seen, not how long it is ago."""
    recent = RecentEvents()
    recent.doubtful("first", time.monotonic())
    recent.took([b"one"])

    assert [b"one"] == recent.doubtful("second", time.monotonic() + 1000 * SAFE_AFTER_SECONDS)


def test_what_was_told_again_is_young_again() -> None:
    """And only another run hears of it a third time. The order of what runs side by side is not kept."""
    recent = RecentEvents()
    recent.doubtful("first", time.monotonic())
    recent.took([b"one", b"two"])
    assert [b"one", b"two"] == recent.doubtful("second", time.monotonic())
    recent.took([b"three"])
    recent.told_again(2, "second")

    assert [] == recent.doubtful("second", time.monotonic())
    assert [b"three", b"one", b"two"] == recent.doubtful("third", time.monotonic())


def test_the_memory_is_bounded() -> None:
    """The oldest go first."""
    recent = RecentEvents()
    recent.doubtful("first", time.monotonic())
    recent.took(b"%d" % number for number in range(10_001))

    assert (10_000, b"1") == (len(again := recent.doubtful("second", time.monotonic())), again[0])


def test_a_redis_that_does_not_name_its_runs_is_told_nothing_again() -> None:
    """Some hosted ones hide it; then nobody can tell a restart."""
    recent = RecentEvents()
    recent.took([b"one"])

    assert [] == recent.doubtful("", time.monotonic())
    assert [] == recent.doubtful("", time.monotonic())
