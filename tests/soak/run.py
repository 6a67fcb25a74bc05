"""`make soak`: the whole system under fifty clients that trigger every fault and often disconnect; does it stay honest?

The run consists of rounds: all clients send questions and stop, then the records are compared while the system is
idle. The last line is the verdict: `soak: N streams, hung 0, dishonest 0, unrecorded 0, rss +N%, sockets +N`.

`make load` is the same with a hundred clients, for five minutes. It also counts what the load consisted of, and fails
when one of the kinds is missing; its lines begin with `load:`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from kit.load.clients import LoadClient
from kit.load.provider import Seen
from kit.load.reading import Reading, Transcript, read
from kit.load.records import LedgerRequest

from .growth import Sample, max_additional_sockets, max_memory_growth, memory_growth
from .judge import budget_faults, faults_of
from .records import faults_of_records, is_refused
from .system import System, running_system

CLIENTS, LOAD_CLIENTS = 50, 100
KINDS = ("hits", "misses", "faults", "tools", "cancels")
_ROUNDS, _MAX_ROUND_SECONDS = 4, 60.0
_PROGRESS_SECONDS = 10.0
_QUIET_WITHIN_SECONDS = 45.0
# The router's pools close a connection that was idle for five seconds, at most half as long after that.
_POOLS_CLOSE_SECONDS = 9.0
_MAX_REPORTED = 40


@dataclass
class Findings:
    """The findings so far."""

    name: str = "soak"
    clients: int = CLIENTS
    streams: int = 0
    hung: int = 0
    dishonest: int = 0
    unrecorded: int = 0
    memory: list[Sample] = field(default_factory=list)
    sockets: list[int] = field(default_factory=list)
    """After each round."""
    ends: Counter[str] = field(default_factory=Counter)
    """How the responses ended, to see whether the run covered what it should."""
    reported: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """How often each of KINDS occurred."""
    attempts_seen: int = 0
    """By the provider."""
    attempts_recorded: int = 0
    """In the ledger, where each question has those that the provider saw."""
    attempts_maybe_unseen: int = 0
    """Of these: ended without a response, so that the provider may not have read them."""

    def report(self, kind: str, tag: str, fault: str) -> None:
        """Print a fault, up to a maximum number."""
        self.reported += 1
        if self.reported <= _MAX_REPORTED:
            say(f"{self.name}: {kind}: {tag}: {fault}")

    @property
    def additional_sockets(self) -> int:
        """The difference between the last round and the first, after which the system is warm."""
        return self.sockets[-1] - self.sockets[0] if self.sockets else 0

    @property
    def verdict(self) -> str:
        """The last line."""
        growth = f"rss {memory_growth(self.memory):+.0%}, sockets {self.additional_sockets:+d}"
        return (
            f"{self.name}: {self.streams} streams, hung {self.hung}, dishonest {self.dishonest},"
            f" unrecorded {self.unrecorded}, {growth}"
        )

    @property
    def mixture(self) -> str:
        """What the load consisted of, and both sides' count of attempts."""
        kinds = ", ".join(f"{self.kinds[kind]} {kind}" for kind in KINDS)
        unseen = f"{self.attempts_maybe_unseen} of them perhaps unread by the provider"
        return (
            f"{self.name}: {kinds}, {self.kinds['refused']} refused by a busy edge;"
            f" attempts: the provider saw {self.attempts_seen}, the ledger has {self.attempts_recorded}, {unseen}"
        )

    @property
    def has_every_kind(self) -> bool:
        """Whether each of KINDS occurred."""
        return all(self.kinds[kind] for kind in KINDS)

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        memory_grows = memory_growth(self.memory) > max_memory_growth(self.memory)
        # Pools keep as many more as there are more clients.
        sockets_grow = self.additional_sockets > max_additional_sockets(self.memory) * self.clients / CLIENTS
        grows = memory_grows or sockets_grow
        return self.streams > 0 and not (self.hung or self.dishonest or self.unrecorded or grows)


def say(line: str) -> None:
    """Print a line and flush."""
    print(line, flush=True)  # noqa: T201 - the program's output


class Soak:
    """The rounds of one run."""

    def __init__(self, system: System, seed: int, seconds: float, clients: int, name: str) -> None:
        self._clients = clients
        self._system = system
        self._rng = random.Random(seed)
        self._seconds = seconds
        self._started = time.monotonic()
        self._under_load = 0.0
        self.findings = Findings(name, clients)

    async def run(self) -> None:
        """Run all rounds."""
        length = min(self._seconds / _ROUNDS, _MAX_ROUND_SECONDS)
        watching = asyncio.create_task(self._watch())
        try:
            number = 0
            while self._under_load < self._seconds - 0.01:
                number += 1
                await self._round(number, min(length, self._seconds - self._under_load))
                self._under_load += length
        finally:
            watching.cancel()
            await asyncio.wait((watching,))
        if not watching.cancelled():
            watching.result()

    async def _round(self, number: int, seconds: float) -> None:
        """Send questions for `seconds`, wait until the system is idle, and compare."""
        transcripts: list[Transcript] = []
        end = time.monotonic() + seconds
        clients = [
            LoadClient(self._system.edge, f"r{number}c{index}", random.Random(self._rng.random()), transcripts.append)
            for index in range(self._clients)
        ]
        sampling = asyncio.create_task(self._sample())
        try:
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(client.ask_until(end))
        finally:
            sampling.cancel()
        seen = await self._quiet_attempts()
        self._judge(transcripts, seen, await self._quiet_ledger(transcripts))
        self.findings.sockets.append(await self._quiet_sockets())
        await self._system.provider.forget()

    def _judge(
        self, transcripts: list[Transcript], seen: dict[str, list[Seen]], ledger: dict[str, LedgerRequest]
    ) -> None:
        findings = self.findings
        findings.streams += len(transcripts)
        for transcript in transcripts:
            tag = transcript.question.tag
            reading = read(transcript)
            ended = reading.error_code or reading.finish_reason or "no end"
            findings.ends[f"{transcript.end}: {ended}{' (continued)' if reading.continuations else ''}"] += 1
            findings.kinds.update(kinds_of(transcript, reading))
            findings.kinds["refused"] += is_refused(transcript)
            if transcript.end == "hung":
                findings.hung += 1
                findings.report("hung", tag, f"no end after {transcript.seconds:.0f} s, {transcript.question}")
                continue
            faults = faults_of(transcript, seen.get(tag, ()))
            if faults:
                findings.dishonest += 1
                attempts = ", ".join(f"{attempt.model} {attempt.finish}" for attempt in seen.get(tag, ()))
                findings.report("dishonest", tag, f"{'; '.join(faults)}; {transcript.question}; saw {attempts}")
        recorded = [attempt for request in ledger.values() for attempt in request.attempts]
        findings.attempts_seen += sum(map(len, seen.values()))
        findings.attempts_recorded += len(recorded)
        findings.attempts_maybe_unseen += sum(attempt.may_be_unseen for attempt in recorded)
        for tag, fault in budget_faults(transcripts, seen).items():
            findings.dishonest += 1
            findings.report("dishonest", tag, fault)
        for tag, found in faults_of_records(transcripts, ledger, seen).items():
            findings.unrecorded += len(found)
            attempts = ", ".join(f"{attempt.model} {attempt.finish}" for attempt in seen.get(tag, ()))
            findings.report("unrecorded", tag, f"{'; '.join(found)}; saw {attempts}")

    async def _quiet_attempts(self) -> dict[str, list[Seen]]:
        """Wait until every attempt has ended at the provider; report those that do not as hung."""
        deadline = time.monotonic() + _QUIET_WITHIN_SECONDS
        while True:
            seen = await self._system.provider.attempts()
            still_open = [attempt for attempts in seen.values() for attempt in attempts if attempt.finish == "open"]
            if not still_open or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.5)
        self.findings.hung += len(still_open)
        for attempt in still_open:
            self.findings.report("hung", "provider", f"its connection was never closed: {attempt.model}")
        return seen

    async def _quiet_ledger(self, transcripts: list[Transcript]) -> dict[str, LedgerRequest]:
        """Wait until the ledger has settled every answered request and no more rows arrive."""
        deadline = time.monotonic() + _QUIET_WITHIN_SECONDS
        answered = {each.request_id for each in transcripts if each.status and not is_refused(each)}
        before = 0
        while True:
            ledger = await self._system.ledger([transcript.request_id for transcript in transcripts])
            settled = {request_id for request_id, entry in ledger.items() if entry.state == "settled"}
            is_quiet = answered <= settled and len(settled) == len(ledger) == before
            if is_quiet or time.monotonic() > deadline:
                return ledger
            before = len(ledger)
            await asyncio.sleep(1.0)

    async def _quiet_sockets(self) -> int:
        """Return how many sockets are left once the pools have closed what nobody uses."""
        counts = [self._system.sockets()]
        until = time.monotonic() + _POOLS_CLOSE_SECONDS
        while time.monotonic() < until:
            await asyncio.sleep(0.5)
            counts.append(self._system.sockets())
        return min(counts)

    async def _sample(self) -> None:
        while True:
            self.findings.memory.append(Sample(time.monotonic() - self._started, self._system.memory_bytes()))
            await asyncio.sleep(0.5)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            found = self.findings
            memory = found.memory[-1].memory_bytes / 2**20 if found.memory else 0
            say(
                f"{found.name}: {time.monotonic() - self._started:5.0f} s, {found.streams} streams judged,"
                f" hung {found.hung}, dishonest {found.dishonest}, unrecorded {found.unrecorded},"
                f" memory {memory:.0f} MB, sockets {self._system.sockets()}"
            )


def kinds_of(transcript: Transcript, reading: Reading) -> list[str]:
    """Return which of KINDS a response is."""
    is_miss = transcript.status == 200 and not transcript.is_hit
    found = {
        "hits": transcript.is_hit,
        "misses": is_miss and reading.is_success,
        "faults": bool(reading.error_code) and not is_refused(transcript),
        "tools": bool(reading.tool_arguments) or reading.finish_reason == "tool_calls",
        "cancels": transcript.end == "left",
    }
    return [kind for kind, is_one in found.items() if is_one]


def main() -> int:
    """Run; return 0 without findings. With findings, keep the folder with the logs."""
    parser = argparse.ArgumentParser(description=sys.modules[__name__].__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="duration of the load")
    parser.add_argument("--load", action="store_true", help="`make load`: a hundred clients; every kind must occur")
    parser.add_argument("--seed", type=int, default=None, help="repeat the questions of a run, client by client")
    arguments = parser.parse_args()
    if arguments.seconds <= 0:
        parser.error("--seconds: above 0")
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    home = Path(tempfile.mkdtemp(prefix="spillway-soak-"))
    clients, name = (LOAD_CLIENTS, "load") if arguments.load else (CLIENTS, "soak")
    say(f"{name}: SEED={seed}, {clients} clients, {arguments.seconds:g} s; logs in {home}")
    with running_system(home) as system:
        soak = Soak(system, seed, arguments.seconds, clients, name)
        asyncio.run(soak.run())
    findings = soak.findings
    say(f"{name}: " + ", ".join(f"{count} {end}" for end, count in findings.ends.most_common()))
    say(findings.mixture)
    say(findings.verdict)
    is_good = findings.is_good and (findings.has_every_kind or not arguments.load)
    if is_good:
        shutil.rmtree(home)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
