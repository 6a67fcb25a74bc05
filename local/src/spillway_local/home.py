"""SPILLWAY_HOME: the folder of everything that survives a restart."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

_SPACE_NEEDED_BYTES = 200 * 1024 * 1024
_FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# What is made private in a home that exists. Whatever else its owner keeps there is left alone.
_FOLDERS = ("credentials", "logs", "postgres", "spool", "valkey")
_FILES = (
    "development-key",
    "key-pepper",
    "keys.yaml",
    "keys.yaml.lock",
    "keys.yaml.new",
    "lock",
    "routes.new",
    "routes.yaml",
    "rpc-token",
    "run.json",
    "run.new",
)


class CommandError(Exception):
    """Why a command failed, in one line for the user."""


@dataclass(frozen=True)
class Home:
    """The paths inside one home; `path` is absolute."""

    path: Path

    @property
    def logs(self) -> Path:
        """The folder of log files, one per process; `.1` and `.2` are what came before, see `log_files.py`."""
        return self.path / "logs"

    @property
    def keys_file(self) -> Path:
        """The hashed API keys, read by the edge."""
        return self.path / "keys.yaml"

    @property
    def key_pepper_file(self) -> Path:
        """The pepper of the API keys' hashes, made at the first start: without it those keys are dead."""
        return self.path / "key-pepper"

    @property
    def development_key_file(self) -> Path:
        """The one API key in plain text."""
        return self.path / "development-key"

    @property
    def rpc_token_file(self) -> Path:
        """The token that services show each other, a new one at each start."""
        return self.path / "rpc-token"

    @property
    def routes_file(self) -> Path:
        """The routes of this run."""
        return self.path / "routes.yaml"

    @property
    def spool_file(self) -> Path:
        """Where the edge keeps cost events while Valkey is unavailable."""
        return self.path / "spool" / "cost-events.sqlite"

    @property
    def run_file(self) -> Path:
        """The addresses and process ids of the running system; it exists only while the whole system is ready."""
        return self.path / "run.json"

    @property
    def not_running(self) -> str:
        """The message for a command that needs a running system."""
        return f"nothing runs on {self.path}; start the system with `make up`"

    def read_run(self) -> dict[str, Any] | None:
        """Return what `spillway up` published; None when nothing runs on this home."""
        try:
            run: dict[str, Any] = json.loads(self.run_file.read_text())
            os.kill(run["pid"], 0)
        except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise CommandError(f"{self.path} belongs to another user") from error
        return run

    def write_run(self, run: Mapping[str, Any]) -> None:
        """Publish the running system, atomically."""
        new = self.run_file.with_suffix(".new")
        write_secret(new, json.dumps(run, indent=2) + "\n")
        new.replace(self.run_file)


def home_from(environment: Mapping[str, str]) -> Home:
    """Return the home named by SPILLWAY_HOME, `.spillway` in the current directory by default."""
    return Home(Path(environment.get("SPILLWAY_HOME") or ".spillway").resolve())


@contextmanager
def lock_home(home: Home) -> Iterator[None]:
    """Create the folders of `home` and lock it; CommandError when it is not writable, full, or in use.

    Only its owner may read what is in it: spool, database and logs hold what was asked and answered. During the block
    this process and those that it starts create files that way; older ones with other modes are mended.
    """
    with _private_umask():
        try:
            for folder in (home.path, home.logs, home.spool_file.parent):
                folder.mkdir(parents=True, exist_ok=True)
            lock = (home.path / "lock").open("a+")
        except OSError as error:
            raise CommandError(f"cannot write to {home.path}: {error.strerror}") from error
        with lock, _locked(home, lock):
            _make_private(home)
            yield


@contextmanager
def _locked(home: Home, lock: TextIO) -> Iterator[None]:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        raise CommandError(f"another `spillway up` (pid {lock.read().strip()}) is running on {home.path}") from error
    free_bytes = shutil.disk_usage(home.path).free
    if free_bytes < _SPACE_NEEDED_BYTES:
        raise CommandError(f"disk full: {home.path} has {free_bytes // 2**20} MB free, 200 MB are needed")
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    yield


@contextmanager
def _private_umask() -> Iterator[None]:
    before = os.umask(_FOR_OTHERS)
    try:
        yield
    finally:
        os.umask(before)


def _make_private(home: Home) -> None:
    """Take the rights of others from the files of `home`, from the top, so that nobody comes between."""
    status = home.path.stat()
    # /tmp, / and the user's own folder are bad choices, and are not made worse by locking others out of them.
    is_shared = status.st_mode & stat.S_ISVTX or home.path in {Path(home.path.anchor), Path.home()}
    if not is_shared:
        _remove_rights(home.path)
    for name in _FILES:
        _remove_rights(home.path / name)
    for name in _FOLDERS:
        for folder, _, files in os.walk(home.path / name):
            _remove_rights(Path(folder))
            for file in files:
                _remove_rights(Path(folder, file))


def _remove_rights(path: Path) -> None:
    # Files of another user stay as they are; a file of the database may have gone.
    with suppress(PermissionError, FileNotFoundError):
        mode = path.lstat().st_mode
        if mode & _FOR_OTHERS and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & ~_FOR_OTHERS)


def write_secret(path: Path, text: str) -> None:
    """Write `text` to `path`, which from the start only its owner may read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
