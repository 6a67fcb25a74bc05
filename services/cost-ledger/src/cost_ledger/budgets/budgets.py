"""Budgets in Postgres: who may spend how much in which time, and what happens beyond. Each change is an audit entry."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import asyncpg

from cost_ledger.audit_log import note
from cost_ledger.connections import Connection, borrowed
from cost_ledger.errors import AccountStateForbids, AccountUnknown, FieldInvalid
from spillway.accounts.v1 import accounts_pb2 as accountspb

EACH = ("key", "user", "team", "tenant", "all")
PER = ("hour", "day", "month", "total")
OVER = ("economy", "emergency", "warn")
# A request asks for all of its budgets in one script.
MAX_BUDGETS = 100
_MAX_USD = 10**6
_MAX_AMOUNT_LENGTH = 40
_PATTERNS = ("tenant", "user_id", "key", "team", "tier")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_PATTERN = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
# Any constant: changes of budgets take place one after the other.
_LOCK = 0x5B11BD6E


class Budget(NamedTuple):
    """One row of `budgets`."""

    name: str
    each: str
    """Who has it apart: each `key`, `user`, `team`, `tenant`, or `all` together."""
    per: str
    """`hour`, `day`, `month` of the calendar in `zone`, or `total`."""
    usd: Decimal
    over: str
    """What happens once it is used up: `economy`, `emergency` or `warn`."""
    stop_usd: Decimal | None = None
    """At which amount requests are refused; None: at none."""
    tenant: str = "*"
    user_id: str = "*"
    key: str = "*"
    team: str = "*"
    tier: str = "*"
    """For whom it holds: patterns, in which `*` is any text."""
    zone: str = "UTC"

    def check(self) -> None:
        """FieldInvalid when it holds what it may not."""
        if not _NAME.fullmatch(self.name):
            raise FieldInvalid("the name of a budget must be 1 to 64 letters, digits or _.-")
        for field, allowed in (("each", EACH), ("per", PER), ("over", OVER)):
            if getattr(self, field) not in allowed:
                raise FieldInvalid(f"{field} must be one of {', '.join(allowed)}")
        for field in _PATTERNS:
            if not _PATTERN.fullmatch(getattr(self, field)):
                raise FieldInvalid(f"{field.removesuffix('_id')} must be a pattern of 1 to 200 characters")
        amounts = [self.usd] if self.stop_usd is None else [self.usd, self.stop_usd]
        if not all(amount.is_finite() and 0 <= amount <= _MAX_USD for amount in amounts):
            raise FieldInvalid(f"an amount must be 0 to {_MAX_USD} USD")
        if self.stop_usd is not None and self.stop_usd < self.usd:
            raise FieldInvalid("stop_usd must not be less than usd")
        if self.over == "emergency" and self.each != "all":
            raise FieldInvalid("only a budget of all together has an emergency")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise FieldInvalid(f"zone {self.zone[:60]!r} is no time zone, e.g. Europe/Berlin") from error

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it: amounts are decimal strings."""
        return {
            name.removesuffix("_id"): f"{value.normalize():f}" if isinstance(value, Decimal) else value
            for name, value in self._asdict().items()
        }


def _check_actor(actor: str) -> None:
    if not _PATTERN.fullmatch(actor):
        raise FieldInvalid("actor must be 1 to 200 characters without control characters")


def budget_in(message: accountspb.Budget) -> Budget:
    """Read one, unchecked; FieldInvalid when an amount is none."""
    patterns = {field: getattr(message, field.removesuffix("_id")) or "*" for field in _PATTERNS}
    return Budget(
        name=message.name,
        each=message.each,
        per=message.per,
        usd=_usd("usd", message.usd),
        over=message.over,
        stop_usd=_usd("stop_usd", message.stop_usd) if message.stop_usd else None,
        zone=message.zone or "UTC",
        **patterns,
    )


def message_of(budget: Budget) -> accountspb.Budget:
    """Write one."""
    return accountspb.Budget(**{name: value for name, value in budget.plain().items() if value is not None})


def _usd(field: str, text: str) -> Decimal:
    try:
        if len(text) > _MAX_AMOUNT_LENGTH:
            raise FieldInvalid(f"{field} is too long for an amount")
        return Decimal(text)
    except InvalidOperation as error:
        raise FieldInvalid(f"{field} must be an amount in USD") from error


_COLUMNS = ", ".join(Budget._fields)
_PUT = (
    f"INSERT INTO budgets ({_COLUMNS}) VALUES ({', '.join(f'${number}' for number in range(1, 13))}) "  # noqa: S608
    f"ON CONFLICT (name) DO UPDATE SET {', '.join(f'{column} = excluded.{column}' for column in Budget._fields)}"
)


class Budgets:
    """Each method raises what asyncpg raises."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def list(self) -> list[Budget]:
        """Return all, by name."""
        async with borrowed(self._pool) as connection:
            return await read_budgets(connection)

    async def put(self, actor: str, budget: Budget) -> None:
        """Create one or change the one of this name; FieldInvalid when it holds what it may not."""
        _check_actor(actor)
        budget.check()
        async with borrowed(self._pool) as connection, connection.transaction():
            known = await _known(connection)
            before = known.get(budget.name)
            if before is None and len(known) >= MAX_BUDGETS:
                raise AccountStateForbids(f"there are {MAX_BUDGETS} budgets, and no more may be")
            if before == budget:
                return
            await connection.execute(_PUT, *budget)
            await _note(connection, actor, "create" if before is None else "update", budget.name, before, budget)

    async def remove(self, actor: str, name: str) -> None:
        """Remove one; AccountUnknown when there is none of this name. The log keeps it."""
        _check_actor(actor)
        async with borrowed(self._pool) as connection, connection.transaction():
            before = (await _known(connection)).get(name)
            if before is None:
                raise AccountUnknown(f"there is no budget {name[:64]!r}")
            await connection.execute("DELETE FROM budgets WHERE name = $1", name)
            await _note(connection, actor, "remove", name, before, None)


async def read_budgets(connection: Connection) -> list[Budget]:
    """Return all, by name."""
    rows = await connection.fetch(f"SELECT {_COLUMNS} FROM budgets ORDER BY name")  # noqa: S608 - own names
    return [Budget(**dict(row)) for row in rows]


async def _known(connection: Connection) -> dict[str, Budget]:
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    return {budget.name: budget for budget in await read_budgets(connection)}


async def _note(
    connection: Connection, actor: str, action: str, name: str, before: Budget | None, after: Budget | None
) -> None:
    plain = [None if budget is None else budget.plain() for budget in (before, after)]
    await note(connection, actor, action, "budget", "", name, *plain)
