"""`make fuzz`: every place where strangers' bytes come in gets inputs that nobody thought of, for its share of SECONDS.

So does a whole system, with requests made from its OpenAPI document (`front_door.py`).

What is found stays in `.fuzz`: inputs that reach other code, for the next run, and in `crashes/TARGET` those that find
a fault. The last line is the verdict: `fuzz: N inputs on N targets, faults 0`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import front_door
from .catalogue import CORPUS
from .catalogue import NAMES as PARSERS
from .worker import IS_GUIDED

NAMES = (*PARSERS, front_door.NAME)
_HOME = Path(".fuzz")
FOUND = _HOME / "corpus"
"""The inputs that reach other code, in a folder for each target."""
_DONE = re.compile(r"stat::number_of_executed_units: (\d+)")
_PULSE = re.compile(r"#(\d+)\s.*\bcov: (\d+)")
_NOISE = ("INFO: Instrumenting", "WARNING: Failed to find function")
_PROGRESS_SECONDS = 10.0
_MAX_REPORTED_LINES = 60
# For the imports, for the known inputs, and for the last one of a busy machine.
_GRACE_SECONDS = 300.0


@dataclass
class Run:
    """The fuzzing of one target, and what came of it."""

    name: str
    inputs: int = 0
    branches: int = 0
    status: int | None = None
    """Of its process; None while it runs."""
    lines: list[str] = field(default_factory=list)
    """The last ones that it has written."""
    crashes: Sequence[Path] = ()

    @property
    def is_good(self) -> bool:
        """Whether it came to its end and found nothing."""
        return self.status == 0 and not self.crashes

    def read(self, line: str) -> None:
        """Take a line of the process."""
        if match := _DONE.search(line):
            self.inputs = int(match[1])
        elif match := _PULSE.match(line):
            self.inputs, self.branches = int(match[1]), int(match[2])
        elif line.strip() and not line.startswith(_NOISE):
            self.lines = [*self.lines[1 - _MAX_REPORTED_LINES :], line.rstrip()]

    def __str__(self) -> str:
        """Return a line of the report."""
        outcome = "no fault" if self.is_good else f"FAULT, status {self.status}"
        branches = f"{self.branches:,} branches" if self.branches else ""
        return f"{self.name:<26} {self.inputs:>10,} inputs {branches:>15}  {outcome}"


async def fuzz(names: Sequence[str], seconds: int, seed: int) -> bool:
    """Fuzz the targets, as many at a time as there are cores; tell whether all is good."""
    jobs = min(os.cpu_count() or 1, len(names))
    share = max(seconds * jobs // len(names), 1)
    say(f"{len(names)} targets, {jobs} at a time, {share} s each, SEED={seed}")
    if not IS_GUIDED:
        say("no coverage leads it: there is no atheris for this Python on this platform")
    runs = [Run(name) for name in names]
    places = asyncio.Semaphore(jobs)
    progress = asyncio.create_task(_show_progress(runs))
    try:
        async with asyncio.TaskGroup() as group:
            for run in runs:
                group.create_task(_fuzz_one(run, places, share, seed))
    finally:
        progress.cancel()
    faults = [run for run in runs if not run.is_good]
    for run in faults:
        _report(run)
    say(f"{sum(run.inputs for run in runs):,} inputs on {len(runs)} targets, faults {len(faults)}")
    return not faults


async def _fuzz_one(run: Run, places: asyncio.Semaphore, seconds: int, seed: int) -> None:
    new, crashes = FOUND / run.name, _HOME / "crashes" / run.name
    for folder in (new, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(crashes.iterdir())
    folders = (CORPUS / run.name, new, crashes)
    module = "front_door" if run.name == front_door.NAME else "worker"
    command = [sys.executable, "-m", f"{__package__}.{module}", run.name, str(seconds), str(seed), *map(str, folders)]
    async with places:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(seconds + _GRACE_SECONDS):
                async for line in process.stdout:
                    run.read(line.decode(errors="replace"))
                run.status = await process.wait()
        except TimeoutError:
            run.lines.append("it did not end in time")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    run.status = process.returncode
    run.crashes = sorted(set(crashes.iterdir()) - before)
    say(f"  {run}")


async def _show_progress(runs: Sequence[Run]) -> None:
    started = time.monotonic()
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        running = [f"{run.name} {run.inputs:,}" for run in runs if run.inputs and run.status is None]
        ended = sum(run.status is not None for run in runs)
        say(f"  {time.monotonic() - started:.0f} s: {ended} of {len(runs)} targets done; {', '.join(running)}")


def _report(run: Run) -> None:
    say(f"{run.name} found a fault:")
    for line in run.lines:
        sys.stdout.write(f"    {line}\n")
    for crash in run.crashes:
        say(f"to repeat it: .venv/bin/python -m tests.fuzz.repeat {run.name} {crash}")


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"fuzz: {line}\n")
    sys.stdout.flush()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="for all targets together")
    parser.add_argument("--seed", type=int, default=None, help="of a former run")
    parser.add_argument("targets", nargs="*", metavar="target", help=f"default: all of {', '.join(NAMES)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(NAMES):
        parser.error(f"no such target: {', '.join(unknown)}")
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1, 2**31)
    names = arguments.targets or list(NAMES)
    try:
        is_good = asyncio.run(fuzz(names, arguments.seconds, seed))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
