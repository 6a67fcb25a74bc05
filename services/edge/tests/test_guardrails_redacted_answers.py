"""What the guardrails redact in answers: the original goes nowhere, and all else arrives as it was written."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis.asyncio as redis
from prometheus_client import CollectorRegistry

from edge.assembly import MessagesEvent
from edge.events.spool import Spool
from edge.guardrails.answers.output import Checked, ContentStopped, OutputGuard
from edge.guardrails.policy import Action, RuleInForce
from edge.guardrails.rules import pii, secrets
from edge.guardrails.rules.detector import PatternRule
from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import Edge, running_edge
from .scripted_router import STOP, Visit, attempted, choices, finished, messages_events, started, texts
from .test_guardrails_channels import IN_JSON, TWO_PIECES, all_text, call, delta, event

POLICY = """
version: "9"
input: {email: redact}
output: {pii: redact, secrets: redact, commands: block}
"""
ADDRESS = "ada@lovelace.org"
CARD = "4111 1111 1111 1111"
LINE = "All work and no play makes Jack a dull boy. "
LONG = LINE * 12
PATHS = ["/chat", "/v1/chat/completions", "/v1/messages"]
RULES = [RuleInForce(rule, Action.REDACT) for rule in (*pii.RULES, *secrets.RULES)]


@pytest.fixture(name="guarded")
async def _guarded(
    tmp_path: Path, redis_url: str, valkey: redis.Redis, spool: Spool, registry: CollectorRegistry
) -> AsyncIterator[Edge]:
    async with running_edge(tmp_path, redis_url, spool, registry, policy=POLICY) as edge:
        yield edge


def asks(edge: Edge, path: str, text: str = "q", *, stream: bool = True, **fields: Any) -> Visit:
    """Ask in the contract of a path."""
    question = [{"role": "user", "content": text}]
    body = {"query": text} if path == "/chat" else {"model": "default", "messages": question, "max_tokens": 9}
    return edge.visit(path, {**body, "stream": stream, **fields})


def passed(chunks: list[Any], rules: list[RuleInForce] = RULES, checked: Checked | None = None) -> list[Any]:
    """Return what leaves the stage when chunks come one by one."""
    stage = OutputGuard(rules, checked or Checked())
    return [out for chunk in chunks for out in stage.take([chunk])] + stage.end()


def said(chunks: list[Any], rules: list[RuleInForce] = RULES) -> str:
    """Return all text that leaves the stage."""
    out = passed(chunks, rules)
    return "".join(chunk if isinstance(chunk, str) else all_text(orjson.loads(bytes(chunk))) for chunk in out)


def cut(text: str, rng: random.Random) -> list[str]:
    """Cut a text at places that nobody has chosen."""
    places = sorted({0, len(text), *(rng.randrange(len(text)) for _ in range(rng.randrange(40)))})
    return [text[start:end] for start, end in pairwise(places)]


@pytest.mark.parametrize("place", TWO_PIECES)
def test_it_is_redacted_in_every_place_of_an_answer_however_it_is_cut(place: str) -> None:
    """Over the borders of pieces, with much and with little before and behind it."""
    write = TWO_PIECES[place]
    quote = '"' if place in IN_JSON else ""
    for around in ("", LONG):
        for number in range(1, len(ADDRESS)):
            pieces = [write(f"{quote}{around}to {ADDRESS[:number]}"), write(f"{ADDRESS[number:]} now{around}{quote}")]
            assert f"{quote}{around}to [redacted:email] now{around}{quote}" == said(pieces)


@pytest.mark.parametrize("place", sorted(IN_JSON))
def test_arguments_stay_json(place: str) -> None:
    """With escapes, in names, in numbers, over the border of two strings, wherever the pieces begin."""
    write = TWO_PIECES[place]
    escaped = '{"to":"\\u0061da\\u0040love\\u006cace.org","ada@lovelace.org":[4111111111111111,12,true],'
    text = escaped + f'"text":"\\"{LINE}\\\\ {CARD}\\n\\ud83d\\ude00 \u00e9"' + ',"n":-4.5e1,"of":{"a":"b","c":"d"}}'
    over = PatternRule("over", "custom", ['b","c":"d', "45|4\\.5"])
    rules = [*RULES, RuleInForce(over, Action.REDACT)]
    expected = {
        "to": "[redacted:email]",
        "[redacted:email]": ["[redacted:card]", 12, True],
        "text": f'"{LINE}\\ [redacted:card]\n\U0001f600 \u00e9',
        "n": "[redacted:over]",
        "of": {"a": "[redacted:over]", "[redacted:over]": "[redacted:over]"},
    }
    for number in range(1, len(text)):
        out = said([write(text[:number]), write(text[number:])], rules)
        assert expected == orjson.loads(out), number
    assert expected == orjson.loads(said([write(sign) for sign in text], rules))


def test_arguments_that_are_no_json_are_redacted_too() -> None:
    """Whatever a model writes where JSON should stand."""
    text = f"Sorry, ask {ADDRESS}: he knows {CARD}, or so: {{'a': '{ADDRESS}'}}"
    out = said([call("function", arguments=text[at : at + 9]) for at in range(0, len(text), 9)])

    assert 2 == out.count("[redacted:email]")
    assert "lovelace" not in out
    assert "4111" not in out
    assert "Sorry, ask " == out[:11]


def test_a_number_that_may_go_on_waits() -> None:
    """In the place of half a number nothing can stand."""
    rules = [RuleInForce(PatternRule("code", "custom", ["123"]), Action.REDACT)]
    pieces = ['{"a":"' + "x" * 200 + '","n":912345', "6789,", '"b":"' + "y" * 400 + '"}']
    out = orjson.loads(said([call("function", arguments=piece) for piece in pieces], rules))

    assert "[redacted:code]" == out["n"]


@pytest.mark.parametrize("seed", range(40))
def test_long_arguments_in_any_pieces_are_redacted_as_in_one(seed: int) -> None:
    """The same comes out, it is JSON, and what nothing was found in is there."""
    rng = random.Random(seed)
    harmless = [LINE, "\u00e9\\\n\t", "\\u0040", 1.5, None, {"a": [[], True]}]
    found = [f'say "{ADDRESS}"\n', 4111111111111111, f"\u00e9\\{CARD}\t", [ADDRESS, None]]
    entries = {str(number): rng.choice([*harmless, *found]) for number in range(60)}
    text = orjson.dumps(entries).decode()
    if seed % 2:
        text = "".join(f"\\u{ord(sign):04x}" if sign in "@\u00e9i" else sign for sign in text)
    whole = said([call("function", arguments=text)])

    assert whole == said([call("function", arguments=piece) for piece in cut(text, rng)])
    out = orjson.loads(whole)
    assert entries.keys() == out.keys()
    for name, value in entries.items():
        if value in harmless:
            assert value == out[name]
        else:
            assert "[redacted:" in str(out[name])
            assert "lovelace" not in str(out[name])
            assert "4111" not in str(out[name])


@pytest.mark.parametrize("seed", range(40))
def test_text_in_any_pieces_is_redacted_as_in_one(seed: int) -> None:
    """Also text of more than one byte a letter; what nothing was found in is what came."""
    rng = random.Random(seed)
    words = [
        LINE,
        ADDRESS,
        "\u00e9t\u00e9 \U0001f600 ",
        CARD,
        "[EMAIL_1]",
        "a@b",
        "[",
        " ",
        "sk-ant-api03-" + "aB3_" * 12,
    ]
    text = " and ".join(rng.choice(words) for _ in range(120))
    whole = "".join(map(str, passed([text])))

    assert whole == "".join(map(str, passed(list(cut(text, rng)))))
    for secret in ("lovelace", "4111", "sk-ant"):
        assert secret not in whole
    assert text.count("\u00e9t\u00e9") == whole.count("\u00e9t\u00e9")
    assert text.count(ADDRESS) == whole.count("[redacted:email]")


def test_what_is_longer_than_what_waits_is_redacted_to_its_end() -> None:
    """A private key comes in many chunks; nothing of it goes out, and it counts once."""
    lines = "".join(f"{'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC' * 2}\n" for _ in range(50))
    key = f"-----BEGIN PRIVATE KEY-----\n{lines}-----END PRIVATE KEY-----"
    text = f"{LONG}Here:\n{key}\nKeep it safe. {LONG}"
    checked = Checked()
    out = "".join(map(str, passed([text[at : at + 7] for at in range(0, len(text), 7)], checked=checked)))
    escaped = orjson.dumps({"key": text}).decode()
    arguments = said([call("function", arguments=escaped[at : at + 7]) for at in range(0, len(escaped), 7)])

    assert f"{LONG}Here:\n[redacted:private_key]\nKeep it safe. {LONG}" == out
    assert {"key": out} == orjson.loads(arguments)
    assert 1 == checked.findings["private_key"].count


def test_what_has_no_end_ends_the_answer() -> None:
    """It cannot be kept in memory, and must not go out."""
    stage = OutputGuard([RuleInForce(PatternRule("letters", "custom", ["x{20,}"]), Action.REDACT)], Checked())
    out: list[str | bytes] = []

    def send() -> None:
        for _ in range(400):
            out.extend(stage.take(["x" * 50]))

    with pytest.raises(ContentStopped):
        send()
    assert "[redacted:letters]" == "".join(map(str, out))


def test_what_ends_where_words_and_calls_change_is_redacted() -> None:
    """It reaches to the end of what its text says so far, and nothing tells that it does not go on."""
    checked = Checked()
    turns = [f"of {ADDRESS}.co", *[call("function", arguments=LINE)] * 30, ".uk and more", *[delta(content=LINE)] * 20]
    out = [
        chunk if isinstance(chunk, str) else all_text(orjson.loads(chunk)) for chunk in passed(turns, RULES, checked)
    ]

    assert "lovelace" not in "".join(out)
    assert f"of [redacted:email]{LINE * 30} and more{LINE * 20}" == "".join(out)
    assert 1 == checked.findings["email"].count


def test_what_spells_out_the_original_goes() -> None:
    """Log probabilities and numbers of tokens, whatever an engine calls them, and sound."""
    choice = {
        "index": 0,
        "delta": {"content": "hi", "token_ids": [7], "audio": {"data": "UklGRg==", "transcript": f"I am {ADDRESS}"}},
        "logprobs": {"content": [{"token": ADDRESS}]},
        "finish_reason": None,
        "stop_reason": "X",
        "token_ids": [1, 2, 3],
        "meta_info": {"output_token_logprobs": [[1, 2, ADDRESS]]},
    }
    bare: dict[str, Any] = {"index": 1, "delta": None, "logprobs": {"content": []}, "finish_reason": None}
    (out,) = passed([orjson.dumps([choice, bare])])

    spoken = {"content": "hi", "audio": {"transcript": "I am [redacted:email]"}}
    rest = {"index": 0, "delta": spoken, "logprobs": None, "finish_reason": None, "stop_reason": "X"}
    assert [rest, {**bare, "logprobs": None}] == orjson.loads(out)


def test_without_redaction_chunks_are_what_came() -> None:
    """Byte by byte, log probabilities as well."""
    chunk = b'[{"index":0, "delta":{"content":"of ada@lovelace.org"}, "logprobs":{"content":[]}, "token_ids":[1]}]'

    assert [chunk] == passed([chunk], [RuleInForce(rule, Action.FLAG) for rule in pii.RULES])


def test_fields_that_only_their_vendor_knows_are_redacted_too() -> None:
    """In blocks that come whole, citations, and details of thoughts, which lose their signature."""
    block = {"type": "web_search_tool_result", "content": [{"title": f"about {ADDRESS}", "type": "text"}]}
    cited = {"type": "citations_delta", "citation": {"cited_text": f"by {ADDRESS}"}}
    chunks = [
        MessagesEvent(orjson.dumps({"type": "content_block_start", "content_block": block})),
        MessagesEvent(orjson.dumps({"type": "content_block_delta", "delta": cited})),
        delta(reasoning_details=[{"type": "reasoning.text", "text": f"is it {ADDRESS}?"}]),
        delta(reasoning_details=[{"type": "reasoning.text", "signature": "c2lnbmVk"}]),
    ]
    out = [orjson.loads(bytes(chunk)) for chunk in passed(chunks)]

    assert [{"title": "about [redacted:email]", "type": "text"}] == out[0]["content_block"]["content"]
    assert {"cited_text": "by [redacted:email]"} == out[1]["delta"]["citation"]
    details = [chunk[0]["delta"]["reasoning_details"][0] for chunk in out[2:]]
    assert [{"type": "reasoning.text", "text": "is it [redacted:email]?"}, {"type": "reasoning.text"}] == details


@pytest.mark.parametrize("is_whole", [True, False], ids=["in one piece", "in pieces"])
def test_a_thought_that_was_changed_loses_its_signature(*, is_whole: bool) -> None:
    """It is that of the original; the next thought keeps its own."""

    def thought(text: str, signature: str) -> list[str | bytes]:
        whole = {"type": "thinking", "thinking": text, "signature": signature}
        if is_whole:
            return [MessagesEvent(orjson.dumps({"type": "content_block_start", "content_block": whole}))]
        block = {**whole, "thinking": "", "signature": ""}
        begun = MessagesEvent(orjson.dumps({"type": "content_block_start", "content_block": block}))
        return [begun, delta(reasoning_content=text), event("signature_delta", signature=signature)]

    chunks = [*thought(f"{LONG}it is {ADDRESS}", "first"), *thought("then", "second")]
    out = b" ".join(bytes(chunk) for chunk in passed(chunks) if isinstance(chunk, bytes))

    assert b"it is [redacted:email]" in out
    assert b"first" not in out
    assert b"second" in out


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("path", PATHS)
async def test_the_client_reads_placeholders(
    guarded: Edge, path: str, stream: bool, counted: Callable[..., float]
) -> None:
    """In words and arguments, in every contract; so does the cache, the answer ends well, and the receipt says it."""
    arguments = '{"to": "ada\\u0040love', 'lace.org", "card": 411111', '1111111111, "n": 1}'
    name: dict[str, Any] = {"id": "c1", "type": "function", "function": {"name": "pay", "arguments": ""}}
    calls = [name, *({"function": {"arguments": piece}} for piece in arguments)]
    script = [choices([{"index": 0, "delta": {"tool_calls": [{"index": 0, **each}]}}]) for each in calls]
    end = finished(routerpb.FINISH_REASON_TOOL_CALL)
    answer = [started(), *map(texts, [LONG, "I am ada@love", "lace.org. ", LONG]), *script, attempted(), end]
    guarded.router.script = answer
    visit = await asks(guarded, path, stream=stream).done()
    again = await asks(guarded, path, stream=stream).done()

    assert "edge; hit" == again.headers["cache-status"]
    for each in (visit, again):
        assert 200 == each.status
        assert b"lovelace" not in each.content
        assert b"4111" not in each.content
        assert 2 == each.content.count(b"[redacted:email]")
        assert 1 == each.content.count(b"[redacted:card]")
        assert b"content_filter" not in each.content
    (key,) = await guarded.stored()
    entry: Any = await guarded.redis.get(key)
    assert b"[redacted:email]" in entry
    assert b"lace.org" not in entry
    assert 1 == counted("edge_guardrail_findings_total", rule="email", action="redact", side="output")
    if path == "/chat":
        found = (visit.events[-1][1] if stream else visit.json)["guardrails"]["output"]["found"]
        expected = {"rule": "email", "version": 2, "action": "redact", "count": 2}
        assert expected in found
    elif not stream:
        assert "email;action=redact" in visit.headers["x-guardrails-output"]


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_that_was_kept_under_another_policy_is_redacted_when_it_is_given(
    path: str, tmp_path: Path, edge: Edge, redis_url: str, spool: Spool
) -> None:
    """The cache's key does not know the policy: what it has passes the stage again."""
    edge.router.script = [started(), texts(LONG, f"I am {ADDRESS}. ", LONG), attempted(), STOP]
    await asks(edge, path).done()
    (folder := tmp_path / "other").mkdir()
    async with running_edge(folder, redis_url, spool, CollectorRegistry(), policy=POLICY) as guarded:
        visit = await asks(guarded, path, stream=False).done()

        assert "edge; hit" == visit.headers["cache-status"]
        assert b"I am [redacted:email]. " in visit.content
        assert b"lovelace" not in visit.content
        assert 0 == len(guarded.router.requests)


@pytest.mark.parametrize("path", PATHS)
async def test_the_clients_own_value_comes_back_beside_one_that_is_redacted(guarded: Edge, path: str) -> None:
    """The placeholders of requests and of answers are told apart."""
    guarded.router.script = [started(), texts("You are [EMAIL_1], not bob@builders", ".net"), attempted(), STOP]
    visit = await asks(guarded, path, f"I am {ADDRESS}", stream=False).done()

    assert b"You are ada@lovelace.org, not [redacted:email]" in visit.content


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_log_probabilities_do_not_reach_the_client(guarded: Edge, stream: bool) -> None:
    """They spell out the answer, token by token."""
    token = {"token": "lovelace", "logprob": -0.1, "bytes": None, "top_logprobs": []}
    choice = {"index": 0, "delta": {"content": ADDRESS}, "logprobs": {"content": [token]}, "token_ids": [66, 7]}
    guarded.router.script = [started(), choices([choice]), attempted(), STOP]
    visit = await guarded.complete(stream=stream, logprobs=True).done()

    assert b"lovelace" not in visit.content
    assert b"token_ids" not in visit.content
    assert b"[redacted:email]" in visit.content
    assert b"[DONE]" in visit.content or "stop" == visit.json["choices"][0]["finish_reason"]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_signed_thought_of_messages_reaches_its_client_without_the_signature(
    guarded: Edge, stream: bool
) -> None:
    """It reads like one of a target that signs nothing, which a router leaves out where Anthropic is asked next."""
    block = {"type": "thinking", "thinking": "", "signature": ""}
    thinking = [{"index": 0, "delta": {"reasoning_content": f"mail {ADDRESS}"}}]
    guarded.router.script = [
        started(),
        messages_events({"type": "content_block_start", "content_block": block}),
        choices(thinking),
        messages_events({"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "EqQB"}}),
        messages_events({"type": "content_block_stop"}),
        texts("Done."),
        attempted(),
        STOP,
    ]
    visit = await asks(guarded, "/v1/messages", stream=stream).done()

    assert b"EqQB" not in visit.content
    assert b"mail [redacted:email]" in visit.content
    if not stream:
        thought, words = visit.json["content"]
        assert {"type": "thinking", "thinking": "mail [redacted:email]", "signature": ""} == thought
        assert {"type": "text", "text": "Done."} == words


async def test_a_rule_that_blocks_still_blocks_beside_those_that_redact(guarded: Edge) -> None:
    """Nothing of what it finds goes out; what came before does, redacted."""
    guarded.router.script = [started(), *map(texts, [f"{ADDRESS} {LONG}", LONG, "rm -rf / ", LONG]), attempted(), STOP]
    visit = await guarded.chat().done()

    assert "content_filter" == visit.events[-1][1]["finish_reason"]
    assert b"[redacted:email] All work" in visit.content
    assert b"rm -rf" not in visit.content
    assert [] == await guarded.stored()
