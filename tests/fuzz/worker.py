"""Fuzzes one target in a process of its own: `python -m tests.fuzz.worker TARGET SECONDS SEED KNOWN NEW CRASHES`.

KNOWN is a folder of inputs, NEW the one for those that reach other code, CRASHES the one for those that find a fault.
The process ends with another status than 0 as soon as one does. Coverage leads it where there is a wheel of atheris;
elsewhere it changes the known inputs without looking where they lead.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import time
import traceback
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import structlog

from .catalogue import target_of
from .mutation import MAX_BYTES, Mutator

IS_GUIDED = importlib.util.find_spec("atheris") is not None
_OURS = ["edge", "llm_router", "cost_ledger", "servicekit", "pricing", "spillway_local"]
# Of one input; the machine may be busy.
_MAX_SECONDS, _MAX_MEGABYTES = 60, 2048


def main(name: str, seconds: int, seed: int, known: Path, new: Path, crashes: Path) -> NoReturn:
    """Fuzz until the time is over or a fault is found."""
    started = time.monotonic()
    structlog.configure(processors=[_drop])
    warnings.simplefilter("ignore")
    with _following_coverage():
        target = target_of(name)  # what is imported here is followed
    # On a busy machine that takes a while, which is part of the time.
    seconds = max(seconds - int(time.monotonic() - started), seconds // 2, 1)
    mutator = Mutator(target.mutate, [path.read_bytes() for path in sorted(known.glob("*"))])
    if not IS_GUIDED:
        _run_unguided(target.check, mutator, seconds, seed, crashes)
    import atheris  # not on every platform

    def mutate(data: bytes, max_size: int, number: int) -> bytes:
        rng = Random(number)
        return atheris.Mutate(data, max_size) if rng.random() < 0.2 else mutator.mutate(bytes(data), rng)[:max_size]

    options = {
        "max_total_time": seconds,
        "seed": seed,
        "timeout": _MAX_SECONDS,
        "rss_limit_mb": _MAX_MEGABYTES,
        "max_len": MAX_BYTES,
        "artifact_prefix": f"{crashes}/",
        "print_final_stats": 1,
    }
    arguments = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, str(new), str(known)], target.check, custom_mutator=mutate)
    atheris.Fuzz()
    raise AssertionError("libFuzzer ends the process")


def _following_coverage() -> AbstractContextManager[Any]:
    if not IS_GUIDED:
        return nullcontext()
    import atheris  # not on every platform

    instrumented: AbstractContextManager[Any] = atheris.instrument_imports(include=_OURS)
    return instrumented


def _run_unguided(check: Any, mutator: Mutator, seconds: int, seed: int, crashes: Path) -> NoReturn:
    """Check known inputs and changed ones, and say how many as libFuzzer does."""
    rng, until, count = Random(seed), time.monotonic() + seconds, 0
    inputs = iter(mutator.known)
    while count < len(mutator.known) or time.monotonic() < until:
        data = next(inputs, None)
        if data is None:
            data = mutator.mutate(rng.choice(mutator.known), rng)
        try:
            check(data)
        except Exception:  # noqa: BLE001 - whatever it is, it is a fault
            traceback.print_exc()
            (crashes / f"crash-{hashlib.sha256(data).hexdigest()[:40]}").write_bytes(data)
            sys.exit(1)
        count += 1
    sys.stderr.write(f"stat::number_of_executed_units: {count}\n")
    sys.exit(0)


def _drop(_logger: Any, _method: str, _event: Any) -> NoReturn:
    raise structlog.DropEvent


if __name__ == "__main__":
    _name, _seconds, _seed, *_folders = sys.argv[1:]
    main(_name, int(_seconds), int(_seed), *map(Path, _folders))
