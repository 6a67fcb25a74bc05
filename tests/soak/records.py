"""Compares the ledger with what happened: everything once, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from kit.load.provider import Seen
from kit.load.reading import Transcript, read
from kit.load.records import LedgerAttempt, LedgerRequest, describe, gaps_of

# In OpenAI's contract and in Anthropic's.
_OVERLOADED = frozenset({"overloaded", "overloaded_error"})


def faults_of_records(
    transcripts: Sequence[Transcript], ledger: Mapping[str, LedgerRequest], seen: Mapping[str, Sequence[Seen]]
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
        recorded = [
            attempt
            for transcript in asked
            for attempt in (ledger[transcript.request_id].attempts if transcript.request_id in ledger else ())
        ]
        faults[tag] += _faults_of_attempts(recorded, seen.get(tag, ()))
    for tag in seen.keys() - by_tag.keys():
        faults[tag].append(f"{len(seen[tag])} attempts for a question that no client sent")
    return {tag: found for tag, found in faults.items() if found}


def is_refused(transcript: Transcript) -> bool:
    """Return whether a busy edge may have refused the request at once: then nothing is spent, and nothing recorded."""
    return transcript.status == 503 and read(transcript).error_code in _OVERLOADED


def _fault_of_request(transcript: Transcript, entry: LedgerRequest | None) -> str:
    if entry is None:
        return (
            ""
            if transcript.status == 0 or is_refused(transcript)
            else f"answered with {transcript.status} and not in the ledger"
        )
    if entry.state != "settled":
        return f"in the ledger as {entry.state}"
    reading = read(transcript)
    if transcript.end != "complete" or not (reading.is_success or reading.error_code):
        return ""
    if reading.is_success != (entry.outcome == "ok"):
        return f"the client received {reading.finish_reason or reading.error_code}, the ledger has {entry.outcome}"
    return ""


def _faults_of_attempts(recorded: Sequence[LedgerAttempt], seen: Sequence[Seen]) -> list[str]:
    return [
        f"target {gap.place}: the provider saw {gap.seen}, the ledger has"
        f" {'too few' if gap.missing else 'more'}: {describe(recorded)}"
        for gap in gaps_of(recorded, seen)
    ]
