"""Runs a service and starts it again when a source changes: `reload.py FOLDER MODULE [ARGUMENT...]`; for dev images.

The sources on PYTHONPATH are copied into FOLDER, which may be written to where the rest of the container may not, and
the service runs from there; `skaffold dev` copies changed files into it. A service that ends by itself is started at
the next change. With an ARGUMENT it is a command, and runs once as it is in the image.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_INTERVAL_SECONDS = 0.3
# A developer does not wait for open streams to drain.
_PATIENCE_SECONDS = 2.0


class Reloader:
    """Keeps one process running on the newest sources until it is stopped."""

    def __init__(self, folder: Path, module: str) -> None:
        self._folder = folder
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._stops = False

    def stop(self) -> None:
        """Pass SIGTERM on; `run` returns when the process has ended."""
        self._stops = True
        if self._process is not None:
            self._process.terminate()

    def run(self) -> int:
        """Start and start again; return the status of the stopped process, 0 when none ran."""
        seen = self._snapshot()
        self._start()
        while not self._stops:
            time.sleep(_INTERVAL_SECONDS)
            self._notice_end()
            if self._snapshot() != seen:
                seen = self._settled()
                self._end()
                self._start()
        return self._process.wait() if self._process else 0

    def _snapshot(self) -> dict[Path, tuple[int, int]]:
        found = {}
        for file in self._folder.rglob("*.py"):
            try:
                state = file.stat()
            except FileNotFoundError:
                continue  # it went while this looked
            found[file] = (state.st_mtime_ns, state.st_size)
        return found

    def _settled(self) -> dict[Path, tuple[int, int]]:
        """Return the state after the last of several files that change together."""
        before = self._snapshot()
        while not self._stops:
            time.sleep(_INTERVAL_SECONDS)
            after = self._snapshot()
            if after == before:
                break
            before = after
        return before

    def _start(self) -> None:
        if self._stops:
            return
        environment = {**os.environ, "PYTHONPATH": str(self._folder)}
        self._process = subprocess.Popen([sys.executable, "-m", self._module], env=environment)
        if self._stops:  # stopped while the process was started
            self._process.terminate()

    def _notice_end(self) -> None:
        if self._process is not None and not self._stops and self._process.poll() is not None:
            _say(f"{self._module} ended with status {self._process.returncode} and starts at the next change")
            self._process = None

    def _end(self) -> None:
        if self._process is None:
            return
        _say(f"sources changed: {self._module} starts again")
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _say(text: str) -> None:
    print(f"reload: {text}", file=sys.stderr, flush=True)  # noqa: T201 - for the developer who looks at the pod's log


def main() -> None:
    """Run until SIGTERM or SIGINT; end as the service does."""
    folder, module, *arguments = sys.argv[1:]
    if arguments:
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - becomes the command
    if not Path(folder).exists():
        shutil.copytree(os.environ["PYTHONPATH"], folder)
    reloader = Reloader(Path(folder), module)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: reloader.stop())
    sys.exit(reloader.run())


if __name__ == "__main__":
    main()
