"""The limits as a check: requests, tokens and streams are counted in Redis, in the round trip that admits a request."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources

from edge.events.redis import Command
from edge.events.reservation import Used
from edge.expectation import Expectation
from edge.guard.check import Asked, Grant, Reply, Slot
from edge.limits.leases import LEASE_SECONDS, Leases
from edge.limits.rules import Limit, Rules
from edge.limits.windows import PARTS, LocalWindows
from edge.metrics import Metrics
from edge.problems import Problem
from servicekit.log_limit import LimitedLog

_SETTLE = resources.files("edge.limits").joinpath("settle.lua").read_text()


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a request has added to one count."""

    limit: Limit
    cost: int
    part: int
    """The number of the part of the window; -1: of this process's own window."""


class LimitsReservation:
    """What one request has taken."""

    def __init__(self, taken: Sequence[_Taken], leases: Leases, member: str, local: LocalWindows) -> None:
        self._taken = taken
        self._leases = leases
        self._member = member
        self._local = local

    def settle(self, used: Used | None) -> Sequence[Command]:
        """Correct the tokens and give leases back; None: give everything back."""
        tokens = None if used is None else used.tokens
        commands: list[Command] = []
        for taken in self._taken:
            limit = taken.limit
            if limit.unit == "streams":
                self._leases.end(limit.key, self._member)
                commands.append(("ZREM", limit.key, self._member))
                continue
            if tokens is not None and limit.unit == "requests":
                continue
            delta = (tokens if tokens is not None else 0) - taken.cost
            if not delta:
                continue
            if taken.part < 0:
                self._local.add(limit.key, delta, limit.window_ms)
            else:
                width = limit.window_ms // PARTS
                commands.append(("EVAL", _SETTLE, 1, limit.key, taken.part, delta, width))
        return commands


class LimitsQuestion:
    """The limits of one request."""

    def __init__(self, check: Limits, limits: Sequence[Limit], costs: Sequence[int], member: str) -> None:
        self._check = check
        self._limits = limits
        self._costs = costs
        self._member = member

    @property
    def slots(self) -> Sequence[Slot]:
        """One for each limit."""
        return [self._slot(limit, cost) for limit, cost in zip(self._limits, self._costs, strict=True)]

    def _slot(self, limit: Limit, cost: int) -> Slot:
        tag = limit.key[1 : limit.key.index("}:limit:")]
        looks = "1" if limit.shadow else "0"
        if limit.unit == "streams":
            return Slot("lease", [limit.key], [limit.amount, self._member, LEASE_SECONDS * 1000, looks], tag)
        return Slot("window", [limit.key], [limit.amount, cost, limit.window_ms, looks], tag)

    def refuse(self, number: int, reply: Reply) -> None:
        """Problem (429) that says which limit, whose, and when to come again."""
        wait_ms = int(reply[1])
        self._refuse(self._limits[number], self._costs[number], int(reply[0]), None if wait_ms < 0 else wait_ms / 1000)

    def _refuse(self, limit: Limit, cost: int, left: int, wait_seconds: float | None) -> None:
        self._check.metrics.limits_exceeded.labels(limit.name, limit.unit).inc()
        if wait_seconds is None:
            message = f"this request counts {cost} tokens; {limit.whose} may use {limit.words} (limit {limit.name!r})"
            raise Problem("rate_limit_exceeded", message, retryable=False)
        asks = "" if limit.unit != "tokens" else f", this request counts {cost}, {left} are left"
        raise Problem(
            "rate_limit_exceeded",
            f"{limit.whose} has reached {limit.words} (limit {limit.name!r}{asks}); "
            f"try again in {max(0.1, wait_seconds):.1f} s",
            retry_after_seconds=wait_seconds,
            headers={**_headers(limit, left, wait_seconds), "retry-after-ms": f"{wait_seconds * 1000:.0f}"},
        )

    def grant(self, replies: Mapping[int, Reply]) -> Grant:
        """Say what is left of the tightest limits."""
        taken: list[_Taken] = []
        told: dict[str, tuple[float, Limit, int, float]] = {}
        for number, reply in replies.items():
            limit = self._limits[number]
            left, part, reset_ms, would_refuse = (int(value) for value in reply)
            if would_refuse:
                self._check.note_shadow(limit)
                continue
            taken.append(_Taken(limit, self._costs[number], part))
            if limit.unit == "streams":
                self._check.leases.begin(limit.key, self._member)
            elif not limit.shadow:
                share = left / limit.amount if limit.amount else 0.0
                if limit.unit not in told or share < told[limit.unit][0]:
                    told[limit.unit] = (share, limit, left, reset_ms / 1000)
        headers: dict[str, str] = {}
        for _, limit, left, reset_seconds in told.values():
            headers |= _headers(limit, left, reset_seconds)
        return Grant(headers, LimitsReservation(taken, self._check.leases, self._member, self._check.local))

    def decide_alone(self) -> Grant:
        """Hold this edge to its part of each limit."""
        check = self._check
        if self._limits:
            check.metrics.limits_decided_alone.inc()
        taken: list[_Taken] = []
        for limit, cost in zip(self._limits, self._costs, strict=True):
            amount = max(1, limit.amount // check.edges()) if limit.amount else 0
            if limit.unit == "streams":
                left, wait_seconds, needed = amount - check.leases.count(limit.key), 1.0, 1
            else:
                left, wait_seconds = check.local.room(limit.key, amount, limit.window_ms)
                needed = cost
            if left >= needed:
                taken.append(_Taken(limit, cost, -1))
            elif limit.shadow:
                check.note_shadow(limit)
            else:
                self._refuse(limit, cost, left, None if needed > amount else wait_seconds)
        for each in taken:
            if each.limit.unit == "streams":
                check.leases.begin(each.limit.key, self._member)
            else:
                check.local.add(each.limit.key, each.cost, each.limit.window_ms)
        return Grant(reservation=LimitsReservation(taken, check.leases, self._member, check.local))


class Limits:
    """Makes the question of each request."""

    def __init__(
        self,
        rules: Rules,
        leases: Leases,
        edges: Callable[[], int],
        expectation: Expectation,
        metrics: Metrics,
    ) -> None:
        """`edges` returns how many share the limits, this one included."""
        self._expectation = expectation
        self._rules = rules
        self.leases = leases
        self.edges = edges
        self.metrics = metrics
        self.local = LocalWindows()
        self._log = LimitedLog()

    def question(self, asked: Asked) -> LimitsQuestion:
        """Return what the request counts against."""
        limits = self._rules.limits_of(asked.facts)
        tokens = self._expectation.tokens(asked.facts.requested_model, asked.content)
        costs = [tokens if limit.unit == "tokens" else 1 for limit in limits]
        return LimitsQuestion(self, limits, costs, asked.facts.request_id)

    def note_shadow(self, limit: Limit) -> None:
        """Count a request that a limit would have refused if it were in force."""
        self.metrics.limits_exceeded_in_shadow.labels(limit.name, limit.unit).inc()
        self._log.info("limit_exceeded_in_shadow", limit.name, whose=limit.whose)


def _headers(limit: Limit, left: int, reset_seconds: float) -> dict[str, str]:
    """Write what is left as the vendors' clients read it: OpenAI's headers and Anthropic's."""
    left = max(0, left)
    until = datetime.now(UTC) + timedelta(seconds=reset_seconds)
    return {
        f"x-ratelimit-limit-{limit.unit}": str(limit.amount),
        f"x-ratelimit-remaining-{limit.unit}": str(left),
        f"x-ratelimit-reset-{limit.unit}": f"{math.ceil(reset_seconds * 1000)}ms",
        f"anthropic-ratelimit-{limit.unit}-limit": str(limit.amount),
        f"anthropic-ratelimit-{limit.unit}-remaining": str(left),
        f"anthropic-ratelimit-{limit.unit}-reset": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
