"""What strangers can cause to be logged is bounded, and what is left out is counted."""

from __future__ import annotations

import time

from structlog.testing import capture_logs

from servicekit.log_limit import LimitedLog


def test_lines_of_a_kind_are_limited_and_the_next_one_says_how_many_are_missing() -> None:
    """Per event and reason, so that one flood hides nothing else."""
    log = LimitedLog(max_per_second=3)
    with capture_logs() as logged:
        for number in range(100):
            log.info("refused", "flood", number=number)
        log.info("refused", "other")
    written = len(logged) - 1

    assert [0, 1, 2] == [line["number"] for line in logged[:3]]
    assert "other" == logged[-1]["reason"]
    assert written < 100

    time.sleep(1.1)
    with capture_logs() as later:
        log.info("refused", "flood", number=100)
        log.info("refused", "flood", number=101)

    left_out = sum(line.get("left_out", 0) for line in (*logged, *later))
    assert 100 - written == left_out
    assert "left_out" not in later[1]


def test_reasons_that_are_taken_from_requests_by_mistake_take_no_memory() -> None:
    """The table of kinds does not grow without end."""
    log = LimitedLog()
    with capture_logs() as logged:
        for number in range(1000):
            log.info("refused", str(number))

    assert 1000 == len(logged)
    assert len(log._kinds) <= 200
