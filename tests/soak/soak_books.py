"""Whether everything that happened stands in the ledger, once, and nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fault_provider.plan import parse_model
from soak_judge import Seen
from soak_reading import Transcript, read


@dataclass(frozen=True)
class Booked:
    """An attempt in the ledger."""

    provider: str
    target_model: str
    outcome: str
    error_code: str
    http_status: int

    @property
    def place(self) -> int:
        """Which target of the question it was."""
        return parse_model(self.target_model).place

    @property
    def may_be_unseen(self) -> bool:
        """Whether it may have ended before the provider had read it: no answer came, and nobody says that one did."""
        return self.http_status == 0 and (
            self.outcome == "client_cancelled" or self.error_code in {"target_unreachable", "hedge_lost", "timeout"}
        )


@dataclass(frozen=True)
class Entry:
    """A request in the ledger."""

    state: str
    outcome: str
    attempts: Sequence[Booked]


def faults_of_books(
    transcripts: Sequence[Transcript], ledger: Mapping[str, Entry], seen: Mapping[str, Sequence[Seen]]
) -> dict[str, list[str]]:
    """Return what is missing or too much, by the tag of the question."""
    faults: dict[str, list[str]] = defaultdict(list)
    by_tag: dict[str, list[Transcript]] = defaultdict(list)
    for transcript in transcripts:
        by_tag[transcript.question.tag].append(transcript)
    for tag, asked in by_tag.items():
        for transcript in asked:
            fault = _fault_of_request(transcript, ledger.get(transcript.request_id))
            if fault:
                faults[tag].append(f"{transcript.request_id}: {fault}")
        booked = [
            attempt
            for transcript in asked
            for attempt in (ledger[transcript.request_id].attempts if transcript.request_id in ledger else ())
        ]
        faults[tag] += _faults_of_attempts(booked, seen.get(tag, ()))
    for tag in seen.keys() - by_tag.keys():
        faults[tag].append(f"{len(seen[tag])} attempts for a question that nobody asked")
    return {tag: found for tag, found in faults.items() if found}


def _fault_of_request(transcript: Transcript, entry: Entry | None) -> str:
    if entry is None:
        return "" if transcript.status == 0 else f"answered with {transcript.status} and not in the ledger"
    if entry.state != "settled":
        return f"in the ledger as {entry.state}"
    reading = read(transcript)
    if transcript.end != "complete" or not (reading.is_success or reading.error_code):
        return ""
    if reading.is_success != (entry.outcome == "ok"):
        return f"the client was told {reading.finish_reason or reading.error_code}, the ledger has {entry.outcome}"
    return ""


def _faults_of_attempts(booked: Sequence[Booked], seen: Sequence[Seen]) -> list[str]:
    """Compare target by target: how many the provider saw, and how many the ledger has."""
    real = Counter(attempt.place for attempt in seen)
    certain = Counter(attempt.place for attempt in booked if not attempt.may_be_unseen)
    doubtful = Counter(attempt.place for attempt in booked if attempt.may_be_unseen)
    faults = []
    for place in sorted({*real, *certain, *doubtful}):
        if real[place] > certain[place] + doubtful[place]:
            faults.append(f"target {place}: the provider saw {real[place]}, the ledger has too few: {_told(booked)}")
        if certain[place] > real[place]:
            faults.append(f"target {place}: the provider saw {real[place]}, the ledger has more: {_told(booked)}")
    return faults


def _told(booked: Sequence[Booked]) -> str:
    return ", ".join(f"{attempt.place} {attempt.outcome} {attempt.error_code}".strip() for attempt in booked) or "none"
