"""The budgets as a check: what a request will cost is reserved in the round trip that admits it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from importlib import resources

import structlog

from edge.budgets.rules import NANO_USD, Account, Budget, BudgetsUnusable, accounts_of, read_budgets
from edge.events.redis import Command, RedisAway, RedisStore
from edge.events.reservation import Used
from edge.expectation import Expectation
from edge.guard.check import Asked, Exhausted, Grant, Reply, Slot
from edge.limits.leases import LEASE_SECONDS, Leases
from edge.metrics import Metrics
from edge.problems import Problem
from servicekit.log_limit import LimitedLog

log = structlog.get_logger()

FOLLOW_INTERVAL_SECONDS = 0.5
# Both of them are the ledger's; its publish.py has the format.
_RULES = "{spillway:cost-events}:budgets"
_ACTIVE = "{spillway:cost-events}:budgets:active"
_SETTLE = resources.files("edge.budgets").joinpath("settle.lua").read_text()
# A ledger that is away for longer finds the request itself.
_UNCOUNTED_MS = 3 * 24 * 60 * 60 * 1000
_WARN_SHARE = 0.8
_EMERGENCY_MAX_TOKENS = 2_000
_ASK_AGAIN_SECONDS, _FORGET_SECONDS = 20.0, 120.0
_MAX_REMEMBERED = 50_000
_AT_ONCE = 500


class BudgetReservation:
    """What one request is expected to cost, in each of its accounts."""

    def __init__(self, accounts: Mapping[str, Account], leases: Leases, member: str) -> None:
        self._accounts = accounts
        self._leases = leases
        self._member = member

    def settle(self, used: Used | None) -> Sequence[Command]:
        """Charge what it has cost."""
        cost = 0 if used is None else used.cost_nano_usd
        commands: list[Command] = []
        for key, account in self._accounts.items():
            leases, kept_ms = _leases(key), account.period.kept_seconds * 1000
            self._leases.end(leases, self._member)
            commands.append(("EVAL", _SETTLE, 2, key, leases, self._member, cost, _UNCOUNTED_MS, kept_ms))
        return commands


class BudgetsQuestion:
    """The budgets of one request."""

    def __init__(
        self, check: Budgets, accounts: Sequence[Account], expected: int, input_tokens: int, member: str
    ) -> None:
        self._check = check
        self._accounts = accounts
        self._expected = expected
        self._is_long = input_tokens > _EMERGENCY_MAX_TOKENS
        self._input_tokens = input_tokens
        self._member = member

    @property
    def slots(self) -> Sequence[Slot]:
        """One for each account."""
        return [self._slot(account) for account in self._accounts]

    def _slot(self, account: Account) -> Slot:
        stop = self._stop_of(account.budget)
        limit = -1 if stop is None else int(stop * NANO_USD)
        lease_ms, kept_ms = LEASE_SECONDS * 1000, account.period.kept_seconds * 1000
        last = self._check.spent_when_known(account.key)
        arguments = (limit, self._expected, self._member, lease_ms, kept_ms, last)
        return Slot("budget", [account.key, _leases(account.key)], arguments, account.tag)

    def _stop_of(self, budget: Budget) -> Decimal | None:
        is_emergency_for_it = budget.over == "emergency" and self._is_long
        return budget.usd if is_emergency_for_it else budget.stop_usd

    def refuse(self, number: int, reply: Reply) -> None:
        """Problem (429) that says which budget, whose, what is spent, and when it begins anew."""
        account = self._accounts[number]
        budget, spent = account.budget, int(reply[0])
        stop = self._stop_of(budget)
        self._check.count(budget, "stopped")
        left = account.period.last - time.time()
        when = (
            "it has no end" if budget.per == "total" else f"the next {budget.per} begins {_moment(account.period.last)}"
        )
        if stop == budget.stop_usd:
            what = f"{account.whose} has spent {_usd(spent)} of {stop} USD, and this request would cost about"
            message = f"{what} {_usd(self._expected)} (budget {budget.name!r}); {when}"
        else:
            message = (
                f"{account.whose} has used up its budget of {budget.usd} USD (budget {budget.name!r}) and takes no "
                f"prompt of more than {_EMERGENCY_MAX_TOKENS} tokens, this one has about {self._input_tokens}; {when}"
            )
        raise Problem(
            "spend_limit_reached", message, retry_after_seconds=None if budget.per == "total" else max(left, 1.0)
        )

    def grant(self, replies: Mapping[int, Reply]) -> Grant:
        """Say which budgets are nearly or wholly used up."""
        exhausted: Exhausted | None = None
        told: list[str] = []
        charged: dict[str, Account] = {}
        for number, reply in replies.items():
            account = self._accounts[number]
            budget, limit = account.budget, int(account.budget.usd * NANO_USD)
            spent = int(reply[0])
            self._check.remember(account, spent, is_known=int(reply[1]) == 1)
            charged[account.key] = account
            if spent >= limit or spent + self._expected > limit:
                self._check.count(budget, budget.over)
                told.append(_told(budget, spent, "exhausted"))
                if budget.over != "warn" and (exhausted is None or budget.over == "emergency"):
                    exhausted = Exhausted(budget.name, is_emergency=budget.over == "emergency")
            elif spent >= limit * _WARN_SHARE:
                self._check.count(budget, "nearly_exhausted")
                told.append(_told(budget, spent, "nearly-exhausted"))
        for key in charged:
            self._check.leases.begin(_leases(key), self._member)
        headers = {"x-budget": ", ".join(told)} if told else {}
        return Grant(headers, BudgetReservation(charged, self._check.leases, self._member), exhausted)

    def decide_alone(self) -> None:
        """Let it pass: what is spent is not known while Redis is away. The ledger counts it all the same."""
        return


class Budgets:
    """Makes the question of each request; knows the budgets in force."""

    def __init__(self, store: RedisStore, leases: Leases, expectation: Expectation, metrics: Metrics) -> None:
        self._store = store
        self.leases = leases
        self._expectation = expectation
        self._metrics = metrics
        self._log = LimitedLog()
        self._published = b"[]"
        self._budgets: Sequence[Budget] = ()
        self._asked: dict[str, float] = {}
        self._to_ask: dict[str, str] = {}
        self._remembered: dict[str, int] = {}
        self._forget_at = 0.0

    def question(self, asked: Asked) -> BudgetsQuestion:
        """Return what the request is charged to."""
        facts, tokens = asked.facts, asked.content.estimated_input_tokens
        accounts = accounts_of(self._budgets, facts)
        for account in accounts:
            self._ask_for(account)
        expected = self._expectation.cost_nano_usd(facts.requested_model, asked.content) if accounts else 0
        return BudgetsQuestion(self, accounts, expected, tokens, facts.request_id)

    async def follow(self) -> None:
        """Put published budgets in force, and ask the ledger for the figures that are needed. While Redis is away
        nothing changes."""
        with suppress(RedisAway):
            (published,) = await self._store.run([("GET", _RULES)])
            self._put_in_force(published)
            await self._ask_the_ledger()

    def count(self, budget: Budget, action: str) -> None:
        """Count a request whose budget is nearly or wholly used up, and log it now and then."""
        self._metrics.budget_requests.labels(budget.name, budget.each, action).inc()
        self._log.info(f"budget_{action}", budget.name)

    def spent_when_known(self, key: str) -> int:
        """Return what Redis said last of a figure: one that has lost everything and waits for the ledger goes by it."""
        return self._remembered.get(key, 0)

    def remember(self, account: Account, spent: int, *, is_known: bool) -> None:
        """Remember what is spent; a figure that the ledger has not published is asked for."""
        if not is_known:
            self._to_ask[account.key] = account.asked
        elif account.key in self._remembered or len(self._remembered) < _MAX_REMEMBERED:
            self._remembered[account.key] = spent

    def _ask_for(self, account: Account) -> None:
        now = time.monotonic()
        if now - self._asked.get(account.key, -math.inf) >= _ASK_AGAIN_SECONDS:
            self._asked[account.key] = now
            self._to_ask[account.key] = account.asked

    async def _ask_the_ledger(self) -> None:
        waiting, self._to_ask = self._to_ask, {}
        now, asked = int(time.time()), list(waiting.values())
        commands: list[Command] = []
        for first in range(0, len(asked), _AT_ONCE):
            pairs = [part for each in asked[first : first + _AT_ONCE] for part in (now, each)]
            commands.append(("ZADD", _ACTIVE, *pairs))
        if commands:
            try:
                await self._store.run(commands)
            except BaseException:
                self._to_ask = {**waiting, **self._to_ask}
                raise
        self._forget()

    def _forget(self) -> None:
        """Keep nothing of accounts that nobody was charged to for a while: periods end, users come and go."""
        now = time.monotonic()
        if now < self._forget_at:
            return
        self._forget_at = now + _FORGET_SECONDS
        self._asked = {key: moment for key, moment in self._asked.items() if now - moment < _FORGET_SECONDS}
        self._remembered = {key: spent for key, spent in self._remembered.items() if key in self._asked}

    def _put_in_force(self, published: bytes | None) -> None:
        if published is None or published == self._published:
            return
        self._published = published
        try:
            self._budgets = read_budgets(published)
        except BudgetsUnusable as error:
            self._metrics.budgets_stale.set(1)
            log.error("budgets_refused", reason=str(error))  # noqa: TRY400 - one line, for a person
            return
        self._metrics.budgets_stale.set(0)
        log.info("budgets_in_force", budgets=len(self._budgets))


def _leases(key: str) -> str:
    return f"{key}:leases"


def _usd(nano: int) -> str:
    return f"{Decimal(nano) / NANO_USD:.6f}".rstrip("0").rstrip(".")


def _moment(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


def _told(budget: Budget, spent: int, state: str) -> str:
    return f"{budget.name};{state};spent={_usd(spent)};limit={budget.usd.normalize():f}"
