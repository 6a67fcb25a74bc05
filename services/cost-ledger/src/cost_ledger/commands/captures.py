"""The command `captures`: what was captured, one text, and its erasure. Who runs it is in the log of changes."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from cost_ledger.captures.captures import Captures
from cost_ledger.captures.message import CaptureRow
from cost_ledger.commands.command_line import Status, actor, say
from cost_ledger.commands.text_table import table_lines
from cost_ledger.connections import captures_pool, closing
from cost_ledger.errors import CommandRefused
from cost_ledger.settings import Settings
from servicekit.sealing import CannotOpen, Sealed, SealingKeysUnusable, read_sealing_keys
from spillway.captures.v1 import captures_pb2 as capturespb

_PAGE_SIZE = 1000


def add_captures(parser: argparse.ArgumentParser) -> None:
    """Add its commands; each sets `work`, which returns the status."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    listing = _command(commands, "list", _list, "list the newest 1,000, without their texts")
    listing.add_argument("--user", default="", help="only those of this user")
    show = _command(commands, "show", _show, "show one with its texts")
    show.add_argument("request_id", metavar="ID", help="the id of the request")
    show.add_argument("--key-file", type=Path, required=True, help="the edges' EDGE_CAPTURE_KEY_FILE")
    erasure = _command(commands, "delete", _delete, "erase all of a tenant, or of one of its users, at once")
    erasure.add_argument("--user", default="", help="only those of this user")


def _command(commands: Any, name: str, work: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text)
    parser.add_argument("--tenant", required=True)
    parser.set_defaults(work=work)
    return parser


@asynccontextmanager
async def _captures(settings: Settings) -> AsyncIterator[Captures]:
    pool = captures_pool(settings)
    async with closing(pool):
        yield Captures(pool)


async def _list(settings: Settings, arguments: argparse.Namespace) -> int:
    async with _captures(settings) as captures:
        page = await captures.list(actor(), arguments.tenant, arguments.user, _PAGE_SIZE, "")
    rows = [
        [str(row.request_id), row.user_id, f"{row.asked_at:%Y-%m-%d %H:%M}", f"{row.expires_at:%Y-%m-%d}", row.key_id]
        for row in page.rows
    ]
    say(*table_lines(("request", "user", "asked", "expires", "key"), rows))
    return Status.OK


async def _show(settings: Settings, arguments: argparse.Namespace) -> int:
    try:
        keys = read_sealing_keys(arguments.key_file)
    except SealingKeysUnusable as error:
        raise CommandRefused(str(error)) from error
    async with _captures(settings) as captures:
        row = await captures.get(actor(), arguments.tenant, arguments.request_id)
    try:
        sealed = Sealed(row.key_id, row.nonce, row.ciphertext)
        texts = capturespb.Texts.FromString(keys.open(sealed, row.about))
    except (CannotOpen, DecodeError) as error:
        raise CommandRefused(str(error)) from error
    say(*_lines(row, texts))
    return Status.OK


def _lines(row: CaptureRow, texts: capturespb.Texts) -> list[str]:
    ended = f"{texts.outcome}, {texts.finish_reason}" if texts.finish_reason else texts.outcome
    return [
        f"request: {row.request_id} of {_printable(row.user_id)}, {row.asked_at:%Y-%m-%d %H:%M:%S} UTC",
        f"expires: {row.expires_at:%Y-%m-%d %H:%M} UTC",
        f"ended:   {ended}",
        "",
        f"prompt{_cut(is_cut=texts.prompt_cut)}:",
        _printable(texts.prompt),
        "",
        f"answer{_cut(is_cut=texts.answer_cut)}:",
        _printable(texts.answer),
    ]


def _cut(*, is_cut: bool) -> str:
    return " (there was more)" if is_cut else ""


def _printable(text: str) -> str:
    """Return a text without what would make a terminal do something."""
    return "".join(sign if sign.isprintable() or sign == "\n" else f"\\u{ord(sign):04x}" for sign in text)


async def _delete(settings: Settings, arguments: argparse.Namespace) -> int:
    async with _captures(settings) as captures:
        deleted = await captures.delete(actor(), arguments.tenant, arguments.user)
    say(f"deleted {deleted} captures")
    return Status.OK
