"""Asks rules that somebody else runs, over HTTP, about a request; one that does not answer holds up few."""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog

from edge.conversation import Content, Conversation
from edge.facts import RequestFacts
from edge.fetch import Fetcher, FetchFailed
from edge.guardrails.input import Finding
from edge.guardrails.policy import Action, Webhook, WebhookInForce
from edge.metrics import Metrics
from edge.problems import Problem

log = structlog.get_logger()

# A longer request is not asked about: it is a failure, and the policy says what becomes of it.
MAX_REQUEST_BYTES = 1024 * 1024
_MAX_ANSWER_BYTES = 16 * 1024
_MOST_AT_ONCE = 64
# After so many failures in a row it is left alone for a while, and then asked about one request.
MOST_FAILURES = 5
REST_SECONDS = 5.0
_FILES_SECONDS = 5.0
_MOST_KNOWN = 100


class _Failed(Exception):
    """There is no answer; the text is one of a closed set."""

    def __init__(self, reason: str, *, is_its_fault: bool = True) -> None:
        """`is_its_fault`: whether it counts for a rest."""
        super().__init__(reason)
        self.reason = reason
        self.is_its_fault = is_its_fault


@dataclass(slots=True)
class _State:
    """What is known of one webhook."""

    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MOST_AT_ONCE))
    failures: int = 0
    """In a row."""
    rests_until: float = -math.inf
    is_tried: bool = False
    """Whether a request tries it after a rest."""
    secret: str | None = None
    trust: ssl.SSLContext | None = None
    files_until: float = -math.inf


class Webhooks:
    """Knows which of them rest."""

    def __init__(self, fetcher: Fetcher, metrics: Metrics) -> None:
        self._fetcher = fetcher
        self._metrics = metrics
        self._states: dict[Webhook, _State] = {}

    async def ask(self, webhooks: Sequence[WebhookInForce], facts: RequestFacts, content: Content) -> list[Finding]:
        """Return what they find, all asked at once; Problem (503) when one that must answer does not."""
        body = _body(facts, content)
        replies = await asyncio.gather(*(self._ask_one(each, body) for each in webhooks), return_exceptions=True)
        findings: list[Finding] = []
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
            if reply is not None:
                findings.append(reply)
        return findings

    async def _ask_one(self, each: WebhookInForce, body: bytes) -> Finding | None:
        webhook = each.webhook
        state = self._states.get(webhook)
        if state is None:
            if len(self._states) >= _MOST_KNOWN:  # those of policies that were
                self._states.clear()
            state = self._states[webhook] = _State()
        try:
            has_found = await self._answer(webhook, state, body)
        except _Failed as failure:
            self._note(webhook, state, failure)
            is_refused = webhook.is_closed and each.action is Action.BLOCK
            became = "refused" if is_refused else "passed"
            self._metrics.guardrail_webhook_failures.labels(webhook.name, failure.reason, became).inc()
            if is_refused:
                raise Problem(
                    "guardrail_unavailable",
                    f"the policy of this gateway wants requests looked at by {webhook.name}, which does not answer",
                ) from failure
            return None
        state.failures = 0
        return Finding(webhook.name, webhook.version, each.action, 1, 1.0) if has_found else None

    async def _answer(self, webhook: Webhook, state: _State, body: bytes) -> bool:
        """Return whether it finds something; _Failed when it does not say."""
        if len(body) > MAX_REQUEST_BYTES:
            raise _Failed("request_too_long", is_its_fault=False)
        is_try = state.failures >= MOST_FAILURES
        if is_try and (state.is_tried or time.monotonic() < state.rests_until):
            raise _Failed("resting", is_its_fault=False)
        state.is_tried = is_try
        try:
            return await _called(self._fetcher, webhook, state, body)
        finally:
            if is_try:
                state.is_tried = False

    def _note(self, webhook: Webhook, state: _State, failure: _Failed) -> None:
        if not failure.is_its_fault:
            return
        state.failures += 1
        if state.failures >= MOST_FAILURES:
            state.rests_until = time.monotonic() + REST_SECONDS
        if state.failures in (1, MOST_FAILURES):
            log.warning("guardrail_webhook_failed", rule=webhook.name, reason=failure.reason, failures=state.failures)


async def _called(fetcher: Fetcher, webhook: Webhook, state: _State, body: bytes) -> bool:
    ends = time.monotonic() + webhook.timeout_seconds
    try:
        async with asyncio.timeout(webhook.timeout_seconds):
            await state.free.acquire()
    except TimeoutError as error:
        raise _Failed("busy", is_its_fault=False) from error
    try:
        _read_files(webhook, state)
        if webhook.ca_file is not None and state.trust is None:
            raise _Failed("tls")
        headers = {} if state.secret is None else {"authorization": f"Bearer {state.secret}"}
        left = max(ends - time.monotonic(), 0.001)
        reply = await fetcher.fetch(webhook.url, left, body, headers, _MAX_ANSWER_BYTES, state.trust)
    except FetchFailed as failure:
        raise _Failed(_reason(str(failure))) from failure
    finally:
        state.free.release()
    try:
        document: Any = orjson.loads(reply)
    except ValueError as error:
        raise _Failed("malformed") from error
    found = document.get("found") if isinstance(document, dict) else None
    if not isinstance(found, bool):
        raise _Failed("malformed")
    return found


def _reason(failure: str) -> str:
    if failure in {"timeout", "too_large", "tls"}:
        return failure
    if failure.startswith("status_"):
        return "status"
    return "malformed" if failure.startswith("Http") else "unreachable"


def _read_files(webhook: Webhook, state: _State) -> None:
    """Read its files again after a while; what they had last stays while they cannot be read."""
    if time.monotonic() < state.files_until:
        return
    state.files_until = time.monotonic() + _FILES_SECONDS
    try:
        state.secret = webhook.secret()
    except (OSError, ValueError):
        log.warning("guardrail_webhook_secret_unreadable", rule=webhook.name)
    try:
        state.trust = webhook.trust()
    except (OSError, ValueError):
        log.warning("guardrail_webhook_ca_unreadable", rule=webhook.name)


def _body(facts: RequestFacts, content: Content) -> bytes:
    """Write what it is asked: who wants to know, and the request as a target gets it, without what was redacted."""
    form = content.messages_form if isinstance(content, Conversation) else None
    about = {
        "request_id": facts.request_id,
        "tenant": facts.identity.tenant,
        "user": facts.identity.user,
        "tier": facts.identity.tier,
        "model": facts.requested_model,
        "endpoint": facts.endpoint,
    }
    native = b"null" if form is None else form.body
    return b'%b,"body":%b,"messages_body":%b}' % (orjson.dumps(about)[:-1], content.encoded_body, native)
