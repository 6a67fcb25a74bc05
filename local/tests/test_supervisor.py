"""Children are started, watched and stopped together: real processes without the rest of the system."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from spillway_local import log_files, valkey
from spillway_local.ports import free_port
from spillway_local.supervisor import ChildDied, Program, Supervisor

pytestmark = pytest.mark.integration


class Stage:
    """A supervisor that writes its lines into a list."""

    def __init__(self, tmp_path: Path) -> None:
        self.lines: list[str] = []
        self.tmp_path = tmp_path
        self.supervisor = Supervisor(tmp_path, self.lines.append)

    def python(self, name: str, code: str, drain_seconds: float = 20.0) -> Program:
        """Return a program that runs `code`."""
        return Program(name, [sys.executable, "-u", "-c", code], 1, dict(os.environ), drain_seconds=drain_seconds)

    def valkey(self, name: str) -> Program:
        """Return a Valkey called `name`, with Valkey's readiness check."""
        port = free_port()
        password = valkey.ensure_password(self.tmp_path)
        return Program(name, valkey.command(self.tmp_path, port), port, dict(os.environ), password=password)

    async def until_log_has(self, name: str, text: str) -> None:
        """Wait until the log of `name` contains `text`."""
        async with asyncio.timeout(20):
            while True:
                if text in (self.tmp_path / f"{name}.log").read_text():
                    return
                await asyncio.sleep(0.01)


@pytest.fixture(name="stage")
async def _stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.supervisor.kill_all()
    await stage.supervisor.stop(())


async def test_readiness_is_reported_with_time_and_address(stage: Stage) -> None:
    """One line per process, once it answers."""
    program = stage.valkey("valkey")
    await stage.supervisor.launch_until_ready(program)

    [line] = stage.lines
    words = line.split()
    assert ["ready", "valkey", "s", program.address] == [words[0], words[1], words[3], words[4]]


async def test_a_child_that_dies_is_reported_with_the_end_of_its_log(stage: Stage) -> None:
    """Name, status and the last lines of the log, at most a screen."""
    code = "print(*(f'line {n}' for n in range(100)), sep='\\n'); raise SystemExit(7)"
    stage.supervisor.launch(stage.python("poor", code))

    with pytest.raises(ChildDied) as death:
        await asyncio.wait_for(stage.supervisor.first_death(), 20)

    lines = str(death.value).splitlines()
    assert f"poor ended with status 7; the end of {stage.tmp_path}/poor.log:" == lines[0]
    assert [f"    line {number}" for number in range(85, 100)] == lines[1:]


async def test_a_log_of_one_line_is_reported_in_the_same_line(stage: Stage) -> None:
    """The reason why a process fails to start is not moved to a second line."""
    stage.supervisor.launch(stage.python("picky", "raise SystemExit('picky: no such file')"))

    with pytest.raises(ChildDied, match=r"\Apicky ended with status 1: picky: no such file\Z"):
        await asyncio.wait_for(stage.supervisor.first_death(), 20)


async def test_a_killed_child_is_reported_with_its_signal(stage: Stage) -> None:
    """A negative status is the signal."""
    child = stage.supervisor.launch(stage.python("victim", "import time; time.sleep(60)"))
    os.kill(child.process.pid, signal.SIGKILL)

    with pytest.raises(ChildDied, match="victim was killed by SIGKILL"):
        await asyncio.wait_for(stage.supervisor.first_death(), 20)


async def test_children_stop_one_after_the_other_in_the_order_given(stage: Stage) -> None:
    """The next is stopped only when the previous one has ended."""
    for name in ("first", "second", "third"):
        code = (
            "import signal,sys,time;"
            f"signal.signal(15, lambda *_: (open(r'{stage.tmp_path}/order','a').write('{name}\\n'), sys.exit(0)));"
            "print('up'); time.sleep(60)"
        )
        stage.supervisor.launch(stage.python(name, code))
    for name in ("first", "second", "third"):
        await stage.until_log_has(name, "up")
    await stage.supervisor.stop(("third", "first", "second"))

    assert ["third", "first", "second"] == (stage.tmp_path / "order").read_text().split()
    assert ["third", "first", "second"] == [line.split()[1] for line in stage.lines]
    assert [] == stage.supervisor.children


async def test_a_child_that_does_not_drain_in_time_is_killed_with_its_own_children(stage: Stage) -> None:
    """A process that ignores SIGTERM leaves nothing behind."""
    code = (
        "import signal,subprocess,sys,time; signal.signal(15, signal.SIG_IGN);"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print('child', p.pid);"
        "time.sleep(60)"
    )
    child = stage.supervisor.launch(stage.python("deaf", code, drain_seconds=0.2))
    await stage.until_log_has("deaf", "child")
    grandchild = psutil.Process(int(child.log_file.read_text().split()[1]))
    await stage.supervisor.stop(())

    assert -signal.SIGKILL == child.process.returncode
    psutil.wait_procs([grandchild], timeout=10)
    assert not grandchild.is_running()


async def test_kill_all_ends_a_running_drain(stage: Stage) -> None:
    """The second Ctrl-C does not wait for the drain time."""
    code = (
        "import signal,time; signal.signal(15, lambda *_: print('asked')); print('up'); time.sleep(60); time.sleep(60)"
    )
    child = stage.supervisor.launch(stage.python("slow", code, drain_seconds=100))
    await stage.until_log_has("slow", "up")
    stopping = asyncio.create_task(stage.supervisor.stop(()))
    await stage.until_log_has("slow", "asked")
    stage.supervisor.kill_all()
    await asyncio.wait_for(stopping, 20)

    assert -signal.SIGKILL == child.process.returncode


async def test_the_log_of_the_last_run_is_kept(stage: Stage) -> None:
    """And the one before it, so that a crash can still be read after the next start."""
    await stage.supervisor.run_to_end(stage.python("twice", "print('first run')"))
    await stage.supervisor.run_to_end(stage.python("twice", "print('second run')"))

    assert "first run\n" == (stage.tmp_path / "twice.log.1").read_text()
    assert "second run\n" == (stage.tmp_path / "twice.log").read_text()

    await stage.supervisor.run_to_end(stage.python("twice", "print('third run')"))

    assert "first run\n" == (stage.tmp_path / "twice.log.2").read_text()


async def test_logs_are_rotated_by_size_while_their_process_writes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three bounded files in the order of time, and no hole where the log was emptied."""
    monkeypatch.setattr(log_files, "MAX_LOG_BYTES", 100_000)
    oldest = stage.tmp_path / "talker.log.2"
    code = (
        "import itertools, os, time\n"
        "for number in itertools.count():\n"
        "    for line in range(100): os.write(1, f'{number:06}.{line:03} {\"x\" * 90}\\n'.encode())\n"
        f"    if os.path.exists(r'{oldest}'): break\n"
        "    time.sleep(0.05)\n"
        "print('the end'); time.sleep(60)"
    )
    rotating = asyncio.create_task(stage.supervisor.rotate_logs())
    stage.supervisor.launch(stage.python("talker", code))
    await stage.until_log_has("talker", "the end")
    rotating.cancel()

    older = [line for file in (oldest, stage.tmp_path / "talker.log.1") for line in file.read_text().splitlines()]
    lines = [*older, *(stage.tmp_path / "talker.log").read_text().splitlines()]
    assert "the end" == lines.pop()
    whole = [line for line in lines if len(line) == len("000000.000 ") + 90]
    assert sorted(whole) == whole
    assert len(lines) - len(whole) <= 2  # one at each rotation may be torn
    assert 1_000 < len(older) < 10_000


async def test_a_death_after_a_rotation_is_reported_with_the_lines_before_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason may have been moved away a moment before."""
    monkeypatch.setattr(log_files, "MAX_LOG_BYTES", 1_000)
    code = (
        "import sys, time\n"
        "print(*(f'line {n:04}' for n in range(200)), sep='\\n')\n"
        f"while open(r'{stage.tmp_path}/chatty.log').read(): time.sleep(0.05)\n"
        "print('last words'); raise SystemExit(7)"
    )
    rotating = asyncio.create_task(stage.supervisor.rotate_logs())
    stage.supervisor.launch(stage.python("chatty", code))
    with pytest.raises(ChildDied) as death:
        await asyncio.wait_for(stage.supervisor.first_death(), 20)
    rotating.cancel()

    assert [*(f"    line {number:04}" for number in range(186, 200)), "    last words"] == str(
        death.value
    ).splitlines()[1:]


async def test_a_log_without_a_limit_is_cut_when_it_is_put_away(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Former versions left logs of any size."""
    monkeypatch.setattr(log_files, "MAX_LOG_BYTES", 1_000)
    (stage.tmp_path / "twice.log").write_text("".join(f"line {number:04}\n" for number in range(5_000)))
    await stage.supervisor.run_to_end(stage.python("twice", "print('now')"))

    kept = (stage.tmp_path / "twice.log.1").read_text().splitlines()
    assert [f"line {number:04}" for number in range(4_900, 5_000)] == kept
    assert "now\n" == (stage.tmp_path / "twice.log").read_text()


async def test_another_process_on_the_port_is_not_mistaken_for_the_child(stage: Stage) -> None:
    """A port that answers is not enough: the child itself must listen there."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        code = "import time; print('up'); time.sleep(1); raise SystemExit('address already in use')"
        program = dataclasses.replace(stage.python("edge", code), port=port)
        starting = asyncio.create_task(stage.supervisor.launch_until_ready(program))
        await asyncio.sleep(0)
        with pytest.raises(ChildDied, match="edge ended with status 1"):
            await asyncio.wait_for(stage.supervisor.first_death(), 20)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)

    assert [] == stage.lines
