"""What a caller is told when nobody answered."""

from __future__ import annotations

from llm_router.chain.decision import exhausted
from llm_router.errors import ContextTooLong, ProviderUnavailable

TOO_LONG, DOWN = ContextTooLong("too long", param="messages"), ProviderUnavailable("down")


def test_when_everyone_finds_fault_with_the_request_it_is_the_callers_error() -> None:
    """The first one's words."""
    failure = exhausted([("a", TOO_LONG), ("b", TOO_LONG)])

    assert ("context_length_exceeded", False) == (failure.detail.code, failure.detail.retryable)


def test_when_somebody_was_not_asked_a_retry_may_help() -> None:
    """The target behind the open breaker might have taken the prompt: it is named, and the error is no verdict."""
    failure = exhausted([("small", TOO_LONG)], ["large"])

    assert ("all_targets_failed", True) == (failure.detail.code, failure.detail.retryable)
    assert "small: context_length_exceeded; large: breaker open" in failure.detail.message


def test_a_failure_of_a_target_is_not_the_callers() -> None:
    """One of two was down."""
    failure = exhausted([("a", TOO_LONG), ("b", DOWN)])

    assert ("all_targets_failed", True) == (failure.detail.code, failure.detail.retryable)
