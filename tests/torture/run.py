"""`make torture`: the whole system under fifty clients while its parts are killed, and a check of the ledger.

It kills edge, router, ledger, Valkey and Postgres with SIGKILL, alone and in pairs, and freezes the stores for a while.
When all parts are up again and idle, the ledger is compared with what the fault provider saw. The last line is the
verdict: `torture: N requests, N attempts, lost 0, doubled 0, unsettled N`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from kit.load.clients import EdgeClient, LoadClient
from kit.load.comparison import Verdict, judge, judge_spend
from kit.load.provider import Provider, running_provider
from kit.load.reading import Transcript, read
from kit.load.records import LedgerRequest
from spillway_local.supervisor import ChildDied

from .faults import FaultInjector
from .system import REQUEST_SECONDS, UNSETTLED_AFTER_SECONDS, Victim, idle_records, running_system

CLIENTS = 50
_PROGRESS_SECONDS = 10.0
# After the last fault: the longest request, the time until it is given up, and an allowance for a busy machine.
_QUIET_WITHIN_SECONDS = REQUEST_SECONDS + UNSETTLED_AFTER_SECONDS + 90.0
_MAX_ATTEMPTS = 100_000  # the provider remembers no more
_MAX_REPORTED = 40
_MAX_RECEIPTS = 20


def say(line: str) -> None:
    """Print a line and flush."""
    print(line, flush=True)  # noqa: T201 - the program's output


class Torture:
    """One run."""

    def __init__(self, victim: Victim, provider: Provider, seed: int, seconds: float) -> None:
        self._victim = victim
        self._provider = provider
        self._rng = random.Random(seed)
        self._seconds = seconds
        self._started = time.monotonic()
        self._asked: dict[str, list[Transcript]] = defaultdict(list)
        self._injector = FaultInjector(victim, random.Random(self._rng.random()))

    async def run(self) -> Verdict:
        """Inject faults under load, wait until the system is idle, compare."""
        end = self._started + self._seconds
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._injector.inject_until(end))
                for name, key in self._victim.keys.items():
                    edge = EdgeClient(self._victim.url, key, REQUEST_SECONDS + 60.0)
                    client = LoadClient(edge, name, random.Random(self._rng.random()), self._asked[name].append)
                    group.create_task(client.ask_until(end))
            return await self._compare()
        finally:
            watching.cancel()
            await asyncio.wait((watching,))

    async def _compare(self) -> Verdict:
        seen, ledger = await idle_records(self._victim, self._provider, _QUIET_WITHIN_SECONDS)
        key_ids = {name: key.split("-")[2] for name, key in self._victim.keys.items()}
        verdict = judge(self._asked, key_ids, ledger, seen)
        async with self._victim.database() as connection:
            await judge_spend(connection, verdict)
        await self._judge_receipts(ledger, verdict)
        agrees, report = await self._victim.verify()
        say(f"torture: {report}")
        if not agrees:
            verdict.find_lost(1, "the ledger's own check found mismatches")
        if verdict.attempts >= _MAX_ATTEMPTS:
            verdict.find_lost(1, f"over {_MAX_ATTEMPTS} attempts: the provider has forgotten some; use fewer SECONDS")
        return verdict

    async def _judge_receipts(self, ledger: Mapping[str, LedgerRequest], verdict: Verdict) -> None:
        """Check that the receipts of requests that were cut off say so."""
        cut_off = [
            (transcript.request_id, self._victim.keys[name])
            for name, transcripts in self._asked.items()
            for transcript in transcripts
            if transcript.request_id in ledger and ledger[transcript.request_id].state == "unsettled"
        ]
        for request_id, key in cut_off[:_MAX_RECEIPTS]:
            state = await self._victim.receipt_state(request_id, key)
            if state != "unsettled":
                verdict.find_lost(1, f"{request_id} is unsettled, its receipt says {state or 'nothing'}")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            ended = sum(map(len, self._asked.values()))
            say(f"torture: {time.monotonic() - self._started:5.0f} s, {ended} requests ended; {self.faults}")

    @property
    def ends(self) -> str:
        """How the requests ended for their clients, to see whether the run covered what it should."""
        ends: Counter[str] = Counter()
        for transcript in itertools.chain(*self._asked.values()):
            reading = read(transcript)
            ends[f"{transcript.end}: {reading.error_code or reading.finish_reason or 'no end'}"] += 1
        return ", ".join(f"{count} {end}" for end, count in ends.most_common())

    @property
    def faults(self) -> str:
        """The faults injected so far."""
        return ", ".join(f"{what} {count}" for what, count in sorted(self._injector.faults.items()))


async def torture(home: Path, provider: Provider, seed: int, seconds: float) -> Verdict:
    """Run the system on `home` and torture it."""
    names = [f"c{number}" for number in range(CLIENTS)]
    async with running_system(home, provider.url, names) as victim:
        run = Torture(victim, provider, seed, seconds)
        verdict = await run.run()
    say(f"torture: {run.ends}")
    say(f"torture: {run.faults}")
    return verdict


def main() -> int:
    """Run; return 0 without findings. With findings, keep the folder with data and logs."""
    parser = argparse.ArgumentParser(description=sys.modules[__name__].__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="duration of the load")
    parser.add_argument("--seed", type=int, default=None, help="repeat the questions and faults of a run")
    arguments = parser.parse_args()
    if arguments.seconds <= 0:
        parser.error("--seconds: above 0")
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    home = Path(tempfile.mkdtemp(prefix="spillway-torture-"))
    say(f"torture: SEED={seed}, {CLIENTS} clients, {arguments.seconds:g} s; data and logs in {home}")
    verdict = Verdict()
    with running_provider(home / "fault-provider.log") as provider:
        try:
            verdict = asyncio.run(torture(home, provider, seed, arguments.seconds))
        except* ChildDied as group:
            verdict.faults += [f"a part did not restart: {error}" for error in group.exceptions]
    for fault in verdict.faults[:_MAX_REPORTED]:
        say(f"torture: {fault}")
    say(str(verdict))
    if verdict.is_good:
        shutil.rmtree(home)
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
