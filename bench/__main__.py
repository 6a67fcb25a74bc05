"""`make bench`: what an answer costs, beside what people would pick instead, in one run on one machine.

`python -m bench --subjects spillway --cells 20ms-20,one-20 --rounds 1` measures a part;
`--checkout PATH` measures another version of Spillway in the same run. Ctrl-C stops all that was started.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from bench.added import added
from bench.cells import DEFAULT_CELLS, Cell, cell_of, models_of
from bench.check import BOUNDS, ROUNDS, SECONDS, judge
from bench.environments import NotInstalled
from bench.measure import Measurement, measure
from bench.record import Results, write
from bench.report import figure, markdown, rows
from bench.subjects import (
    DIRECT,
    ENVOY,
    LITELLM,
    ROOT,
    SPILLWAY,
    SUBJECTS,
    Subject,
    machine,
    running_envoy,
    running_litellm,
    running_provider,
    running_spillway,
)
from bench.variants import VARIANTS
from spillway_local.processes import StartFailed

_OPEN_FILES = 8192


def say(line: str) -> None:
    """Print a line and flush."""
    print(line, flush=True)  # noqa: T201 - the program's output


def main() -> int:
    """Measure, print the table, write the results; status 1 when an answer was not whole."""
    arguments = _arguments()
    _allow_many_files()
    signal.signal(signal.SIGTERM, _interrupt)
    cells = [cell_of(name) for name in arguments.cells.split(",")]
    found: list[Measurement] = []
    try:
        with tempfile.TemporaryDirectory(prefix="spillway-bench-") as name, ExitStack() as stack:
            folder = Path(name)
            provider = stack.enter_context(running_provider(folder))
            subjects = list(_started(arguments, stack, folder, provider, cells))
            for found in _rounds(subjects, provider, cells, arguments.rounds, arguments.seconds):
                # Whoever stops a long run has what was found until then.
                if arguments.out is not None:
                    write(_results(arguments, subjects, found), arguments.out)
    except KeyboardInterrupt:
        say("bench: stopped")
        return 130
    say("\n" + markdown(rows(found)))
    if difference := added(found):
        say(difference)
    is_cheap = _check(found) if arguments.check else True
    faults = [
        f"{each.subject} {each.cell}: {count} x {fault}" for each in found for fault, count in each.faults.items()
    ]
    for fault in faults[:40]:
        say(f"bench: not whole: {fault}")
    is_ours_whole = not any(each.faults for each in found if each.subject not in (LITELLM, ENVOY))
    return 0 if is_ours_whole and is_cheap else 1


def _check(found: Sequence[Measurement]) -> bool:
    """Say what each part costs in multiples of the reference; return whether that is within its bounds."""
    judgements = judge(found, BOUNDS)
    for judgement in judgements:
        say(f"bench-check: {judgement}")
    too_much = [judgement for judgement in judgements if not judgement.is_good]
    say(f"bench-check: {len(judgements)} costs, {len(too_much)} above their bounds")
    return not too_much


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--subjects", default=",".join(SUBJECTS), help=f"of {_names()} (default: {','.join(SUBJECTS)})")
    parser.add_argument(
        "--checkout",
        type=Path,
        action="append",
        default=[],
        help="also measure the Spillway of this checkout, whose .venv is set up; may be repeated",
    )
    parser.add_argument("--cells", default=",".join(DEFAULT_CELLS), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each cell is asked (default: %(default)s)")
    parser.add_argument("--setting", action="append", default=[], help="NAME=VALUE for Spillway's processes")
    parser.add_argument("--out", type=Path, default=None, help="write results, table and plot into this folder")
    parser.add_argument("--check", action="store_true", help="`make bench-check`: Spillway alone, against its bounds")
    arguments = parser.parse_args()
    if arguments.check:
        arguments.subjects, arguments.cells = SPILLWAY, ",".join(BOUNDS)
        arguments.rounds, arguments.seconds = ROUNDS, SECONDS
    try:
        for name in arguments.cells.split(","):
            cell_of(name)
    except ValueError as error:
        parser.error(f"--cells: {error}")
    unknown = set(arguments.subjects.split(",")) - {*SUBJECTS, *VARIANTS, ""}
    if unknown:
        parser.error(f"--subjects: {', '.join(sorted(unknown))}: there are {_names()}")
    return arguments


def _names() -> str:
    return ",".join((*SUBJECTS, *VARIANTS))


def _started(
    arguments: argparse.Namespace, stack: ExitStack, folder: Path, provider: Subject, cells: Sequence[Cell]
) -> Iterator[Subject]:
    """Start the subjects one after the other; one that cannot be installed or started here is left out."""
    models = models_of(list(cells))
    settings = dict(setting.partition("=")[::2] for setting in arguments.setting)
    checkouts = {f"{SPILLWAY}@{path.resolve().name}": path.resolve() for path in arguments.checkout}
    for name in [*filter(None, arguments.subjects.split(",")), *checkouts]:
        began = time.monotonic()
        if name == DIRECT:
            yield replace(provider, parts={})
            continue
        home = folder / name
        try:
            match name:
                case "envoy":
                    subject = stack.enter_context(running_envoy(home, provider.url))
                case "litellm":
                    subject = stack.enter_context(running_litellm(home, provider.url, models))
                case _:
                    checkout = checkouts.get(name, ROOT)
                    variant = VARIANTS.get(name)
                    started = running_spillway(name, checkout, home, provider.url, models, settings, variant)
                    subject = stack.enter_context(started)
        except (NotInstalled, StartFailed) as error:
            if name.startswith(SPILLWAY):
                raise
            say(f"bench: {name} is left out: {error}")
            continue
        say(f"bench: {name} {subject.version} is up after {time.monotonic() - began:.0f} s")
        yield subject


def _results(arguments: argparse.Namespace, subjects: Sequence[Subject], found: Sequence[Measurement]) -> Results:
    """Return what is known after some rounds."""
    return Results(
        f"{datetime.now(UTC):%Y-%m-%d}",
        Counter((each.cell, each.subject) for each in found).most_common(1)[0][1],
        arguments.seconds,
        machine(),
        {subject.name: subject.version for subject in subjects if subject.version},
        found,
    )


def _rounds(
    subjects: Sequence[Subject], provider: Subject, cells: Sequence[Cell], rounds: int, seconds: float
) -> Iterator[list[Measurement]]:
    """Measure all cells of all subjects in each round; yield after each what was found so far, in order."""
    found: list[Measurement] = []
    # Where there is no cache, there is no hit.
    pairs = [(cell, subject) for cell in cells for subject in subjects if not cell.is_hit or subject.hit_headers]
    order = {subject.name: place for place, subject in enumerate(subjects)}
    places = {cell.name: place for place, cell in enumerate(cells)}
    for number in range(1, rounds + 1):
        for cell in cells:
            present = [subject for each, subject in pairs if each is cell]
            # So that nobody is always the first.
            for subject in present[number % len(present or [0]) :] + present[: number % len(present or [0])]:
                measured = asyncio.run(measure(subject, provider, cell, seconds))
                found.append(measured)
                say(f"bench: round {number}/{rounds}, {len(found)}/{rounds * len(pairs)}: {_line(measured)}")
        yield sorted(found, key=lambda each: (places[each.cell], order[each.subject]))


def _line(measured: Measurement) -> str:
    """Return what one round of one cell came to."""
    parts = ", ".join(f"{part} {figure(cpu)}" for part, cpu in measured.cpu_ms.items())
    first = f", first {figure(measured.first_ms['p50'])} ms" if measured.first_ms else ""
    refused = f", refused {measured.refused}" if measured.refused else ""
    lost = f", NOT WHOLE {sum(measured.faults.values())}" if measured.faults else ""
    return (
        f"{measured.cell} {measured.subject}: {measured.answers} answers,"
        f" {figure(measured.answers_per_second)}/s{first}{refused}; CPU ms: {parts};"
        f" others {measured.others_cores:.2f} cores{lost}"
    )


def _allow_many_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_OPEN_FILES, hard), hard))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
