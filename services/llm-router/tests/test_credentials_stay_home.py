"""A target's credential goes to its address and nowhere else: to no other host, client, log or record."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from urllib.parse import quote

import grpc
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.router.hostile import (
    CREDENTIAL,
    DONE,
    Asked,
    HostileProvider,
    HostileRouter,
    Script,
    chunk,
    event,
    head,
    plays,
    running_hostile_router,
    said,
)
from llm_router.quotable import quotable, without_keys

REDIRECTS = (301, 302, 303, 307, 308)
BASIC = base64.b64encode(f"user:{CREDENTIAL}".encode()).decode()
FORMS = {
    "plain": f"Incorrect API key provided: {CREDENTIAL}.",
    "bearer": f"bad header 'Authorization: Bearer {CREDENTIAL}'",
    "basic": f"bad header: Basic {BASIC}",
    "url": f"no such page: /v1?key={quote(CREDENTIAL, safe='')}&x",
    "upper": f"NO SUCH KEY: {CREDENTIAL.upper()}",
    "late": "x" * 480 + f" key {CREDENTIAL} is wrong",
    "lines": f"\x1b[31mfirst\r\nsecond\u202e {CREDENTIAL}\x00",
    "other": "Incorrect API key provided: sk-proj-Ab12*****************************cdEF and AIzaSyA1234567890abcdefgh",
}


def refuses(message: str) -> Script:
    """Refuse with the provider's own sentence in every field."""
    error = {"message": message, "type": "invalid_request_error", "param": message, "code": CREDENTIAL}
    return plays(orjson.dumps({"error": error}), headers=head("400 Bad", content_type="application/json"))


def in_stream(message: str) -> Script:
    """Report the same inside a stream."""
    return plays(event({"error": {"message": message, "code": 400, "type": CREDENTIAL}}, "error"))


SCRIPTS: dict[str, Script] = {
    "good": plays(chunk("good"), chunk(None, "stop"), DONE),
    "elsewhere": plays(chunk("stolen"), chunk(None, "stop"), DONE),
    **{f"refuses-{name}": refuses(message) for name, message in FORMS.items()},
    **{f"streams-{name}": in_stream(message) for name, message in FORMS.items()},
    "echo": plays(
        chunk("text", model=f"m-{CREDENTIAL}", system_fingerprint=CREDENTIAL),
        chunk(None, "stop"),
        DONE,
        headers=head(x_request_id=f"req-{CREDENTIAL}"),
    ),
    "finish": plays(chunk("text"), chunk(None, CREDENTIAL)),
    "finish-anthropic": plays(said("message_delta", delta={"stop_reason": CREDENTIAL})),
    "cookie": plays(
        chunk("text"), chunk(None, "stop"), DONE, headers=head(set_cookie="tie=these-together; Path=/; Max-Age=9999")
    ),
}


@pytest.fixture(scope="module", name="router")
async def _router(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HostileRouter]:
    provider = HostileProvider(dict(SCRIPTS))
    for status in REDIRECTS:
        provider.scripts[f"moved-{status}"] = _moves(status, provider)
    routes = {name: [f"openai:{name}"] for name in provider.scripts}
    routes |= {f"{name}!": [f"anthropic:{name}"] for name in provider.scripts}
    routes |= {f"then-{status}": [f"openai:moved-{status}", "openai:good"] for status in REDIRECTS}
    # What the SDKs would read by themselves.
    environment = {
        **{f"{vendor}_BASE_URL": "http://127.0.0.1:9/v1" for vendor in ("OPENAI", "ANTHROPIC")},
        **{f"{vendor}_CUSTOM_HEADERS": "x-leak: of-another-target" for vendor in ("OPENAI", "ANTHROPIC")},
        "OPENAI_ORG_ID": "org-leak",
        "OPENAI_PROJECT_ID": "project-leak",
        "OPENAI_ADMIN_KEY": "sk-admin-leak-0123456789",
        "ANTHROPIC_AUTH_TOKEN": "token-leak",
    }
    async with (
        provider.serving(),
        running_hostile_router(
            tmp_path_factory.mktemp("credentials"), provider, routes, settings=environment
        ) as router,
    ):
        yield router


def _moves(status: int, provider: HostileProvider) -> Script:
    """Redirect to another host: the same server under another name."""

    def script(asked: Asked) -> list[bytes]:
        location = provider.url.replace("127.0.0.1", "localhost") + "/elsewhere/v1/chat/completions"
        return [head(f"{status} Moved", location=location, content_length="0")]

    return script


@pytest.mark.integration
@pytest.mark.parametrize("status", REDIRECTS)
async def test_no_redirect_is_followed(router: HostileRouter, status: int) -> None:
    """The next target answers, and an operator learns that the address is wrong."""
    stream = await router.complete(f"then-{status}")

    assert ["good"] == stream.texts
    assert ("target_moved", status) == (stream.attempts[0].error_code, stream.attempts[0].http_status)
    series = f'llm_router_target_refusals_total{{reason="target_moved",target="openai:moved-{status}"}}'
    assert 1 == await router.metric(series)

    stream = await router.complete(f"moved-{status}!")
    assert (grpc.StatusCode.UNAVAILABLE, False) == (stream.status, stream.error and stream.error.retryable)
    assert "target_moved" == stream.attempts[0].error_code
    assert "elsewhere" not in router.provider.asked


@pytest.mark.integration
async def test_the_environment_adds_nothing(router: HostileRouter) -> None:
    """Neither headers nor accounts nor keys for all targets alike, and no other address."""
    for wire in ("", "!"):
        await router.complete(f"good{wire}")
        headers = router.provider.asked["good"][-1].headers
        assert not [value for value in headers.values() if "leak" in value]


@pytest.mark.integration
async def test_no_cookie_ties_requests_together(router: HostileRouter) -> None:
    """They are other tenants' requests."""
    for _ in range(2):
        await router.complete("cookie")

    assert "cookie" not in router.provider.asked["cookie"][-1].headers


@pytest.mark.integration
@pytest.mark.parametrize("wire", ["", "!"], ids=["openai", "anthropic"])
@pytest.mark.parametrize("how", ["refuses", "streams"])
@pytest.mark.parametrize("form", FORMS)
async def test_no_client_sees_a_key(router: HostileRouter, how: str, form: str, wire: str) -> None:
    """Whatever way the provider quotes it, in whichever field; the rest of its sentence stays."""
    stream = await router.complete(f"{how}-{form}{wire}", {"messages": [], "max_tokens": 1})

    assert stream.error is not None
    assert "invalid_request" == stream.error.code
    for text in (stream.error.message, stream.error.param):
        assert len(text) <= 500
        assert text.isprintable()
    told = stream.error.SerializeToString().decode(errors="replace").lower() + router.log().lower()
    for secret in (CREDENTIAL.lower(), BASIC[8:20].lower(), "ab12**", "aizasya1"):
        assert secret not in told
    assert "[key]" in stream.error.message or form == "late"
    if form == "lines":
        assert "first  second" in stream.error.message


@pytest.mark.integration
async def test_no_record_holds_a_key(router: HostileRouter) -> None:
    """Neither the names that an answer gives, nor a finish reason that nobody knows."""
    stream = await router.complete("echo")
    (attempt,) = stream.attempts
    assert stream.finished is not None
    assert ("m-[key]", "req-[key]") == (attempt.response_model, attempt.provider_request_id)
    assert ("m-[key]", "[key]") == (stream.finished.response_model, stream.finished.system_fingerprint)

    await router.complete("finish")
    await router.complete("finish-anthropic!")
    assert CREDENTIAL not in router.log()


@given(st.text(), st.text(), st.text(min_size=8, max_size=80), st.sampled_from(["plain", "url", "base64"]))
def test_a_credential_is_found_wherever_it_stands(before: str, after: str, credential: str, form: str) -> None:
    """Of any characters, between any others."""
    written = credential
    if form == "url":
        written = quote(credential, safe="", errors="replace")
    elif form == "base64":
        whole = (before[:5] + credential + after[:5]).encode("utf-8", "replace")
        written = base64.b64encode(whole).decode()
    text = quotable(before + written + after, credential, 10_000)

    assert len(text) <= 10_000
    if form != "base64" and before.isalnum() == after.isalnum() == credential.isalnum():
        assert credential not in text.replace("[key]", "")
    assert "[key]" in text or form == "base64"


def test_what_is_no_key_stays() -> None:
    """Sentences of providers are for people."""
    for text in (
        "Unsupported value: 'temperature' does not support 0.2 with this model.",
        "The model `gpt-6-luna` does not exist",
        "max_tokens is too large: 99999. See https://platform.openai.com/docs/api-reference",
        "risk-assessment-of-the-request failed; basic understanding of a bearer of news",
    ):
        assert text == quotable(text, "none", 500)
        assert text == without_keys(text, None)


def test_the_process_has_no_key_of_its_own() -> None:
    """The tests above would prove nothing if the environment were empty from the start."""
    assert "OPENAI_ORG_ID" not in os.environ
