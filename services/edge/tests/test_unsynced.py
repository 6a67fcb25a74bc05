"""Events that Redis has accepted are kept until they are safe there, and returned after it was restarted."""

from __future__ import annotations

import time

from edge.events.unsynced import SAFE_AFTER_SECONDS, UnsyncedEvents


def test_after_a_restart_the_events_of_the_last_seconds_are_unconfirmed() -> None:
    """Also when the run before was asked for its id in the meantime, as it is every second."""
    unsynced = UnsyncedEvents()
    assert [] == unsynced.unconfirmed("first", time.monotonic())
    unsynced.add([b"one", b"two"])
    assert [] == unsynced.unconfirmed("first", time.monotonic())
    unsynced.add([b"three"])
    assert [] == unsynced.unconfirmed("first", time.monotonic() + SAFE_AFTER_SECONDS - 1.0)

    assert [b"one", b"two", b"three"] == unsynced.unconfirmed("second", time.monotonic())


def test_events_that_a_run_has_survived_are_dropped() -> None:
    """They are on disk, and memory is bounded."""
    unsynced = UnsyncedEvents()
    unsynced.unconfirmed("first", time.monotonic())
    unsynced.add([b"one"])
    unsynced.unconfirmed("first", time.monotonic() + SAFE_AFTER_SECONDS + 1.0)

    assert [] == unsynced.unconfirmed("second", time.monotonic())


def test_nothing_is_dropped_while_redis_is_away() -> None:
    """An outage may be long: what counts is when the run before last answered, not how long ago that is."""
    unsynced = UnsyncedEvents()
    unsynced.unconfirmed("first", time.monotonic())
    unsynced.add([b"one"])

    assert [b"one"] == unsynced.unconfirmed("second", time.monotonic() + 1000 * SAFE_AFTER_SECONDS)


def test_resent_events_count_as_new() -> None:
    """They are sent a third time only to yet another run. The order of concurrent events is not kept."""
    unsynced = UnsyncedEvents()
    unsynced.unconfirmed("first", time.monotonic())
    unsynced.add([b"one", b"two"])
    assert [b"one", b"two"] == unsynced.unconfirmed("second", time.monotonic())
    unsynced.add([b"three"])
    unsynced.resent(2, "second")

    assert [] == unsynced.unconfirmed("second", time.monotonic())
    assert [b"three", b"one", b"two"] == unsynced.unconfirmed("third", time.monotonic())


def test_memory_is_bounded() -> None:
    """The oldest events are dropped first."""
    unsynced = UnsyncedEvents()
    unsynced.unconfirmed("first", time.monotonic())
    unsynced.add(b"%d" % number for number in range(10_001))
    events = unsynced.unconfirmed("second", time.monotonic())

    assert (10_000, b"1") == (len(events), events[0])


def test_nothing_is_resent_to_a_redis_that_hides_its_run_id() -> None:
    """Some hosted ones do; a restart cannot be detected there."""
    unsynced = UnsyncedEvents()
    unsynced.add([b"one"])

    assert [] == unsynced.unconfirmed("", time.monotonic())
    assert [] == unsynced.unconfirmed("", time.monotonic())
