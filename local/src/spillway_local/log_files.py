"""Log files of bounded size: one per process, with the two that precede it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

# Three files of this size for each of eight processes are 240 MB at most.
MAX_LOG_BYTES = 10 * 1024 * 1024
_COPY_BYTES = 256 * 1024


def keep_previous(log_file: Path) -> None:
    """Make room for a new log: `.1` becomes `.2`, and the log becomes `.1`."""
    if log_file.exists():
        _shift(log_file)
        log_file.replace(_older(log_file, 1))
        _cut_to_size(_older(log_file, 1))


def rotate(log_file: Path) -> bool:
    """Move what is in a log that has grown too large to `.1`; say whether that was so.

    The process goes on writing to the same file, which is emptied: PostgreSQL and Valkey know of no other, and each
    write goes to its end. A line written between the copy and the emptying, which are microseconds, is lost.
    """
    try:
        with log_file.open("rb+", buffering=0) as log:
            if os.fstat(log.fileno()).st_size <= MAX_LOG_BYTES:
                return False
            _shift(log_file)
            # On a full disk the copy ends early. The log is emptied all the same: its size is what is promised.
            with suppress(OSError):
                _copy_end(log.fileno(), _older(log_file, 1))
            log.truncate(0)
    except OSError:
        return False
    return True


def previous(log_file: Path) -> Path:
    """Return the file with what was in `log_file` before."""
    return _older(log_file, 1)


def _older(log_file: Path, generation: int) -> Path:
    return log_file.with_name(f"{log_file.name}.{generation}")


def _shift(log_file: Path) -> None:
    with suppress(FileNotFoundError):
        _older(log_file, 1).replace(_older(log_file, 2))


def _copy_end(log: int, copy: Path) -> None:
    """Copy the last lines, as many as a log may have, of a file that is being written to."""
    position = _start_of_end(log)
    # Whoever writes faster than this copies must not fill the disk.
    limit = position + 2 * MAX_LOG_BYTES
    with copy.open("wb", buffering=0) as target:
        while position < limit and (chunk := os.pread(log, _COPY_BYTES, position)):
            target.write(chunk)
            position += len(chunk)


def _start_of_end(log: int) -> int:
    """Return where the line begins from which on a file is no longer than a log may be."""
    start = max(0, os.fstat(log).st_size - MAX_LOG_BYTES)
    if start == 0:
        return 0
    return start + max(0, os.pread(log, _COPY_BYTES, start - 1).find(b"\n"))


def _cut_to_size(file: Path) -> None:
    """Shorten a log of an earlier version, which had no limit."""
    if file.stat().st_size > MAX_LOG_BYTES:
        cut = file.with_name(f"{file.name}.new")
        with file.open("rb", buffering=0) as log:
            _copy_end(log.fileno(), cut)
        cut.replace(file)
