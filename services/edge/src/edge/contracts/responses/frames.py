"""What `/v1/responses` answers: a response object, or the events of one."""

from __future__ import annotations

import time
from typing import Any

import orjson

from edge.answer import Answer
from edge.assembly import MalformedChunk
from edge.contracts.responses.output import ResponseOutput
from edge.conversation import Conversation, ResponsesForm
from edge.exchange.exchange import Exchange
from edge.exchange.settlement import Ending, Receipt
from edge.problems import Problem
from edge.receipt_json import continuation_comment
from edge.sse import KEEP_ALIVE
from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb

Json = dict[str, Any]

# Why an answer that ended in good order is not complete.
_INCOMPLETE = {
    routerpb.FINISH_REASON_LENGTH: "max_output_tokens",
    routerpb.FINISH_REASON_CONTENT_FILTER: "content_filter",
}
# OpenAI's codes for what a stream may fail with; clients act on the first two.
_ERROR_CODES = {
    "context_length_exceeded": "context_length_exceeded",
    "rate_limited": "rate_limit_exceeded",
    "invalid_request": "invalid_prompt",
    "unsupported_parameter": "invalid_prompt",
    "content_blocked": "invalid_prompt",
}


class ResponseFrames:
    """Writes the events of one response: `created` first, and exactly one of `completed`, `incomplete` and `failed`."""

    keep_alive = KEEP_ALIVE

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._output = ResponseOutput(id_suffix(exchange), form_of(exchange).names)
        self._created = int(time.time())
        self._is_open = False

    def head(self) -> bytes:
        """Return nothing: the status waits for the first content."""
        return b""

    def content(self, chunks: list[str | bytes]) -> bytes:
        """Return the events of these chunks; before the first ones, `response.created` and `.in_progress`."""
        return self._start() + self._output.take(chunks)

    def continued(self, continued: routerpb.Continued) -> bytes:
        """Return a comment."""
        return continuation_comment(continued)

    def end(self, receipt: Receipt) -> bytes:
        """Return the ends of what is open, and the one event that says how the response ended."""
        start = self._start()
        if receipt.problem is not None:
            closed = self._output.close("failed")
            response = self._object("failed", Answer())
            response["error"] = error_of(receipt.problem)
            return start + closed + self._output.event("response.failed", response=response)
        status, details = _status_of(receipt.answer)
        closed = self._output.close(status)
        response = self._object(status, receipt.answer)
        response |= {"incomplete_details": details, "store": receipt.is_kept}
        return start + closed + self._output.event(f"response.{status}", response=response)

    def _start(self) -> bytes:
        if self._is_open:
            return b""
        self._is_open = True
        response = self._object("in_progress", Answer(target_model=self._exchange.answer.target_model))
        return self._output.event("response.created", response=response) + self._output.event(
            "response.in_progress", response=response
        )

    def _object(self, status: str, answer: Answer) -> Json:
        return _object(self._exchange, status, answer, self._created, self._output.items)


def whole_object(exchange: Exchange, ending: Ending, *, is_kept: bool) -> Json:
    """Return the response object of a whole answer; Problem when its chunks do not form one."""
    output = ResponseOutput(id_suffix(exchange), form_of(exchange).names)
    answer = ending.answer
    status, details = _status_of(answer)
    try:
        output.take(answer.chunks)
        output.close(status)
    except MalformedChunk as error:
        raise Problem("stream_interrupted", "a chunk of the provider could not be read") from error
    created = int(time.time() - (time.monotonic() - exchange.facts.accepted))
    response = _object(exchange, status, answer, created, output.items)
    return response | {"incomplete_details": details, "store": is_kept}


def check_answer(answer: Answer) -> None:
    """Raise MalformedChunk when there is no writing the answer."""
    output = ResponseOutput("", {})
    output.take(answer.chunks)
    output.close()


def error_of(problem: Problem) -> Json:
    """Write why a response failed: OpenAI's code for it, and words that say the rest."""
    code = _ERROR_CODES.get(problem.code, "server_error")
    message = problem.message
    if problem.retry_after_seconds is not None:
        message += f"; try again in {problem.retry_after_seconds:.0f} s"
    return {"code": code, "message": message, "type": problem.client_code, "param": problem.param}


def id_suffix(exchange: Exchange) -> str:
    """Return what all ids of a response have in common: the digits of the request's id."""
    return exchange.facts.request_id.replace("-", "")


def form_of(exchange: Exchange) -> ResponsesForm:
    """Return the part of the request that only this contract has."""
    conversation = exchange.content
    assert isinstance(conversation, Conversation)  # noqa: S101 - what the contract has read
    assert conversation.responses_form is not None  # noqa: S101 - the same
    return conversation.responses_form


def _status_of(answer: Answer) -> tuple[str, Json | None]:
    reason = _INCOMPLETE.get(answer.finish_reasons[0])
    return ("completed", None) if reason is None else ("incomplete", {"reason": reason})


def _object(exchange: Exchange, status: str, answer: Answer, created: int, items: list[Json]) -> Json:
    form = form_of(exchange)
    is_ended = status in {"completed", "incomplete"}
    return {
        "id": f"resp_{id_suffix(exchange)}",
        "object": "response",
        "created_at": created,
        "completed_at": int(time.time()) if status == "completed" else None,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": answer.response_model or answer.target_model or exchange.facts.requested_model,
        "output": items if is_ended else [item for item in items if item["status"] != "in_progress"],
        "service_tier": answer.response_fields.get("service_tier") or "default",
        "store": form.may_store,
        "truncation": "disabled",
        "usage": _usage(answer.usage) if is_ended else None,
        **orjson.loads(form.echo),
    }


def _usage(usage: Usage | None) -> Json | None:
    if usage is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.provider_cache_read_input_tokens or 0,
            "cache_write_tokens": usage.provider_cache_write_input_tokens or 0,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_output_tokens or 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
