"""Every place of a request and of an answer that has text: looked at, put back, and tied together as before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from prometheus_client import CollectorRegistry

from edge.assembly import MessagesEvent
from edge.contracts.chat.contract import ChatContract
from edge.contracts.messages.contract import MessagesContract
from edge.contracts.reading import read_content
from edge.conversation import Content, Conversation
from edge.facts import RequestFacts
from edge.fetch import Fetcher
from edge.guardrails.answers.output import Checked, ContentStopped, OutputGuard
from edge.guardrails.guardrails import Guardrails
from edge.guardrails.input import inspect, texts_of
from edge.guardrails.policy import Action, RuleInForce, RuleSet, parse_policy
from edge.guardrails.policy_watch import PolicyWatch
from edge.guardrails.redaction import Restorer
from edge.guardrails.rules.detector import PatternRule, whole_words
from edge.http.readers import BodyReaders
from edge.identity import Identity
from edge.metrics import Metrics

ADA = Identity(tenant="acme", user="ada", key_id="k", tier="gold")
POLICY = """
version: "1"
input: {email: redact, ticket: redact}
custom:
  - {name: ticket, pattern: 'ACME-\\d{6}'}
"""
BANNED = PatternRule("banned", "custom", ["(?i)voldemort"], refine=whole_words)
LINE = 'say "no"'


def rules() -> RuleSet:
    """Return the rules of the policy."""
    found = parse_policy(Path("p.yaml"), POLICY.encode()).for_request(ADA, "default")
    assert found is not None
    return found


def messages(body: dict[str, Any], beta: str = "") -> Conversation:
    """Read a request of the Messages API."""
    headers = {"anthropic-version": "2023-06-01", **({"anthropic-beta": beta} if beta else {})}
    whole = {"model": "default", "max_tokens": 5, **body}
    content = read_content(MessagesContract(), "/v1/messages", orjson.dumps(whole), headers)
    assert isinstance(content, Conversation)
    return content


def chat(query: str) -> Content:
    """Read a request of `/chat`."""
    return read_content(ChatContract(), "/chat", orjson.dumps({"query": query}), {})


def delta(**fields: Any) -> bytes:
    """Return a chunk of choice 0."""
    return orjson.dumps([{"index": 0, "delta": fields, "finish_reason": None}])


def event(kind: str, **fields: Any) -> MessagesEvent:
    """Return an event of the Messages API that has a delta."""
    return MessagesEvent(orjson.dumps({"type": "content_block_delta", "delta": {"type": kind, **fields}}))


def call(part: str, **fields: Any) -> bytes:
    """Return a chunk with a piece of a call."""
    return delta(tool_calls=[{"index": 0, part: fields}])


TWO_PIECES: dict[str, Callable[[str], str | bytes]] = {
    "text": lambda text: text,
    "content": lambda text: delta(content=text),
    "refusal": lambda text: delta(refusal=text),
    "reasoning_content": lambda text: delta(reasoning_content=text),
    "reasoning": lambda text: delta(reasoning=text),
    "arguments": lambda text: call("function", arguments=text),
    "input": lambda text: call("custom", input=text),
    "function_call": lambda text: delta(function_call={"arguments": text}),
    "text of an event": lambda text: event("text_delta", text=text),
    "thinking": lambda text: event("thinking_delta", thinking=text),
    "partial_json": lambda text: event("input_json_delta", partial_json=text),
}
IN_JSON = {"arguments", "function_call", "partial_json"}


def restored(pieces: list[str | bytes], originals: dict[str, str]) -> list[Any]:
    """Put values back; return the chunks, those of bytes read."""
    restorer = Restorer(originals)
    out = [chunk for piece in pieces for chunk in restorer.take([piece])] + restorer.end()
    return [chunk if isinstance(chunk, str) else orjson.loads(bytes(chunk)) for chunk in out]


def all_text(value: Any) -> str:
    """Return what all texts of chunks say."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(all_text, value))
    if isinstance(value, dict):
        return "".join(all_text(each) for name, each in value.items() if name not in {"type", "index"})
    return ""


@pytest.mark.parametrize("place", TWO_PIECES)
def test_a_value_comes_back_in_every_place_of_an_answer(place: str) -> None:
    """From a placeholder that is cut in two; escaped where a program reads JSON."""
    write = TWO_PIECES[place]
    out = restored([write("to [QUO"), write("TED_1] now")], {"[QUOTED_1]": LINE})
    expected = orjson.dumps(LINE).decode()[1:-1] if place in IN_JSON else LINE

    assert f"to {expected} now" == all_text(out)


def test_a_value_comes_back_in_sound_that_is_spoken_and_in_a_block_that_comes_whole() -> None:
    """The words of a sound; a result that a server's tool gives in one piece."""
    spoken = delta(audio={"transcript": "to [QUOTED_1]"})
    block = {"type": "web_search_tool_result", "content": [{"title": "about [QUOTED_1]"}]}
    begun = MessagesEvent(orjson.dumps({"type": "content_block_start", "content_block": block}))
    out = restored([spoken, begun], {"[QUOTED_1]": LINE})

    assert f"to {LINE}" == out[0][0]["delta"]["audio"]["transcript"]
    assert f"about {LINE}" == out[1]["content_block"]["content"][0]["title"]


def stopped_by(pieces: list[str | bytes], rule: PatternRule = BANNED) -> bool:
    """Tell whether a rule that blocks stops an answer of these pieces, looked at one by one or at its end."""
    stage = OutputGuard([RuleInForce(rule, Action.BLOCK)], Checked())
    try:
        for piece in pieces:
            stage.take([piece])
        stage.end()
    except ContentStopped:
        return True
    return False


@pytest.mark.parametrize("place", TWO_PIECES)
def test_every_place_of_an_answer_is_looked_at(place: str) -> None:
    """Over the borders of pieces; where a program reads JSON, without its escapes, also those that are cut in two."""
    write = TWO_PIECES[place]

    assert stopped_by([write("he is Volde"), write("mort!")])
    assert not stopped_by([write("he is Voldo"), write("mort!")])
    # A stage looks when it has enough, and so in the middle of an escape.
    padded = "he is " + "x" * 200 + " Vol\\u00"
    assert (place in IN_JSON) == stopped_by([write(padded), write("64emort!")])


def test_what_only_its_vendor_knows_is_looked_at_too() -> None:
    """Fields that no contract has, and blocks that come whole."""
    block = {"type": "web_search_tool_result", "content": [{"title": "of Voldemort"}]}
    begun = MessagesEvent(orjson.dumps({"type": "content_block_start", "content_block": block}))

    assert stopped_by([delta(reasoning_details=[{"text": "of Voldemort"}])])
    assert stopped_by([begun])


def test_what_may_go_on_is_not_found_yet() -> None:
    """A word that stands at the end of what has come may be the beginning of another."""
    beginning = "x" * 200 + " Voldemort"

    assert not stopped_by([beginning, "ians are many. " * 20])
    assert stopped_by([beginning, ", he. " * 40])


def test_every_place_of_a_request_is_looked_at() -> None:
    """Names of fields that are not the contract's, words of the contract that are none, numbers; not base64."""
    picture = "iVBORw0KGgo" * 200
    body = {
        "role": "user",
        "type": "a mail to ada",
        "model": "gpt-4",
        "Ada Love": {"content": "text", "big": 4111111111111111, "small": 12},
        "url": f"data:image/png;base64,{picture}",
        "data": picture,
        "long": "word " * 400,
    }

    assert ["a mail to ada", "Ada Love", "text", "4111111111111111", "word " * 400] == list(texts_of(body))


def test_calls_and_their_results_stay_tied() -> None:
    """Whatever their ids look like; an `id` of the client's own data is data."""
    name = "ACME-123456"
    use = {"type": "tool_use", "id": name, "name": "f", "input": {"id": name}}
    turns = [
        {"role": "user", "content": f"go on with {name}"},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": name, "content": "done"}]},
    ]
    content = inspect(messages({"messages": turns}), rules()).content
    assert isinstance(content, Conversation)
    assert content.messages_form is not None
    native = orjson.loads(content.messages_form.body)["messages"]
    ours = orjson.loads(content.encoded_body)["messages"]

    assert "go on with [TICKET_1]" == native[0]["content"]
    assert (name, {"id": "[TICKET_1]"}) == (native[1]["content"][0]["id"], native[1]["content"][0]["input"])
    assert name == native[2]["content"][0]["tool_use_id"]
    assert [name, name] == [ours[1]["tool_calls"][0]["id"], ours[2]["tool_call_id"]]


def test_what_the_cache_goes_by_is_the_redacted_native_form() -> None:
    """Of two requests that differ in what was redacted alone it is the same; of two that differ elsewhere it is not."""

    def digest(text: str, beta: str = "") -> bytes:
        source = {"type": "text", "media_type": "text/plain", "data": text}
        content = [{"type": "document", "source": source}, {"type": "text", "text": "sum up"}]
        asked = inspect(messages({"messages": [{"role": "user", "content": content}]}, beta), rules()).content
        assert isinstance(asked, Conversation)
        return asked.digest

    assert digest("by ada@lovelace.org") == digest("by bob@builders.net")
    assert digest("by ada@lovelace.org") != digest("for ada@lovelace.org")
    assert digest("by ada@lovelace.org") != digest("by ada@lovelace.org", "files-api-2025-04-14")


async def test_a_request_is_as_long_as_both_its_forms(tmp_path: Path) -> None:
    """A long one is looked at beside the event loop, a short one on it; what is found is logged without the text."""
    (tmp_path / "p.yaml").write_text(POLICY, encoding="utf-8")
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    guardrails = Guardrails(
        PolicyWatch(tmp_path / "p.yaml", metrics), BodyReaders(None, metrics).inspect, Fetcher(), metrics
    )
    facts = RequestFacts("r", ADA, "/chat", "default", False, 0.0)

    async def elsewhere(content: Content) -> float | None:
        await guardrails.inspect(facts, content)
        return registry.get_sample_value("edge_bodies_read_here_total")

    with structlog.testing.capture_logs() as logs:
        assert 0 == await elsewhere(chat("of ada@lovelace.org " + "x " * 5_000))
        assert 1 == await elsewhere(messages({"messages": [{"role": "user", "content": "x " * 5_000}]}))
        assert 2 == await elsewhere(chat("x " * 10_000))
    found = [(line["event"], line["rules"], line["tenant"]) for line in logs if line["event"] == "guardrails_found"]
    assert [("guardrails_found", ["email:redact"], "acme")] == found
    assert "lovelace" not in repr(logs)
