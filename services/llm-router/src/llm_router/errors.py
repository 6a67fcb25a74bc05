"""What can go wrong between the router and a provider, and what the chain does about it.

ProviderError
├── TargetUnreachable        no connection, or it broke before an answer began
├── ConnectionStale          500, 502, 503 or a reset on a connection that had served before
├── ProviderUnavailable      5xx
├── ProviderRateLimited      429 with a time after which a retry may help
├── CredentialRefused        401, 402, 403, 429 insufficient_quota
├── TargetMoved              3xx
├── ProviderTimeout          a timer ran out
│   └── DeadlineReached      the request's own clock ran out
├── StreamBroken             cut, malformed, ended without its end, unknown finish_reason
│   ├── ConnectionLost       the connection broke
│   └── SpliceNotFound       asked to continue an answer, it wrote something else
├── HedgeLost                another target was quicker
├── CallerGone               the client no longer waits for the answer
├── ContextTooLong           400 context_length_exceeded, 413
├── AnswerTooLarge           vectors that are more than one message may carry
├── RequestUntranslatable    this provider has no word for a field of the request
├── TargetUnable             the server or its model lacks what the request needs
└── RequestRejected          400 other, 404, 422: the caller's error
    └── ModelMissing         404: the routes are wrong

CompletionFailed             how the whole chain ended, for the caller
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import grpc

from llm_router.quotable import quotable
from spillway.router.v1 import router_pb2 as routerpb

# As long as a name in the routes file may be; an error travels as metadata, whose length has a limit.
_MAX_NAME_CHARACTERS = 200
# A client may name a field of its request as it likes.
_MAX_FIELD_CHARACTERS = 100
_MAX_CAUSE_CHARACTERS = 300
_MAX_QUOTED_CHARACTERS = 500
_OVERLOAD_SECONDS = 1
# Names of targets and models are the operator's, as many as there are.
_MAX_MESSAGE_CHARACTERS = 4000


class ProviderError(Exception):
    """An attempt failed. `code` is stable; the message is for the caller and holds nothing of prompt or secret."""

    code: ClassVar[str]
    outcome: ClassVar[routerpb.Outcome.ValueType] = routerpb.OUTCOME_PROVIDER_ERROR
    retries_same_target: ClassVar[bool] = False
    """Whether a second try on the same target may help."""
    moves_on: ClassVar[bool] = True
    """Whether the next target may be asked; False: every target would say the same."""
    was_billable: ClassVar[bool] = False
    """Whether the provider may bill for the attempt though it failed."""
    needs_operator: ClassVar[bool] = False
    """Whether only an operator can resolve it."""
    blames_target: ClassVar[bool] = False
    """Whether the target is at fault, so that its breaker counts it."""
    opens_breaker: ClassVar[bool] = False
    """Whether one failure opens the breaker: the next attempt would fail in the same way."""
    target_is_healthy: ClassVar[bool] = False
    """Whether the target itself rejected the request, which shows that it works."""
    quotes_provider: ClassVar[bool] = False
    """Whether the message of one that came with a status is the provider's own, which may quote the prompt."""

    def __init__(self, message: str, *, http_status: int = 0, param: str = "", provider_code: str = "") -> None:
        """`provider_code` is the provider's own name for it; empty when it gave none."""
        super().__init__(message)
        self.http_status = http_status
        self.param = param
        self.provider_code = provider_code

    def clean(self, credential: str | None) -> None:
        """Take the target's credential, and whatever looks like a key, out of what the provider has said."""
        self.args = (quotable(str(self), credential, _MAX_QUOTED_CHARACTERS),)
        self.param = quotable(self.param, credential, _MAX_FIELD_CHARACTERS)
        if quotable(self.provider_code, credential, _MAX_FIELD_CHARACTERS) != self.provider_code:
            self.provider_code = ""

    @property
    def cause(self) -> str:
        """Why it failed, as a sentence for the log."""
        sentence = f"the provider answered {self.http_status}"
        if not (self.quotes_provider and self.http_status):
            sentence = str(self)[:_MAX_CAUSE_CHARACTERS]
        return f"{sentence} ({type(self.__cause__).__name__})" if self.__cause__ is not None else sentence


class TargetUnreachable(ProviderError):
    """No connection could be made, or it broke before the answer began."""

    code = "target_unreachable"
    retries_same_target = True
    blames_target = True


class ConnectionStale(ProviderError):
    """A connection that had served before failed; a new one may lead to another server.

    Behind one address there may be several, and one that shuts down is still there for its old connections.
    """

    code = "connection_stale"


class ProviderUnavailable(ProviderError):
    """The provider answered with a 5xx status."""

    code = "provider_unavailable"
    retries_same_target = True
    blames_target = True


class ProviderRateLimited(ProviderError):
    """The provider asks to retry after `retry_after` seconds; None when it does not say when."""

    code = "rate_limited"
    blames_target = True

    def __init__(self, message: str, *, retry_after: float | None, http_status: int = 429) -> None:
        super().__init__(message, http_status=http_status)
        self.retry_after = retry_after


class CredentialRefused(ProviderError):
    """The account behind the credential has no access, or no credit."""

    code = "credential_refused"
    needs_operator = True
    blames_target = True
    opens_breaker = True


class TargetMoved(ProviderError):
    """The provider redirects the request, which is not followed: our credential belongs to the address in the file."""

    code = "target_moved"
    needs_operator = True
    blames_target = True
    opens_breaker = True


class ProviderTimeout(ProviderError):
    """Nothing came within a timer. The prompt was sent, so it may be billed."""

    code = "timeout"
    outcome = routerpb.OUTCOME_TIMEOUT
    was_billable = True
    blames_target = True


class DeadlineReached(ProviderTimeout):
    """The time of the whole request ran out while the target was still within its own timers."""

    blames_target = False


class StreamBroken(ProviderError):
    """The answer began and did not end as an answer ends."""

    code = "stream_broken"
    was_billable = True
    blames_target = True


class ConnectionLost(StreamBroken):
    """The connection broke after the answer had begun."""


class SpliceNotFound(StreamBroken):
    """The target was asked to continue an answer and did not repeat its last words, so that it cannot be joined."""

    code = "splice_not_found"
    blames_target = False
    target_is_healthy = True

    def __init__(self) -> None:
        super().__init__("the answer does not continue the one before")


class HedgeLost(ProviderError):
    """Two targets were asked and the other one was quicker; this one was cancelled, after it had read the prompt."""

    code = "hedge_lost"
    outcome = routerpb.OUTCOME_CLIENT_CANCELLED
    was_billable = True

    def __init__(self) -> None:
        super().__init__("another target was quicker")


class CallerGone(ProviderError):
    """The client no longer waits for the answer: the attempt was broken off, and nothing is wrong with its target."""

    code = ""
    outcome = routerpb.OUTCOME_CLIENT_CANCELLED
    was_billable = True

    def __init__(self) -> None:
        super().__init__("the caller has stopped the call")


class ContextTooLong(ProviderError):
    """The prompt does not fit into this target's context; a larger one may take it."""

    code = "context_length_exceeded"
    outcome = routerpb.OUTCOME_REJECTED
    quotes_provider = True
    target_is_healthy = True

    def __init__(
        self, message: str, *, http_status: int = 0, param: str = "messages", max_tokens: int | None = None
    ) -> None:
        """`max_tokens` is how many the target takes, by its own words; None when it does not say."""
        super().__init__(message, http_status=http_status, param=param)
        self.max_tokens = max_tokens


class AnswerTooLarge(ProviderError):
    """The vectors are more than can be sent on at once; fewer inputs make fewer."""

    code = "invalid_request"
    outcome = routerpb.OUTCOME_REJECTED
    moves_on = False
    was_billable = True
    target_is_healthy = True


class RequestUntranslatable(ProviderError):
    """The target's wire has no word for the field `param`; another target's may."""

    code = "unsupported_parameter"
    outcome = routerpb.OUTCOME_REJECTED

    @classmethod
    def field(cls, name: str, where: str) -> Self:
        """Return the error that says that the field `name` has no counterpart `where`."""
        name = name[:_MAX_FIELD_CHARACTERS]
        return cls(f"the field {name!r} has no counterpart {where}", param=name)


class TargetUnable(ProviderError):
    """The server, or its model, lacks what the request needs. That is no fault; another target may have it."""

    code = "unsupported_parameter"
    outcome = routerpb.OUTCOME_REJECTED
    target_is_healthy = True
    quotes_provider = True

    def __init__(
        self,
        what: str,
        quoted: str = "",
        *,
        http_status: int = 0,
        param: str = "",
        unknown_fields: tuple[str, ...] = (),
    ) -> None:
        """`what` it does not, and what the provider says of it, which may quote the prompt.

        `unknown_fields` are those of the body that the server says it does not know.
        """
        super().__init__(what + quoted, http_status=http_status, param=param)
        self.unknown_fields = unknown_fields
        self._what = what

    @property
    def cause(self) -> str:
        """See `ProviderError.cause`."""
        return f"the target cannot do what the request asks: {self._what}"


class RequestRejected(ProviderError):
    """The provider finds fault with the request itself."""

    code = "invalid_request"
    outcome = routerpb.OUTCOME_REJECTED
    moves_on = False
    target_is_healthy = True
    quotes_provider = True


class ModelMissing(RequestRejected):
    """The provider does not know the model, or not even the address: our routes are wrong."""

    code = "target_model_not_found"
    needs_operator = True

    def __init__(self, message: str, *, names_model: bool = True) -> None:
        """`names_model` is False when nothing in the answer speaks of a model: maybe nothing is at this address."""
        super().__init__(message, http_status=404)
        self.names_model = names_model


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
