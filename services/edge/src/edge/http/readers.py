"""Long bodies are read in processes of their own: a parser does not let go of the interpreter before its end.

A thread would not help, as JSON of some megabytes stops all threads for as long as it takes. So the edge forks a mother
before it has anything that a fork must not copy, and she forks a reader whenever the edge wants one. What a reader does
cannot harm the edge: one that takes too long or too much memory is ended by the kernel, and its body is refused.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import resource
import signal
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import structlog

from edge.capture.texts import RedactedTexts, Source, read_texts
from edge.contracts.contract import Contract
from edge.contracts.reading import read_content
from edge.contracts.responses.request import with_responses
from edge.conversation import Content, Conversation, EmbeddingInput, with_max_output
from edge.guardrails.format import fits
from edge.guardrails.input import Inspected, inspect, size_of
from edge.guardrails.policy import RuleSet
from edge.metrics import Metrics
from edge.problems import Problem

log = structlog.get_logger()

# Reading so much takes about as long as writing it to a reader and back.
_LONG_BYTES = 128 * 1024
_READERS = 2
# A body of 4 MB takes two tenths of a second.
_MOST_WAITING = 16
_CPU_SECONDS = 10
_CHECK_CPU_SECONDS = 1
_TIMEOUT_SECONDS = 30.0
# A reader ends after a body of this length: what it has left in memory goes with it.
_LAST_BYTES = 4 * 1024 * 1024
# Readers give way to the event loop, and the kernel ends one of them before it ends an edge.
_NICENESS = 10
_FIRST_TO_BE_KILLED = "1000"
_JOB = struct.Struct(">II")
_REPLY = struct.Struct(">?I")
_READY = b"+"


class _Reading(NamedTuple):
    """What a reader needs besides the body that it reads."""

    contract: int
    path: str
    headers: Mapping[str, str]


class _Calling(NamedTuple):
    """The bytes are a function of ours and what it is called with, pickled."""

    cpu_seconds: int = _CPU_SECONDS


_Job = _Reading | _Calling


class Refusal(NamedTuple):
    """A `Problem` on its way from a reader."""

    code: str
    message: str
    param: str | None


_Result = Content | Inspected | RedactedTexts | bool | None


class _ReaderLost(Exception):
    """The reader ended without a reply."""


class Mother:
    """The process that forks readers, as the edge sees it."""

    def __init__(self, contracts: Sequence[Contract]) -> None:
        """Fork it. To be called while this process has one thread and nothing open that two must not share."""
        self.contracts = contracts
        ours, hers = socket.socketpair()
        gc.collect()
        gc.freeze()  # pages that no collection writes to stay shared
        pid = os.fork()
        if pid == 0:
            ours.close()
            _be_mother(hers, contracts)
        hers.close()
        ours.setblocking(False)
        self._control = ours
        self._pid = pid

    def bear(self) -> socket.socket:
        """Return the socket of a new reader; OSError when there is no mother any more."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [_READY], [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        return ours

    def close(self) -> None:
        """Let it end, with readers that have nothing to do."""
        self._control.close()
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


class BodyReaders:
    """Reads bodies: short ones at once, long ones in a reader."""

    def __init__(self, mother: Mother | None, metrics: Metrics) -> None:
        """Without a mother, and when it has died, long bodies are read in a thread."""
        self._mother = mother
        self._metrics = metrics
        self._idle: list[socket.socket] = []
        self._free = asyncio.Semaphore(_READERS)
        self._waiting = 0

    async def read(self, contract: Contract, path: str, raw: bytes, headers: Mapping[str, str]) -> Content:
        """Return what the body asks for; Problem (400) when it is not JSON or not what the contract takes.

        Problem (503) when too many long ones wait already.
        """
        if len(raw) <= _LONG_BYTES:
            return read_content(contract, path, raw, headers)
        if self._mother is not None:
            own = {name: value for name, value in headers.items() if name.startswith("anthropic-")}
            job: _Reading | None = _Reading(self._mother.contracts.index(contract), path, own)
        else:
            job = None
        result = await self._in_turn(job, raw, partial(read_content, contract, path, raw, headers))
        assert isinstance(result, Conversation | EmbeddingInput)  # noqa: S101 - what was asked for
        return _with_body(result, raw)

    async def inspect(self, content: Content, rules: RuleSet) -> Inspected:
        """Look at a long request; Problem (503) when too many wait already, Problem (400) when it takes too long."""
        result = await self._call(inspect, content, rules)
        assert isinstance(result, Inspected)  # noqa: S101 - what was asked for
        return result

    async def shorten(self, conversation: Conversation, tokens: int) -> Conversation:
        """Do `with_max_output`: a short request at once, a long one as `inspect`."""
        if size_of(conversation) <= _LONG_BYTES:
            return with_max_output(conversation, tokens)
        result = await self._call(with_max_output, conversation, tokens)
        assert isinstance(result, Conversation)  # noqa: S101 - what was asked for
        return result

    async def complete(
        self, conversation: Conversation, chain: Sequence[bytes], referred: Sequence[bytes]
    ) -> Conversation:
        """Do `with_responses`: at once when all of it is short, else as `inspect`."""
        if size_of(conversation) + sum(map(len, (*chain, *referred))) <= _LONG_BYTES:
            return with_responses(conversation, chain, referred)
        result = await self._call(with_responses, conversation, chain, referred)
        assert isinstance(result, Conversation)  # noqa: S101 - what was asked for
        return result

    async def check_format(self, texts: Sequence[str], schema: bytes) -> bool | None:
        """Tell whether texts are JSON that fits a schema; None: it cannot be used, or takes too long.

        Problem (503) when too many wait, or there is no process for it: the schema is anybody's, and a thread cannot be
        stopped.
        """
        raw = pickle.dumps((fits, (texts, schema)), protocol=pickle.HIGHEST_PROTOCOL)
        try:
            result = await self._in_turn(_Calling(_CHECK_CPU_SECONDS), raw, _refuse)
        except Problem as problem:
            if problem.code == "overloaded":
                raise
            return None
        assert result is None or isinstance(result, bool)  # noqa: S101 - what was asked for
        return result

    async def read_texts(self, source: Source) -> RedactedTexts:
        """Do `read_texts`, however short it is; Problem as `inspect`."""
        result = await self._call(read_texts, source)
        assert isinstance(result, RedactedTexts)  # noqa: S101 - what was asked for
        return result

    async def _call(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        job = None if self._mother is None else _Calling()
        raw = b"" if job is None else pickle.dumps((function, arguments), protocol=pickle.HIGHEST_PROTOCOL)
        return await self._in_turn(job, raw, partial(function, *arguments))

    async def _in_turn(self, job: _Job | None, raw: bytes, here: Callable[[], _Result]) -> _Result:
        """Have something done when a reader is free."""
        if self._waiting >= _MOST_WAITING:
            raise Problem("overloaded", "too many long bodies come at once; try again in a moment")
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            return await self._do_long(job, raw, here)
        finally:
            self._free.release()

    async def _do_long(self, job: _Job | None, raw: bytes, here: Callable[[], _Result]) -> _Result:
        """Have it done by a reader, or in a thread when there is none."""
        if self._mother is not None and job is not None:
            try:
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    return await self._do_elsewhere(self._mother, job, raw)
            except (_ReaderLost, TimeoutError) as error:
                raise Problem(
                    "invalid_request",
                    "the body takes too long, or too much memory, to read; send less or simpler JSON",
                ) from error
            except OSError as error:
                log.warning("body_reader_unavailable", cause=type(error).__name__)
        self._metrics.bodies_read_here.inc()
        return await asyncio.to_thread(here)

    async def _do_elsewhere(self, mother: Mother, job: _Job, raw: bytes) -> _Result:
        """Have it done. Cancelled, or after a failure, the reader is given up: it ends with its socket."""
        reader = await self._reader(mother)
        try:
            reply, is_last = await _ask(reader, pickle.dumps(job), raw)
        except BaseException:
            reader.close()
            raise
        if is_last:
            reader.close()
        else:
            self._idle.append(reader)
        result: _Result | Refusal = pickle.loads(reply)  # noqa: S301 - our own child has written it
        if isinstance(result, Refusal):
            raise Problem(result.code, result.message, param=result.param)
        return result

    async def _reader(self, mother: Mother) -> socket.socket:
        """Return the socket of a reader that waits for a body; OSError when there is none and cannot be one."""
        while self._idle:
            reader = self._idle.pop()
            if _waits(reader):
                return reader
            reader.close()
        reader = mother.bear()
        try:
            is_there = await asyncio.get_running_loop().sock_recv(reader, len(_READY))
        except BaseException:
            reader.close()
            raise
        if not is_there:
            reader.close()
            raise ConnectionError("no reader")
        return reader

    def close(self) -> None:
        """End the readers."""
        for reader in self._idle:
            reader.close()
        if self._mother is not None:
            self._mother.close()


def _waits(reader: socket.socket) -> bool:
    """Tell whether an idle reader is still there: it says nothing, and its socket is open."""
    try:
        reader.recv(1)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


async def _ask(reader: socket.socket, job: bytes, raw: bytes) -> tuple[bytearray, bool]:
    """Return the reply, and whether it is the reader's last; _ReaderLost when it ends before that."""
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(reader, _JOB.pack(len(job), len(raw)) + job)
        await loop.sock_sendall(reader, raw)
        is_last, length = _REPLY.unpack(await _receive(loop, reader, _REPLY.size))
        return await _receive(loop, reader, length), is_last
    except OSError as error:
        raise _ReaderLost from error


async def _receive(loop: asyncio.AbstractEventLoop, reader: socket.socket, length: int) -> bytearray:
    received = bytearray(length)
    rest = memoryview(received)
    while rest:
        count = await loop.sock_recv_into(reader, rest)
        if not count:
            raise _ReaderLost
        rest = rest[count:]
    return received


def _with_body(content: Content, raw: bytes) -> Content:
    """Put the body back in its place, which the reader has left empty."""
    form = content.messages_form if isinstance(content, Conversation) else None
    if not isinstance(content, Conversation) or form is None or form.body:
        return content
    return replace(content, messages_form=replace(form, body=raw))


def _without_body(content: Content, raw: bytes) -> Content:
    """Leave the place of the body empty: the edge has it."""
    form = content.messages_form if isinstance(content, Conversation) else None
    if not isinstance(content, Conversation) or form is None or form.body is not raw:
        return content
    return replace(content, messages_form=replace(form, body=b""))


def _be_mother(control: socket.socket, contracts: Sequence[Contract]) -> NoReturn:
    """Fork a reader for each socket that comes; end with the edge."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # they are for the edge, which drains
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a reader
        with suppress(OSError):
            nothing = os.open(os.devnull, os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(nothing, standard)
        while True:
            message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not message:
                os._exit(0)
            with suppress(OSError):  # no process to be had: the edge sees its socket close
                if os.fork() == 0:
                    control.close()
                    _be_reader(socket.socket(fileno=descriptors[0]), contracts)
            os.close(descriptors[0])
    finally:
        os._exit(1)


def _be_reader(edge: socket.socket, contracts: Sequence[Contract]) -> NoReturn:
    """Read bodies until the edge closes the socket."""
    try:
        os.nice(_NICENESS)
        with suppress(OSError):  # on Linux
            Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_BE_KILLED, encoding="ascii")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        edge.sendall(_READY)
        is_last = False
        while not is_last:
            job_length, raw_length = _JOB.unpack(_exactly(edge, _JOB.size))
            job, raw = _exactly(edge, job_length), _exactly(edge, raw_length)
            what: _Job = pickle.loads(job)  # noqa: S301 - from the process that has made this one
            _limit_cpu(what.cpu_seconds if isinstance(what, _Calling) else _CPU_SECONDS)
            reply = _reply(contracts, what, raw)
            del job, raw
            is_last = raw_length >= _LAST_BYTES
            edge.sendall(_REPLY.pack(is_last, len(reply)))
            edge.sendall(reply)
            del reply
        os._exit(0)
    finally:
        os._exit(1)


def _refuse() -> _Result:
    raise Problem("overloaded", "there is no process for it")


def _reply(contracts: Sequence[Contract], job: _Job, raw: bytes) -> bytes:
    result: _Result | Refusal
    try:
        if isinstance(job, _Calling):
            function, arguments = pickle.loads(raw)  # noqa: S301 - as above
            result = function(*arguments)
        else:
            result = _without_body(read_content(contracts[job.contract], job.path, raw, job.headers), raw)
    except Problem as problem:
        result = Refusal(problem.code, problem.message, problem.param)
    return pickle.dumps(result, protocol=pickle.HIGHEST_PROTOCOL)


def _limit_cpu(seconds: int) -> None:
    """Have the kernel end this process when what it is to do takes longer."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _exactly(edge: socket.socket, length: int) -> bytes:
    """Receive that many bytes; the edge that closes the socket is this reader's end."""
    received = bytearray(length)
    rest = memoryview(received)
    while rest:
        count = edge.recv_into(rest)
        if not count:
            os._exit(0)
        rest = rest[count:]
    return bytes(received)
