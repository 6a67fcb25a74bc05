"""Rules of the decision table that hold for a stream and for an answer in one piece alike."""

from __future__ import annotations

import random
from collections.abc import Sequence

from llm_router.errors import ConnectionStale, ContextTooLong, ProviderError, ProviderRateLimited
from llm_router.failures import CompletionFailed, all_targets_failed, unable
from llm_router.target import Target
from spillway.router.v1 import router_pb2 as routerpb

_TRIES_PER_TARGET = 2
# With less time left no attempt can succeed; the last failure tells the caller more than a timeout would.
MIN_ATTEMPT_SECONDS = 0.05
# The same target is retried when its rate limit ends within this time; otherwise the next target is faster.
_MAX_RETRY_AFTER_SECONDS = 2.0
_FIRST_BACKOFF_SECONDS = 0.1


def pause_before_retry(error: ProviderError, tries: int, rng: random.Random) -> float | None:
    """Return how many seconds to wait before the same target is tried again after `tries` tries; None: it is not."""
    if isinstance(error, ConnectionStale):
        return 0.0
    if tries >= _TRIES_PER_TARGET:
        return None
    if isinstance(error, ProviderRateLimited):
        if error.retry_after is None or error.retry_after > _MAX_RETRY_AFTER_SECONDS:
            return None
        return error.retry_after + rng.uniform(0, _FIRST_BACKOFF_SECONDS)
    if error.retries_same_target:
        return _FIRST_BACKOFF_SECONDS * 2.0 ** (tries - 1) * rng.uniform(1, 2)
    return None


def may_be_larger(other: Target, target: Target, error: ContextTooLong) -> bool:
    """Tell whether `other` may take a prompt that was too long for `target`; unknown sizes may.

    Where what `target` says that it takes and what the routes file says of it differ, the smaller one counts: a prompt
    that is refused again costs nothing.
    """
    sizes = [size for size in (error.max_tokens, target.context_tokens) if size]
    return other.context_tokens is None or not sizes or other.context_tokens > min(sizes)


def exhausted(failures: Sequence[tuple[str, ProviderError]], passed_over: Sequence[str] = ()) -> CompletionFailed:
    """Return the error that says that no target answered; the caller's, when each found fault with the request itself.

    `passed_over` are targets that were not asked because their breaker is open: they might have answered.
    """
    if failures and not passed_over and all(error.outcome == routerpb.OUTCOME_REJECTED for _, error in failures):
        return unable(failures)
    return all_targets_failed(failures, passed_over)
