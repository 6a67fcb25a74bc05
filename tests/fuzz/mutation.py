"""Changes an input as a hostile or a broken peer would: in its structure where it has one, in its bytes otherwise.

The same mutator serves the fuzzer, which keeps what reaches new code, and the tests, which have a fixed seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from google.protobuf.json_format import Error as NoJsonError
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import DecodeError, Message

Mutate = Callable[[bytes, Random], bytes]

# What a field may hold that nobody expects there.
_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 2**31, 2**63, -(2**63), 10**30, 0.0, 1.5, -0.5, 1e308),
    *(float("nan"), float("inf"), "", " ", "0", "1", "-1", "1e3", "x", "null", "{}", "[", "\0", "\ud800", "\U0001f30a"),
    *("é", "a" * 300, "data:,x", [], {}, [None], [[]], [{}], {"": None}, [""], [0], {"type": None}, {"index": 10**9}),
)
_ODD_BYTES = (
    *(b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80"),
    *(b" ", b":", b"{", b"}", b"[", b"]", b'"', b"\\", b"\\ud800", b"\\u0000", b"-", b"0", b"1e999", b"NaN", b"null"),
    *(b"data:", b"event:", b"id:", b"chunked", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"0\r\n\r\n", b"\r\n "),
)
MAX_BYTES = 4 * 1024
_MAX_CHANGES = 4
_DEPTHS = (20, 300, 2000)


class Mutator:
    """Makes new inputs of one target out of known ones."""

    def __init__(self, mutate: Mutate, corpus: Sequence[bytes]) -> None:
        """`mutate` is one of those below; pieces of the `corpus` are put into other inputs."""
        self._mutate = mutate
        self.known = list(corpus) or [b""]

    def mutate(self, data: bytes, rng: Random) -> bytes:
        """Return a changed input."""
        for _ in range(rng.randint(1, _MAX_CHANGES)):
            data = self._mutate(data, rng) if rng.random() < 0.8 else in_bytes(self._spliced(data, rng), rng)
        return data[:MAX_BYTES]

    def inputs(self, rng: Random, count: int) -> Iterator[bytes]:
        """Yield `count` inputs, each made of one of the corpus."""
        for _ in range(count):
            yield self.mutate(rng.choice(self.known), rng)

    def _spliced(self, data: bytes, rng: Random) -> bytes:
        """Return the beginning of `data` and the end of another input."""
        if rng.random() < 0.7:
            return data
        other = rng.choice(self.known)
        return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def in_bytes(data: bytes, rng: Random) -> bytes:
    """Insert, remove, repeat or replace some bytes."""
    at = rng.randint(0, len(data))
    end = min(at + rng.choice((1, 1, 2, 8, 64)), len(data))
    match rng.randrange(5):
        case 0:
            return data[:at] + rng.choice(_ODD_BYTES) + data[at:]
        case 1:
            return data[:at] + data[end:]
        case 2:
            return data[:at] + data[at:end] * rng.choice((2, 2, 3, 50)) + data[end:]
        case 3:
            return data[:at] + bytes(rng.randrange(256) for _ in range(end - at)) + data[end:]
        case _:
            return data[:at] + rng.choice(_ODD_BYTES) + data[end:]


def in_json(data: bytes, rng: Random) -> bytes:
    """Change a JSON text at one place; in its bytes when it is none."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return in_bytes(data, rng)
    return _write(_changed(document, rng))


def in_events(data: bytes, rng: Random) -> bytes:
    """Change a stream of server-sent events: one of them, or their order, or their number."""
    events = data.split(b"\n\n")
    at, other = rng.randrange(len(events)), rng.randrange(len(events))
    match rng.randrange(8):
        case 0:
            events.insert(at, events[other])
        case 1 if len(events) > 1:
            del events[at]
        case 2:
            events[at], events[other] = events[other], events[at]
        case 3:
            events[at] = in_bytes(events[at], rng)
        case _:
            head, separator, document = events[at].partition(b"data: ")
            if separator:
                events[at] = head + separator + in_json(document, rng)
            else:
                events[at] = in_json(events[at], rng)
    return b"\n\n".join(events)


def in_body(data: bytes, rng: Random) -> bytes:
    """Change an HTTP message, its body mostly: lines of a head, an empty line, a JSON text."""
    head, separator, body = data.partition(b"\n\n")
    if separator and rng.random() < 0.8:
        return head + separator + in_json(body, rng)
    return in_bytes(head, rng) + separator + body


def in_message(kind: type[Message], *json_fields: str) -> Mutate:
    """Return what changes a serialized message of `kind`; `json_fields` of it hold JSON."""

    def mutate(data: bytes, rng: Random) -> bytes:
        try:
            message = kind.FromString(data)
        except DecodeError:
            return in_bytes(data, rng)
        if json_fields and rng.random() < 0.7:
            name = rng.choice(json_fields)
            owner = message
            *path, last = name.split(".")
            for part in path:
                owner = getattr(owner, part)
            setattr(owner, last, in_json(getattr(owner, last), rng))
            return message.SerializeToString()
        try:
            changed = _changed(MessageToDict(message, preserving_proto_field_name=True), rng)
            return ParseDict(changed, kind()).SerializeToString()
        except (NoJsonError, ArithmeticError, AttributeError, RecursionError, SystemError, TypeError, ValueError):
            return in_bytes(data, rng)

    return mutate


def _write(document: Any) -> bytes:
    try:
        return json.dumps(document).encode()
    except RecursionError:
        return b"[" * 5000


def _changed(document: Any, rng: Random) -> Any:
    """Return the document with a change at one place."""
    places: list[tuple[Any, Any]] = []
    _collect(document, places)
    if not places or rng.random() < 0.05:
        return _odd(document, rng)
    owner, key = rng.choice(places)
    value = owner[key]
    match rng.randrange(10):
        case 0:
            del owner[key]
        case 1 if isinstance(owner, dict):
            del owner[key]
            another = rng.choice(places)[1]
            owner[another if isinstance(another, str) else rng.choice(("", "x", "index", "type", "id"))] = value
        case 2 if isinstance(owner, list):
            owner.insert(rng.randint(0, len(owner)), value)
        case 3 | 4:
            source, place = rng.choice(places)
            if place in source if isinstance(source, dict) else place < len(source):
                owner[key] = json.loads(_write(source[place]))
        case 5:
            owner[key] = [value] if rng.random() < 0.5 else {"type": value}
        case 6 if isinstance(value, str):
            owner[key] = in_bytes(value.encode(errors="replace"), rng).decode(errors="surrogateescape")
        case _:
            owner[key] = _odd(value, rng)
    return document


def _odd(value: Any, rng: Random) -> Any:
    if rng.random() < 0.02:
        for _ in range(rng.choice(_DEPTHS)):
            value = [value]
        return value
    return json.loads(_write(rng.choice(_ODD_VALUES)))


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    """Add all places of a document where something stands."""
    stack = [value]
    while stack:
        owner = stack.pop()
        items = owner.items() if isinstance(owner, dict) else enumerate(owner) if isinstance(owner, list) else ()
        for key, each in items:
            places.append((owner, key))
            stack.append(each)
