"""Which budgets there are, as the ledger publishes them, and in which period of the calendar a request falls."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from edge.facts import RequestFacts
from edge.identity import matches

NANO_USD = 10**9
_MAX_BUDGETS = 100
_MAX_USD = 10**6
# No zone has an hour, a day or a month that begins within one of these.
_QUARTER_SECONDS = 15 * 60
_LAST_SECOND = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())
_DAY_SECONDS = 24 * 60 * 60
_KEPT_DAYS, _KEPT_DAYS_OF_LONG = 3, 40

Each = Literal["key", "user", "team", "tenant", "all"]
Per = Literal["hour", "day", "month", "total"]
_Usd = Annotated[Decimal, Field(ge=0, le=_MAX_USD)]


class Budget(BaseModel):
    """One budget. A field that a newer ledger has is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=64)]
    each: Each
    """Who has it apart; `all`: all together."""
    per: Per
    usd: _Usd
    over: Literal["economy", "emergency", "warn"]
    """What happens once it is used up."""
    stop_usd: _Usd | None = None
    """At which amount requests are refused; None: at none."""
    tenant: str = "*"
    user: str = "*"
    key: str = "*"
    team: str = "*"
    tier: str = "*"
    """For whom it holds: patterns, in which `*` is any text."""
    zone: str = "UTC"

    @field_validator("zone")
    @classmethod
    def _require_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (LookupError, ValueError, OSError) as error:
            raise ValueError("no time zone") from error
        return zone


_BUDGETS = TypeAdapter(Annotated[list[Budget], Field(max_length=_MAX_BUDGETS)])


class BudgetsUnusable(Exception):
    """What is published cannot be read; the text says why."""


def read_budgets(published: bytes) -> Sequence[Budget]:
    """Return the budgets; BudgetsUnusable when there is no reading them."""
    try:
        return _BUDGETS.validate_python(orjson.loads(published))
    except orjson.JSONDecodeError as error:
        raise BudgetsUnusable("not JSON") from error
    except ValidationError as error:
        fault = error.errors()[0]
        raise BudgetsUnusable(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from error


@dataclass(frozen=True, slots=True)
class Period:
    """Seconds since 1970, the last one not included."""

    first: int
    last: int

    @property
    def kept_seconds(self) -> int:
        """How long a figure is kept: late requests may settle after the period."""
        left = max(self.last - int(time.time()), 0)
        return min(left + _KEPT_DAYS * _DAY_SECONDS, _KEPT_DAYS_OF_LONG * _DAY_SECONDS)


@dataclass(frozen=True, slots=True)
class Account:
    """What a request is charged to: one budget of somebody in one period."""

    budget: Budget
    key: str
    """Of the figure in Redis; budgets of the same subject and period share it."""
    tag: str
    """What stands in the braces of the key."""
    period: Period
    asked: str
    """How the ledger is asked for the figure: its publish.py has the format."""
    whose: str
    """For the person who reads the error."""


def accounts_of(budgets: Sequence[Budget], facts: RequestFacts) -> list[Account]:
    """Return what a request is charged to, in the order of the budgets."""
    identity = facts.identity
    own = {
        "tenant": identity.tenant,
        "user": identity.user,
        "key": identity.key_id,
        "team": identity.team,
        "tier": identity.tier,
    }
    found = []
    for budget in budgets:
        if not all(_holds(getattr(budget, name), value) for name, value in own.items()):
            continue
        each = budget.each
        subject = own[each] if each in ("user", "key", "team") else ""
        if each == "team" and not subject:
            continue
        period = period_of(budget.per, budget.zone, facts.accepted_at_ns // 10**9)
        tenant = "" if each == "all" else identity.tenant
        tag = "spillway:cost-events" if each == "all" else f"spillway:limits:{tenant}"
        key = f"{{{tag}}}:budget:{each}={subject}:{budget.per}:{period.first}-{period.last}"
        asked = orjson.dumps([key, each, tenant, subject, period.first, period.last]).decode()
        whose = {"all": "this gateway", "tenant": f"tenant {tenant!r}"}.get(each, f"{each} {subject!r}")
        found.append(Account(budget, key, tag, period, asked, whose))
    return found


def _holds(pattern: str, value: str) -> bool:
    return pattern == "*" or matches(pattern, value)


def period_of(per: Per, zone: str, now: int) -> Period:
    """Return the period of the calendar in `zone` that has this second."""
    return _period_of(per, zone, now // _QUARTER_SECONDS)


@lru_cache(maxsize=1024)
def _period_of(per: Per, zone: str, quarter: int) -> Period:
    if per == "total":
        return Period(0, _LAST_SECOND)
    now = datetime.fromtimestamp(quarter * _QUARTER_SECONDS, ZoneInfo(zone))
    if per == "hour":
        first = int(now.timestamp()) - now.minute * 60
        return Period(first, first + 60 * 60)
    day = now.replace(hour=0, minute=0, fold=0)
    if per == "day":
        return Period(_second(day), _second(day + timedelta(days=1)))
    month = day.replace(day=1)
    next_month = (month + timedelta(days=32)).replace(day=1)
    return Period(_second(month), _second(next_month))


def _second(local: datetime) -> int:
    """Return the second of a wall time; where clocks jump over it, that of the jump."""
    return int(local.timestamp())
