"""A provider's HTTP refusal, read the same way for every vendor: which error of ours is it?"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Mapping
from typing import Any

import orjson

from llm_router.errors import (
    ContextTooLong,
    CredentialRefused,
    ModelMissing,
    ProviderError,
    ProviderRateLimited,
    ProviderUnavailable,
    RequestRejected,
    TargetMoved,
    TargetUnable,
)
from llm_router.providers.refusals.inability import read_inability
from llm_router.providers.refusals.too_long import read_too_long
from llm_router.providers.refusals.unknown_fields import read_unknown_fields
from servicekit.lenient_json import clean_text

# It is cut once more when the keys in it are taken out: `ProviderError.clean`.
_MAX_MESSAGE_CHARACTERS = 2000
_MAX_PARAM_CHARACTERS = 500
_MAX_DATE_CHARACTERS = 64
# With these a server may say that it cannot take this request. Others speak of accounts, rates and their own troubles.
_ABOUT_REQUEST = frozenset({400, 403, 404, 405, 413, 415, 416, 422, 424, 500, 501})
_NAMES_MODEL = re.compile("model|deployment", re.IGNORECASE)
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_error", "billing_hard_limit_reached"})
# A code as vendors write them; numbers repeat the status.
_PROVIDER_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")
_MAX_RETRY_AFTER_SECONDS = 24 * 60 * 60.0


def read_refusal(status: int, body: object, headers: Mapping[str, str]) -> ProviderError:
    """Turn status, parsed body and headers of a refused request into the error that decides what happens next."""
    details = _error_object(body)
    code, kind = _name(details.get("code")), _name(details.get("type"))
    if 300 <= status < 400:
        message = f"the provider redirects elsewhere with {status}: the target's base_url is not its address"
        return TargetMoved(message, http_status=status)
    message = clean_text((_message(details) or f"the provider answered {status}")[:_MAX_MESSAGE_CHARACTERS])
    if status in _ABOUT_REQUEST and (error := _about_request(status, message, frozenset({code, kind}), details)):
        return error
    if status in {401, 402, 403}:
        return CredentialRefused(f"the provider refused our credential with {status}", http_status=status)
    if status == 429:
        if _QUOTA_CODES & {code, kind}:
            return CredentialRefused("the account behind our credential is out of quota", http_status=status)
        return ProviderRateLimited(
            "the provider is rate-limiting us", retry_after=read_retry_after(headers), http_status=status
        )
    if status == 501:  # so engines answer whose model makes no vectors
        return TargetUnable("it does not do this at all: it answered 501", http_status=status, param="model")
    # 408 and 409 are what gateways in front of a provider say of their own troubles.
    if status >= 500 or status in {408, 409}:
        return ProviderUnavailable(f"the provider answered {status}", http_status=status)
    if status == 404:
        names_model = _NAMES_MODEL.search(f"{code} {message}") is not None
        message = "the provider does not know the model of this target"
        if not names_model:
            message = "the provider answered 404 and speaks of no model: the target's base_url may not be its address"
        return ModelMissing(message, names_model=names_model)
    own = code if _PROVIDER_CODE.fullmatch(code) else ""
    param = clean_text(_name(details.get("param"))[:_MAX_PARAM_CHARACTERS])
    return RequestRejected(message, http_status=status, param=param, provider_code=own)


def _about_request(
    status: int, message: str, names: frozenset[str], details: dict[str, Any]
) -> ContextTooLong | TargetUnable | None:
    """Return the error when this target cannot take what another one may; None: it is about something else."""
    return (
        read_too_long(status, message, names, details)
        or read_inability(status, message)
        or read_unknown_fields(status, message, names, details)
    )


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Read how many seconds to wait from `retry-after-ms` or `retry-after` (seconds or a date), at most a day.

    None when there is neither, or none that can be read.
    """
    seconds = _requested_seconds(headers)
    if seconds is None or not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_SECONDS)


def _requested_seconds(headers: Mapping[str, str]) -> float | None:
    if "retry-after-ms" in headers:
        milliseconds = _number(headers["retry-after-ms"])
        if milliseconds is not None:
            return milliseconds / 1000
    value = headers.get("retry-after", "")
    seconds = _number(value)
    if seconds is not None or len(value) > _MAX_DATE_CHARACTERS:
        return seconds
    try:
        return email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _message(details: dict[str, Any]) -> str:
    """Return what the provider says is wrong; TGI has it as `error`, FastAPI as `detail`, some of it as JSON."""
    for name in ("message", "error", "detail"):
        if text := details.get(name):
            return text if isinstance(text, str) else _as_json(text)
    return ""


def _as_json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # nested too deeply, or a number of more than 64 bits
        return ""


def _name(value: object) -> str:
    """Return a code or the name of a field as a text; nothing when it is none."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and value else ""


def _error_object(body: object) -> dict[str, Any]:
    """Find the vendor's error object: `{"error": {...}}`, or the SDK's unwrapped inner object, or nothing.

    Google's endpoint for OpenAI's wire writes a list around it.
    """
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return {}
    inner = body.get("error")
    return inner if isinstance(inner, dict) else body
