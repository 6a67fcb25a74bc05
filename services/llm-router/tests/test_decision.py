"""The error when no target answered."""

from __future__ import annotations

from llm_router.chain.decision import exhausted
from llm_router.errors import ContextTooLong, CredentialRefused, ProviderUnavailable, TargetUnable

TOO_LONG, DOWN = ContextTooLong("too long", param="messages"), ProviderUnavailable("down")


def test_rejection_by_every_target_is_the_callers_error() -> None:
    """The error is that of the first target."""
    failure = exhausted([("a", TOO_LONG), ("b", TOO_LONG)])

    assert ("context_length_exceeded", False) == (failure.detail.code, failure.detail.retryable)


def test_of_prompts_that_are_too_long_the_largest_context_is_told() -> None:
    """Whoever shortens the conversation to it gets an answer, whatever else other targets cannot do."""
    small, large = ContextTooLong("> 8", max_tokens=8), ContextTooLong("> 32", max_tokens=32)
    failure = exhausted([("a", small), ("b", TargetUnable("it takes no pictures")), ("c", large), ("d", TOO_LONG)])

    assert ("context_length_exceeded", "> 32") == (failure.detail.code, failure.detail.message)


def test_who_cannot_do_it_is_named() -> None:
    """Each target with its reason, and the field at fault."""
    failure = exhausted(
        [("a", TargetUnable("it takes no tools", param="tools")), ("b", TargetUnable("it takes no pictures"))]
    )

    assert ("unsupported_parameter", "tools", False) == (
        failure.detail.code,
        failure.detail.param,
        failure.detail.retryable,
    )
    assert "(a: it takes no tools; b: it takes no pictures)" in failure.detail.message


def test_target_that_was_not_tried_makes_the_error_retryable() -> None:
    """The target with the open breaker might have accepted the prompt; the error names it."""
    failure = exhausted([("small", TOO_LONG)], ["large"])

    assert ("all_targets_failed", True) == (failure.detail.code, failure.detail.retryable)
    assert "small: context_length_exceeded; large: breaker open" in failure.detail.message


def test_failure_of_one_target_is_not_the_callers_error() -> None:
    """One of the two was down."""
    failure = exhausted([("a", TOO_LONG), ("b", DOWN)])

    assert ("all_targets_failed", True) == (failure.detail.code, failure.detail.retryable)


def test_a_retry_does_not_help_while_each_target_waits_for_an_operator() -> None:
    """Two keys that were refused stay refused; a target that is down may come back."""
    refused = CredentialRefused("no credit", http_status=402)

    assert not exhausted([("a", refused), ("b", refused)]).detail.retryable
    assert not exhausted([("a", refused), ("b", TOO_LONG)]).detail.retryable
    assert exhausted([("a", refused), ("b", DOWN)]).detail.retryable
    assert exhausted([("a", refused)], ["b"]).detail.retryable
