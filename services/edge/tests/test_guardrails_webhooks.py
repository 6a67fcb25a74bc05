"""Rules that are asked over HTTP: what they say counts, and what they do instead harms nobody for long."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis.asyncio as redis
import structlog
from prometheus_client import CollectorRegistry

from edge.events.spool import Spool
from edge.guard.capacity import Capacity
from edge.guardrails import webhooks as webhooks_module
from edge.guardrails.policy import PolicyError, parse_policy
from edge.guardrails.webhooks import MAX_REQUEST_BYTES, MOST_FAILURES
from kit.tls_secret import Authority

from .scripted_edge import Edge, running_edge
from .scripted_router import STOP, attempted, started, texts

GOOD = [started(), texts("Paris"), attempted(), STOP]
_SECONDS = 25


def says(document: object, status: str = "200 OK", more: str = "") -> bytes:
    """Return a reply with a body as JSON."""
    body = orjson.dumps(document)
    return f"HTTP/1.1 {status}\r\n{more}content-length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Hook:
    """A webhook, and what it does when it is asked."""

    url: str = ""
    reply: bytes | None = says({"found": False})
    """None: it says nothing, for ever."""
    heads: list[str] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """When it is set, who has said nothing closes."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length"))
            self.heads.append(head)
            self.asked.append(orjson.loads(await reader.readexactly(int(length.split(":")[1]))))
            if self.reply is None:
                await asyncio.wait(
                    [asyncio.ensure_future(reader.read()), asyncio.ensure_future(self.gone.wait())],
                    return_when=asyncio.FIRST_COMPLETED,
                )
            else:
                writer.write(self.reply)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture(name="hook")
async def _hook() -> AsyncIterator[Hook]:
    hook = Hook()
    server = await asyncio.start_server(hook.serve, "127.0.0.1", 0)
    hook.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/look?at=this"
    try:
        yield hook
    finally:
        server.close()


Starts = Callable[..., Awaitable[Edge]]


@pytest.fixture(name="starts")
async def _starts(
    tmp_path: Path, redis_url: str, valkey: redis.Redis, spool: Spool, registry: CollectorRegistry, hook: Hook
) -> AsyncIterator[Starts]:
    """Start an edge with the webhook in its policy."""
    contexts: list[Any] = []

    async def start(
        action: str = "block", on_failure: str = "open", more: str = "", rules: str = "", seconds: float = _SECONDS
    ) -> Edge:
        policy = (
            f"version: '4'\ninput: {{reviewer: {action}{rules}}}\nwebhooks:\n"
            f"  - {{name: reviewer, url: '{hook.url}', timeout_seconds: {seconds}, on_failure: {on_failure}{more}}}\n"
        )
        context = running_edge(tmp_path, redis_url, spool, registry, policy=policy)
        edge = await context.__aenter__()
        contexts.append(context)
        edge.router.script = list(GOOD)
        return edge

    yield start
    for context in contexts:
        await context.__aexit__(None, None, None)


@pytest.mark.parametrize("action", ["block", "flag", "observe"])
async def test_what_it_finds_is_treated_as_the_policy_says(
    starts: Starts, hook: Hook, action: str, counted: Callable[..., float]
) -> None:
    """It is blocked, told or counted, like what any rule finds; nothing is spent on what is blocked."""
    edge = await starts(action)
    hook.reply = says({"found": True, "why": "it was rude"})
    with structlog.testing.capture_logs() as logs:
        visit = await edge.chat("Who?").done()

    assert (400 if action == "block" else 200) == visit.status
    assert (b"content_blocked" in visit.content) == (action == "block")
    assert b"rude" not in visit.content
    assert "rude" not in repr(logs)
    assert ({"flag": "reviewer;action=flag"}.get(action)) == visit.headers.get("x-guardrails")
    assert (0 if action == "block" else 1) == len(edge.router.requests)
    assert 1 == counted("edge_guardrail_findings_total", rule="reviewer", action=action, side="input")


async def test_what_it_lets_pass_goes_on(starts: Starts, hook: Hook) -> None:
    """It was asked once, in one POST, with what a target gets and who asks."""
    edge = await starts()
    visit = await edge.chat("Who?", model="default").done()

    assert 200 == visit.status
    (head,) = hook.heads
    assert head.startswith("POST /look?at=this HTTP/1.1\r\n")
    assert "authorization" not in head.lower()
    (asked,) = hook.asked
    assert {"messages": [{"role": "user", "content": "Who?"}]} == asked["body"]
    assert ["acme", "ada", "gold", "default", "/chat", None] == [
        asked[name] for name in ("tenant", "user", "tier", "model", "endpoint", "messages_body")
    ]
    assert visit.headers["x-request-id"] == asked["request_id"]


async def test_it_sees_nothing_of_what_is_redacted_and_is_not_asked_about_what_is_blocked(
    starts: Starts, hook: Hook
) -> None:
    """Whoever runs it is one more reader; of `/v1/messages` it gets both forms, of vectors the inputs."""
    edge = await starts(rules=", email: redact, secrets: block")
    question = [{"role": "user", "content": "I am ada@lovelace.org"}]
    await edge.visit("/v1/messages", {"model": "default", "messages": question, "max_tokens": 5}).done()
    await edge.embed(["of bob@builders.net"]).done()
    blocked = await edge.chat("xoxb-123456789012-abcdefghijkl").done()

    message, vectors = hook.asked
    assert "[EMAIL_1]" in message["body"]["messages"][0]["content"]
    assert "I am [EMAIL_1]" == message["messages_body"]["messages"][0]["content"]
    assert ["of [EMAIL_1]"] == vectors["body"]["input"]
    assert "lovelace" not in repr(hook.asked)
    assert 400 == blocked.status


LAME: dict[str, tuple[bytes | None, str]] = {
    "says nothing": (None, "timeout"),
    "closes": (b"", "unreachable"),
    "closes early": (b"HTTP/1.1 20", "unreachable"),
    "breaks off": (b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{", "malformed"),
    "fails": (says({"found": False}, "500 Oops"), "status"),
    "redirects": (says({"found": False}, "302 Found", "location: http://127.0.0.1:1/\r\n"), "status"),
    "redirects for good": (says({"found": False}, "308 Go", "location: /look\r\n"), "status"),
    "says too much": (says({"found": False, "more": "x" * 20_000}), "too_large"),
    "says too much without a length": (b"HTTP/1.1 200 OK\r\n\r\n" + b'{"found":' + b" " * 99_999, "too_large"),
    "does not speak HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", "malformed"),
    "does not speak JSON": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno", "malformed"),
    "says something else": (says({"found": "yes"}), "malformed"),
    "says a list": (says([True]), "malformed"),
    "says it deeply": (b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b"[" * 5000, "malformed"),
}


@pytest.mark.parametrize("on_failure", ["open", "closed"])
@pytest.mark.parametrize("what", LAME)
async def test_one_that_is_lame_does_what_the_policy_says(
    starts: Starts, hook: Hook, what: str, on_failure: str, counted: Callable[..., float]
) -> None:
    """Open: the request goes on. Closed: 503, and a client may come again. Both are counted, with the reason."""
    hook.reply, reason = LAME[what]
    edge = await starts(on_failure=on_failure, seconds=0.5 if hook.reply is None else _SECONDS)
    visit = await edge.chat().done()

    assert (200 if on_failure == "open" else 503) == visit.status
    assert (b"guardrail_unavailable" in visit.content) == (on_failure == "closed")
    became = {"open": "passed", "closed": "refused"}[on_failure]
    assert 1 == counted("edge_guardrail_webhook_failures_total", rule="reviewer", reason=reason, request=became)
    assert 1 == len(hook.asked)
    if on_failure == "closed":
        assert "1" == visit.headers["retry-after"]
        assert [] == edge.router.requests


@pytest.fixture(name="authority")
def _authority(tmp_path: Path) -> Authority:
    """Return who signs the webhook's certificate, and whom the policy trusts."""
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    return authority


def _server_context(tmp_path: Path, certificate_and_key: tuple[bytes, bytes]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for name, content in zip(("tls.crt", "tls.key"), certificate_and_key, strict=True):
        (tmp_path / name).write_bytes(content)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    return context


@asynccontextmanager
async def with_tls(hook: Hook, tmp_path: Path, certificate_and_key: tuple[bytes, bytes]) -> AsyncIterator[None]:
    """Let the webhook speak TLS with a certificate."""
    context = _server_context(tmp_path, certificate_and_key)
    server = await asyncio.start_server(hook.serve, "127.0.0.1", 0, ssl=context)
    hook.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/look"
    try:
        yield
    finally:
        server.close()


async def test_one_with_a_certificate_that_the_policy_trusts_is_asked(
    starts: Starts, hook: Hook, tmp_path: Path, authority: Authority
) -> None:
    """Over TLS; what it says counts as over plain HTTP."""
    async with with_tls(hook, tmp_path, authority.sign("127.0.0.1")):
        edge = await starts(on_failure="closed", more=f", ca_file: '{tmp_path}/ca.crt'")
        passed = await edge.chat().done()
        hook.reply = says({"found": True})
        blocked = await edge.chat().done()

    assert (200, 400) == (passed.status, blocked.status)
    assert 2 == len(hook.asked)


UNTRUSTED: dict[str, Callable[[Authority], tuple[bytes, bytes]]] = {
    "of another host": lambda authority: authority.sign("guard.example.com"),
    "that has expired": lambda authority: authority.sign("127.0.0.1", days=-1),
    "of somebody else": lambda _: Authority().sign("127.0.0.1"),
}


@pytest.mark.parametrize("on_failure", ["open", "closed"])
@pytest.mark.parametrize("what", [*UNTRUSTED, "that only this policy trusts"])
async def test_one_that_does_not_show_who_it_is_gets_nothing(
    starts: Starts,
    hook: Hook,
    tmp_path: Path,
    authority: Authority,
    what: str,
    on_failure: str,
    counted: Callable[..., float],
) -> None:
    """It is a failure as any other; the request's words and the secret stay here."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret", encoding="ascii")
    trusts = "" if what == "that only this policy trusts" else f", ca_file: '{tmp_path}/ca.crt'"
    certificate = UNTRUSTED[what](authority) if what in UNTRUSTED else authority.sign("127.0.0.1")
    async with with_tls(hook, tmp_path, certificate):
        edge = await starts(on_failure=on_failure, more=f", secret_file: '{secret}'{trusts}", seconds=5)
        visit = await edge.chat().done()

    assert (200 if on_failure == "open" else 503) == visit.status
    became = {"open": "passed", "closed": "refused"}[on_failure]
    assert 1 == counted("edge_guardrail_webhook_failures_total", rule="reviewer", reason="tls", request=became)
    assert ([], []) == (hook.heads, hook.asked)


async def test_whom_it_trusts_is_read_again(
    starts: Starts, hook: Hook, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new authority is in force within seconds, and the last one while the file has none or is gone."""
    monkeypatch.setattr(webhooks_module, "_FILES_SECONDS", 0.0)
    file, other = tmp_path / "ca.crt", Authority()
    async with with_tls(hook, tmp_path, other.sign("127.0.0.1")):
        edge = await starts(on_failure="closed", more=f", ca_file: '{file}'")
        statuses = [(await edge.chat().done()).status]
        for content in (other.certificate, b"", b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n"):
            file.write_bytes(content)
            statuses.append((await edge.chat().done()).status)
        file.unlink()
        statuses.append((await edge.chat().done()).status)

    assert [503, 200, 200, 200, 200] == statuses


async def test_one_whose_authority_is_gone_before_it_was_asked_is_not_asked(
    starts: Starts, hook: Hook, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that the system trusts do not take its place."""
    async with with_tls(hook, tmp_path, authority.sign("127.0.0.1")):
        edge = await starts(on_failure="closed", more=f", ca_file: '{tmp_path}/ca.crt'")
        (tmp_path / "ca.crt").unlink()
        systems = ssl.create_default_context(cadata=authority.certificate.decode())
        monkeypatch.setattr("edge.fetch._tls_context", lambda _: systems)
        visit = await edge.chat().done()

    assert 503 == visit.status
    assert [] == hook.asked


@pytest.mark.parametrize("action", ["flag", "observe"])
async def test_one_that_does_not_block_never_refuses(starts: Starts, hook: Hook, action: str) -> None:
    """Whatever the policy says of failures."""
    edge = await starts(action, on_failure="closed")
    hook.reply = b""

    assert 200 == (await edge.chat().done()).status


async def test_a_long_request_is_not_asked_about(starts: Starts, hook: Hook, counted: Callable[..., float]) -> None:
    """It is a failure as any other, but no reason to let it rest."""
    edge = await starts(on_failure="closed")
    for _ in range(MOST_FAILURES + 1):
        visit = await edge.embed([f"{'x ' * 900}"] * (MAX_REQUEST_BYTES // 1800 + 1)).done()
        assert 503 == visit.status
    counts = counted(
        "edge_guardrail_webhook_failures_total", rule="reviewer", reason="request_too_long", request="refused"
    )

    assert MOST_FAILURES + 1 == counts
    assert 200 == (await edge.chat().done()).status
    assert 1 == len(hook.asked)


async def test_one_that_is_down_is_left_alone_and_tried_again(
    starts: Starts, hook: Hook, monkeypatch: pytest.MonkeyPatch, counted: Callable[..., float]
) -> None:
    """Then requests do not wait for it; one of them tries it, and when it has come back it is asked as before."""
    edge = await starts(seconds=0.3)
    hook.reply = None
    monkeypatch.setattr(webhooks_module, "REST_SECONDS", 60.0)
    for _ in range(MOST_FAILURES - 1):
        await edge.chat().done()
    monkeypatch.setattr(webhooks_module, "REST_SECONDS", 0.0)
    await edge.chat().done()
    hook.reply = b""
    await edge.chat().done()  # the try after the rest, in vain
    monkeypatch.setattr(webhooks_module, "REST_SECONDS", 60.0)
    await edge.chat().done()
    assert MOST_FAILURES + 2 == len(hook.asked)
    for _ in range(20):
        assert 200 == (await edge.chat().done()).status
    assert MOST_FAILURES + 2 == len(hook.asked)
    failures = "edge_guardrail_webhook_failures_total"
    assert 20 == counted(failures, rule="reviewer", reason="resting", request="passed")


async def test_after_a_rest_it_is_asked_as_before(starts: Starts, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """One answer is enough; while the first one waits for it, others do not."""
    edge = await starts(seconds=5)
    monkeypatch.setattr(webhooks_module, "REST_SECONDS", 0.0)
    hook.reply = b""
    for _ in range(MOST_FAILURES):
        await edge.chat().done()
    hook.reply = None
    await asyncio.gather(*(edge.chat(f"{number}").done() for number in range(5)))
    assert MOST_FAILURES + 1 == len(hook.asked)
    hook.reply = says({"found": True})

    assert [400, 400] == [(await edge.chat().done()).status for _ in range(2)]


async def test_it_is_shown_the_secret_that_is_in_the_file_now(
    starts: Starts, hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the last one when the file is gone or has none; neither log nor error has it."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret-one\n", encoding="ascii")
    monkeypatch.setattr(webhooks_module, "_FILES_SECONDS", 0.0)
    edge = await starts(on_failure="closed", more=f", secret_file: '{secret}'")
    with structlog.testing.capture_logs() as logs:
        await edge.chat().done()
        secret.write_text("s3cret-two", encoding="ascii")
        await edge.chat().done()
        secret.write_text("two\nlines", encoding="ascii")
        await edge.chat().done()
        secret.unlink()
        hook.reply = b""
        failed = await edge.chat().done()

    shown = [line for head in hook.heads for line in head.split("\r\n") if line.startswith("authorization: ")]
    assert ["authorization: Bearer s3cret-one", *["authorization: Bearer s3cret-two"] * 3] == shown
    assert "s3cret" not in repr(logs)
    assert b"s3cret" not in failed.content


async def test_who_waits_for_it_holds_up_nobody(starts: Starts, hook: Hook) -> None:
    """More requests than may begin at once wait for it together, and none is refused."""
    edge = await starts()
    hook.reply = None
    app = edge.app()
    visits = []
    for number in range(24):
        visits.append(edge.visit("/chat", {"query": f"{number}", "stream": False}, app=app))
        async with asyncio.timeout(60):
            while len(hook.asked) <= number and not visits[-1].content:
                await asyncio.sleep(0.005)
    assert 24 == len(hook.asked)
    hook.gone.set()
    await asyncio.gather(*(visit.done() for visit in visits))

    assert {200} == {visit.status for visit in visits}


async def test_a_turn_is_given_back_and_taken_again() -> None:
    """The time outside is not that of the edge, which therefore lets no fewer begin."""
    capacity = Capacity(100, 100, 1000, 1000)
    before = capacity.turns.limit
    with capacity.place("k") as place:
        await place.begin(0.0)
        async with place.outside():
            await asyncio.sleep(0.2)

    assert before == capacity.turns.limit


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("- {name: w, url: 'http://a/'}", "webhooks.0.on_failure"),
        ("- {name: w, url: 'ftp://a/', on_failure: open}", "webhooks.0.url"),
        ("- {name: w, url: 'http://u:p@a/', on_failure: open}", "webhooks.0.url"),
        ("- {name: w, url: 'http://a/ b', on_failure: open}", "webhooks.0.url"),
        ("- {name: w, url: 'http://a:99999/', on_failure: open}", "webhooks.0.url"),
        ('- {name: w, url: "http://a/\\r\\nx: y", on_failure: open}', "webhooks.0.url"),
        ("- {name: w, url: 'http://a/', on_failure: open, timeout_seconds: 31}", "webhooks.0.timeout_seconds"),
        ("- {name: w, url: 'http://a/', on_failure: open, secret_file: /nowhere}", "webhooks.0.secret_file"),
        ("- {name: w, url: 'https://a/', on_failure: open, ca_file: /nowhere}", "webhooks.0.ca_file"),
        ("- {name: w, url: 'https://a/', on_failure: open, ca_file: /dev/null}", "webhooks.0.ca_file"),
        ("- {name: w, url: 'http://a/', on_failure: open, ca_file: /dev/null}", "webhooks.0.ca_file: only"),
        ("- {name: email, url: 'http://a/', on_failure: open}", "webhooks.0.name"),
        ("- {name: w, url: 'http://a/', on_failure: open}\ninput: {w: redact}", "input.w"),
        ("- {name: w, url: 'http://a/', on_failure: open}\noutput: {w: block}", "output.w"),
    ],
)
def test_a_webhook_that_cannot_be_one_is_refused(text: str, place: str) -> None:
    """By its place in the policy."""
    with pytest.raises(PolicyError, match=place.replace(".", r"\.")):
        parse_policy(Path("p.yaml"), f"version: '1'\nwebhooks:\n{text}".encode())
