"""How usage and costs are written for clients."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from edge.cache.cache import LookUp
from edge.guardrails.answers.output import Checked
from edge.guardrails.input import Finding, Inspected
from edge.guardrails.policy import FORMAT
from pricing.usage import FIELDS, Usage
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb


def guardrails_object(inspected: Inspected, checked: Checked | None) -> dict[str, Any] | None:
    """Write what the guardrails have found and do not only observe; None: nothing was looked for."""
    if not inspected.policy:
        return None
    return {
        "policy": inspected.policy,
        "input": [_finding_object(each) for each in inspected.told],
        "marked": inspected.marked,
        "output": None
        if checked is None
        else {
            "rules": [each.rule.name for each in inspected.output] + ([FORMAT.name] if inspected.has_format else []),
            "checked_characters": checked.characters,
            "stopped": checked.is_stopped,
            "found": [_finding_object(each) for each in checked.told],
        },
    }


def _finding_object(finding: Finding) -> dict[str, Any]:
    action = str(finding.action)
    return {"rule": finding.rule, "version": finding.version, "action": action, "count": finding.count}


def checked_text(checked: Checked) -> str:
    """Write how far an answer was looked at, and what was found, for contracts that have no word for it."""
    found = "".join(f", {each.rule};action={each.action}" for each in checked.told)
    return f"checked={checked.characters}{found}"


def economy_object(model: str, budget: str) -> dict[str, str] | None:
    """Write what was asked instead of the requested model because a budget was used up; None: nothing was."""
    return {"model": model, "budget": budget} if model else None


def money(cost: Decimal | None) -> str | None:
    """Write a cost as a decimal string with nine places; None stays None: unpriced."""
    return None if cost is None else f"{cost:.9f}"


def usage_object(usage: Usage | None) -> dict[str, int | str | None] | None:
    """Write what was billed under our own names; parts that are unknown are left out."""
    if usage is None:
        return None
    counts = {name: getattr(usage, name) for name in FIELDS}
    return {name: count for name, count in counts.items() if count is not None or name.startswith(("input", "output"))}


def attempt_object(attempt: routerpb.Attempt, cost: str | None, price_version: str) -> dict[str, Any]:
    """Write one attempt for a receipt; the version of a price that is no list price of the model says so."""
    usage = Usage.from_proto(attempt.usage) if attempt.HasField("usage") else None
    return {
        "attempt_number": attempt.attempt_number,
        "target": attempt.target,
        "provider": attempt.provider,
        "target_model": attempt.target_model,
        "response_model": attempt.response_model or None,
        "outcome": outcome_name(attempt.outcome),
        "error_code": attempt.error_code or None,
        "http_status": attempt.http_status or None,
        "duration_seconds": attempt.duration.ToMicroseconds() / 1e6,
        "time_to_first_chunk_seconds": attempt.time_to_first_chunk.ToMicroseconds() / 1e6
        if attempt.HasField("time_to_first_chunk")
        else None,
        "usage": usage_object(usage),
        "usage_source": _name(routerpb.UsageSource.Name(attempt.usage_source), "USAGE_SOURCE_") if usage else None,
        "cost_usd": cost,
        "price_version": (price_version or None) if cost is not None else None,
        "dropped": list(attempt.dropped),
    }


def continuation_comment(continued: routerpb.Continued) -> bytes:
    """Write a comment: the vendors' contracts have no word for another model that carries on."""
    comment = f"continued by {continued.target} after {continued.after_characters} characters: {continued.reason}"
    return b": %b\n\n" % comment.encode()


def continuation_object(continued: routerpb.Continued) -> dict[str, Any]:
    """Write where an answer broke off and who carried it on."""
    return {
        "attempt_number": continued.attempt_number,
        "target": continued.target,
        "provider": continued.provider,
        "target_model": continued.target_model,
        "after_characters": continued.after_characters,
        "reason": continued.reason,
    }


def outcome_name(outcome: routerpb.Outcome.ValueType) -> str:
    """Write an outcome as the glossary spells it."""
    return _name(routerpb.Outcome.Name(outcome), "OUTCOME_")


def cache_status_name(look_up: LookUp) -> str:
    """Write a cache status as the glossary spells it."""
    return _name(ledgerpb.CacheStatus.Name(look_up.status), "CACHE_STATUS_")


def finish_reason_name(reason: routerpb.FinishReason.ValueType) -> str:
    """Write a finish reason as the glossary spells it."""
    return _name(routerpb.FinishReason.Name(reason), "FINISH_REASON_")


def _name(constant: str, prefix: str) -> str:
    return constant.removeprefix(prefix).lower()
