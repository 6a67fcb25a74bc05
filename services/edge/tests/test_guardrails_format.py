"""The format that a request asks for: an answer that has another one does not go out, and says so."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis.asyncio as redis
from prometheus_client import CollectorRegistry

from edge.cache.entry import MAX_ANSWER_BYTES
from edge.events.spool import Spool
from edge.guardrails.format import are_objects, fits
from edge.guardrails.policy import PolicyError, parse_policy
from edge.guardrails.redaction import Restorer
from spillway.router.v1 import router_pb2 as routerpb

from .scripted_edge import Edge, running_edge
from .scripted_router import STOP, Visit, attempted, choices, finished, started, texts, waits_for

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "pattern": "^[A-Z]"}, "people": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
OBJECT = {"type": "json_object"}
GOOD, BAD = '{"city": "Paris", "people": 2}', '{"city": "paris", "people": 2}'
PATHS = ["/v1/chat/completions", "/v1/messages"]
Starts = Callable[..., Awaitable[Edge]]


@pytest.fixture(name="starts")
async def _starts(
    tmp_path: Path, redis_url: str, valkey: redis.Redis, spool: Spool, registry: CollectorRegistry
) -> AsyncIterator[Starts]:
    """Start an edge with a policy for answers."""
    contexts: list[Any] = []

    async def start(output: str = "format: block", before: str = "") -> Edge:
        policy = f"version: '5'\n{before}output: {{{output}}}\n"
        contexts.append(running_edge(tmp_path, redis_url, spool, registry, policy=policy))
        edge: Edge = await contexts[-1].__aenter__()
        return edge

    yield start
    for context in contexts:
        await context.__aexit__(None, None, None)


def asks(edge: Edge, path: str = PATHS[0], *, stream: bool = True, schema: object = SCHEMA, **fields: Any) -> Visit:
    """Ask for JSON of a schema, in the contract of a path."""
    body = {"model": "default", "messages": [{"role": "user", "content": "q"}], "max_tokens": 9, "stream": stream}
    if path == "/v1/messages":
        return edge.visit(path, {**body, "output_config": {"format": {"type": "json_schema", "schema": schema}}})
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    return edge.visit(path, {**body, "response_format": form, **fields})


def ends(visit: Visit) -> list[str]:
    """Return the ends of an answer of OpenAI's contract."""
    if not visit.content.startswith(b"data:") and not visit.content.startswith(b":"):
        return [choice["finish_reason"] for choice in visit.json["choices"]]
    frames = [orjson.loads(frame["data"]) for frame in visit.frames if frame.get("data", "[DONE]") != "[DONE]"]
    return [
        choice["finish_reason"]
        for frame in frames
        for choice in frame["choices"]
        if choice.get("finish_reason") is not None
    ]


@pytest.mark.parametrize("text", [GOOD, BAD, "Here it is: {", "", "[1]"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_goes_out_when_it_fits_the_schema_and_not_at_all_when_not(
    starts: Starts, path: str, stream: bool, text: str, counted: Callable[..., float]
) -> None:
    """Then it ends as filtered content does, is billed, and nothing is kept."""
    edge = await starts()
    edge.router.script = [started(), *map(texts, [text[:10], text[10:]]), attempted(), STOP]
    visit = await asks(edge, path, stream=stream).done()

    assert 200 == visit.status
    is_good = text == GOOD
    filtered = b'"refusal"' if path == "/v1/messages" else b'"content_filter"'
    assert is_good == (filtered not in visit.content.replace(b'"refusal":null', b""))
    assert is_good == (b"ity" in visit.content)
    assert (1 if is_good else 0) == len(await edge.stored())
    assert b"error" not in visit.content
    (settled,) = await edge.settled()
    assert 1 == len(settled.attempts)
    assert (not is_good) == bool(counted("edge_guardrail_findings_total", rule="format", action="block", side="output"))
    if not is_good and not stream:
        assert "format;action=block" in visit.headers["x-guardrails-output"]


async def test_nothing_goes_out_before_the_end(starts: Starts) -> None:
    """Not even the beginning of a good answer; without a format, or without the rule, nothing waits."""
    edge = await starts()
    edge.router.script = [
        started(),
        texts(GOOD[:9]),
        waits_for(edge.router.stopped),
        texts(GOOD[9:]),
        attempted(),
        STOP,
    ]
    plain = edge.complete()
    await plain.until(lambda visit: b"city" in visit.content)
    edge.settings["status_hold_seconds"] = 0.01
    held = asks(edge)
    await held.until(lambda visit: b"keep-alive" in visit.content)
    assert b"city" not in held.content
    edge.router.stopped.set()
    await plain.done()
    await held.done()

    assert ["stop"] == ends(held)
    assert b"Paris" in held.content


async def test_an_object_is_any_object(starts: Starts) -> None:
    """`json_object` has no schema."""
    edge = await starts()
    found = []
    for number, text in enumerate(['{"a": 1}', "[1]", "{'a': 1}", '```json\n{"a": 1}\n```']):
        edge.router.script = [started(), texts(text), attempted(), STOP]
        visit = await edge.complete(response_format=OBJECT, seed=number).done()
        found += ends(visit)

    assert ["stop", *["content_filter"] * 3] == found


async def test_other_ends_keep_their_honesty(starts: Starts) -> None:
    """What was cut off says so, what was refused too, and calls are no answer in the format."""
    edge = await starts()
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}
    scripts = {
        "length": [texts('{"city": "Par'), attempted(), finished(routerpb.FINISH_REASON_LENGTH)],
        "stop": [choices([{"index": 0, "delta": {"refusal": "I must not"}}]), attempted(), STOP],
        "tool_calls": [
            choices([{"index": 0, "delta": {"tool_calls": [call]}}]),
            attempted(),
            finished(routerpb.FINISH_REASON_TOOL_CALL),
        ],
    }
    for number, (end, script) in enumerate(scripts.items()):
        edge.router.script = [started(), *script]
        visit = await asks(edge, seed=number).done()
        assert [end] == ends(visit)


async def test_one_choice_that_does_not_fit_is_enough(starts: Starts) -> None:
    """The answer is one."""
    edge = await starts()
    script = [choices([{"index": index, "delta": {"content": text}}]) for index, text in ((0, GOOD), (1, BAD))]
    edge.router.script = [started(), *script, attempted(), finished(*[routerpb.FINISH_REASON_STOP] * 2)]
    visit = await asks(edge, n=2, stream=False).done()

    assert ["content_filter"] * 2 == ends(visit)
    assert b"aris" not in visit.content


async def test_it_may_be_told_only(starts: Starts) -> None:
    """Then nothing waits for it."""
    edge = await starts("format: flag")
    edge.router.script = [started(), texts(BAD), waits_for(edge.router.stopped), attempted(), STOP]
    visit = asks(edge)
    await visit.until(lambda visit: b"paris" in visit.content)
    edge.router.stopped.set()
    await visit.done()

    assert ["stop"] == ends(visit)
    assert b"format;action=flag" in visit.content


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_an_answer_from_the_cache_is_looked_at_too(
    stream: bool, tmp_path: Path, edge: Edge, redis_url: str, spool: Spool
) -> None:
    """With the rules of today."""
    edge.router.script = [started(), texts(BAD), attempted(), STOP]
    await asks(edge).done()
    (folder := tmp_path / "other").mkdir()
    policy = "version: '5'\noutput: {format: block}\n"
    async with running_edge(folder, redis_url, spool, CollectorRegistry(), policy=policy) as guarded:
        visit = await asks(guarded, stream=stream).done()

    assert "edge; hit" == visit.headers["cache-status"]
    assert ["content_filter"] == ends(visit)
    assert b"paris" not in visit.content


async def test_what_waits_is_bounded(starts: Starts) -> None:
    """A stream that is longer ends with an error."""
    edge = await starts()
    edge.router.script = [started(), *[texts("x" * 2**16)] * (MAX_ANSWER_BYTES // 2**16 + 1), attempted(), STOP]
    visit = await asks(edge).done()

    assert b"answer_too_long" in visit.content
    assert b"xxx" not in visit.content


async def test_a_schema_that_cannot_be_used_lets_json_pass(starts: Starts, counted: Callable[..., float]) -> None:
    """It is the client's own; what is no JSON does not pass, and it is counted."""
    edge = await starts()
    schema = {"type": "object", "properties": {"city": {"pattern": "(?=x)"}}}
    found = []
    for text in (BAD, "no"):
        edge.router.script = [started(), texts(text), attempted(), STOP]
        found += ends(await asks(edge, schema=schema, user=text).done())
        await edge.redis.flushdb()

    assert ["stop", "content_filter"] == found
    assert 1 == counted("edge_guardrail_format_unchecked_total", reason="schema")


async def test_redaction_leaves_json_whole(starts: Starts) -> None:
    """In numbers, and with values of the request that are put back and have quotes."""
    before = "input: {quoted: redact}\ncustom: [{name: quoted, pattern: 'say \"[a-z]+\"'}]\n"
    edge = await starts("format: block, pii: redact", before)
    parts = ['{"city": "P[QUOTED', "_1] ada\\u0040love", 'lace.org", "people": 411111', "1111111111}"]
    edge.router.script = [started(), *map(texts, parts), attempted(), STOP]
    body = {"model": "default", "messages": [{"role": "user", "content": 'I say "yes"'}], "response_format": OBJECT}
    visit = await edge.visit("/v1/chat/completions", body).done()

    expected = {"city": 'Psay "yes" [redacted:email]', "people": "[redacted:card]"}
    assert expected == orjson.loads(visit.json["choices"][0]["message"]["content"])


def test_a_value_that_waits_comes_back_as_json() -> None:
    """Also in the last chunk, and only in the words."""
    restorer = Restorer({"[X_1]": 'a"b'}, is_json=True)
    out = restorer.take(["[X_", b'[{"index":0,"delta":{"reasoning":"[X_1]"}}]', "[X_1]"])

    assert ["[X_", b'[{"index":0,"delta":{"reasoning":"a\\"b"}}]', 'a\\"b'] == out


def chain(keyword: str, kind: str) -> str:
    """Return a schema that takes for ever for an object: each level asks the next one twice."""
    levels = {f"a{n}": {keyword: [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(60)}
    return orjson.dumps({"$defs": {**levels, "a60": {"type": kind}}, "$ref": "#/$defs/a0"}).decode()


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        ({"type": "string", "pattern": "^(a+)+$"}, '"' + "a" * 100_000 + '!"', False),
        ({"type": "string", "pattern": "(?:(?:a{1000}){1000}){1000}"}, '"a"', None),
        ({"type": "string", "pattern": "(?=a)a"}, '"a"', None),
        ({"$ref": "#"}, "{}", True),
        ({"type": 5}, "{}", None),
        ({"$schema": "https://example.com/own"}, "{}", None),
        ({"$ref": "file:///etc/passwd"}, "{}", None),
        ({"type": "array"}, "[" * 100_000 + "]" * 100_000, False),
        ({"type": "number"}, "1e999", False),
        ({"format": "email", "type": "string"}, '"x"', True),
    ],
)
def test_no_schema_does_harm(schema: dict[str, Any], text: str, expected: bool | None) -> None:
    """Patterns are linear or refused, circles end, and what is too deep does not fit."""
    assert expected is fits([text], orjson.dumps(schema))


def test_what_is_too_deep_is_no_object() -> None:
    """And no fault either."""
    assert not are_objects(['{"a":' * 100_000])


def test_nothing_is_fetched_for_a_schema() -> None:
    """A client's schema must not make an edge call anybody."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}/schema"
        found = [fits(["{}"], orjson.dumps(schema)) for schema in ({"$ref": address}, {"$schema": address})]
        server.shutdown()

    assert [None, None] == found
    assert [] == asked


IN_A_READER = """
import asyncio, sys
from prometheus_client import CollectorRegistry
from edge.http import readers as readers_module
from edge.http.readers import BodyReaders, Mother
from edge.metrics import Metrics

readers_module._TIMEOUT_SECONDS = 600.0  # it is the kernel that ends them, however busy the machine is

async def main(mother):
    readers = BodyReaders(mother, Metrics(CollectorRegistry()))
    plain = b'{"type":"object"}'
    first = await readers.check_format(["{}"], plain)
    endless = await asyncio.gather(*(readers.check_format(["{}"], schema.encode()) for schema in sys.argv[1:]))
    print([first, await readers.check_format(["[]"], plain), *endless, "jsonschema_rs" in sys.modules])
    readers.close()

asyncio.run(main(Mother([])))
"""


@pytest.mark.integration
def test_a_schema_that_takes_for_ever_is_given_up() -> None:
    """It runs in a process that the kernel ends; the next one is looked at as before."""
    schemas = [chain("allOf", "object"), chain("anyOf", "string")]
    said = subprocess.run(
        [sys.executable, "-c", IN_A_READER, *schemas], capture_output=True, text=True, timeout=120, check=False
    )

    assert "[True, False, None, None, False]" == said.stdout.strip(), said.stderr


@pytest.mark.parametrize(
    ("text", "place"), [("output: {format: redact}", "output.format"), ("input: {format: block}", "input.format")]
)
def test_a_policy_that_makes_no_sense_is_refused(text: str, place: str) -> None:
    """By its place."""
    with pytest.raises(PolicyError, match=place.replace(".", r"\.")):
        parse_policy(Path("p.yaml"), f"version: '1'\n{text}".encode())
