"""An error that a provider tells inside a stream of status 200: which status would it have had?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_router.errors import ProviderError, StreamBroken
from llm_router.providers.events import MAX_NAME_CHARACTERS, named
from llm_router.providers.numbers import whole_number
from llm_router.providers.refusal import read_refusal
from llm_router.providers.refusals.too_long import read_too_long

# What an error inside a stream is called instead of its status: OpenAI's and Anthropic's types and codes, exceptions of
# vLLM and of OpenAI's SDK, the kinds of TGI, and the statuses of Google's APIs. Compared by their letters alone.
_STATUS_OF_NAME: Mapping[str, int] = {
    **dict.fromkeys(("badrequest", "badrequesterror", "invalidrequest", "invalidrequesterror", "invalidargument"), 400),
    **dict.fromkeys(("invalidparameter",), 400),
    **dict.fromkeys(("contextlengthexceeded", "exceedcontextsizeerror", "failedprecondition", "outofrange"), 400),
    **dict.fromkeys(("contentpolicyviolation", "contentfilter", "invalidprompt", "unsupportedparameter"), 400),
    **dict.fromkeys(("authenticationerror", "invalidapikey", "unauthorized", "unauthenticated"), 401),
    **dict.fromkeys(("billingerror", "insufficientbalance", "paymentrequired"), 402),
    **dict.fromkeys(("permissionerror", "permissiondenied", "permissiondeniederror", "forbidden"), 403),
    **dict.fromkeys(("notfound", "notfounderror", "modelnotfound"), 404),
    **dict.fromkeys(("requesttoolarge",), 413),
    **dict.fromkeys(("unprocessableentity", "unprocessableentityerror", "validation", "validationerror"), 422),
    **dict.fromkeys(("ratelimiterror", "ratelimitexceeded", "ratelimit", "toomanyrequests", "resourceexhausted"), 429),
    **dict.fromkeys(("insufficientquota", "billinghardlimitreached"), 429),
    **dict.fromkeys(("apierror", "servererror", "internal", "internalerror", "internalservererror", "generation"), 500),
    **dict.fromkeys(("incompletegeneration",), 500),
    **dict.fromkeys(("badgateway", "badgatewayerror"), 502),
    **dict.fromkeys(("serviceunavailable", "serviceunavailableerror", "unavailable"), 503),
    **dict.fromkeys(("timeouterror", "gatewaytimeout", "deadlineexceeded"), 504),
    **dict.fromkeys(("overloadederror", "overloaded"), 529),
}
_MAX_MESSAGE_CHARACTERS = 2000
_NAME_FIELDS = ("code", "type", "status", "status_code", "error_type")


def read_stream_error(event: dict[str, Any]) -> ProviderError:
    """Turn an error that is told inside a stream of status 200 into what its own status would have been.

    `event` is the whole event: with an `error`, an object or a text, or the error itself. StreamBroken when nothing
    in it says what it is.
    """
    inner = event.get("error")
    error = {**event, **inner} if isinstance(inner, dict) else {**event, "message": inner or event.get("message")}
    status = _status_in(error)
    if status is not None:
        return read_refusal(status, {"error": error}, {})
    message = error.get("message")
    if isinstance(message, str) and read_too_long(400, message[:_MAX_MESSAGE_CHARACTERS], frozenset(), {}):
        return read_refusal(400, {"error": error}, {})
    names = (named(error.get(name)) for name in ("code", "type") if error.get(name) not in (None, "", "error"))
    return StreamBroken("the provider reported an error in its stream" + next(filter(None, names), ""))


def _status_in(error: dict[str, Any]) -> int | None:
    """Find the status of an error: a number first, wherever it stands, for names say less; None when there is none."""
    values = [error.get(name) for name in _NAME_FIELDS]
    for value in values:
        number = whole_number(value)
        if number is not None and 400 <= number < 600:
            return number
    for value in values:
        name = value.lower() if isinstance(value, str) and len(value) <= MAX_NAME_CHARACTERS else ""
        known = _STATUS_OF_NAME.get("".join(filter(str.isalnum, name)))
        if known is not None:
            return known
    return None
