"""`make torture`: the whole system under fifty clients while its parts are killed, and whether the books are right.

SIGKILL hits edge, router, ledger, Valkey and Postgres, alone and in pairs; the stores are frozen for a while as well.
When all is up again and quiet, what the fault provider saw is compared with what the ledger holds. The last line is the
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

from kit.load.books import Entry
from kit.load.clients import Client, FrontDoor
from kit.load.comparison import Verdict, judge, judge_spend
from kit.load.provider import Provider, running_provider
from kit.load.reading import Transcript, read
from spillway_local.supervisor import ChildDied

from .chaos import Tormentor
from .system import REQUEST_SECONDS, UNSETTLED_AFTER_SECONDS, Patient, quiet_books, running_system

CLIENTS = 50
_PROGRESS_SECONDS = 10.0
# After the last blow: the longest request, then the time after which it is given up, then a busy machine.
_QUIET_WITHIN_SECONDS = REQUEST_SECONDS + UNSETTLED_AFTER_SECONDS + 90.0
_MOST_ATTEMPTS = 100_000  # the provider remembers no more
_FAULTS_TOLD = 40
_RECEIPTS_READ = 20


def say(line: str) -> None:
    """Write a line, at once."""
    print(line, flush=True)  # noqa: T201 - the program's output


class Torture:
    """One run."""

    def __init__(self, patient: Patient, provider: Provider, seed: int, seconds: float) -> None:
        self._patient = patient
        self._provider = provider
        self._chance = random.Random(seed)
        self._seconds = seconds
        self._begun = time.monotonic()
        self._asked: dict[str, list[Transcript]] = defaultdict(list)
        self._tormentor = Tormentor(patient, random.Random(self._chance.random()))

    async def run(self) -> Verdict:
        """Torture, wait until all is quiet, compare."""
        end = self._begun + self._seconds
        watching = asyncio.create_task(self._watch())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tormentor.strike_until(end))
                for name, key in self._patient.keys.items():
                    door = FrontDoor(self._patient.url, key, REQUEST_SECONDS + 60.0)
                    client = Client(door, name, random.Random(self._chance.random()), self._asked[name].append)
                    group.create_task(client.ask_until(end))
            return await self._compare()
        finally:
            watching.cancel()
            await asyncio.wait((watching,))

    async def _compare(self) -> Verdict:
        seen, ledger = await quiet_books(self._patient, self._provider, _QUIET_WITHIN_SECONDS)
        key_ids = {name: key.split("-")[2] for name, key in self._patient.keys.items()}
        verdict = judge(self._asked, key_ids, ledger, seen)
        async with self._patient.database() as connection:
            await judge_spend(connection, verdict)
        await self._judge_receipts(ledger, verdict)
        agrees, told = await self._patient.verify()
        say(f"torture: {told}")
        if not agrees:
            verdict.find_lost(1, "the ledger's own check found mismatches")
        if verdict.attempts >= _MOST_ATTEMPTS:
            verdict.find_lost(1, f"over {_MOST_ATTEMPTS} attempts: the provider has forgotten some; use fewer SECONDS")
        return verdict

    async def _judge_receipts(self, ledger: Mapping[str, Entry], verdict: Verdict) -> None:
        """Look whether requests that were cut off are shown as such to those who asked."""
        cut_off = [
            (transcript.request_id, self._patient.keys[name])
            for name, transcripts in self._asked.items()
            for transcript in transcripts
            if transcript.request_id in ledger and ledger[transcript.request_id].state == "unsettled"
        ]
        for request_id, key in cut_off[:_RECEIPTS_READ]:
            state = await self._patient.receipt_state(request_id, key)
            if state != "unsettled":
                verdict.find_lost(1, f"{request_id} is unsettled, its receipt says {state or 'nothing'}")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            ended = sum(map(len, self._asked.values()))
            say(f"torture: {time.monotonic() - self._begun:5.0f} s, {ended} requests ended; {self.blows}")

    @property
    def ends(self) -> str:
        """How the requests ended as their clients saw it: for a look at whether the run met what it should."""
        ends: Counter[str] = Counter()
        for transcript in itertools.chain(*self._asked.values()):
            reading = read(transcript)
            ends[f"{transcript.end}: {reading.error_code or reading.finish_reason or 'no end'}"] += 1
        return ", ".join(f"{count} {end}" for end, count in ends.most_common())

    @property
    def blows(self) -> str:
        """What was done so far."""
        return ", ".join(f"{what} {count}" for what, count in sorted(self._tormentor.blows.items()))


async def torture(home: Path, provider: Provider, seed: int, seconds: float) -> Verdict:
    """Run everything on `home` and torture it."""
    names = [f"c{number}" for number in range(CLIENTS)]
    async with running_system(home, provider.url, names) as patient:
        run = Torture(patient, provider, seed, seconds)
        verdict = await run.run()
    say(f"torture: {run.ends}")
    say(f"torture: {run.blows}")
    return verdict


def main() -> int:
    """Run; 0 when nothing was found. The folder with data and logs is kept when something was."""
    parser = argparse.ArgumentParser(description=sys.modules[__name__].__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="under torture, beside starting and comparing")
    parser.add_argument("--seed", type=int, default=None, help="the same questions and blows in the same order")
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
            verdict.faults += [f"a part did not come back: {error}" for error in group.exceptions]
    for fault in verdict.faults[:_FAULTS_TOLD]:
        say(f"torture: {fault}")
    say(str(verdict))
    if verdict.is_good:
        shutil.rmtree(home)
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
