"""What can go wrong between the router and a provider, and what the chain does about it; `failures.py` has its end.

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
"""

from __future__ import annotations

from typing import ClassVar, Self

from llm_router.quotable import quotable
from spillway.router.v1 import router_pb2 as routerpb

# A client may name a field of its request as it likes.
_MAX_FIELD_CHARACTERS = 100
_MAX_CAUSE_CHARACTERS = 300
_MAX_QUOTED_CHARACTERS = 500


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
    quotes_provider = False

    def __init__(self, message: str, *, names_model: bool = True) -> None:
        """`names_model` is False when nothing in the answer speaks of a model: maybe nothing is at this address."""
        super().__init__(message, http_status=404)
        self.names_model = names_model
