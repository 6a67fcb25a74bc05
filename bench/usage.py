"""What processes have used so far: CPU time, context switches, memory. Linux alone has all of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_MIB = 1024 * 1024
# The bits of a clock id that make it the CPU clock of a whole process, see clock_getcpuclockid(3): it counts in
# nanoseconds, and has the threads that have ended, while the ticks of /proc/PID/stat are 10 ms.
_PROCESS_CLOCK = 2
_TICKS_PER_SECOND = 100
_CHILDREN_TIMES = slice(13, 15)  # cutime and cstime in what follows the name in /proc/PID/stat


@dataclass(frozen=True)
class Usage:
    """What one part of a subject has used since it began."""

    cpu_seconds: float = 0.0
    switches: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.cpu_seconds + other.cpu_seconds, self.switches + other.switches)

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.cpu_seconds - other.cpu_seconds, self.switches - other.switches)


@dataclass(frozen=True)
class Memory:
    """The memory of one part: resident, and its share of it when pages that others have, too, are divided up."""

    rss_mib: float = 0.0
    pss_mib: float = 0.0

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.rss_mib + other.rss_mib, self.pss_mib + other.pss_mib)


def usage_of(pid: int) -> Usage:
    """Return what a process and all below it have used, those that have ended included."""
    return sum((own_usage_of(each) + _usage_of_ended(each) for each in with_children(pid)), Usage())


def own_usage_of(pid: int) -> Usage:
    """Return what a process has used by itself."""
    try:
        cpu = time.clock_gettime(~pid << 3 | _PROCESS_CLOCK)
    except OSError:
        return Usage()  # it has ended: its parent has its times
    switches = 0
    for task in _entries(_PROC / str(pid) / "task"):
        status = _read(task / "status")
        switches += sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)
    return Usage(cpu, switches)


def memory_of(pid: int) -> Memory:
    """Return the memory of a process and all below it."""
    return sum((_memory_of_one(each) for each in with_children(pid)), Memory())


def with_children(pid: int) -> set[int]:
    """Return a process and all below it."""
    below: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            below.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    left = [pid]
    while left:
        each = left.pop()
        if each not in found:
            found.add(each)
            left += below.get(each, ())
    return found


def machine_busy_seconds() -> float:
    """Return the CPU time that all processes of this machine have used, for a look at what else it does."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, _read(_PROC / "stat").split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / _TICKS_PER_SECOND


def _usage_of_ended(pid: int) -> Usage:
    """Return what the children of a process had used when they ended."""
    fields = _stat(pid)
    return Usage(sum(map(int, fields[_CHILDREN_TIMES])) / _TICKS_PER_SECOND if fields else 0.0)


def _memory_of_one(pid: int) -> Memory:
    sizes = dict(line.split(":", 1) for line in _read(_PROC / str(pid) / "smaps_rollup").splitlines()[1:])
    rss, pss = (int(sizes.get(name, "0 kB").split()[0]) * 1024 / _MIB for name in ("Rss", "Pss"))
    return Memory(rss, pss)


def _stat(pid: int) -> list[str]:
    """Return the fields after the name, which may contain blanks: state, parent, ...; none when it has ended."""
    return _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
