"""The command `budgets`: who may spend how much, and whether what the edges decide by is what the books say."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from redis.exceptions import RedisError

from cost_ledger.budgets.budgets import EACH, OVER, PER, Budget, Budgets
from cost_ledger.budgets.figures import spent
from cost_ledger.budgets.publish import Figure, active_figures
from cost_ledger.commands.command_line import Status, actor, connected, say
from cost_ledger.commands.text_table import table_lines
from cost_ledger.connections import accounts_pool, closing
from cost_ledger.errors import CommandRefused
from cost_ledger.settings import Settings
from servicekit.redis_client import RedisClient, open_redis

_PATTERNS = ("tenant", "user", "key", "team", "tier")
_REDIS_SECONDS = 5.0
# Figures follow the books within a second, more where there are very many.
_TRIES, _PAUSE_SECONDS = 5, 2.0


def add_budgets(parser: argparse.ArgumentParser) -> None:
    """Add its commands; each sets `work`, which returns the status."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    commands.add_parser("list", help="list all").set_defaults(work=_list)
    setting = commands.add_parser("set", help="create or replace a budget; in force within seconds")
    setting.add_argument("name")
    setting.add_argument("--each", choices=EACH, required=True, help="who has it apart; `all`: all together")
    setting.add_argument("--per", choices=PER, required=True, help="of the calendar in --zone")
    setting.add_argument("--usd", type=_usd, required=True)
    setting.add_argument(
        "--over",
        choices=OVER,
        default="economy",
        help="what happens beyond: the route's economy model (default); for `--each all` emergency: that, repeated "
        "questions from the cache only, and no long prompts; or nothing but a warning",
    )
    setting.add_argument("--stop-usd", type=_usd, help="at which amount requests are refused (none)")
    setting.add_argument("--zone", default="UTC", help="e.g. Europe/Berlin (UTC)")
    for name in _PATTERNS:
        setting.add_argument(f"--{name}", default="*", help="only for this one; a pattern, `*` is any text")
    setting.set_defaults(work=_set)
    removal = commands.add_parser("remove", help="remove a budget; the audit log keeps it")
    removal.add_argument("name")
    removal.set_defaults(work=_remove)
    check = commands.add_parser("verify", help="compare what edges decide by with the books; status 1 when they differ")
    check.set_defaults(work=_verify)


def _usd(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(text) from None


_usd.__name__ = "amount in USD"


async def _list(settings: Settings, _arguments: argparse.Namespace) -> int:
    pool = accounts_pool(settings)
    async with closing(pool):
        budgets = await Budgets(pool).list()
    header = ("name", "each", "per", "zone", "usd", "over", "stop_usd", "for")
    say(*table_lines(header, [_cells(budget.plain()) for budget in budgets]))
    return Status.OK


def _cells(budget: Mapping[str, Any]) -> list[str]:
    whom = ", ".join(f"{name} {budget[name]}" for name in _PATTERNS if budget[name] != "*") or "everybody"
    return [*(str(budget[name] or "") for name in ("name", "each", "per", "zone", "usd", "over", "stop_usd")), whom]


async def _set(settings: Settings, arguments: argparse.Namespace) -> int:
    patterns = {"user_id" if name == "user" else name: getattr(arguments, name) for name in _PATTERNS}
    budget = Budget(
        name=arguments.name,
        each=arguments.each,
        per=arguments.per,
        usd=arguments.usd,
        over=arguments.over,
        stop_usd=arguments.stop_usd,
        zone=arguments.zone,
        **patterns,
    )
    pool = accounts_pool(settings)
    async with closing(pool):
        await Budgets(pool).put(actor(), budget)
    return Status.OK


async def _remove(settings: Settings, arguments: argparse.Namespace) -> int:
    pool = accounts_pool(settings)
    async with closing(pool):
        await Budgets(pool).remove(actor(), arguments.name)
    return Status.OK


async def _verify(settings: Settings, _arguments: argparse.Namespace) -> int:
    client = open_redis(
        settings.redis_url, settings.redis_access(), max_connections=2, socket_timeout_seconds=_REDIS_SECONDS
    )
    try:
        figures = await active_figures(client)
        first = await _books(settings, figures)
        differing: dict[Figure, tuple[str, str]] = {}
        left = figures
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(_PAUSE_SECONDS)
            differing = await _differing(settings, client, left, first)
            left = list(differing)
            if not left:
                break
    except RedisError as error:
        raise CommandRefused(f"Redis does not answer: {type(error).__name__}") from error
    finally:
        await client.aclose()
    if differing:
        rows = [
            [figure.period.each, figure.period.tenant, figure.period.subject, figure.period.first.isoformat(), *sums]
            for figure, sums in differing.items()
        ]
        say(*table_lines(("each", "tenant", "subject", "from", "redis_usd", "books_usd"), rows))
    say(f"verified {len(figures)} figures: {len(figures) - len(differing)} agree, {len(differing)} differ")
    return Status.WRONG if differing else Status.OK


async def _differing(
    settings: Settings, client: RedisClient, figures: list[Figure], first: Mapping[Figure, int]
) -> dict[Figure, tuple[str, str]]:
    """Return what Redis and the books say, in USD, where Redis has a sum that the books have not had since `first`."""
    stored: list[Any] = [await _known(client, figure) for figure in figures]
    books = await _books(settings, figures)
    differing = {}
    for figure, known in zip(figures, stored, strict=True):
        least, most = sorted((first[figure], books[figure]))
        if known is None or not least <= int(known) <= most:
            differing[figure] = ("none" if known is None else _as_usd(int(known)), _as_usd(books[figure]))
    return differing


async def _books(settings: Settings, figures: list[Figure]) -> dict[Figure, int]:
    async with connected(settings) as connection:
        sums = await spent(connection, [figure.period for figure in figures])
    return dict(zip(figures, sums, strict=True))


async def _known(client: RedisClient, figure: Figure) -> Any:
    # The client's types omit that the result is awaitable.
    found: Any = client.hget(figure.key, "ledger")
    return await found


def _as_usd(nano: int) -> str:
    return f"{Decimal(nano) / 10**9:.9f}"
