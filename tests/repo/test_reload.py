"""The reloader of dev images runs a service on the newest sources."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

RELOAD = Path(__file__).parents[2] / "scripts/reload.py"
# Says which of it this is, drains on SIGTERM by saying so, and takes a command.
SERVICE = """
import signal, sys, threading
stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())
print("NUMBER", *sys.argv[1:], flush=True)
while not sys.argv[1:] and not stopped.wait(0.05):
    pass
print("drained", flush=True)
sys.exit(3)
"""


@contextmanager
def reloaded(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the service that stands in `folder`/app under the reloader."""
    command = [sys.executable, str(RELOAD), str(folder / "code"), "service", *arguments]
    environment = {"PYTHONPATH": str(folder / "app"), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout
    # Reading a line has no limit of its own: after this time there is nobody left to write one.
    limit = threading.Timer(60, os.killpg, (process.pid, signal.SIGKILL))
    limit.start()
    try:
        with process.stdout:
            yield process
    finally:
        limit.cancel()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def said(process: subprocess.Popen[str]) -> str:
    """Return the next line that the process writes; empty when it has ended."""
    assert process.stdout
    return process.stdout.readline().strip()


def write_service(folder: Path, text: str) -> None:
    """Put the service's sources into `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / "service.py").write_text(text)


def test_a_changed_source_is_running_soon_after(tmp_path: Path) -> None:
    """What `skaffold dev` copies into the container takes effect, and the image's own sources stay as they are."""
    write_service(tmp_path / "app", SERVICE.replace("NUMBER", "first"))
    with reloaded(tmp_path) as process:
        assert "first" == said(process)
        write_service(tmp_path / "code", SERVICE.replace("NUMBER", "second one"))
        assert ["reload: sources changed: service starts again", "drained", "second one"] == [
            said(process) for _ in range(3)
        ]
        assert "first" in (tmp_path / "app/service.py").read_text()


def test_a_source_that_cannot_run_waits_for_the_next_change(tmp_path: Path) -> None:
    """A typo does not end the container: it is corrected without a rebuild."""
    write_service(tmp_path / "app", "sys.exit(")
    with reloaded(tmp_path) as process:
        assert "ended with status 1" in next(line for line in iter(lambda: said(process), "") if "reload:" in line)
        write_service(tmp_path / "code", SERVICE.replace("NUMBER", "corrected"))
        assert "corrected" == said(process)


def test_it_ends_as_the_service_does(tmp_path: Path) -> None:
    """SIGTERM reaches the service, which drains, and its status is the container's."""
    write_service(tmp_path / "app", SERVICE.replace("NUMBER", "first"))
    with reloaded(tmp_path) as process:
        assert "first" == said(process)
        process.send_signal(signal.SIGTERM)
        assert "drained" == said(process)
        assert 3 == process.wait(30)


def test_a_command_runs_once_and_gives_its_status(tmp_path: Path) -> None:
    """The Job that migrates has the same image and must come to an end."""
    write_service(tmp_path / "app", SERVICE.replace("NUMBER", "first"))
    with reloaded(tmp_path, "migrate") as process:
        assert ["first migrate", "drained"] == [said(process), said(process)]
        assert 3 == process.wait(30)


def test_a_container_that_starts_again_keeps_what_was_copied_into_it(tmp_path: Path) -> None:
    """The folder outlives the container; the changes in it are not undone by a restart."""
    write_service(tmp_path / "app", SERVICE.replace("NUMBER", "first"))
    write_service(tmp_path / "code", SERVICE.replace("NUMBER", "second"))
    with reloaded(tmp_path) as process:
        assert "second" == said(process)
