"""What `/chat` answers: named events with a receipt at the end, or the same content as one object."""

from __future__ import annotations

from typing import Any

import orjson

from edge.answer import Answer
from edge.assembly import MalformedChunk, assemble
from edge.exchange.exchange import Exchange
from edge.exchange.settlement import Receipt
from edge.receipt_json import (
    attempt_object,
    cache_status_name,
    continuation_object,
    economy_object,
    finish_reason_name,
    guardrails_object,
    money,
    usage_object,
)
from edge.sse import KEEP_ALIVE, frame
from spillway.router.v1 import router_pb2 as routerpb

Json = dict[str, Any]


class ChatFrames:
    """Writes the events of one exchange; each has an id."""

    keep_alive = KEEP_ALIVE

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._request_id = exchange.facts.request_id
        self._count = 0

    def head(self) -> bytes:
        """Return the `start` event."""
        return self._frame(
            "start",
            {
                "request_id": self._request_id,
                "model": self._exchange.facts.requested_model,
                "cache": cache_status_name(self._exchange.look_up),
                "economy": economy_object(self._exchange.facts.economy_model, self._exchange.facts.budget),
            },
        )

    def content(self, chunks: list[str | bytes]) -> bytes:
        """Return a `delta` event for each text; what else there is comes whole, before the end."""
        return b"".join(self._frame("delta", {"text": text}) for text in _texts(chunks))

    def continued(self, continued: routerpb.Continued) -> bytes:
        """Return `continued`: another model wrote what follows."""
        return self._frame("continued", continuation_object(continued))

    def end(self, receipt: Receipt) -> bytes:
        """Return the `tool_call` events and `done`, or `error`."""
        if receipt.problem is not None:
            return self._frame("error", receipt.problem.body())
        calls = b"".join(self._frame("tool_call", call) for call in _tool_calls(receipt.answer))
        return calls + self._frame("done", done_object(self._exchange, receipt))

    def _frame(self, event: str, data: Any) -> bytes:
        self._count += 1
        return frame(event, f"{self._request_id}:{self._count}", data)


def whole_object(exchange: Exchange, receipt: Receipt) -> Json:
    """Return the answer and its receipt."""
    return {
        "request_id": exchange.facts.request_id,
        "text": "".join(_texts(receipt.answer.chunks)),
        "tool_calls": _tool_calls(receipt.answer),
        **done_object(exchange, receipt),
    }


def check_answer(answer: Answer) -> None:
    """Raise MalformedChunk when there is no writing the answer."""
    try:
        orjson.dumps([_texts(answer.chunks), _tool_calls(answer)])
    except (TypeError, LookupError) as error:
        raise MalformedChunk("the answer has no JSON") from error


def done_object(exchange: Exchange, receipt: Receipt) -> Json:
    """Return what `done` says of a good answer."""
    answer, ending, look_up = receipt.answer, receipt.ending, exchange.look_up
    return {
        "finish_reason": finish_reason_name(answer.finish_reasons[0]),
        "model": answer.response_model or answer.target_model,
        "provider": answer.provider,
        "usage": usage_object(answer.usage),
        "cost_usd": money(receipt.cost_usd),
        "attempts": [
            attempt_object(attempt, money(cost), version)
            for attempt, cost, version in zip(ending.attempts, receipt.costs, receipt.price_versions, strict=False)
        ],
        "continuations": [continuation_object(continued) for continued in ending.continuations],
        "economy": economy_object(exchange.facts.economy_model, exchange.facts.budget),
        "cache": {
            "status": cache_status_name(look_up),
            "bypass_reason": look_up.reason or None,
            "stored": receipt.stored,
            "saved_cost_usd": money(receipt.saved_cost_usd),
        },
        "guardrails": guardrails_object(exchange.inspected, exchange.checked),
    }


def _texts(chunks: list[str | bytes]) -> list[str]:
    """Return the texts a reader of choice 0 is to see: its words, or why it has none."""
    texts = []
    for chunk in chunks:
        if isinstance(chunk, str):
            texts.append(chunk)
        else:
            message = assemble([chunk], 1)[0]["message"]
            texts += [text for text in (message["content"], message["refusal"]) if text]
    return texts


def _tool_calls(answer: Answer) -> list[Json]:
    calls = answer.choices()[0]["message"].get("tool_calls") or []
    return [
        {"index": index, "id": call["id"], **(call.get("function") or call["custom"])}
        for index, call in enumerate(calls)
    ]
