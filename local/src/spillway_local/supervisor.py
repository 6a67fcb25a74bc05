"""Child processes that are started, watched and stopped together."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from spillway_local import log_files, processes
from spillway_local.ports import LOOPBACK, is_listening
from spillway_local.readiness import check_of

_POLL_SECONDS = 0.05
_READY_WITHIN_SECONDS = 60.0
_ROTATE_INTERVAL_SECONDS = 1.0


@dataclass(frozen=True)
class Program:
    """One process of the system: how to run it and how to stop it."""

    name: str
    command: Sequence[str]
    port: int
    environment: Mapping[str, str]
    metrics_port: int | None = None
    owner: processes.Owner | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    kill_signal: signal.Signals = signal.SIGKILL
    drain_seconds: float = 20.0
    password: str = field(default="", repr=False)
    """What the check whether it is ready logs in with."""

    @property
    def address(self) -> str:
        """The address it listens on."""
        return f"{LOOPBACK}:{self.port}"


class ChildDied(Exception):
    """A child ended unexpectedly; the message says how, with the end of its log."""


@dataclass
class Child:
    """A started program."""

    program: Program
    process: subprocess.Popen[bytes]
    log_file: Path
    is_stopping: bool = field(default=False)
    is_log_rotated: bool = field(default=False)


class Supervisor:
    """Starts programs, reports the first one that dies, stops all. Use it from one event loop on the main thread."""

    def __init__(self, logs: Path, report: Callable[[str], None]) -> None:
        self._logs = logs
        self._report = report
        self._children: dict[str, Child] = {}
        self._killing = asyncio.Event()

    @property
    def children(self) -> list[Child]:
        """The running children, in the order of their start."""
        return list(self._children.values())

    @property
    def is_killing(self) -> bool:
        """Say whether `kill_all` was called."""
        return self._killing.is_set()

    def launch(self, program: Program) -> Child:
        """Start `program` with a new log; the log of the previous run is kept as `.1`."""
        log_file = self._logs / f"{program.name}.log"
        log_files.keep_previous(log_file)
        process = processes.start(
            program.command,
            log_file,
            death_signal=program.stop_signal,
            owner=program.owner,
            environment=program.environment,
        )
        child = self._children[program.name] = Child(program, process, log_file)
        return child

    async def launch_until_ready(self, program: Program) -> None:
        """Start `program` and wait until it answers; report how long that took."""
        started = time.monotonic()
        child = self.launch(program)
        is_ready = check_of(program.name, program.port, program.password)
        # Another process that took the port in the meantime would answer too.
        while not (is_listening(child.process.pid, program.port) and await is_ready()):
            if time.monotonic() - started > _READY_WITHIN_SECONDS:
                raise ChildDied(_with_log(f"{program.name} was not ready after {_READY_WITHIN_SECONDS:g} s", child))
            await asyncio.sleep(_POLL_SECONDS)
        self._report(f"  ready    {program.name:<12} {time.monotonic() - started:5.1f} s   {program.address}")

    async def run_to_end(self, program: Program) -> None:
        """Run `program` and wait for its end. ChildDied when its status is not 0."""
        child = self.launch(program)
        child.is_stopping = True
        status = await self._ended(child)
        del self._children[program.name]
        if status != 0:
            raise ChildDied(_with_log(f"{program.name} {processes.ending_of(child.process)}", child))

    async def first_death(self) -> None:
        """Wait until a child ends unexpectedly; then raise ChildDied."""
        while True:
            for child in self.children:
                if not child.is_stopping and child.process.poll() is not None:
                    raise ChildDied(_with_log(f"{child.program.name} {processes.ending_of(child.process)}", child))
            await asyncio.sleep(_POLL_SECONDS)

    async def rotate_logs(self) -> None:
        """Keep the logs of the children within their size until cancelled."""
        while True:
            for child in self.children:
                child.is_log_rotated |= await asyncio.to_thread(log_files.rotate, child.log_file)
            await asyncio.sleep(_ROTATE_INTERVAL_SECONDS)

    def kill_all(self) -> None:
        """Let `stop` kill the children that are still running."""
        self._killing.set()

    async def stop(self, names: Sequence[str]) -> None:
        """Stop the children one after the other, those not in `names` first, then in its order; report each."""
        rank = {name: number for number, name in enumerate(names)}
        for child in sorted(self.children, key=lambda child: rank.get(child.program.name, -1)):
            started = time.monotonic()
            was_running = child.process.poll() is None
            child.is_stopping = True
            await self._end(child)
            del self._children[child.program.name]
            if was_running:
                # The reader of the output may be gone, or the disk full; the other children must still be stopped.
                with suppress(OSError):
                    self._report(f"  stopped  {child.program.name:<12} {time.monotonic() - started:5.1f} s")

    async def _end(self, child: Child) -> None:
        program, process = child.program, child.process
        if process.poll() is None and not self._killing.is_set():
            process.send_signal(program.stop_signal)
            ending, killing = asyncio.create_task(self._ended(child)), asyncio.create_task(self._killing.wait())
            await asyncio.wait({ending, killing}, timeout=program.drain_seconds, return_when=asyncio.FIRST_COMPLETED)
            ending.cancel()
            killing.cancel()
        if process.poll() is None and program.kill_signal != signal.SIGKILL:
            process.send_signal(program.kill_signal)
            await self._ended(child, within_seconds=5.0)
        if process.poll() is None:
            processes.kill(process)
            await self._ended(child)

    async def _ended(self, child: Child, within_seconds: float = float("inf")) -> int | None:
        deadline = time.monotonic() + within_seconds
        while True:
            status = child.process.poll()
            if status is not None or time.monotonic() > deadline:
                return status
            await asyncio.sleep(_POLL_SECONDS)


def _with_log(what: str, child: Child) -> str:
    """Append the end of the child's log to `what`; on the same line if the log is a single line."""
    lines = processes.tail_of(child.log_file).splitlines()
    if child.is_log_rotated:
        lines = [*processes.tail_of(log_files.previous(child.log_file)).splitlines(), *lines][-processes.TAIL_LINES :]
    if len(lines) == 1:
        return f"{what}: {lines[0]}"
    return "\n".join([f"{what}; the end of {child.log_file}:", *(f"    {line}" for line in lines)])
