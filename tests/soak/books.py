"""Compares the ledger with what happened: everything once, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from kit.load.books import Booked, Entry, gaps_of
from kit.load.provider import Seen
from kit.load.reading import Transcript, read


def faults_of_books(
    transcripts: Sequence[Transcript], ledger: Mapping[str, Entry], seen: Mapping[str, Sequence[Seen]]
) -> dict[str, list[str]]:
    """Return what is missing or surplus, by the tag of the question."""
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
        faults[tag].append(f"{len(seen[tag])} attempts for a question that no client sent")
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
        return f"the client received {reading.finish_reason or reading.error_code}, the ledger has {entry.outcome}"
    return ""


def _faults_of_attempts(booked: Sequence[Booked], seen: Sequence[Seen]) -> list[str]:
    return [
        f"target {gap.place}: the provider saw {gap.seen}, the ledger has"
        f" {'too few' if gap.missing else 'more'}: {_describe(booked)}"
        for gap in gaps_of(booked, seen)
    ]


def _describe(booked: Sequence[Booked]) -> str:
    return ", ".join(f"{attempt.place} {attempt.outcome} {attempt.error_code}".strip() for attempt in booked) or "none"
