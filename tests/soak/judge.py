"""Judges whether a response is true, by what the provider did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fault_provider.answers import TOOL_ARGUMENTS, finish_reason
from fault_provider.plan import parse_model
from kit.load.provider import Seen
from kit.load.reading import Reading, Transcript, read

ATTEMPT_BUDGET = 6
# Complete answers. No other may be presented as complete. `missing-done` has sent a finish reason.
_WHOLE = frozenset({"ok", "slow-first", "no-usage", "content-filter", "tool-call", "empty", "flaky", "missing-done"})
# The gateway's own failures: no fault of a provider may cause them.
_OWN_FAILURES = frozenset({"internal_error", "router_unavailable"})


def faults_of(transcript: Transcript, seen: Sequence[Seen]) -> list[str]:
    """Return what is wrong with a response; `seen` are the attempts of its question as the provider saw them."""
    reading = read(transcript)
    faults = list(reading.faults)
    if transcript.end == "cut":
        faults.append("the connection broke before the end")
    if transcript.status == 500 or reading.error_code in _OWN_FAILURES:
        faults.append(f"the gateway itself failed: {transcript.status} {reading.error_code}")
    faults += [
        f"a splice announced after {announced} characters came after {actual}"
        for announced, actual in reading.continuations
        if announced != actual
    ]
    if reading.is_success:
        if not any(_delivered(attempt, reading) for attempt in seen):
            faults.append(f"success that no attempt delivered: {_short(reading)}")
    elif not any(attempt.text.startswith(reading.text) for attempt in seen) and reading.text:
        faults.append(f"words that no attempt delivered: {_short(reading)}")
    elif reading.tool_arguments and not TOOL_ARGUMENTS.startswith(reading.tool_arguments):
        faults.append("a tool call that no attempt made")
    if transcript.is_hit and not reading.is_success and transcript.end == "complete":
        faults.append("a cache hit that is no answer")
    return faults


def budget_faults(transcripts: Sequence[Transcript], seen: Mapping[str, Sequence[Seen]]) -> dict[str, str]:
    """Return the tags of questions with more attempts than the budget of their requests."""
    asked = Counter(transcript.question.tag for transcript in transcripts if not transcript.is_hit)
    return {
        tag: f"{len(attempts)} attempts of {asked[tag]} requests"
        for tag, attempts in seen.items()
        if len(attempts) > ATTEMPT_BUDGET * asked[tag]
    }


def _delivered(attempt: Seen, reading: Reading) -> bool:
    """Return whether this attempt, alone or as the last of several, delivers exactly the answer of `reading`."""
    plan = parse_model(attempt.model)
    is_call = plan.behaviour == "tool-call"
    return (
        attempt.status == 200
        and attempt.finish == "completed"
        and plan.behaviour in _WHOLE
        and reading.finish_reason == finish_reason(plan)
        and reading.text == attempt.text
        and _compact(reading.tool_arguments) == (TOOL_ARGUMENTS if is_call else "")
    )


def _compact(arguments: str) -> str:
    return arguments.replace(" ", "")


def _short(reading: Reading) -> str:
    return f"{reading.finish_reason or reading.error_code or 'no end'}, {reading.text[-40:]!r} {len(reading.text)}"
