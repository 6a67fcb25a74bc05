"""A provider's refusal: status, body and headers decide which error it is and how long to wait."""

from __future__ import annotations

import email.utils
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_router.errors import (
    ContextTooLong,
    CredentialRefused,
    ModelMissing,
    ProviderError,
    ProviderRateLimited,
    ProviderUnavailable,
    RequestRejected,
    TargetUnable,
)
from llm_router.providers.refusal import read_refusal, read_retry_after

DAY = 24 * 60 * 60


def openai(message: object = "SECRET", code: object = None, kind: object = None, **more: object) -> object:
    """Write OpenAI's error body."""
    return {"error": {"message": message, "type": kind, "code": code, **more}}


def anthropic(kind: str, message: str = "SECRET") -> object:
    """Write Anthropic's error body."""
    return {"type": "error", "error": {"type": kind, "message": message}}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, openai(code="invalid_api_key"), CredentialRefused),
        (402, anthropic("billing_error"), CredentialRefused),
        (403, None, CredentialRefused),
        (429, openai(code="rate_limit_exceeded", kind="tokens"), ProviderRateLimited),
        (429, anthropic("rate_limit_error"), ProviderRateLimited),
        (429, None, ProviderRateLimited),
        (429, openai(code="insufficient_quota"), CredentialRefused),
        (429, openai(kind="insufficient_quota"), CredentialRefused),
        (429, {"code": "insufficient_quota", "message": "SDK form"}, CredentialRefused),
        (429, openai(code="billing_hard_limit_reached"), CredentialRefused),
        (500, openai(), ProviderUnavailable),
        (501, openai(kind="not_supported_error"), TargetUnable),
        (502, "<html>", ProviderUnavailable),
        (503, None, ProviderUnavailable),
        (504, None, ProviderUnavailable),
        (529, anthropic("overloaded_error"), ProviderUnavailable),
        (408, None, ProviderUnavailable),
        (409, None, ProviderUnavailable),
        (404, openai(code="model_not_found"), ModelMissing),
        (404, "page not found", ModelMissing),
        (400, openai(code="context_length_exceeded"), ContextTooLong),
        (400, openai(kind="exceed_context_size_error"), ContextTooLong),
        (400, anthropic("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"), ContextTooLong),
        (400, openai("This model's maximum context length is 8 tokens."), ContextTooLong),
        (413, anthropic("request_too_large"), ContextTooLong),
        (400, [openai(code="context_length_exceeded")], ContextTooLong),
        (400, openai(), RequestRejected),
        (422, openai(), RequestRejected),
        (418, [], RequestRejected),
    ],
)
def test_refusal_is_classified_by_status_and_body(status: int, body: object, expected: type[ProviderError]) -> None:
    """The table of the design, for both vendors' shapes and for bodies of proxies in between."""
    error = read_refusal(status, body, {})

    assert expected is type(error)
    assert status == error.http_status


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (openai(code="content_policy_violation"), "content_policy_violation"),
        (openai(code="integer_above_max_value", kind="invalid_request_error"), "integer_above_max_value"),
        (openai(code=400, kind="BadRequestError"), ""),
        (openai(code="400"), ""),
        (openai(code="x" * 65), ""),
        (openai(code="two words\r\nx-header: 1"), ""),
        (openai(code={"a": 1}), ""),
        (anthropic("invalid_request_error"), ""),
        (None, ""),
    ],
)
def test_the_providers_own_code_is_kept_when_it_is_one(body: object, code: str) -> None:
    """A name; a number only repeats the status."""
    assert code == read_refusal(400, body, {}).provider_code


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (openai("no such voice"), "no such voice"),
        ([openai("a list around it")], "a list around it"),
        ({"error": "inputs must be <= 4096", "error_type": "validation"}, "inputs must be <= 4096"),
        ({"detail": "Not allowed"}, "Not allowed"),
        ({"detail": [{"loc": ["body", "n"], "msg": "too many"}]}, '[{"loc":["body","n"],"msg":"too many"}]'),
        ({"object": "error", "message": {"detail": ["x"]}, "code": None}, '{"detail":["x"]}'),
        ({"error": {"message": None}}, "the provider answered 422"),
        ("text", "the provider answered 422"),
    ],
)
def test_the_providers_own_sentence_reaches_the_caller(body: object, message: str) -> None:
    """Wherever the server writes it."""
    assert message == str(read_refusal(422, body, {}))


@pytest.mark.parametrize("status", [401, 402, 403, 404, 408, 429, 500, 503, 529])
def test_only_the_callers_own_error_is_quoted(status: int) -> None:
    """A message about our account or the provider's own trouble is not shown to the caller."""
    assert "SECRET" not in str(read_refusal(status, openai(), {}))


def test_callers_error_names_its_field() -> None:
    """The caller gets the provider's message, cut to a bounded length, and the field."""
    error = read_refusal(400, openai("x" * 10_000, param="temperature"), {})
    error.clean(None)
    other = read_refusal(400, openai(param="p" * 10_000), {})
    other.clean(None)

    assert "temperature" == error.param
    assert "x" * 500 == str(error)
    assert "p" * 100 == other.param


def test_a_quoted_message_can_be_sent_on() -> None:
    """A lone surrogate and a NUL are replaced: no message of gRPC could carry the one, no table the other."""
    error = read_refusal(400, openai("a\ud800\0", param="b\udc00"), {})

    assert ("a\ufffd\ufffd", "b\ufffd") == (str(error), error.param)


def test_rate_limit_says_how_long() -> None:
    """The chain decides by this time whether to wait."""
    error = read_refusal(429, None, {"retry-after": "7"})

    assert isinstance(error, ProviderRateLimited)
    assert 7.0 == error.retry_after


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": " 3 "}, 3.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "0.5"}, 0.0005),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after-ms": "-5"}, 0.0),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "1.2.3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after-ms": "nan"}, None),
        ({"retry-after-ms": "inf"}, None),
        ({"retry-after-ms": "-inf"}, None),
        ({"retry-after-ms": "9" * 400}, None),
        ({"retry-after": "1e300"}, DAY),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
        ({"retry-after": "Mon, 01 Jan 9999 00:00:00 GMT"}, DAY),
        ({"retry-after": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, None),
        ({"retry-after": "Mon, 41 Jan 2040 00:00:00 GMT"}, None),
    ],
)
def test_time_to_wait_is_read_or_there_is_none(headers: dict[str, str], expected: float | None) -> None:
    """Seconds, milliseconds and dates of the past; an invalid value never becomes a wait."""
    assert expected == read_retry_after(headers)


def test_date_becomes_the_time_until_then() -> None:
    """The third form that RFC 9110 allows."""
    date = email.utils.formatdate(time.time() + 600, usegmt=True)
    seconds = read_retry_after({"retry-after": date})

    assert seconds is not None
    assert 500 < seconds <= 600


@given(
    st.sampled_from(["retry-after", "retry-after-ms"]),
    st.text() | st.from_regex(r"\w{3}, \d+ Jan \d+ \d+:\d+ ?[+-]?\d*"),
)
def test_no_header_makes_a_wait_out_of_bounds(name: str, value: str) -> None:
    """Any text gives a wait from 0 s to a day, or none; it never raises."""
    seconds = read_retry_after({name: value})

    assert seconds is None or 0 <= seconds <= DAY


@given(
    st.integers(400, 599),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(st.characters()),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "code", "type", "message"]), inner),
        max_leaves=8,
    ),
)
@example(400, {"error": [10**30]})
@example(422, {"detail": {"half": "\ud800"}})
def test_every_refusal_is_an_error_of_ours(status: int, body: object) -> None:
    """Any body of a proxy becomes an error that the chain can handle."""
    assert isinstance(read_refusal(status, body, {}), ProviderError)
