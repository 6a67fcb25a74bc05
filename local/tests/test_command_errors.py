"""A command that fails prints one line and exits with status 1."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spillway_local.home import Home, lock_home
from spillway_local.ports import free_port

pytestmark = pytest.mark.integration

SPILLWAY = Path(sys.executable).with_name("spillway")


def _run(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    settings = {"SPILLWAY_HOME": str(home), "SPILLWAY_PORT": str(free_port())}
    return subprocess.run(
        [str(SPILLWAY), *arguments],
        env={**kept, **settings, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def _error_line(run: subprocess.CompletedProcess[str]) -> str:
    assert 1 == run.returncode, run.stderr
    [line] = run.stderr.splitlines()
    return line


def test_a_port_in_use_is_reported_with_its_process(tmp_path: Path) -> None:
    """The line names the port, the process and the setting."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        run = _run("up", home=tmp_path, SPILLWAY_PORT=str(port))

    line = _error_line(run)
    assert line.startswith(f"spillway: port {port} is in use by ")
    assert f"(pid {os.getpid()})" in line
    assert line.endswith("choose another with SPILLWAY_PORT")


@pytest.mark.parametrize("port", ["http", "0", "70000"])
def test_an_invalid_port_is_rejected(tmp_path: Path, port: str) -> None:
    """The default is not used instead."""
    assert f"spillway: SPILLWAY_PORT: '{port}' is not a port number" == _error_line(
        _run("up", home=tmp_path, SPILLWAY_PORT=port)
    )


@pytest.fixture(name="small_disk")
def _small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=50m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounting.returncode != 0:
        pytest.skip(f"this user may not mount a small file system: {mounting.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_reported_before_anything_starts(small_disk: Path) -> None:
    """With the available and the required space."""
    line = _error_line(_run("up", home=small_disk / "home"))

    assert line.startswith(f"spillway: disk full: {small_disk}/home has ")
    assert line.endswith(" MB free, 200 MB are needed")
    assert not (small_disk / "home/postgres").exists()


def test_a_home_that_is_not_writable_is_reported(tmp_path: Path) -> None:
    """Here because it is a file."""
    (tmp_path / "file").touch()

    line = _error_line(_run("up", home=tmp_path / "file"))

    assert f"spillway: cannot write to {tmp_path}/file: " in line


def test_a_database_that_cannot_be_created_is_one_line(tmp_path: Path) -> None:
    """Here because of a file in its place; started processes are stopped."""
    (tmp_path / "postgres").touch()

    line = _error_line(_run("up", home=tmp_path))

    assert line.startswith(f"spillway: {tmp_path}/postgres")


def test_a_creation_of_the_database_that_fails_is_one_line_with_its_reason(tmp_path: Path) -> None:
    """Here because no file may be larger than 512 kB."""
    run = subprocess.run(
        ["sh", "-c", f"ulimit -f 1000; exec {SPILLWAY} up"],
        env={**os.environ, "SPILLWAY_HOME": str(tmp_path), "SPILLWAY_PORT": str(free_port())},
        capture_output=True,
        text=True,
        timeout=60,
    )

    line = _error_line(run)
    assert line.startswith("spillway: cannot create the database: initdb ended with status 1: ")
    assert line.endswith(f"(complete output: {tmp_path}/logs/initdb.log)")
    assert "File too large" in (tmp_path / "logs/initdb.log").read_text()


def test_output_to_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """A full disk may show at the first printed line; started processes are stopped."""
    run = subprocess.run(
        ["sh", "-c", f"{SPILLWAY} up 2>&1 >/dev/full"],
        env={**os.environ, "SPILLWAY_HOME": str(tmp_path), "SPILLWAY_PORT": str(free_port())},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "Traceback" not in run.stdout
    assert "disk full" in run.stdout


def test_a_second_up_on_the_same_home_names_the_pid_of_the_first(tmp_path: Path) -> None:
    """Two would write to the same database."""
    with lock_home(Home(tmp_path)):
        line = _error_line(_run("up", home=tmp_path))

    assert f"spillway: another `spillway up` (pid {os.getpid()}) is running on {tmp_path}" == line


def test_a_missing_routes_file_is_reported(tmp_path: Path) -> None:
    """Before anything starts."""
    line = _error_line(_run("up", "--routes", "/nowhere/routes.yaml", home=tmp_path))

    assert "spillway: routes file not found: /nowhere/routes.yaml" == line


def test_a_missing_model_stops_the_start_with_one_line(tmp_path: Path) -> None:
    """The user sees the message of the process."""
    line = _error_line(_run("up", home=tmp_path, LOCAL_MODEL_MODEL_FILE="/nowhere/model.gguf"))

    assert "spillway: local-model ended with status 1: local-model: no model file at /nowhere/model.gguf" == line


@pytest.mark.parametrize(
    "command",
    [("chat", "hello"), ("costs",), ("requests",), ("receipt", "1"), ("status",), ("prices", "list"), ("verify",)],
)
def test_a_command_without_a_running_system_says_how_to_start_it(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Nothing was ever started on this home."""
    assert f"spillway: nothing runs on {tmp_path}; start the system with `make up`" == _error_line(
        _run(*command, home=tmp_path)
    )


@pytest.mark.parametrize("command", [("chat", "hello"), ("costs",)])
def test_an_address_where_nothing_answers_is_one_line(tmp_path: Path, command: tuple[str, ...]) -> None:
    """The address may be wrong."""
    url = f"http://127.0.0.1:{free_port()}"

    line = _error_line(_run(*command, "--url", url, "--key", "k", home=tmp_path))

    assert f"spillway: nothing answers at {url}; start the system with `make up`" == line
