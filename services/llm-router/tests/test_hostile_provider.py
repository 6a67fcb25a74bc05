"""Whatever a provider sends: it takes a bounded part of the router's memory and time, and the next target answers."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from kit.router.hostile import (
    DONE,
    HANG,
    Asked,
    HostileProvider,
    HostileRouter,
    Script,
    chunk,
    delta_of,
    endlessly,
    event,
    head,
    plays,
    running_hostile_router,
    said,
)
from kit.router.process import Stream

pytestmark = pytest.mark.integration

MEGABYTE = 1024 * 1024
# What a router may need for one answer, whatever comes: an event, what it becomes, and some more to breathe.
MAX_GROWTH = 100 * MEGABYTE
# What is taken, and what the buffers of the two sockets may hold besides when the connection is closed.
BYTES_OF_AN_EVENT, BYTES_WITHOUT_CONTENT, BYTES_ON_THE_WAY = 8 * MEGABYTE, 16 * MEGABYTE, 16 * MEGABYTE


GOOD = plays(chunk("good"), chunk(None, "stop"), DONE)
ZEROS = b"\0" * MEGABYTE


def gzip_bomb(megabytes: int) -> Iterator[bytes]:
    """Write as many megabytes of zeros, compressed a thousand times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    for _ in range(megabytes):
        yield packer.compress(ZEROS) or packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()


def nested(depth: int) -> bytes:
    """Write a list in a list in a list."""
    return b"[" * depth + b"]" * depth


def numbered(template: str, count: int) -> Iterator[bytes]:
    """Write `template` with each number."""
    return (template.replace("%", str(number)).encode() for number in range(count))


SCRIPTS: dict[str, Script] = {
    "good": GOOD,
    "good-anthropic": plays(
        said("message_start", message={"model": "m", "usage": {"input_tokens": 1, "output_tokens": 1}}),
        said("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        said("content_block_delta", index=0, delta={"type": "text_delta", "text": "good"}),
        said("content_block_stop", index=0),
        said("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2}),
        said("message_stop"),
    ),
    # refusals
    "error-endless": endlessly(b"x" * 65536, headers=head("500 Oops", content_type="text/html")),
    "error-bomb": plays(lambda: gzip_bomb(2048), headers=head("503 Oops", content_encoding="gzip")),
    "error-hangs": plays(b'{"error": {"message": ', HANG, headers=head("401 No", content_type="application/json")),
    "error-charset": plays(
        b"a" * 400_000 + b"-" + b"a" * 400_000, headers=head("500 Oops", content_type="text/html; charset=punycode")
    ),
    "error-nested": plays(
        b'{"error": {"message": ' + nested(900) + b', "code": ' + nested(900) + b"}}", headers=head("429 Slower")
    ),
    # heads
    "head-endless": plays(lambda: numbered("x-%: y\r\n", 10**8), headers=b"HTTP/1.1 200 OK\r\n"),
    "head-line": endlessly(b"x" * 65536, headers=b"HTTP/1.1 200 OK\r\nx: "),
    "head-1xx": endlessly(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000, headers=b""),
    "head-compressed": plays(gzip.compress(chunk("bad") + DONE), headers=head(content_encoding="gzip")),
    "chunk-extension": endlessly(b"x" * 65536, headers=head(transfer_encoding="chunked") + b"5;"),
    # streams
    "line-endless": endlessly(b"x" * 65536, first=b"data: "),
    "event-endless": endlessly(b"data: x\n" * 8192),
    "comments": endlessly(b": " + b"x" * 8190 + b"\n\n"),
    "crumbs": plays(*[event({"choices": [{"delta": {"content": "x"}}]}) * 1500] * 150, chunk(None, "stop"), DONE),
    "short-comments": endlessly(b": x\n\n" * 8192),
    "word-and-comments": endlessly(b": " + b"x" * 8190 + b"\n\n", first=chunk("word")),
    "whitespace": endlessly(b" " * 65536),
    "roles": endlessly(delta_of(role="assistant") * 64),
    "object-endless": endlessly(b" " * 65536, first=b'{"choices": '),
    "object-in-crumbs": endlessly(b"2\r\n1,\r\n" * 4096, headers=head(transfer_encoding="chunked") + b"1\r\n{\r\n"),
    "not-utf-8": plays(event(b'{"choices": [{"delta": {"content": "' + b"\xff" * 7 * MEGABYTE + b'"}}]}')),
    "control": plays(
        event(b'{"choices": [{"index": 0, "delta": {"reasoning": "\xff' + b"\x01" * 7 * MEGABYTE + b'"}}]}')
    ),
    "deep-event": plays(event(b'{"choices": ' + nested(100_000) + b"}")),
    "parts": plays(event(b'{"choices": [], "x": [' + b"[]," * 2_600_000 + b"[]]}")),
    "mended-parts": plays(event(b'{"choices": [], "x": ["\\u0000",' + b"1," * 3_000_000 + b"1]}")),
    "deep-delta": plays(event(b'{"choices": [{"index": 0, "delta": {"x": ' + nested(400) + b"}}]}")),
    "deep-error": plays(event(b'{"error": {"message": ' + nested(900) + b', "type": ' + nested(900) + b"}}")),
    "deep-code": plays(event(b'{"error": {"code": ' + nested(900) + b', "message": {"a": 1' + b"0" * 4000 + b"}}}")),
    "deep-refusal": plays(event(b'{"error": {"status": 400, "message": ' + nested(900) + b"}}")),
    "huge-number": plays(event(b'{"choices": [{"index": 1' + b"0" * 5000 + b', "delta": {}}]}')),
    "odd-number": plays(event(b'{"choices": [{"index": 1e300, "delta": {"content": "x"}}]}')),
    "choice": plays(event({"choices": [{"index": 10**9, "delta": {"content": "x"}}]})),
    "usage-odd": plays(chunk("bad", usage=["x"]), event({"usage": "x" * 1000, "choices": [7]})),
}


@pytest.fixture(scope="module", name="provider")
async def _provider() -> AsyncIterator[HostileProvider]:
    async with HostileProvider(dict(SCRIPTS)).serving() as provider:
        yield provider


@pytest.fixture(scope="module", name="router")
async def _router(provider: HostileProvider, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HostileRouter]:
    hostile = [name for name in SCRIPTS if not name.startswith("good")]
    routes = {name: [f"openai:{name}", "openai:good"] for name in hostile} | {"good": ["openai:good"]}
    routes |= {f"{name}!": [f"anthropic:{name}", "anthropic:good-anthropic"] for name in hostile}
    routes |= {"good!": ["anthropic:good-anthropic"]}
    async with running_hostile_router(
        tmp_path_factory.mktemp("hostile"), provider, routes, options={"carried": {"continuation": "allow"}}
    ) as router:
        await router.complete("good")  # imports, pools and buffers
        yield router


async def bounded(router: HostileRouter, name: str, **options: Any) -> tuple[Stream, Asked]:
    """Run a completion; return how it went and what the provider saw, when that was within the bounds."""
    before = router.reset_peak()
    stream = await router.complete(name, timeout_seconds=60.0, **options)
    growth = router.peak() - before
    assert growth < MAX_GROWTH, f"{growth / MEGABYTE:.0f} MB"
    return stream, router.provider.asked[name.rstrip("!")][-1]


@pytest.mark.parametrize("wire", ["", "!"], ids=["openai", "anthropic"])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("error-endless", "provider_unavailable"),
        ("error-bomb", "provider_unavailable"),
        ("error-hangs", "credential_refused"),
        ("error-charset", "provider_unavailable"),
        ("error-nested", "rate_limited"),
        ("head-endless", "target_unreachable"),
        ("head-line", "target_unreachable"),
        ("head-1xx", "target_unreachable"),
        ("head-compressed", "stream_broken"),
        ("chunk-extension", "stream_broken"),
        ("line-endless", "stream_broken"),
        ("event-endless", "stream_broken"),
        ("object-endless", "stream_broken"),
        (
            "object-in-crumbs",
            "timeout or stream_broken",
        ),  # by how many crumbs the machine takes in until the timer ends
        ("comments", "stream_broken"),
        ("whitespace", "stream_broken"),
        ("parts", "stream_broken"),
        ("mended-parts", "stream_broken"),
        ("deep-event", "stream_broken"),
        ("deep-error", "stream_broken"),
        ("deep-code", "stream_broken"),
    ],
)
async def test_the_next_target_answers(router: HostileRouter, name: str, wire: str, code: str) -> None:
    """A reply without end or measure is given up while it is small, and its connection closed."""
    stream, asked = await bounded(router, name + wire)

    assert ["good"] == stream.texts, stream.error
    codes = {attempt.error_code for attempt in stream.attempts[:-1]}
    assert codes
    assert codes <= set(code.split(" or "))
    if "timeout" not in code:  # for the length of a timer a provider may send as quickly as it can
        allowed = BYTES_WITHOUT_CONTENT if name in {"comments", "whitespace"} else BYTES_OF_AN_EVENT
        assert asked.sent_bytes < allowed + BYTES_ON_THE_WAY


async def test_pings_between_two_words_have_a_bound(router: HostileRouter) -> None:
    """What was said before is delivered, and the end is none."""
    stream, asked = await bounded(router, "word-and-comments")

    assert ["word"] == stream.texts
    assert "stream_broken" == stream.attempts[-1].error_code
    assert asked.sent_bytes < BYTES_WITHOUT_CONTENT + BYTES_ON_THE_WAY


async def test_ten_at_once_take_little_more_than_their_events(router: HostileRouter) -> None:
    """What the network brings faster than it is read stays with the sender."""
    before = router.reset_peak()
    streams = await asyncio.gather(*(router.complete("line-endless", timeout_seconds=60.0) for _ in range(10)))
    growth = router.peak() - before

    assert [["good"]] * 10 == [stream.texts for stream in streams]
    assert growth < 10 * BYTES_OF_AN_EVENT + 40 * MEGABYTE, f"{growth / MEGABYTE:.0f} MB"


@pytest.mark.parametrize("name", ["roles", "deep-delta", "huge-number", "odd-number", "choice"])
async def test_the_next_target_answers_on_openais_wire(router: HostileRouter, name: str) -> None:
    """The same for what only this wire has."""
    stream, _ = await bounded(router, name)

    assert ["good"] == stream.texts, stream.error
    assert "internal_error" not in {attempt.error_code for attempt in stream.attempts}


@pytest.mark.parametrize("name", ["comments", "short-comments", "whitespace", "roles", "object-in-crumbs"])
async def test_what_brings_nothing_gets_little_of_the_time(router: HostileRouter, name: str) -> None:
    """However fast providers send it, and however many of them: most of the time is left for good answers."""
    started, before = time.monotonic(), router.cpu_seconds()
    until = started + 4.0

    async def ask() -> None:
        while time.monotonic() < until:
            assert ["good"] == (await router.complete(name, timeout_seconds=60.0)).texts
            await asyncio.sleep(0.2)

    await asyncio.gather(*(ask() for _ in range(4)))

    share = (router.cpu_seconds() - before) / (time.monotonic() - started)
    assert share < 0.6, f"{share:.2f}"


async def test_content_in_crumbs_gets_little_of_the_time(router: HostileRouter) -> None:
    """It is all delivered, in its own time."""
    started, before = time.monotonic(), router.cpu_seconds()

    stream = await router.complete("crumbs", timeout_seconds=60.0)

    assert 225_000 == len("".join(stream.texts))
    share = (router.cpu_seconds() - before) / (time.monotonic() - started)
    assert share < 0.4, f"{share:.2f}"


async def test_no_answer_is_asked_for_in_compressed_form(router: HostileRouter) -> None:
    """A small answer would unpack to any size."""
    for wire in ("", "!"):
        await router.complete("good" + wire)
        assert "identity" == router.provider.asked[f"good{'-anthropic' if wire else ''}"][-1].headers["accept-encoding"]
