"""Start and stop a server process that must not outlive this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import spillway_local.die_with_parent

_LAUNCHER = (sys.executable, "-I", "-S", spillway_local.die_with_parent.__file__)
_LAUNCHER_ARGUMENTS = 3  # parent, signal, owner
TAIL_LINES = 15
"""How many lines of a log an error shows."""


class Owner(NamedTuple):
    """The user and group that a process runs as."""

    uid: int
    gid: int


class StartFailed(Exception):
    """A process ended too early or was not ready in time. The message contains the end of its log."""


def start(
    command: Sequence[str],
    log_file: Path,
    *,
    death_signal: signal.Signals = signal.SIGTERM,
    owner: Owner | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, both outputs appended to `log_file`; `owner` requires root.

    The kernel sends it `death_signal` when the calling *thread* ends: call this from the main thread, or from one that
    waits for the end of the command.
    """
    launcher = [*_LAUNCHER, str(os.getpid()), str(int(death_signal)), f"{owner.uid}:{owner.gid}" if owner else "-"]
    with log_file.open("ab") as log:
        return subprocess.Popen(
            [*launcher, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=None if environment is None else dict(environment),
            start_new_session=True,
        )


def run_to_end(command: Sequence[str], log_file: Path, timeout_seconds: float, *, owner: Owner | None = None) -> None:
    """Run `command` and wait for its end; StartFailed when its status is not 0 or the time is up."""
    process = start(command, log_file, owner=owner)
    try:
        process.wait(timeout_seconds)
    except subprocess.TimeoutExpired as error:
        kill(process)
        process.wait()
        raise StartFailed(f"{command_name(process)} took longer than {timeout_seconds:g} s") from error
    if process.returncode != 0:
        raise StartFailed(f"{command_name(process)} {ending_of(process)}\n{tail_of(log_file)}")


def stop(process: subprocess.Popen[bytes], signum: signal.Signals, timeout_seconds: float) -> int:
    """Stop `process` with `signum`, kill its whole session after `timeout_seconds`; return its status."""
    if process.poll() is None:
        process.send_signal(signum)
    try:
        return process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        kill(process)
        return process.wait()


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill `process` and everything it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def wait_until_ready(
    process: subprocess.Popen[bytes], is_ready: Callable[[], bool], log_file: Path, timeout_seconds: float
) -> None:
    """Poll until `is_ready` returns true; StartFailed when the process ends first or the time is up."""
    deadline = time.monotonic() + timeout_seconds
    while not is_ready():
        if process.poll() is not None:
            raise StartFailed(f"{command_name(process)} {ending_of(process)}\n{tail_of(log_file)}")
        if time.monotonic() > deadline:
            raise StartFailed(f"{command_name(process)} was not ready after {timeout_seconds:g} s\n{tail_of(log_file)}")
        time.sleep(0.02)


def command_name(process: subprocess.Popen[bytes]) -> str:
    """Return the file name of the program that the launcher of `process` becomes."""
    command = process.args
    index = len(_LAUNCHER) + _LAUNCHER_ARGUMENTS
    return Path(str(command[index])).name if isinstance(command, list) else str(command)


def ending_of(process: subprocess.Popen[bytes]) -> str:
    """Say how an ended process ended, e.g. `ended with status 1` or `was killed by SIGKILL`."""
    status = process.returncode
    if status is not None and status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def tail_of(log_file: Path, lines: int = TAIL_LINES) -> str:
    """Return the last `lines` lines of `log_file`, of which at most 64 KiB are read; empty when there is no file."""
    if not log_file.exists():
        return ""
    with log_file.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - 65_536))
        text = log.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:])
