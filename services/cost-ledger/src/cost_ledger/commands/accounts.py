"""The commands `tenants`, `teams`, `users`, `keys` and `audit`: who may use the gateway, and who changed that."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from cost_ledger.accounts.accounts import Accounts
from cost_ledger.accounts.fields import MAX_CAPTURE_DAYS, ROLE, TIER
from cost_ledger.accounts.keys import Keys, MadeKey
from cost_ledger.accounts.kinds import KEY, TEAM, TENANT, USER, Kind
from cost_ledger.commands.command_line import Status, actor, say
from cost_ledger.commands.text_table import table_lines
from cost_ledger.connections import accounts_pool, closing
from cost_ledger.errors import CommandRefused
from cost_ledger.settings import Settings
from servicekit.pepper import PepperUnusable, read_pepper
from spillway.accounts.v1 import accounts_pb2 as accountspb

_TIERS = ("free", "premium", "enterprise")
_ROLES = ("user", "team_lead", "admin", "auditor", "operator")
_INHERIT = "inherit"
_REPEATED = {
    "roles": ("role", "may be repeated (user)"),
    "models": ("model", "a pattern, `*` is any text; may be repeated (all)"),
    "endpoints": ("endpoint", "a pattern of paths; may be repeated (all)"),
}
_MAX_DAYS = 36_500
_IMPORT_SIZE = 500


class _Books(NamedTuple):
    accounts: Accounts
    keys: Keys


def add_accounts(commands: Any) -> None:
    """Add the five commands; each of theirs sets `work`, which returns the status."""
    for name, kind in (("tenants", TENANT), ("teams", TEAM), ("users", USER)):
        group = _group(commands, name, f"{name}: create, list, show, update, disable, enable")
        _add_fields(_with_ids(_command(group, "create", _create, f"create a {kind.name}"), kind), kind)
        _add_common(group, kind)
    keys = _group(commands, "keys", "API keys: create, list, show, update, disable, enable, rotate, import")
    _add_key_creation(_command(keys, "create", _create_key, "make a key and print it, this once"))
    _add_common(keys, KEY)
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


def _with_ids(parser: argparse.ArgumentParser, kind: Kind[Any]) -> argparse.ArgumentParser:
    for each in kind.ids:
        parser.add_argument(each)
    parser.set_defaults(kind=kind)
    return parser


def _add_common(group: Any, kind: Kind[Any]) -> None:
    """Add what all kinds have."""
    listing = _command(group, "list", _list, f"list {kind.name}s")
    listing.set_defaults(kind=kind)
    if kind is not TENANT:
        listing.add_argument("--tenant", default="")
    _with_ids(_command(group, "show", _show, f"show a {kind.name}, field by field"), kind)
    update = _command(group, "update", _update, f"change fields of a {kind.name}; in force within seconds")
    _add_fields(_with_ids(update, kind), kind)
    for name, disabled in (("disable", True), ("enable", False)):
        parser = _command(group, name, _set_disabled, f"{name} a {kind.name}; in force within seconds")
        _with_ids(parser, kind).set_defaults(disabled=disabled)


def _add_fields(parser: argparse.ArgumentParser, kind: Kind[Any]) -> None:
    """Add the options for what may be set; one that is not given is None."""
    for field in kind.settable:
        if field == "tier":
            text = f"{_INHERIT}: that of the owner, of a tenant free"
            parser.add_argument("--tier", choices=(*_TIERS, _INHERIT), help=text)
        elif field in _REPEATED:
            option, text = _REPEATED[field]
            choices = _ROLES if field == "roles" else None
            parser.add_argument(f"--{option}", dest=field, action="append", choices=choices, help=text)
        elif field == "expires_at":
            parser.add_argument("--days", dest=field, type=int, help="it expires after so many; 0: never")
        elif field == "capture_days":
            text = f"keep texts of requests for so long, at most {MAX_CAPTURE_DAYS}; 0: do not capture them (default)"
            parser.add_argument("--capture-days", type=int, help=text)
        else:
            text = "for people" if field == "name" else 'the team that it is of; "": none'
            parser.add_argument(f"--{field}", help=text)


def _fields_of(arguments: argparse.Namespace, kind: Kind[Any]) -> dict[str, Any]:
    """Return the values of the options that were given, as the message has them."""
    values: dict[str, Any] = {}
    for field in kind.settable:
        value = getattr(arguments, field)
        if value is None:
            continue
        if field == "tier":
            value = TIER.number("" if value == _INHERIT else value)
        elif field == "roles":
            value = [ROLE.number(role) for role in value]
        elif field == "expires_at":
            if not 0 <= value <= _MAX_DAYS:
                raise CommandRefused(f"--days must be from 0 to {_MAX_DAYS}")
            value = datetime.now(UTC) + timedelta(days=value) if value else None
        elif field == "capture_days" and not 0 <= value <= MAX_CAPTURE_DAYS:
            raise CommandRefused(f"--capture-days must be from 0 to {MAX_CAPTURE_DAYS}")
        values[field] = value
    return values


def _add_key_creation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tenant", required=True)
    owner = parser.add_mutually_exclusive_group()
    owner.add_argument("--user", default="", help="the owner; without a user or team it is the tenant")
    owner.add_argument("--team", default="")
    _add_fields(parser, KEY)


@asynccontextmanager
async def _books(settings: Settings) -> AsyncIterator[_Books]:
    try:
        pepper = read_pepper(settings.key_pepper_file)
    except PepperUnusable as error:
        raise CommandRefused(str(error)) from error
    pool = accounts_pool(settings)
    async with closing(pool):
        yield _Books(Accounts(pool), Keys(pool, pepper))


async def _create(settings: Settings, arguments: argparse.Namespace) -> int:
    kind: Kind[Any] = arguments.kind
    message = kind.message(**_ids_of(arguments), **_fields_of(arguments, kind))
    async with _books(settings) as books:
        await books.accounts.create(kind, actor(), message)
    return Status.OK


async def _update(settings: Settings, arguments: argparse.Namespace) -> int:
    kind: Kind[Any] = arguments.kind
    values = _fields_of(arguments, kind)
    if not values:
        raise CommandRefused("nothing to change; --help shows what may be")
    async with _books(settings) as books:
        await books.accounts.update(kind, actor(), kind.message(**_ids_of(arguments), **values), list(values))
    return Status.OK


async def _show(settings: Settings, arguments: argparse.Namespace) -> int:
    kind: Kind[Any] = arguments.kind
    async with _books(settings) as books:
        shown = await books.accounts.get(kind, *_ids_of(arguments).values())
    fields = [name for name in _shown_fields(kind) if _cell(shown, name)]
    say(*(line for name in fields for line in table_lines([f"{name}:", _cell(shown, name)], [])))
    return Status.OK


async def _create_key(settings: Settings, arguments: argparse.Namespace) -> int:
    owner = {name: getattr(arguments, name) for name in ("tenant", "user", "team")}
    key = accountspb.Key(**owner, **_fields_of(arguments, KEY))
    async with _books(settings) as books:
        _show_made(settings, await books.keys.create(actor(), key))
    return Status.OK


def _ids_of(arguments: argparse.Namespace) -> dict[str, str]:
    return {name: getattr(arguments, name) for name in arguments.kind.ids}


def _show_made(settings: Settings, made: MadeKey) -> None:
    say(
        made.secret_key,
        "",
        "This is shown once. Try it:",
        f"  curl {settings.edge_url}/v1/models -H 'Authorization: Bearer {made.secret_key}'",
    )


async def _rotate(settings: Settings, arguments: argparse.Namespace) -> int:
    async with _books(settings) as books:
        made, _ = await books.keys.rotate(actor(), arguments.key_id, Duration(seconds=arguments.grace))
    _show_made(settings, made)
    return Status.OK


async def _set_disabled(settings: Settings, arguments: argparse.Namespace) -> int:
    ids = _ids_of(arguments)
    async with _books(settings) as books:
        await books.accounts.set_disabled(arguments.kind, actor(), *ids.values(), disabled=arguments.disabled)
    return Status.OK


async def _list(settings: Settings, arguments: argparse.Namespace) -> int:
    kind: Kind[Any] = arguments.kind
    header = _shown_fields(kind)
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


def _shown_fields(kind: Kind[Any]) -> list[str]:
    return [field.name for field in kind.message.DESCRIPTOR.fields if field.name != "revision"]


def _cell(item: Message, name: str) -> str:
    value = getattr(item, name)
    if name == "tier":
        return TIER.word(value)
    if name == "roles":
        return ", ".join(map(ROLE.word, value))
    if name.endswith("_at"):
        return f"{value.ToDatetime():%Y-%m-%d %H:%M}" if item.HasField(name) else ""
    if isinstance(value, int):
        return str(value or "")
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
            taken = await books.keys.take_over(actor(), records[first : first + _IMPORT_SIZE])
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
    header = ("when", "who", "what", "kind", "tenant", "id", "changed")
    rows = [_audit_row(entry) for entry in page.items]
    say(*table_lines(header, rows))
    return Status.OK


def _audit_row(entry: accountspb.AuditEntry) -> list[str]:
    when = f"{entry.changed_at.ToDatetime():%Y-%m-%d %H:%M:%S}"
    return [when, entry.actor, entry.action, entry.kind, entry.tenant, entry.id, _difference(entry)]


def _difference(entry: accountspb.AuditEntry) -> str:
    """Return what an update has changed; empty for what was created."""
    if not entry.before:
        return ""
    before, after = json.loads(entry.before), json.loads(entry.after)
    changed = [name for name in after if before.get(name) != after[name]]
    return "; ".join(f"{name}: {_word(before.get(name))} -> {_word(after[name])}" for name in changed)


def _word(value: object) -> str:
    return ", ".join(map(str, value)) or "-" if isinstance(value, list) else str(value or "-")
