"""Writes log lines to a descriptor that may be full, closed or slow, and neither fails nor waits.

A line is written by the thread that logs it, as long as the descriptor takes it at once: a process that dies leaves its
last lines. Where that would wait, because the reader of a pipe is slow, lines go to a bounded queue that a thread
empties, in order. What cannot be written is counted, and reported by a line of its own when writing works again.
"""

from __future__ import annotations

import atexit
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

# Some thousand lines: a reader may pause for a while.
_MAX_WAITING_BYTES = 1024 * 1024
# How long the end of a process waits for a slow reader to take the last lines.
_FLUSH_SECONDS = 2.0
_RETRY_MILLISECONDS = 1_000


class _Line(NamedTuple):
    text: bytes
    reported: int
    """The number of lost lines in the report that precedes it."""
    is_rest: bool = False
    """Whether its beginning has been written."""


class LogWriter:
    """Writes to one descriptor; any thread may use it, also in a destructor that interrupts another line."""

    def __init__(self, descriptor: int | None, report: Callable[[int], bytes]) -> None:
        """`report` makes the line that says how many were lost. Without a descriptor every line is lost."""
        self._descriptor = -1 if descriptor is None else descriptor
        self._report = report
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._waiting: deque[_Line] = deque()
        self._waiting_bytes = 0
        self._thread: threading.Thread | None = None
        self._lost = 0
        self._unreported = 0
        self._is_torn = False
        self._on_loss: Callable[[int], object] | None = None
        self._poll: select.poll | None = None
        if descriptor is not None and not stat.S_ISREG(os.fstat(descriptor).st_mode):
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLOUT)
        atexit.register(self.flush)

    def count_losses(self, on_loss: Callable[[int], object]) -> None:
        """Call `on_loss` with the number of lines lost so far, and whenever more are."""
        with self._lock:
            self._on_loss = on_loss
            on_loss(self._lost)

    def write(self, text: bytes) -> None:
        """Write `text`, a line with its newline, now or soon, or lose it. Neither raises nor waits."""
        with self._lock:
            reported, self._unreported = self._unreported, 0
            if reported:
                text = self._report(reported) + text
            if self._waiting or not self._takes_at_once(len(text)):
                self._enqueue(_Line(text, reported))
                return
            try:
                written = 0 if self._is_torn else os.write(self._descriptor, text)
            except BlockingIOError:
                written = 0
            except OSError:
                self._lose(reported)
                return
            if written < len(text):
                self._is_torn = self._is_torn or written > 0
                self._write_now(_Line(text[written:], reported, is_rest=written > 0))

    def flush(self, timeout_seconds: float = _FLUSH_SECONDS) -> None:
        """Wait until all lines are written, at most `timeout_seconds`, and report what was lost."""
        with self._lock:
            self._changed.wait_for(lambda: not self._waiting, timeout_seconds)
            if self._unreported and not self._waiting and self._takes_at_once(0):
                reported, self._unreported = self._unreported, 0
                self._write_now(_Line(self._report(reported), reported))

    def _takes_at_once(self, size: int) -> bool:
        """Say whether a write of `size` bytes succeeds or fails without waiting.

        A pipe that is ready has room for PIPE_BUF bytes. A file is always ready.
        """
        return self._poll is None or (size <= select.PIPE_BUF and bool(self._poll.poll(0)))

    def _write_now(self, line: _Line) -> None:
        try:
            written = self._put(line)
        except OSError:
            self._lose(line.reported)
            return
        if written < len(line.text):
            self._enqueue(_Line(line.text[written:], line.reported, is_rest=True))

    def _enqueue(self, line: _Line) -> None:
        if self._waiting_bytes + len(line.text) > _MAX_WAITING_BYTES:
            self._lose(line.reported)
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line.text)
        self._changed.notify_all()
        if self._thread is None:
            with suppress(RuntimeError):  # there can be no more threads: the lines wait for the next one
                thread = threading.Thread(target=self._write_waiting, name="log", daemon=True)
                thread.start()
                self._thread = thread

    def _lose(self, reported: int) -> None:
        self._lost += 1
        self._unreported += 1 + reported
        if self._on_loss is not None:
            self._on_loss(1)

    def _write_waiting(self) -> None:
        """Empty the queue, again and again, in a thread that may wait."""
        while True:
            with self._lock:
                self._changed.wait_for(lambda: self._waiting)
                line = self._waiting[0]
            is_written = self._put_all(line)
            with self._lock:
                if not is_written:
                    self._lose(line.reported)
                self._waiting.popleft()
                self._waiting_bytes -= len(line.text)
                self._changed.notify_all()

    def _put_all(self, line: _Line) -> bool:
        ready = select.poll()
        ready.register(self._descriptor, select.POLLOUT)
        try:
            while (written := self._put(line)) < len(line.text):
                line = _Line(line.text[written:], 0, is_rest=line.is_rest or written > 0)
                ready.poll(_RETRY_MILLISECONDS)
        except OSError:
            return False
        return True

    def _put(self, line: _Line) -> int:
        """Write `line` and return how much of it was taken: all, unless the descriptor is one that does not wait.

        OSError when it fails. What follows a torn line begins a new one.
        """
        written = 0
        try:
            if self._is_torn and not line.is_rest:
                os.write(self._descriptor, b"\n")
                self._is_torn = False
            while written < len(line.text):
                written += os.write(self._descriptor, line.text[written:] if written else line.text)
        except BlockingIOError:
            pass
        finally:
            if written:
                self._is_torn = written < len(line.text)
        return written
