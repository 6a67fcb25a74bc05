"""The commands `tenants`, `users`, `keys` and `audit`: who may use the gateway, and who changed that."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from cost_ledger.accounts.accounts import Accounts
from cost_ledger.accounts.fields import ROLE, TIER
from cost_ledger.accounts.keys import Keys, MadeKey
from cost_ledger.accounts.kinds import KEY, TENANT, USER, Kind
from cost_ledger.commands.command_line import Status, say
from cost_ledger.commands.text_table import table_lines
from cost_ledger.connections import accounts_pool, closing
from cost_ledger.errors import CommandRefused
from cost_ledger.settings import Settings
from servicekit.pepper import PepperUnusable, read_pepper
from spillway.accounts.v1 import accounts_pb2 as accountspb

_TIERS = ("free", "premium", "enterprise")
_ROLES = ("user", "team_lead", "admin", "auditor")
_IMPORT_SIZE = 500


class _Books(NamedTuple):
    accounts: Accounts
    keys: Keys


def add_accounts(commands: Any) -> None:
    """Add the four commands; each of theirs sets `work`, which returns the status."""
    tenants = _group(commands, "tenants", "tenants: create, list, disable, enable")
    create = _command(tenants, "create", _create_tenant, "create a tenant")
    create.add_argument("tenant")
    _add_tier(create)
    _add_listing(tenants, TENANT)
    _add_disabling(tenants, TENANT, ("tenant",))
    users = _group(commands, "users", "users of tenants: create, list, disable, enable")
    create = _command(users, "create", _create_user, "create a user")
    create.add_argument("tenant")
    create.add_argument("user")
    _add_tier(create)
    _add_listing(users, USER).add_argument("--tenant", default="")
    _add_disabling(users, USER, ("tenant", "user"))
    keys = _group(commands, "keys", "API keys: create, list, disable, enable, rotate, import")
    _add_key_creation(_command(keys, "create", _create_key, "make a key and print it, this once"))
    _add_listing(keys, KEY).add_argument("--tenant", default="")
    _add_disabling(keys, KEY, ("key_id",))
    rotate = _command(keys, "rotate", _rotate, "replace a key by a new one like it")
    rotate.add_argument("key_id")
    rotate.add_argument("--grace", type=int, default=0, metavar="SECONDS", help="how long the old one goes on (0)")
    taking_over = _command(keys, "import", _import, "take over the keys of an edge's key file, which go on working")
    taking_over.add_argument("file", type=Path, metavar="FILE")
    _command(_group(commands, "audit", "changes of accounts: list"), "list", _audit, "the newest 1,000 changes")


def _group(commands: Any, name: str, text: str) -> Any:
    return commands.add_parser(name, help=text).add_subparsers(metavar="COMMAND", required=True)


def _command(group: Any, name: str, work: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(name, help=text)
    parser.set_defaults(work=work)
    return parser


def _add_tier(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tier", choices=_TIERS, default="", help="default: that of the owner, of a tenant free")


def _add_listing(group: Any, kind: Kind[Any]) -> argparse.ArgumentParser:
    parser = _command(group, "list", _list, f"list {kind.name}s")
    parser.set_defaults(kind=kind)
    return parser


def _add_disabling(group: Any, kind: Kind[Any], ids: Sequence[str]) -> None:
    for name, disabled in (("disable", True), ("enable", False)):
        parser = _command(group, name, _set_disabled, f"{name} a {kind.name}; in force within seconds")
        for each in ids:
            parser.add_argument(each)
        parser.set_defaults(kind=kind, ids=ids, disabled=disabled)


def _add_key_creation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", required=True)
    owner = parser.add_mutually_exclusive_group()
    owner.add_argument("--user", default="", help="the owner; without a user or team it is the tenant")
    owner.add_argument("--team", default="")
    parser.add_argument("--name", default="", help="for people")
    _add_tier(parser)
    parser.add_argument("--role", action="append", default=[], choices=_ROLES, help="may be repeated (user)")
    parser.add_argument(
        "--model", action="append", default=[], help="a pattern, `*` is any text; may be repeated (all)"
    )
    parser.add_argument("--endpoint", action="append", default=[], help="a pattern of paths; may be repeated (all)")
    parser.add_argument("--days", type=int, help="it expires after so many (never)")


@asynccontextmanager
async def _books(settings: Settings) -> AsyncIterator[_Books]:
    try:
        pepper = read_pepper(settings.key_pepper_file)
    except PepperUnusable as error:
        raise CommandRefused(str(error)) from error
    pool = accounts_pool(settings)
    async with closing(pool):
        yield _Books(Accounts(pool), Keys(pool, pepper))


def _actor() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user has no name
        return "cli"


async def _create_tenant(settings: Settings, arguments: argparse.Namespace) -> int:
    tenant = accountspb.Tenant(tenant=arguments.tenant, tier=TIER.number(arguments.tier))
    async with _books(settings) as books:
        await books.accounts.create(TENANT, _actor(), tenant)
    return Status.OK


async def _create_user(settings: Settings, arguments: argparse.Namespace) -> int:
    user = accountspb.User(tenant=arguments.tenant, user=arguments.user, tier=TIER.number(arguments.tier))
    async with _books(settings) as books:
        await books.accounts.create(USER, _actor(), user)
    return Status.OK


async def _create_key(settings: Settings, arguments: argparse.Namespace) -> int:
    key = accountspb.Key(
        tenant=arguments.tenant,
        user=arguments.user,
        team=arguments.team,
        name=arguments.name,
        tier=TIER.number(arguments.tier),
        roles=map(ROLE.number, arguments.role),
        models=arguments.model,
        endpoints=arguments.endpoint,
    )
    if arguments.days is not None:
        if not 1 <= arguments.days <= 36_500:
            raise CommandRefused("--days must be from 1 to 36500")
        key.expires_at.FromDatetime(datetime.now(UTC) + timedelta(days=arguments.days))
    async with _books(settings) as books:
        _show_made(settings, await books.keys.create(_actor(), key))
    return Status.OK


def _show_made(settings: Settings, made: MadeKey) -> None:
    say(
        made.secret_key,
        "",
        "This is shown once. Try it:",
        f"  curl {settings.edge_url}/v1/models -H 'Authorization: Bearer {made.secret_key}'",
    )


async def _rotate(settings: Settings, arguments: argparse.Namespace) -> int:
    async with _books(settings) as books:
        made, _ = await books.keys.rotate(_actor(), arguments.key_id, Duration(seconds=arguments.grace))
    _show_made(settings, made)
    return Status.OK


async def _set_disabled(settings: Settings, arguments: argparse.Namespace) -> int:
    ids = [getattr(arguments, name) for name in arguments.ids]
    async with _books(settings) as books:
        await books.accounts.set_disabled(arguments.kind, _actor(), *ids, disabled=arguments.disabled)
    return Status.OK


async def _list(settings: Settings, arguments: argparse.Namespace) -> int:
    kind: Kind[Any] = arguments.kind
    header = [field.name for field in kind.message.DESCRIPTOR.fields if field.name != "revision"]
    rows, token = [], ""
    async with _books(settings) as books:
        while True:
            filters = {"tenant": getattr(arguments, "tenant", "")}
            page = await books.accounts.list(kind, 1000, token, filters)
            rows += [[_cell(item, name) for name in header] for item in page.items]
            if not (token := page.next_token):
                break
    say(*table_lines(header, rows))
    return Status.OK


def _cell(item: Message, name: str) -> str:
    value = getattr(item, name)
    if name == "tier":
        return TIER.word(value)
    if name == "roles":
        return ", ".join(map(ROLE.word, value))
    if name.endswith("_at"):
        return f"{value.ToDatetime():%Y-%m-%d %H:%M}" if item.HasField(name) else ""
    return value if isinstance(value, str) else ", ".join(value)


async def _import(settings: Settings, arguments: argparse.Namespace) -> int:
    try:
        entries = yaml.safe_load(arguments.file.read_text(encoding="utf-8"))["keys"]
        records = [_record(entry) for entry in entries]
    except OSError as error:
        raise CommandRefused(f"{arguments.file}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise CommandRefused(f"{arguments.file}: not a key file") from error
    imported, differing = 0, list[str]()
    async with _books(settings) as books:
        for first in range(0, len(records), _IMPORT_SIZE):
            taken = await books.keys.take_over(_actor(), records[first : first + _IMPORT_SIZE])
            imported += taken.imported
            differing += taken.differing
    say(f"imported {imported} keys; {len(records) - imported} were known")
    for key_id in differing:
        say(f"key {key_id!r} is another one here: with this file's secret it does not open")
    return Status.WRONG if differing else Status.OK


def _record(entry: dict[str, Any]) -> accountspb.KeyRecord:
    """Return a key of the file: without roles an `admin`, as the edge has it; of no tier if its own is none of ours."""
    key = accountspb.Key(
        key_id=entry["key_id"],
        tenant=entry["tenant"],
        user=entry["user"],
        tier=TIER.number(entry["tier"] if entry["tier"] in _TIERS else ""),
        roles=map(ROLE.number, entry.get("roles", ["admin"])),
    )
    return accountspb.KeyRecord(
        key=key,
        scheme=accountspb.SCHEME_SALTED_SHA256,
        salt=bytes.fromhex(entry["salt"]),
        hash=bytes.fromhex(entry["sha256"]),
    )


async def _audit(settings: Settings, _arguments: argparse.Namespace) -> int:
    async with _books(settings) as books:
        page = await books.accounts.audit(accountspb.ListAuditRequest(page_size=1000))
    header = ("when", "who", "what", "kind", "tenant", "id")
    rows = [
        [f"{each.changed_at.ToDatetime():%Y-%m-%d %H:%M:%S}", each.actor, each.action, each.kind, each.tenant, each.id]
        for each in page.items
    ]
    say(*table_lines(header, rows))
    return Status.OK
