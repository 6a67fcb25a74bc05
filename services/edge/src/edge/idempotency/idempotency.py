"""`Idempotency-Key`: a request that is sent twice with the same key is run once, and its answer is given twice."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from edge.events.redis import RedisAway, RedisStore
from edge.identity import Identity
from edge.metrics import Metrics
from edge.problems import Problem

TTL_SECONDS = 24 * 60 * 60
MAX_KEPT_BYTES = 1024 * 1024
LEASE_SECONDS = 30.0
# So often is a lease renewed before it would end: what Redis or this edge misses is made up for.
_RENEWALS = 6
# Vendors' clients do not wait for longer; an edge of another version may have longer leases.
MAX_RETRY_AFTER_SECONDS = 60.0
_HEADER = "idempotency-key"
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_RUNNING, _KEPT, _NOT_KEPT = b"r", b"k", b"n"
_DIGEST_BYTES = 32
# A value is a letter of its state, the digest of the request, and then its owner or the answer.
_CLAIM = """
local known = redis.call('GET', KEYS[1])
if known then return {known, redis.call('PTTL', KEYS[1])} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
"""
# Only by the one who has claimed it: a lease that has ended may be another's by now.
_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
"""
_FREE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
_KEEP = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2]) return 1 end
return 0
"""


class Idempotency:
    """The keys that clients have given to requests, of all edges."""

    def __init__(self, store: RedisStore, metrics: Metrics, lease_seconds: float = LEASE_SECONDS) -> None:
        """A key of an edge that has died is free after `lease_seconds`."""
        self.store = store
        self.lease_seconds = lease_seconds
        self.metrics = metrics
        self._claim = store.script(_CLAIM)
        self.free = store.script(_FREE)

    async def claim(self, keys: Sequence[str], identity: Identity, path: str, body: bytes) -> Response | Claim | None:
        """Claim the key of a request; return the answer that there is already, or None: Redis is away.

        Problem when the key makes no sense, runs already, belongs to another request, or has no answer to give.
        """
        if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
            raise Problem("invalid_request", f"{_HEADER} has to be one key of 1 to 255 printable ASCII characters")
        owner = orjson.dumps([identity.tenant, identity.holder, identity.user, keys[0]])
        key = f"spillway:idempotency:{hashlib.sha256(owner).hexdigest()}"
        digest = hashlib.sha256(path.encode() + b"\0" + body).digest()
        claim = Claim(self, key, digest)
        try:
            known: tuple[bytes, int] | None = await self.store.evaluate(
                self._claim, [key], [claim.value, int(self.lease_seconds * 1000)]
            )
        except RedisAway:
            self.metrics.idempotency_skipped.inc()
            return None
        return claim if known is None else _answer(*known, digest)


def _answer(known: bytes, left_ms: int, digest: bytes) -> Response:
    state, of, rest = known[:1], known[1 : 1 + _DIGEST_BYTES], known[1 + _DIGEST_BYTES :]
    if of != digest:
        raise Problem("idempotency_key_reused", f"this {_HEADER} was sent with another request; take a new one")
    if state == _RUNNING:
        # Whether its edge lives is known when the lease ends: a client that comes twice and then gives up comes then.
        raise Problem(
            "request_in_progress",
            f"the request with this {_HEADER} is still running",
            retry_after_seconds=min(left_ms / 1000, MAX_RETRY_AFTER_SECONDS),
        )
    if state != _KEPT:
        raise Problem(
            "conflict",
            f"the request with this {_HEADER} was answered; its answer was not kept, and it is not run again",
        )
    content_type, _, body = rest.partition(b"\n")
    headers = {"content-type": content_type.decode(), "idempotency-replayed": "true"}
    return Response(body, 200, headers)


class Claim:
    """A key that a request of this edge has, until it is answered."""

    def __init__(self, keys: Idempotency, key: str, digest: bytes) -> None:
        self._keys = keys
        self._key = key
        self._digest = digest
        self.value = _RUNNING + digest + secrets.token_bytes(16)

    async def free(self) -> None:
        """Let the next request with the key run."""
        with suppress(RedisAway):  # the lease ends
            await self._keys.store.evaluate(self._keys.free, [self._key], [self.value])

    async def keep(self, content_type: bytes, body: bytes | None) -> None:
        """Keep the answer; None: only that there was one."""
        value = _NOT_KEPT + self._digest if body is None else _KEPT + self._digest + content_type + b"\n" + body
        try:
            # With the time of what follows an answer: it may be long, and only its last byte waits.
            await self._keys.store.run([("EVAL", _KEEP, 1, self._key, self.value, TTL_SECONDS * 1000, value)])
        except RedisAway:  # the lease ends, and then the request can run again
            self._keys.metrics.idempotency_skipped.inc()

    @asynccontextmanager
    async def renewed(self) -> AsyncIterator[None]:
        """Renew the lease meanwhile."""
        task = asyncio.create_task(self._renew())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def _renew(self) -> None:
        keys = self._keys
        while True:
            await asyncio.sleep(keys.lease_seconds / _RENEWALS)
            with suppress(RedisAway):  # it is tried again before it ends
                await keys.store.run([("EVAL", _RENEW, 1, self._key, self.value, int(keys.lease_seconds * 1000))])


class OnceResponse(Response):
    """Another response, kept as it is sent."""

    def __init__(self, response: Response, claim: Claim, is_whole: Callable[[], bool], *, may_keep: bool) -> None:
        """`is_whole` says at the last byte whether it ends as an answer does; `may_keep`: its body may be stored."""
        self._response = response
        self._claim = claim
        self._is_whole = is_whole
        self._body: bytearray | None = bytearray() if may_keep else None
        self._status = 0
        self._content_type = b""
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; a client that has the last byte of an answer finds it kept, or after a failure the key free."""
        is_done = False

        async def keeping(message: Message) -> None:
            nonlocal is_done
            self._note(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                await self._end()
                is_done = True
            await send(message)

        try:
            async with self._claim.renewed():
                await self._response(scope, receive, keeping)
        finally:
            if not is_done:
                await self._claim.free()

    async def _end(self) -> None:
        if self._status == 200 and self._is_whole():
            await self._claim.keep(self._content_type, None if self._body is None else bytes(self._body))
        else:
            await self._claim.free()

    def _note(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._content_type = dict(message["headers"]).get(b"content-type", b"")
        elif self._body is not None:
            self._body += message.get("body", b"")
            if len(self._body) > MAX_KEPT_BYTES:
                self._body = None
