"""What is read of processes is what they used."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.usage import memory_of, own_usage_of, usage_of, with_children

pytestmark = pytest.mark.integration

_BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"
_WAIT = "print('ready', flush=True)\ninput()"


@contextmanager
def running(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python code until it has said `ready`; it ends after the block."""
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        yield process
        process.communicate("\n")


def test_cpu_time_is_that_of_the_process() -> None:
    """A process that has used 0.3 s is read as such, to a hundredth, and one that waits uses nothing more."""
    code = (
        f"{_BURN.format(seconds=0.3)}print('ready', flush=True)\ntime.sleep(0.5)\nprint(time.process_time())\ninput()"
    )
    with running(code) as process:
        first = usage_of(process.pid)
        assert process.stdout is not None
        own_view = float(process.stdout.readline())
        second = usage_of(process.pid)

    assert 0.3 <= first.cpu_seconds < 0.35
    assert own_view == pytest.approx(second.cpu_seconds, abs=0.01)
    assert second.switches > first.switches > 0


def test_children_are_counted_running_and_ended(tmp_path: Path) -> None:
    """What a child uses is its parent's, before and after its end."""
    child = tmp_path / "child.py"
    child.write_text(f"{_BURN.format(seconds=0.3)}print('ready', flush=True)\ninput()\n")
    code = f"import subprocess, sys\nchild = subprocess.Popen([sys.executable, {str(child)!r}], stdin=-1)\ninput()\n"
    code += f"child.communicate(b'.')\nprint('ended', flush=True)\n{_WAIT}"
    with running(code) as process:
        alive, alone = usage_of(process.pid), own_usage_of(process.pid)
        assert 2 == len(with_children(process.pid))
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert "ended\n" == process.stdout.readline()
        ended = usage_of(process.pid)
        assert 1 == len(with_children(process.pid))

    assert alive.cpu_seconds - alone.cpu_seconds >= 0.3
    # What has ended is known in ticks of 10 ms.
    assert ended.cpu_seconds - alone.cpu_seconds >= 0.28


def test_threads_are_counted_after_their_end() -> None:
    """The time of a thread that has ended is not lost."""
    before = own_usage_of(os.getpid())
    code = "import threading, time\ndef burn():\n    while time.thread_time() < 0.2: pass\n"
    code += f"t = threading.Thread(target=burn)\nt.start()\nt.join()\n{_WAIT}"
    with running(code) as process:
        assert usage_of(process.pid).cpu_seconds >= 0.2
    used = resource.getrusage(resource.RUSAGE_SELF)
    assert own_usage_of(os.getpid()).cpu_seconds == pytest.approx(used.ru_utime + used.ru_stime, abs=0.05)
    assert own_usage_of(os.getpid()).cpu_seconds >= before.cpu_seconds


def test_memory_grows_with_what_is_held() -> None:
    """64 MiB more are read as 64 MiB more."""
    with running(_WAIT) as small, running(f"held = b'x' * (64 << 20)\n{_WAIT}") as large:
        more = memory_of(large.pid).pss_mib - memory_of(small.pid).pss_mib

    assert 60 < more < 70


def test_a_process_that_is_gone_has_used_nothing() -> None:
    """It is no error: its parent has its times."""
    with running(_WAIT) as process:
        pass
    time.sleep(0.01)

    assert 0.0 == usage_of(process.pid).cpu_seconds
    assert 0.0 == memory_of(process.pid).rss_mib
