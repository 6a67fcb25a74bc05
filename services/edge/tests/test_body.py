"""Bodies are read up to a limit and refused in words that help and quote nothing."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import Message

from edge.contracts.chat.contract import ChatContract
from edge.contracts.chat.request import ChatRequest
from edge.contracts.completions.request import CompletionRequest
from edge.contracts.reading import read_content
from edge.contracts.validation import validate
from edge.conversation import encode_body
from edge.http.body import read_bytes
from edge.http.inflate import STEP_BYTES
from edge.problems import Problem

SECRET = "xyzzy-0451"


def request_of(*chunks: bytes, length: str | None = None, is_cut: bool = False) -> Request:
    """Make a request whose body comes in these chunks."""
    last = [{"type": "http.disconnect"}] if is_cut else [{"type": "http.request", "body": b"", "more_body": False}]
    messages = iter([*({"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks), *last])

    async def receive() -> Message:
        return next(messages)

    headers = [] if length is None else [(b"content-length", length.encode("latin-1"))]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def refusal(body_class: type[BaseModel], raw: object) -> Problem:
    """Return why a body is refused."""
    with pytest.raises(Problem) as caught:
        validate(body_class, raw)
    return caught.value


async def read_refusal(*chunks: bytes, limit: int = 1_000_000, length: str | None = None) -> Problem:
    """Return why bytes are refused."""
    try:
        raw = await read_bytes(request_of(*chunks, length=length), limit, lambda _: None)
        read_content(ChatContract(), "/chat", raw, {})
    except Problem as problem:
        return problem
    raise AssertionError("it was not refused")


@pytest.mark.parametrize(
    "body",
    [
        '{"query": "harmless", "query": "harmful"}',
        '{"query": "harmless", "qu\\u0065ry": "harmful"}',
        '{"query": "a", "tools": [{"function": {"name": "b", "more": [1, {"x": 1, "y": 2, "x": 3}]}}]}',
    ],
)
async def test_no_name_is_there_twice(body: str) -> None:
    """What is looked at here and what a target reads would be two different prompts."""
    problem = await read_refusal(body.encode())

    assert "invalid_json" == problem.code
    assert "twice in one object" in str(problem)


def test_the_same_name_in_two_objects_is_none_twice() -> None:
    """Nor is one in a text; numbers of any length and depth take no time."""
    tools = [{"type": "function", "function": {"name": name, "parameters": {"a": {"a": 1}}}} for name in "ab"]
    body = orjson.dumps({"query": '{"a": 1, "a": 2}', "tools": tools})

    read_content(ChatContract(), "/chat", body, {})
    long = b'{"query": "x", "temperature": 1' + b"0" * 100_000 + b"}"
    with pytest.raises(Problem):
        read_content(ChatContract(), "/chat", long, {})
    with pytest.raises(Problem, match=r"not JSON|nested too deeply"):
        read_content(ChatContract(), "/chat", b'{"query": ' + b"[" * 1020 + b"]" * 1020 + b"}", {})


def packed(body: bytes, wbits: int) -> bytes:
    """Compress: 31 is gzip, 15 zlib's format, -15 deflate without a frame."""
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(body) + packer.flush()


def compressed_request(encoding: str, *chunks: bytes) -> Request:
    """Make a request whose body comes compressed."""
    request = request_of(*chunks)
    request.scope["headers"].append((b"content-encoding", encoding.encode()))
    return request


@pytest.mark.parametrize(
    ("encoding", "wbits"),
    [("gzip", 31), ("GZIP ", 31), ("x-gzip", 31), ("deflate", 15), ("deflate", -15), ("", 0), ("identity", 0)],
)
@pytest.mark.parametrize("size", [0, 1, 1000, 700_000])
async def test_a_compressed_body_is_what_it_was(encoding: str, wbits: int, size: int) -> None:
    """In pieces of any size; what is held is what it has become."""
    body = random.Random(1).randbytes(size // 2).hex().encode()
    sent = packed(body, wbits) if wbits else body
    for step in (len(sent), 7 if size < 10_000 else 70_000):
        held: list[int] = []
        pieces = [sent[i : i + step] for i in range(0, len(sent), step or 1)]
        assert body == await read_bytes(compressed_request(encoding, *pieces), 1_000_000, held.append)
        assert len(body) == sum(held)


@pytest.mark.parametrize("encoding", ["br", "zstd", "identity, gzip", "gzip, gzip", "compress", "x" * 1000])
async def test_an_encoding_that_is_not_understood_is_refused_unread(encoding: str) -> None:
    """With those that are, for the client as well as for the person."""

    async def receive() -> Message:
        raise AssertionError("it was read")

    headers = [(b"content-encoding", encoding.encode())]
    with pytest.raises(Problem, match="send gzip, deflate, or the body as it is") as caught:
        await read_bytes(Request({"type": "http", "method": "POST", "headers": headers}, receive), 100, lambda _: None)

    assert (415, "gzip, deflate") == (caught.value.kind.status, caught.value.headers()["accept-encoding"])
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("encoding", "sent", "message"),
    [
        ("gzip", b'{"query": "not packed"}', "is not gzip"),
        ("deflate", b'{"query": "not packed"}', "is not deflate"),
        ("gzip", packed(b"x" * 100, 15), "is not gzip"),
        ("gzip", packed(b"x" * 100, 31)[:-1], "ends before its gzip does"),
        ("gzip", packed(b"x" * 100, 31)[:5], "ends before its gzip does"),
        ("gzip", packed(b"x" * 100, 31)[:-8] + b"\0" * 8, "is not gzip"),
        ("gzip", packed(b"x" * 100, 31) + b"y", "goes on after the end of its gzip"),
        ("gzip", packed(b"x", 31) * 2, "goes on after the end of its gzip"),
        ("deflate", packed(b"x" * 100, -15)[:-1], "ends before its deflate does"),
    ],
)
async def test_a_body_that_is_not_what_its_encoding_says_is_refused(encoding: str, sent: bytes, message: str) -> None:
    """400, in one piece or in many."""
    for step in (len(sent), 1):
        pieces = [sent[i : i + step] for i in range(0, len(sent), step)]
        with pytest.raises(Problem, match=message) as caught:
            await read_bytes(compressed_request(encoding, *pieces), 1000, lambda _: None)
        assert "invalid_request" == caught.value.code


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_bomb_is_refused_before_it_has_unfolded(encoding: str) -> None:
    """By its ratio and by the limit, whichever is first; until then it is kept and held like any body."""
    held: list[int] = []
    bomb = packed(b" " * 100_000_000, 31 if encoding == "gzip" else 15)
    with pytest.raises(Problem, match="packed more than 200-fold") as caught:
        await read_bytes(compressed_request(encoding, bomb), 200_000_000, held.append)

    assert 413 == caught.value.kind.status
    assert sum(held) <= 200 * len(bomb)
    body = random.Random(1).randbytes(1000) * 1000
    with pytest.raises(Problem, match="longer than 900000 bytes"):
        await read_bytes(
            compressed_request(encoding, packed(body, 31 if encoding == "gzip" else 15)), 900_000, held.append
        )


async def test_what_becomes_nothing_counts_as_well() -> None:
    """Empty blocks of deflate go on for ever: the limit is also on what comes."""
    empty_block = b"\x00\x00\x00\xff\xff"
    with pytest.raises(Problem, match="longer than 1000 bytes"):
        await read_bytes(compressed_request("deflate", *[empty_block * 10] * 100), 1000, lambda _: None)


async def test_others_go_on_while_a_body_is_unpacked() -> None:
    """The event loop is not held for longer than it takes to unpack a quarter of a megabyte."""
    body = random.Random(1).randbytes(8_000_000).hex().encode()
    sent = packed(body, 31)
    pieces = [sent[i : i + 1_000_000] for i in range(0, len(sent), 1_000_000)]
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    assert body == await read_bytes(compressed_request("gzip", *pieces), 50_000_000, lambda _: None)
    counting.cancel()

    assert turns >= len(body) // STEP_BYTES - len(pieces)


async def test_a_body_may_come_in_pieces() -> None:
    """Also in pieces that cut a character."""
    text = '{"query": "Größe"}'.encode()

    pieces = [text[i : i + 1] for i in range(len(text))]
    assert text == await read_bytes(request_of(*pieces), 100, lambda _: None)


@pytest.mark.parametrize("length", [None, "20", "x", "-1", "9" * 30])
async def test_a_body_at_the_limit_passes_whatever_was_declared(length: str | None) -> None:
    """Only a declared length above the limit counts by itself."""
    body = b'"' + b"x" * 18 + b'"'
    if length == "9" * 30:
        assert "body_too_large" == (await read_refusal(body, limit=20, length=length)).code
    else:
        assert body == await read_bytes(request_of(body, length=length), 20, lambda _: None)


@pytest.mark.parametrize("length", [None, "5"])
async def test_a_body_over_the_limit_is_refused_before_it_is_parsed(length: str | None) -> None:
    """Whether its length was hidden or belied: what comes is counted, and reading stops there."""
    read = 0

    async def receive() -> Message:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"[" * 10, "more_body": True}

    headers = [] if length is None else [(b"content-length", length.encode())]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    with pytest.raises(Problem) as caught:
        await read_bytes(request, 25, lambda _: None)

    assert ("body_too_large", 413) == (caught.value.code, caught.value.kind.status)
    assert "25" in caught.value.message
    assert 3 == read


@pytest.mark.parametrize("length", ["", "x", "-1", "1e9", "\u00b2"])
async def test_a_length_that_is_no_number_says_nothing(length: str) -> None:
    """Some signs are digits for Python and no numbers."""
    assert b"{}" == await read_bytes(request_of(b"{}", length=length), 25, lambda _: None)


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    """No byte of it is taken in."""

    async def receive() -> Message:
        raise AssertionError

    request = Request({"type": "http", "method": "POST", "headers": [(b"content-length", b"26")]}, receive)
    with pytest.raises(Problem) as caught:
        await read_bytes(request, 25, lambda _: None)

    assert "body_too_large" == caught.value.code


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"query=" + SECRET.encode(),
        b'{"query": ' + SECRET.encode(),
        b'{"query": "' + SECRET.encode(),
        b"{'query': 1}",
        b'{"temperature": NaN}',
        b'{"temperature": -Infinity}',
        b'{"temperature": 1e999}',
        b'{"query": "\\ud800"}',
        b'{"query": "\xff"}',
        b'\xef\xbb\xbf{"query": "x"}',
        b'{"query": "x"}{"query": "y"}',
        b'"\\x"',
        b"[" * 100_000,
    ],
)
async def test_what_is_not_json_is_refused_with_its_place(body: bytes) -> None:
    """NaN, lone surrogates and bytes that are no text are not JSON either; the message quotes nothing."""
    problem = await read_refusal(body)

    assert ("invalid_json", 400) == (problem.code, problem.kind.status)
    assert problem.message.startswith("the body is not JSON: ")
    assert "(line 1, column " in problem.message
    assert SECRET not in problem.message


def nested(depth: int) -> bytes:
    """Write lists inside of each other."""
    return b"[" * depth + b"]" * depth


def is_refused(depth: int) -> bool:
    """Tell whether a body with lists inside of each other is refused, in the words for it."""
    try:
        encode_body(orjson.loads(b'{"a":%b}' % nested(depth)))
    except Problem as problem:
        return (problem.code, problem.message) == ("invalid_request", "the body is nested too deeply")
    return False


@pytest.mark.parametrize("depth", [254, 300, 1000])
def test_a_body_nested_too_deeply_is_refused(depth: int) -> None:
    """It can be read, but not be written again: better refused now than crashing the request later."""
    assert is_refused(depth)


def test_the_deepest_body_that_is_taken_can_be_sent_on() -> None:
    """With all that it is put into on its way."""
    depth = max(depth for depth in range(200, 300) if not is_refused(depth))
    parsed = orjson.loads(nested(depth))

    assert orjson.dumps(["tenant", "model", {"messages": [{"content": [{"input": parsed}]}]}])


def test_a_body_is_written_as_it_was_read() -> None:
    """The order of names may matter to a model: the properties of a schema come in theirs."""
    body = {"b": [1, {"y": None, "x": "\u2028"}], "a": 0.5}

    assert orjson.dumps(body) == encode_body(body)


async def test_a_connection_that_closes_is_no_crash() -> None:
    """Nobody reads the answer, but the log must not show a failure of ours."""
    with pytest.raises(Problem) as caught:
        await read_bytes(request_of(b"{", is_cut=True), 100, lambda _: None)

    assert "invalid_request" == caught.value.code


@pytest.mark.parametrize("body_class", [ChatRequest, CompletionRequest])
@pytest.mark.parametrize("raw", [[], ["query"], "query", None, 7, True])
def test_a_body_that_is_no_object_is_told_so(body_class: type[BaseModel], raw: object) -> None:
    """In words of JSON, not of Python."""
    problem = refusal(body_class, raw)

    assert ("invalid_request", "the body: Input should be a JSON object", None) == (
        problem.code,
        problem.message,
        problem.param,
    )


@pytest.mark.parametrize(
    ("raw", "param", "reported"),
    [
        ({}, "query", "query: Field required"),
        ({"query": 5}, "query", "query: Input should be a valid string"),
        ({"query": ""}, "query", "query: must not be blank"),
        ({"query": " \n"}, "query", "query: must not be blank"),
        ({"query": "x", "temperature": "0"}, "temperature", "temperature: Input should be a valid number"),
        ({"query": "x", "temperature": 2.1}, "temperature", "temperature: Input should be less than or equal to 2"),
        ({"query": "x", "max_tokens": 0}, "max_tokens", "max_tokens: Input should be greater than or equal to 1"),
        ({"query": "x", "max_tokens": 1.5}, "max_tokens", "max_tokens: Input should be a valid integer"),
        ({"query": "x", "stream": "no"}, "stream", "stream: Input should be a valid boolean"),
        ({"query": "x", "stream": None}, "stream", "stream: Input should be a valid boolean"),
        ({"query": "x", "retrieved_context": ["a", 5]}, "retrieved_context", "retrieved_context.1: Input should be"),
        ({"query": "x", "tools": [{}, 5]}, "tools.1", "tools.1: Input should be a valid dictionary"),
    ],
)
def test_a_fault_names_its_field(raw: object, param: str, reported: str) -> None:
    """The path of the field, as `param` and in the message."""
    problem = refusal(ChatRequest, raw)

    assert ("invalid_request", param) == (problem.code, problem.param)
    assert reported in problem.message


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ("hi", "messages"),
        ([5], "messages.0"),
        ([{"role": "user", "content": "x"}, {"content": "x"}], "messages.1.role"),
        ([{"role": "king", "content": "x"}], "messages.0.role"),
        ([{"role": "user", "content": 5}], "messages.0.content"),
        ([{"role": "user", "content": [5]}], "messages.0.content"),
    ],
)
def test_a_fault_in_a_message_names_the_message(messages: object, param: str) -> None:
    """The path goes through lists; branches of unions are Python's business and not in it."""
    problem = refusal(CompletionRequest, {"model": "m", "messages": messages})

    assert ("invalid_request", param) == (problem.code, problem.param)
    assert "[" not in problem.message


@pytest.mark.parametrize("name", ["prompt", "str", "list[str]", "a.b", "", "größe"])
def test_an_unknown_field_is_named_with_the_known_ones(name: str) -> None:
    """A typo is found at a glance, whatever the field is called."""
    problem = refusal(ChatRequest, {"query": "x", name: SECRET})

    assert ("unknown_field", name or None) == (problem.code, problem.param)
    assert f"unknown field {name!r}; the fields are: query, system_prompt, " in problem.message
    assert problem.message.endswith(", stream")
    assert SECRET not in problem.message


def test_several_faults_are_told_at_once() -> None:
    """An unknown field among other faults does not hide them; of very many only the first are told."""
    problem = refusal(ChatRequest, {"query": 5, "temperature": "hot", "colour": "red"})

    assert "invalid_request" == problem.code
    for reported in ("query: ", "temperature: ", "unknown field 'colour'", "the fields are: "):
        assert reported in problem.message

    many = refusal(ChatRequest, {"query": "x"} | {f"field{number}": 1 for number in range(1000)})
    assert len(many.message) < 500


def test_a_message_stays_short_however_long_a_name_is() -> None:
    """A field name of a megabyte is not sent back."""
    problem = refusal(ChatRequest, {"query": "x", "n" * 1_000_000: 1})

    assert len(problem.message) < 500
    assert len(problem.param or "") <= 100


values = st.recursive(
    st.just(SECRET) | st.integers(10**15, 10**16).map(lambda n: n * 1000 + 451) | st.just([SECRET]) | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner),
    max_leaves=5,
)


def _numbers(raw: object) -> Iterable[str]:
    if isinstance(raw, int):
        yield str(raw)
    elif isinstance(raw, dict):
        yield from (number for value in raw.values() for number in _numbers(value))
    elif isinstance(raw, list):
        yield from (number for value in raw for number in _numbers(value))


@given(
    st.sampled_from([ChatRequest, CompletionRequest]),
    st.dictionaries(
        st.sampled_from(sorted({*ChatRequest.model_fields, *CompletionRequest.model_fields, "colour"})),
        values,
        max_size=6,
    ),
)
def test_no_message_ever_quotes_a_value(body_class: type[BaseModel], raw: dict[str, Any]) -> None:
    """Prompts and whatever else is in a body stay out of messages, which end in logs of clients."""
    with suppress(Problem):
        validate(body_class, raw)
        return
    problem = refusal(body_class, raw)

    assert SECRET not in problem.message + (problem.param or "")
    assert not [number for number in _numbers(raw) if number in problem.message]
    assert "edge." not in problem.message
