"""How a whole chain ended when it did not end well: the error that its caller gets."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from llm_router.errors import ContextTooLong, ProviderError, ProviderRateLimited
from spillway.router.v1 import router_pb2 as routerpb

# As long as a name in the routes file may be; an error travels as metadata, whose length has a limit.
_MAX_NAME_CHARACTERS = 200
_OVERLOAD_SECONDS = 1
# Names of targets and models are the operator's, as many as there are.
_MAX_MESSAGE_CHARACTERS = 4000


class CompletionFailed(Exception):
    """How the chain ended when it did not end well: a gRPC status and its one detail."""

    def __init__(self, status: grpc.StatusCode, detail: routerpb.CompletionError) -> None:
        detail.message = detail.message[:_MAX_MESSAGE_CHARACTERS]
        super().__init__(detail.message)
        self.status = status
        self.detail = detail

    @property
    def outcome(self) -> str:
        """How the request ended, for logs and labels."""
        if self.detail.code == "stopped":
            return "client_cancelled"
        match self.status:
            case grpc.StatusCode.ABORTED:
                return "interrupted"
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return "timeout"
            case grpc.StatusCode.UNAVAILABLE:
                return "provider_error"
            case _:
                return "rejected"


def stopped() -> CompletionFailed:
    """The caller has stopped the call."""
    detail = routerpb.CompletionError(code="stopped", message="the caller has stopped the call")
    return CompletionFailed(grpc.StatusCode.ABORTED, detail)


def overloaded() -> CompletionFailed:
    """This router has no place for another call; another one may have."""
    message = "this llm-router runs as many requests as it can; try again in a moment"
    detail = routerpb.CompletionError(code="overloaded", message=message, retryable=True)
    detail.retry_after.FromSeconds(_OVERLOAD_SECONDS)
    return CompletionFailed(grpc.StatusCode.RESOURCE_EXHAUSTED, detail)


def unknown_model(route: str, known: Sequence[str]) -> CompletionFailed:
    """Nothing leads from this name to a target."""
    message = f"model {route[:_MAX_NAME_CHARACTERS]!r} does not exist; there are: {', '.join(sorted(known))}"
    return CompletionFailed(
        grpc.StatusCode.NOT_FOUND, routerpb.CompletionError(code="model_not_found", message=message, param="model")
    )


def no_embeddings(route: str) -> CompletionFailed:
    """No target of the route can turn text into vectors."""
    message = f"model {route!r} has no embeddings: none of its targets can make them"
    detail = routerpb.CompletionError(code="invalid_request", message=message, param="model")
    return CompletionFailed(grpc.StatusCode.INVALID_ARGUMENT, detail)


def callers_error(error: ProviderError, message: str = "") -> CompletionFailed:
    """Every target would say the same, or the last one did: the request itself has to change.

    `message` is said instead of the error's own.
    """
    detail = routerpb.CompletionError(
        code=error.code,
        message=_sendable(message or str(error)),
        param=_sendable(error.param),
        provider_code=error.provider_code,
    )
    return CompletionFailed(grpc.StatusCode.INVALID_ARGUMENT, detail)


def unable(failures: Sequence[tuple[str, ProviderError]]) -> CompletionFailed:
    """Every target that was asked cannot take this request as it is; `failures` are (target, error), not empty.

    A client that is told of a prompt that is too long can do something about it, so that goes first, with the largest
    context that there is.
    """
    too_long = [error for _, error in failures if isinstance(error, ContextTooLong)]
    if too_long:
        return callers_error(max(too_long, key=lambda error: error.max_tokens or 0))
    reasons = "; ".join(f"{target}: {error}" for target, error in failures)
    return callers_error(failures[0][1], f"no target that was asked can do this ({reasons})")


def all_targets_failed(
    failures: Sequence[tuple[str, ProviderError]], passed_over: Sequence[str] = ()
) -> CompletionFailed:
    """No target answered; `failures` are (target, error) in the order of the attempts.

    `passed_over` are targets that were not asked because their breaker is open. A retry helps unless each target waits
    for an operator or finds fault with the request itself.
    """
    can_heal = any(not error.needs_operator and error.outcome != routerpb.OUTCOME_REJECTED for _, error in failures)
    reasons = "; ".join(filter(None, (_named(failures), *(f"{target}: breaker open" for target in passed_over))))
    detail = routerpb.CompletionError(
        code="all_targets_failed",
        message=f"no target of this model answered ({reasons})",
        retryable=can_heal or bool(passed_over) or not failures,
    )
    limits = [error for _, error in failures if isinstance(error, ProviderRateLimited)]
    if len(limits) == len(failures):
        detail.code = "rate_limited"
        waits = [error.retry_after for error in limits if error.retry_after is not None]
        if waits:
            detail.retry_after.FromMilliseconds(int(min(waits) * 1000))
    return CompletionFailed(grpc.StatusCode.UNAVAILABLE, detail)


def deadline_exceeded(failures: Sequence[tuple[str, ProviderError]]) -> CompletionFailed:
    """The time of the whole request ran out before a target had answered."""
    message = f"the request's time ran out before a target answered ({_named(failures)})"
    detail = routerpb.CompletionError(code="deadline_exceeded", message=message, retryable=True)
    return CompletionFailed(grpc.StatusCode.DEADLINE_EXCEEDED, detail)


def interrupted(target: str, error: ProviderError, delivered_characters: int) -> CompletionFailed:
    """The answer broke off after its beginning had been sent on."""
    message = f"the answer broke off after {delivered_characters} characters ({target}: {error.code}); it is incomplete"
    detail = routerpb.CompletionError(
        code="stream_interrupted",
        message=message,
        retryable=error.moves_on,
        delivered_characters=delivered_characters,
    )
    return CompletionFailed(grpc.StatusCode.ABORTED, detail)


def _sendable(text: str) -> str:
    """Replace what no message can hold: a provider's text may have half a character."""
    return text.encode(errors="replace").decode()


def _named(failures: Sequence[tuple[str, ProviderError]]) -> str:
    return "; ".join(f"{target}: {error.code}" for target, error in failures)
