"""The HTTP front: the two wires, and the administration that tests use."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fault_provider.answers import usage_for
from fault_provider.anthropic_wire import AnthropicAnswer
from fault_provider.attempts import Attempt, AttemptLog
from fault_provider.connection import BodyTooLarge, Connection
from fault_provider.embeddings import EmbeddingsPerformance, UnusableInput, inputs_of
from fault_provider.openai_wire import OpenAiAnswer
from fault_provider.performance import Answer, Performance
from fault_provider.plan import BEHAVIOURS, Plan, UnusablePlan, Wire, asked_plan, parse_model
from fault_provider.refusals import error_body, refusal, status_body, wrong_key
from fault_provider.script import UnusableScript, script_of, steps_of

_COUNTS = {"n": 128, "max_tokens": 1_000_000, "max_completion_tokens": 1_000_000, "top_logprobs": 20}


class UnusableRequest(Exception):
    """A request that the vendor would refuse with 400; the message says why."""


class AnswerEndpoint:
    """Answers on one wire. An ASGI application, because it needs the connection and not a response object."""

    def __init__(self, wire: Wire, attempts: AttemptLog, asked_for: Literal["text", "vectors"] = "text") -> None:
        self._wire = wire
        self._attempts = attempts
        self._asked_for = asked_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the request, record the attempt, play its plan, and notice when the client leaves."""
        connection = Connection(scope, receive, send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            raw_body = await connection.read_body()
            body, plan = self._read(raw_body)
        except BodyTooLarge:
            await connection.send_json(413, error_body(self._wire, "request_too_large", "over 32 MiB"), {})
            return
        except (UnusableRequest, UnusableInput, UnusablePlan, UnusableScript) as error:
            await connection.send_json(400, error_body(self._wire, "invalid_request_error", str(error)), {})
            return
        attempt = self._attempts.begin(plan, self._wire, bool(body.get("stream")), raw_body, headers)
        playing = asyncio.create_task(self._play(connection, plan, body, headers, attempt))
        leaving = asyncio.create_task(connection.until_gone())
        try:
            await asyncio.wait({playing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if playing.done():
                playing.result()
            if attempt.finish == "open":
                self._note_left(attempt, plan)
        finally:
            playing.cancel()
            leaving.cancel()
            await asyncio.gather(playing, leaving, return_exceptions=True)

    def _read(self, raw_body: bytes) -> tuple[dict[str, Any], Plan]:
        try:
            body = orjson.loads(raw_body)
        except orjson.JSONDecodeError as error:
            raise UnusableRequest(f"the body is not JSON: {error}") from error
        if not isinstance(body, dict) or not isinstance(body.get("model"), str):
            raise UnusableRequest("you must provide a model parameter")
        plan = parse_model(body["model"])
        if plan.behaviour == "asked":
            plan = asked_plan(plan, raw_body)
        if self._asked_for == "vectors":
            inputs_of(body)
        else:
            self._check_conversation(body)
            if plan.behaviour == "script":
                script_of(body)
            if plan.behaviour == "bytes":
                steps_of(body)
        return body, plan

    def _check_conversation(self, body: dict[str, Any]) -> None:
        if not isinstance(body.get("messages"), list) or not body["messages"]:
            raise UnusableRequest("messages: must be a non-empty array")
        if self._wire == "anthropic" and not isinstance(body.get("max_tokens"), int):
            raise UnusableRequest("max_tokens: Field required")
        if self._wire == "openai" and body.get("stream_options") is not None and not body.get("stream"):
            raise UnusableRequest("The 'stream_options' parameter is only allowed when 'stream' is enabled.")
        for name, most in _COUNTS.items():
            value = body.get(name)
            if value is not None and (type(value) is not int or not 1 <= value <= most):
                raise UnusableRequest(f"Invalid value for {name!r}: an integer from 1 to {most} is expected.")

    async def _play(
        self, connection: Connection, plan: Plan, body: dict[str, Any], asked: Mapping[str, str], attempt: Attempt
    ) -> None:
        id_header = "request-id" if self._wire == "anthropic" else "x-request-id"
        headers = {id_header: f"req_fault{attempt.index}"}
        refused = wrong_key(plan, self._wire, asked)
        if plan.behaviour == "flaky" and self._attempts.calls_of(plan.model) <= plan.fail:
            if plan.fault:
                plan = replace(plan, behaviour=plan.fault)
            else:
                refused = plan.status, status_body(self._wire, plan.status)
        refused = refused or refusal(plan, self._wire)
        if refused is not None:
            attempt.status, error = refused
            attempt.end("refused")
            await connection.send_json(
                attempt.status, error, headers | ({"retry-after": plan.retry_after} if plan.retry_after else {})
            )
            return
        if self._asked_for == "vectors":
            await EmbeddingsPerformance(plan, body, connection, attempt).play(headers)
            return
        answer: Answer
        if self._wire == "anthropic":
            answer = AnthropicAnswer(plan, body, attempt.index)
        else:
            answer = OpenAiAnswer(plan, body, attempt.index)
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        performance = Performance(plan, self._wire, answer, connection, attempt, limit)
        if plan.behaviour == "bytes":
            await performance.play_bytes(*steps_of(body), headers)
        else:
            await performance.play(attempt.stream, headers)

    def _note_left(self, attempt: Attempt, plan: Plan) -> None:
        if attempt.chunks_sent:
            attempt.usage = usage_for(plan, self._wire, attempt.chunks_sent)
        attempt.end("client_closed")


def create_app() -> Starlette:
    """Return the application; each has its own record of attempts."""
    attempts = AttemptLog()

    async def list_models(_request: Request) -> Response:
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "fault"} for name in sorted(BEHAVIOURS)]
        return _json({"object": "list", "data": models})

    async def read_attempts(request: Request) -> Response:
        query = request.query_params
        return _json({"attempts": attempts.select(query.get("model"), query.get("test"))})

    async def forget_attempts(request: Request) -> Response:
        query = request.query_params
        return _json({"forgotten": attempts.forget(query.get("model"), query.get("test"))})

    async def health(_request: Request) -> Response:
        return _json({"status": "ok"})

    chat, messages = AnswerEndpoint("openai", attempts), AnswerEndpoint("anthropic", attempts)
    embeddings = AnswerEndpoint("openai", attempts, "vectors")
    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/chat/completions", chat, methods=["POST"]),
            Route("/v1/embeddings", embeddings, methods=["POST"]),
            Route("/v1/messages", messages, methods=["POST"]),
            Route("/v1/models", list_models, methods=["GET"]),
            Route("/admin/attempts", read_attempts, methods=["GET"]),
            Route("/admin/attempts", forget_attempts, methods=["DELETE"]),
            Route("/admin/health", health, methods=["GET"]),
        ]
    )


def _json(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
