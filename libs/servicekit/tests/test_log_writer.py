"""Logging never breaks what it reports on: a process goes on whatever its standard output is, and says what it lost."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson
import pytest

pytestmark = pytest.mark.integration

SET_UP = """
import logging, os, resource, signal, sys, threading, time
import structlog
from servicekit.logs import configure_logs

writer = configure_logs("edge")
log = structlog.get_logger()
lost = []
writer.count_losses(lost.append)

def say(text):
    os.write(2, f"{text}\\n".encode())

"""
# A line of this program has about 150 bytes; a pipe has room for 64 KiB, and a megabyte may wait.
MANY = 50_000


@contextmanager
def running(program: str, output: IO[bytes] | int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that logs to `output` and reports to standard error."""
    process = subprocess.Popen(
        [sys.executable, "-c", SET_UP + program], stdin=subprocess.PIPE, stdout=output, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def reports(program: str, output: IO[bytes] | int) -> list[str]:
    """Run a program to its end; return what it reported. It must have ended well."""
    with running(program, output) as process:
        reported = process.communicate(timeout=60)[1].decode()
    assert 0 == process.returncode, reported
    return reported.splitlines()


def parsed(text: bytes) -> list[dict[str, Any]]:
    """Return the lines, each of which is whole."""
    return [orjson.loads(line) for line in text.splitlines()]


def test_a_full_disk_loses_lines_and_nothing_else() -> None:
    """Our lines and those of libraries; each is counted."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        reported = reports(
            'log.info("one"); logging.getLogger("library").warning("two"); log.info("three"); say(sum(lost))', full
        )

    assert ["3"] == reported


def test_a_closed_pipe_loses_lines_and_nothing_else() -> None:
    """Its reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert ["2"] == reports('log.info("one"); log.info("two"); say(sum(lost))', writer)
    finally:
        os.close(writer)


def test_without_standard_output_all_lines_are_lost(tmp_path: Path) -> None:
    """They never go into the file that is opened next and gets its number."""
    program = f"""
file = open({str(tmp_path / "data")!r}, "w")
assert 1 == file.fileno()
log.info("one")
say(sum(lost))
"""
    command = ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, SET_UP + program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert (0, "1\n") == (result.returncode, result.stderr)
    assert "" == (tmp_path / "data").read_text()


def test_a_limit_of_the_file_loses_lines_until_there_is_room(tmp_path: Path) -> None:
    """No signal ends the process. Then a line says how many were lost, and a torn line spoils no other."""
    file = tmp_path / "log"
    program = """
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for number in range(20):
    log.info("line", number=number)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.info("after")
say(sum(lost))
"""
    with file.open("ab") as output:
        (lost,) = map(int, reports(program, output))

    *before, torn, report, after = file.read_bytes().splitlines()
    assert list(range(len(before))) == [line["number"] for line in parsed(b"\n".join(before))]
    assert 20 - len(before) == lost
    assert b"line" in torn
    assert ("log_lines_lost", "error", "edge", lost) == tuple(
        orjson.loads(report)[name] for name in ("event", "level", "service", "lines")
    )
    assert "after" == orjson.loads(after)["event"]


def test_a_slow_reader_keeps_nobody_waiting() -> None:
    """What waits is bounded; the rest is lost and counted; what was written is in order and says what is missing."""
    program = f"""
started = time.monotonic()
for number in range({MANY}):
    log.info("line", number=number)
assert time.monotonic() - started < 30
say(sum(lost))
sys.stdin.readline()
log.info("after")
"""
    with running(program, subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdin
        lost = int(process.stderr.readline())
        # All that was kept, so that there is room for one more.
        kept = b"".join(process.stdout.readline() for _ in range(MANY - lost))
        process.stdin.write(b"\n")
        process.stdin.flush()
        lines = parsed(kept + process.stdout.read())

    numbers = [line["number"] for line in lines if line["event"] == "line"]
    assert list(range(MANY - lost)) == numbers
    assert 0 < MANY - lost < 2_000_000 / 100
    assert [lost] == [line["lines"] for line in lines if line["event"] == "log_lines_lost"]
    assert ["log_lines_lost", "after"] == [line["event"] for line in lines[-2:]]


def test_a_reader_that_catches_up_gets_every_line_in_order() -> None:
    """A pause of the reader loses nothing that fits."""
    program = """
for number in range(2_000):
    log.info("line", number=number)
    threading.Thread(target=log.info, args=("from_a_thread",)).start()
say("done")
sys.stdin.readline()
"""
    with running(program, subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdin
        assert b"done\n" == process.stderr.readline()
        process.stdin.write(b"\n")
        process.stdin.flush()
        lines = parsed(process.stdout.read())

    assert list(range(2_000)) == [line["number"] for line in lines if line["event"] == "line"]
    assert 4_000 == len(lines)


@pytest.mark.parametrize(
    "end", ["sys.exit(3)", "raise ValueError", "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()"]
)
def test_the_last_lines_before_an_end_are_there(tmp_path: Path, end: str) -> None:
    """Also when nothing of Python runs any more: a line has been written when its call returns."""
    file = tmp_path / "log"
    with file.open("ab") as output, running(f"log.info('first')\nlog.info('last')\n{end}", output) as process:
        process.wait(60)

    assert ["first", "last"] == [line["event"] for line in parsed(file.read_bytes())]


def test_the_end_waits_for_a_slow_reader_but_not_for_one_that_sleeps() -> None:
    """The queue is written at the end; a reader that reads nothing delays it by seconds at most."""
    program = "for number in range(3_000): log.info('line', number=number)"
    with running(program, subprocess.PIPE) as process:
        assert process.stdout
        time.sleep(0.5)
        lines = parsed(process.stdout.read())

    assert 3_000 == len(lines)

    with running(program, subprocess.PIPE) as process:
        process.wait(60)


def test_a_line_longer_than_a_pipe_takes_at_once_arrives_whole() -> None:
    """It takes the long way; what comes after it stays behind it."""
    program = "log.info('long', text='x' * 200_000); log.info('short')"
    with running(program, subprocess.PIPE) as process:
        assert process.stdout
        lines = parsed(process.stdout.read())

    assert [("long", 200_000), ("short", 0)] == [(line["event"], len(line.get("text", ""))) for line in lines]


def test_a_descriptor_that_somebody_made_nonblocking_loses_nothing() -> None:
    """Its flags are those of everybody who has it open, a terminal's for example."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETFL, fcntl.fcntl(writer, fcntl.F_GETFL) | os.O_NONBLOCK)
    program = "for number in range(3_000): log.info('line', number=number)"
    with os.fdopen(reader, "rb") as output, running(program, writer):
        os.close(writer)
        lines = parsed(output.read())

    assert list(range(3_000)) == [line["number"] for line in lines]


def test_lines_are_logged_while_others_are_collected() -> None:
    """A destructor that logs, in the middle of a line, waits for nobody."""
    program = """
class Cycle:
    def __init__(self):
        self.me = self
    def __del__(self):
        log.info("collected")
import gc
gc.set_threshold(1)
for number in range(200):
    Cycle()
    log.info("line", number=number)
gc.collect()
"""
    with running(program, subprocess.PIPE) as process:
        assert process.stdout
        lines = parsed(process.stdout.read())

    assert list(range(200)) == [line["number"] for line in lines if line["event"] == "line"]
    assert 400 == len(lines)


def test_arguments_that_do_not_fit_a_message_break_no_library() -> None:
    """The line has the message without them."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as output:
        reported = reports('logging.getLogger("library").warning("%d of %d", "SECRET")', writer)
        os.close(writer)
        lines = parsed(output.read())

    assert ([], ["%d of %d"]) == (reported, [line["event"] for line in lines])
