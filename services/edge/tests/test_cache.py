"""What the response cache keeps, for whom it is read, and that damage is a miss."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.answer import Answer
from edge.cache.entry import MAX_ANSWER_BYTES, decode, encode
from edge.cache.policy import CacheMode, CachePolicy, read_cache_control, read_wish
from edge.problems import Problem
from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb

TOOL_CHUNK = orjson.dumps([{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c"}]}, "finish_reason": None}])


def answer(*chunks: str | bytes, usage: Usage | None = None) -> Answer:
    """Make a whole answer."""
    return Answer(
        chunks=list(chunks or ("Pa", "ris")),
        finish_reasons=[routerpb.FINISH_REASON_STOP],
        provider="openai",
        target_model="m",
        response_model="m-1",
        system_fingerprint="fp",
        usage=usage or Usage(10, 2),
    )


def stored(given: Answer) -> bytes:
    """Return what is stored of an answer that is not too long."""
    value = encode(given)
    assert value is not None
    return value


@pytest.mark.parametrize(
    "given",
    [
        answer(),
        answer("größe\n", "\u2028", "\x00", "😀"),
        answer("text", TOOL_CHUNK, "text"),
        answer(orjson.dumps([{"index": 1, "delta": {"content": "x"}, "logprobs": {"content": [{"logprob": -0.1}]}}])),
        answer(usage=Usage(10, 2, 0, None, 1)),
        answer(usage=Usage(None, None)),
        Answer(finish_reasons=[routerpb.FINISH_REASON_LENGTH, routerpb.FINISH_REASON_TOOL_CALL], usage=Usage()),
    ],
)
def test_an_answer_comes_back_as_it_was(given: Answer) -> None:
    """Chunk by chunk, with all facts; a count that is unknown is not 0."""
    assert given == decode(stored(given))


@given(st.lists(st.text() | st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53)), max_size=5))
def test_any_chunks_come_back_as_they_were(chunks: list[str | dict[str, object]]) -> None:
    """Whatever text there is, and whatever JSON passed through."""
    given = answer(*(chunk if isinstance(chunk, str) else orjson.dumps([chunk]) for chunk in chunks))

    assert given == decode(stored(given))


def test_an_answer_that_is_too_long_is_not_kept() -> None:
    """The limit is on the bytes that Redis would hold."""
    room = MAX_ANSWER_BYTES - len(stored(answer("")))

    assert MAX_ANSWER_BYTES == len(stored(answer("x" * room)))
    assert encode(answer("x" * (room + 1))) is None
    assert encode(answer("é" * (room // 2 + 1))) is None


def damaged(**changes: object) -> bytes:
    """Return a stored answer with fields changed; None takes one away."""
    document = {**orjson.loads(stored(answer())), **changes}
    return orjson.dumps({name: value for name, value in document.items() if value is not None})


@pytest.mark.parametrize("format_number", [0, 2, "1", None, [1]])
def test_another_versions_entry_is_a_miss(format_number: object) -> None:
    """Two versions of the edge share one Redis during a rollout."""
    assert decode(damaged(format=1)) is not None
    assert decode(damaged(format=format_number)) is None


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x00\xff",
        b"OK",
        b"null",
        b"[]",
        b"{}",
        b"7",
        b'"x"',
        stored(answer())[:-1],
        stored(answer())[:40],
        stored(answer()) + b"x",
        damaged(chunks=None),
        damaged(chunks="Paris"),
        damaged(chunks=[5]),
        damaged(chunks=[{"index": 0}]),
        damaged(chunks=[[5]]),
        damaged(chunks=[{"messages_event": 5}]),
        damaged(chunks=[{"messages_event": {}, "more": 1}]),
        damaged(usage=None),
        damaged(usage=[]),
        damaged(usage={"input_tokens": "many"}),
        damaged(usage={"tokens": 5}),
        damaged(finish_reasons=None),
        damaged(finish_reasons=[]),
        damaged(finish_reasons=["stop"]),
        damaged(finish_reasons=[routerpb.FINISH_REASON_ERROR]),
        damaged(finish_reasons=[0]),
        damaged(finish_reasons=[99]),
        damaged(provider=5),
        damaged(response_model=[]),
        damaged(colour="red"),
    ],
)
def test_a_damaged_entry_is_a_miss(value: bytes) -> None:
    """It is never an error, and never half an answer."""
    assert decode(value) is None


@given(st.data())
def test_no_flipped_byte_is_an_error(data: st.DataObject) -> None:
    """Whatever happened to the bytes, reading them raises nothing."""
    value = bytearray(stored(answer("text", TOOL_CHUNK)))
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))

    decode(bytes(value))


FULL = CachePolicy(may_read=True, may_write=True, bypass_reason="")
NO_STORE = CachePolicy(may_read=False, may_write=False, bypass_reason="client_no_store")
NO_CACHE = CachePolicy(may_read=False, may_write=True, bypass_reason="client_no_cache")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, FULL),
        ("", FULL),
        ("max-age=3600", FULL),
        ("no-transform, max-age=0", FULL),
        ("no-storey", FULL),
        ("x-no-store", FULL),
        ("no-store", NO_STORE),
        ("No-Store", NO_STORE),
        ("NO-CACHE", NO_CACHE),
        ("no-cache", NO_CACHE),
        ("max-age=0,no-cache", NO_CACHE),
        ("no-cache, no-store", NO_STORE),
        ("no-store,no-cache", NO_STORE),
        ("  no-transform ,\tno-store  ", NO_STORE),
        (",,no-cache,", NO_CACHE),
    ],
)
def test_cache_control_is_obeyed(header: str | None, expected: CachePolicy) -> None:
    """In any case, among other directives; the stricter of two wins."""
    assert expected == read_cache_control(header)


ALWAYS, DETERMINISTIC, NEVER, UNSAID = (
    routerpb.CACHE_MODE_ALWAYS,
    routerpb.CACHE_MODE_DETERMINISTIC,
    routerpb.CACHE_MODE_NEVER,
    routerpb.CACHE_MODE_UNSPECIFIED,
)


@pytest.mark.parametrize(
    ("control", "header", "route", "contract", "is_drawn", "reason"),
    [
        ("", None, UNSAID, "always", True, ""),
        ("", None, UNSAID, "deterministic", False, ""),
        ("", None, UNSAID, "deterministic", True, "temperature"),
        ("", None, UNSAID, "never", False, "not_cacheable"),
        ("", None, ALWAYS, "deterministic", True, ""),
        ("", None, DETERMINISTIC, "always", True, "temperature"),
        ("", None, DETERMINISTIC, "always", False, ""),
        ("", None, NEVER, "always", False, "route_never"),
        ("", "always", UNSAID, "deterministic", True, ""),
        ("", " Always ", DETERMINISTIC, "deterministic", True, ""),
        ("", "deterministic", ALWAYS, "always", True, "temperature"),
        ("", "never", ALWAYS, "always", False, "client_never"),
        ("", "always", NEVER, "always", False, "route_never"),
        ("no-store", "always", NEVER, "always", False, "client_no_store"),
        ("no-cache", "always", UNSAID, "deterministic", True, "client_no_cache"),
        ("no-cache", None, UNSAID, "deterministic", True, "temperature"),
        ("no-cache", None, NEVER, "always", False, "route_never"),
        ("no-cache", "never", UNSAID, "always", False, "client_never"),
    ],
)
def test_the_request_goes_before_the_route_and_the_route_before_the_contract(
    control: str,
    header: str | None,
    route: routerpb.CacheMode.ValueType,
    contract: CacheMode,
    is_drawn: bool,
    reason: str,
) -> None:
    """But `never` of the route is the operator's word; and what may not be given again is not written either."""
    wish = read_wish([control], [] if header is None else [header], contract)
    policy = wish.policy(route, is_drawn=is_drawn)

    may_write = reason in ("", "client_no_cache")
    assert CachePolicy(may_read=not reason, may_write=may_write, bypass_reason=reason) == policy


@pytest.mark.parametrize("values", [["sometimes"], [""], ["always, never"], ["always", "always"]])
def test_a_mode_that_there_is_not_is_refused(values: list[str]) -> None:
    """In words that name the header and what it takes."""
    with pytest.raises(Problem, match=r"x-spillway-cache: must be one of always, deterministic, never") as caught:
        read_wish([], values, "always")

    assert ("invalid_request", "x-spillway-cache") == (caught.value.code, caught.value.param)
