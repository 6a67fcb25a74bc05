"""Answers on their way to clients: put together, written as frames of each contract, kept and replayed."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
from anthropic.lib.streaming._messages import accumulate_event
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from prometheus_client import CollectorRegistry

from edge.answer import ENDS, Answer
from edge.assembly import MalformedChunk, MessagesEvent, assemble
from edge.cache.cache import Hit, LookUp, NoCache, ResponseCache
from edge.cache.exact import ExactCache
from edge.cache.policy import CachePolicy
from edge.capture.texts import MAX_TEXT_BYTES, Source, read_texts
from edge.contracts.chat.contract import ChatContract
from edge.contracts.completions.contract import CompletionsContract
from edge.contracts.contract import Contract
from edge.contracts.messages.blocks import MessageBlocks, joined_blocks
from edge.contracts.messages.contract import MessagesContract
from edge.contracts.responses.contract import ResponsesContract
from edge.contracts.validation import JsonBody
from edge.conversation import Content, Conversation
from edge.events.redis import Command
from edge.events.reservation import Reservation
from edge.exchange.exchange import Exchange, ExchangeDependencies
from edge.exchange.output_stage import PassOn
from edge.exchange.settlement import Ending, Receipt, Settlement
from edge.facts import RequestFacts
from edge.guardrails.answers.output import Checked, ContentStopped, OutputGuard
from edge.guardrails.input import Inspected
from edge.guardrails.policy import Action, RuleInForce
from edge.guardrails.rules import pii, secrets
from edge.identity import Identity
from edge.metrics import Metrics
from llm_router.providers.provider import MessagesEvent as RouterEvent
from llm_router.providers.provider import Wire
from pricing.cost import FREE
from servicekit.lenient_json import loads
from servicekit.sse import ServerSentEvent, SseDecoder
from spillway.router.v1 import router_pb2 as routerpb

from ..mutation import in_events, in_json
from ..target import Target, finish
from .wires import make_anthropic_wire, make_openai_wire, read_answer

Json = dict[str, Any]

_ALL_ALLOWED = CachePolicy(may_read=True, may_write=True, bypass_reason="")
_OPENAI_FIELDS = frozenset({"role", "content", "refusal", "tool_calls"})


class _Unrecorded(Settlement):
    """Ends an exchange without Redis and ledger."""

    def __init__(self) -> None:
        pass

    async def settle(
        self,
        _facts: RequestFacts,
        _look_up: LookUp,
        ending: Ending,
        _cache: ResponseCache,
        _reservations: Sequence[Reservation] = (),
        _kept: Sequence[Command] = (),
    ) -> Receipt:
        """Return the receipt of an answer that costs nothing."""
        return Receipt(ending, [FREE], [""], stored=False, saved_cost_usd=Decimal(0))


_DEPENDENCIES = ExchangeDependencies(
    router=None,  # type: ignore[arg-type] # a stored answer needs none
    settlement=_Unrecorded(),
    metrics=Metrics(CollectorRegistry()),
    open_output_stage=lambda _: PassOn(),
)


class _Frames:
    """Reads an answer as a client of a contract does that streams."""

    def __init__(self, contract: Contract, exchange: Exchange) -> None:
        self._frames = contract.frames(exchange)
        self._written = self._frames.head()

    async def content(self, chunks: list[str | bytes]) -> None:
        for chunk in chunks:
            self._written += self._frames.content([chunk])

    async def continued(self, continued: routerpb.Continued) -> None:
        self._written += self._frames.continued(continued)

    def events(self, receipt: Receipt) -> list[ServerSentEvent]:
        """Return all events of the stream."""
        decoder = SseDecoder()
        events = decoder.feed(self._written + self._frames.end(receipt))
        assert decoder.end() is None
        return events


def _content_of(contract: Contract, body: Json) -> Content:
    return contract.read(contract.paths[0], JsonBody(orjson.dumps(body), body), {})


_TURN = {"role": "user", "content": "x"}
_COMPLETIONS, _MESSAGES, _CHAT = CompletionsContract(), MessagesContract(), ChatContract()
_RESPONSES = ResponsesContract()
_REQUESTS: list[tuple[Contract, Content]] = [
    (_CHAT, _content_of(_CHAT, {"query": "x"})),
    (_COMPLETIONS, _content_of(_COMPLETIONS, {"model": "m", "messages": [_TURN]})),
    (_COMPLETIONS, _content_of(_COMPLETIONS, {"model": "m", "messages": [_TURN], "n": 2})),
    (_RESPONSES, _content_of(_RESPONSES, {"model": "m", "input": "x"})),
    (_MESSAGES, _content_of(_MESSAGES, {"model": "m", "max_tokens": 1, "messages": [_TURN]})),
]


def _run(contract: Contract, content: Content, look_up: LookUp) -> tuple[Exchange, _Frames, Receipt]:
    identity = Identity("key", "tenant", "user", "tier")
    facts = RequestFacts(
        "0198c0de-0000-7000-8000-000000000000", identity, content.endpoint, "m", True, time.monotonic()
    )
    exchange = Exchange(_DEPENDENCIES, facts, Inspected(content), look_up, NoCache("not_cacheable"), lambda: None)
    frames = _Frames(contract, exchange)
    return exchange, frames, finish(exchange.run(frames))


def _check_answer(contract: Contract, exchange: Exchange, frames: _Frames, receipt: Receipt) -> None:
    """The frames are a stream of the contract with one end; the client's own reader finds the whole answer in it."""
    whole = orjson.loads(finish(contract.whole(exchange, receipt)))
    events = frames.events(receipt)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the readers' own, about fields of unexpected types
        _check_events(contract, whole, events)


def _check_events(contract: Contract, whole: Json, events: list[ServerSentEvent]) -> None:
    if contract is _COMPLETIONS:
        assert b"[DONE]" == events.pop().data
        _compare_completion(whole, [orjson.loads(event.data) for event in events])
    elif contract is _MESSAGES:
        assert "message_stop" == events[-1].name
        _compare_message(whole, [orjson.loads(event.data) for event in events])
    elif contract is _RESPONSES:
        last = orjson.loads(events[-1].data)
        assert f"response.{whole['status']}" == last["type"]
        assert whole["output"] == last["response"]["output"]
    else:
        assert ["start", "done"] == [events[0].name, events[-1].name]
        texts = [orjson.loads(event.data)["text"] for event in events if event.name == "delta"]
        assert whole["text"] == "".join(texts)


def _compare_completion(whole: Json, chunks: list[Json]) -> None:
    assert {"chat.completion.chunk"} == {chunk["object"] for chunk in chunks}
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    if not all(_OPENAI_FIELDS.issuperset(delta) for delta in deltas) or any(
        choice.get("logprobs") is not None for chunk in chunks for choice in chunk["choices"]
    ):
        return  # OpenAI's reader fails at lists of others
    state = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.construct(**chunk))
    read: Json = state.current_completion_snapshot.to_dict()
    for choice, expected in zip(read["choices"], whole["choices"], strict=True):
        message = choice["message"]
        assert expected["finish_reason"] == choice["finish_reason"]
        for name in ("content", "refusal"):
            assert (expected["message"].get(name) or "") == (message.get(name) or "")
        assert [_essence(call) for call in expected["message"].get("tool_calls") or ()] == [
            _essence(call) for call in message.get("tool_calls") or ()
        ]


def _essence(call: Json) -> Any:
    body = call.get("function") or call.get("custom") or {}
    return call["id"], call["type"], body.get("name"), body.get("arguments"), body.get("input")


def _compare_message(whole: Json, events: list[Json]) -> None:
    starts = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    if not {"text", "tool_use"}.issuperset(block["type"] for block in starts):
        return
    message: Any = None
    buffers: dict[int, bytes] = {}
    for event in events:
        try:
            message = accumulate_event(event=event, current_snapshot=message, json_bufs=buffers)  # type: ignore[arg-type]
        except ValueError:
            return  # arguments that are no JSON
    read = message.to_dict()
    assert whole["stop_reason"] == read["stop_reason"]
    for block, expected in zip(read["content"], whole["content"], strict=True):
        assert expected["type"] == block["type"]
        assert expected.get("text") == block.get("text")
        assert expected.get("name") == block.get("name")
        if isinstance(block.get("input"), dict) and "INVALID_JSON" not in expected["input"]:
            assert expected["input"] == block["input"]


def check_entry(data: bytes) -> None:
    """Whatever stands in Redis is an answer that every contract can write, or a miss."""
    for contract, content in _REQUESTS:
        cache = ExactCache(contract.check)
        question = cache.question("tenant", "m", content, _ALL_ALLOWED)
        look_up = cache.look_up(question, data)
        if isinstance(look_up, Hit):
            exchange, frames, receipt = _run(contract, content, look_up)
            assert receipt.problem is None, receipt.problem
            _check_answer(contract, exchange, frames, receipt)


def check_chunks(data: bytes) -> None:
    """Chunks of any shape, in any order, are choices and blocks, or a MalformedChunk."""
    try:
        document = loads(data)
    except ValueError:
        return
    if not isinstance(document, list):
        return
    chunks = [_chunk_of(each) for each in document]
    for choices in (1, 2):
        try:
            assembled = assemble(chunks, choices)
        except MalformedChunk:
            continue
        assert choices == len(assembled)
        orjson.dumps(assembled)
    blocks = MessageBlocks()
    try:
        events = [*blocks.take(chunks), *blocks.close()]
        orjson.dumps(joined_blocks(events))
    except MalformedChunk:
        pass


_REDACTING = [RuleInForce(rule, Action.REDACT) for rule in (*pii.RULES, *secrets.RULES)]


def check_guarded(data: bytes) -> None:
    """Whatever passes the guardrails of answers is redacted without a fault, and forms choices as it did before."""
    try:
        document = loads(data)
    except ValueError:
        return
    if not isinstance(document, list):
        return
    chunks = [_chunk_of(each) for each in document]
    for is_json in (False, True):
        stage = OutputGuard(_REDACTING, Checked(), is_json=is_json)
        try:
            passed = [out for chunk in chunks for out in stage.take([chunk])] + stage.end()
        except (ContentStopped, MalformedChunk):
            continue
        try:
            assemble(chunks, 2)
        except MalformedChunk:
            continue
        assemble(passed, 2)


def check_captured(data: bytes) -> None:
    """Of whatever is asked and answered there are texts to keep, no longer than they may be."""
    try:
        document = loads(data)
    except ValueError:
        return
    chunks = [_chunk_of(each) for each in document] if isinstance(document, list) else []
    kept = read_texts(Source(orjson.dumps(document), chunks))
    for text, is_cut in ((kept.prompt, kept.prompt_cut), (kept.answer, kept.answer_cut)):
        assert len(text.encode()) <= MAX_TEXT_BYTES
        if text and not is_cut:
            orjson.loads(text)


def _chunk_of(value: Any) -> str | bytes:
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and "messages_event" in value:
        return MessagesEvent(orjson.dumps(value["messages_event"]))
    return orjson.dumps(value)


def _answer_checker(make_wire: Callable[[], Wire], *, keeps_events: bool) -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        """What a provider sends reaches the client of each contract whole, or as an error; kept, it is the same."""
        wire = make_wire()
        contents, error = read_answer([data], wire)
        known = wire.answer
        if error is not None or not known.may_end or not ENDS.issuperset(known.finish_reasons.values()):
            return
        answer = Answer(
            chunks=[MessagesEvent(each.data) if isinstance(each, RouterEvent) else each for each in contents],
            finish_reasons=[known.finish_reasons[index] for index in sorted(known.finish_reasons)],
            provider="p",
            target_model="m",
            usage=known.usage,
            response_fields=orjson.loads(orjson.dumps(known.fields)),
        )
        for contract, content in _REQUESTS:
            own = answer
            if not (keeps_events and contract is _MESSAGES):
                own = replace(answer, chunks=[each for each in answer.chunks if not isinstance(each, MessagesEvent)])
            if len(own.finish_reasons) == _choices_of(content):
                _check_reaches_client(contract, content, own)

    return check


def _check_reaches_client(contract: Contract, content: Content, answer: Answer) -> None:
    try:
        answer.choices()
    except MalformedChunk:
        return  # found out before the answer counts as whole
    cache = ExactCache(contract.check)
    exchange, frames, receipt = _run(contract, content, Hit(answer))
    if receipt.problem is not None:
        assert "stream_interrupted" == receipt.problem.code
        return
    _check_answer(contract, exchange, frames, receipt)
    question = cache.question("tenant", "m", content, _ALL_ALLOWED)
    command = cache.store(cache.look_up(question, None), answer)
    if command is not None:
        entry = command[2]
        assert isinstance(entry, bytes)
        again = cache.look_up(question, entry)
        assert isinstance(again, Hit), "a good answer was kept and cannot be replayed"
        assert answer.choices() == again.answer.choices()


def _choices_of(content: Content) -> int:
    return content.choices if isinstance(content, Conversation) else 1


TARGETS = [
    Target("cache_entry", check_entry, in_json),
    Target("chunks", check_chunks, in_json),
    Target("guarded_chunks", check_guarded, in_json),
    Target("captured_texts", check_captured, in_json),
    Target("openai_answer", _answer_checker(make_openai_wire, keeps_events=False), in_events),
    Target("anthropic_answer", _answer_checker(make_anthropic_wire, keeps_events=True), in_events),
]
