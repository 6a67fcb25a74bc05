"""What llama.cpp writes to standard error, as JSON log lines without any prompt.

llama.cpp quotes request bodies in its warnings. So descriptor 2 becomes a pipe to a process of its own (this file as a
script) that passes on the text of messages only while the server starts, when there are no requests; afterwards only
where a message came from, and the lines by which a C++ program says that it dies. It is a process and not a thread
because what is written just before an abort() must still be read.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TextIO

_SERVING = "--- serving ---"
# 0.00.922.265 W srv    operator(): got exception: {...}
_TAGGED = re.compile(r"[\d.]+ (?P<level>[A-Z]) +(?P<place>\S+ +[^:]{1,40}|[^:]{1,40}): ?(?P<text>.*)")
_LEVELS = {"W": "warning", "E": "error"}
_DYING = re.compile(r"\S+:\d+: GGML_(ASSERT|ABORT)\(.*|GGML_ASSERT.*|terminate called .*|.*[Ff]atal error$")


def redirect(service: str) -> subprocess.Popen[bytes]:
    """Let everything that C++ writes to standard error pass the filter; Python's own errors still go the old way.

    The filter ends with the pipe, that is after this process, however that ends; nobody waits for it.
    """
    python_errors = os.dup(2)
    read_end, write_end = os.pipe()
    command = [sys.executable, "-I", "-S", __file__, service]
    filter_process = subprocess.Popen(command, stdin=read_end, start_new_session=True)
    os.dup2(write_end, 2)
    os.close(read_end)
    os.close(write_end)
    sys.stderr = os.fdopen(python_errors, "w", buffering=1)
    return filter_process


def withhold_from_now_on() -> None:
    """Tell the filter that requests are being served: from here on a message's text may quote one."""
    os.write(2, f"{_SERVING}\n".encode())


def filtered(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    """Yield what may be logged of `lines`: level, event, where it came from, and its text when that is safe."""
    is_serving = False
    for line in lines:
        text = line.rstrip()
        tagged = _TAGGED.match(text)
        if text == _SERVING:
            is_serving = True
        elif not is_serving and text:
            level = _LEVELS.get(tagged["level"], "info") if tagged else "warning"
            yield {"level": level, "event": "llama_message", "text": text}
        elif tagged and tagged["level"] in _LEVELS:
            place = " ".join(tagged["place"].split())
            yield {"level": _LEVELS[tagged["level"]], "event": "llama_message", "place": place}
        elif _DYING.fullmatch(text):
            yield {"level": "critical", "event": "llama_died", "text": text}


def _main(service: str, source: TextIO, descriptor: int) -> None:
    """Write each line at once or lose it: llama.cpp waits for this process to read, and its answers with it."""
    lost = 0
    for entry in filtered(iter(source.readline, "")):
        rest = {"time": datetime.now(UTC).isoformat(), "service": service}
        report = {"level": "error", "event": "log_lines_lost", "lines": lost, **rest}
        lines = [report, {**entry, **rest}] if lost else [{**entry, **rest}]
        text = "".join(json.dumps(line) + "\n" for line in lines).encode()
        if _is_written(descriptor, text):
            lost = 0
        else:
            lost += 1


def _is_written(descriptor: int, text: bytes) -> bool:
    if stat.S_ISREG(os.fstat(descriptor).st_mode) or (
        # A pipe that is ready takes that much without waiting.
        len(text) <= select.PIPE_BUF and select.select([], [descriptor], [], 0)[1]
    ):
        try:
            return os.write(descriptor, text) == len(text)
        except OSError:  # a full disk, a closed pipe
            return False
    return False


if __name__ == "__main__":
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
    _main(sys.argv[1], sys.stdin, sys.stdout.fileno())
