"""The commands `dead-letters list`, `show`, `replay` and `drop`."""

from __future__ import annotations

import argparse
import re
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.json_format import MessageToJson
from redis.exceptions import RedisError

from cost_ledger.commands.command_line import Status, say
from cost_ledger.commands.text_table import table_lines
from cost_ledger.connections import STATEMENT_TIMEOUT_SECONDS, closing, write_pool
from cost_ledger.errors import CommandRefused
from cost_ledger.prices.price_list import PriceList
from cost_ledger.recording.consumer import DEAD_LETTERS
from cost_ledger.recording.dead_letters import Letter, Replayer, read_letter, read_letters
from cost_ledger.recording.repair import appended_at, repair_event
from cost_ledger.recording.store import Store
from cost_ledger.settings import Settings
from servicekit.redis_client import RedisClient, open_redis

_LETTER_ID = re.compile(r"\d{1,20}-\d{1,20}")
_MAX_LIMIT = 1_000
_BATCH = 100
_SHOWN_CHARACTERS = 20_000
_REASON_CHARACTERS = 120
_SOCKET_TIMEOUT_SECONDS = 5.0


def add_dead_letters(parser: argparse.ArgumentParser) -> None:
    """Add the commands below `dead-letters`; each sets `work`, which returns the status."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    listing = commands.add_parser("list", help="list events that could not be recorded, the oldest first")
    listing.add_argument("--limit", type=_limit, default=20, metavar="N", help="at most so many (default 20)")
    listing.add_argument("--after", type=_letter_id, metavar="ID", help="only those that follow this one")
    listing.set_defaults(work=_list)
    show = commands.add_parser("show", help="show one event, and what a repair would change")
    show.add_argument("id", type=_letter_id, metavar="ID")
    show.set_defaults(work=_show)
    replay = commands.add_parser(
        "replay", help="record events after all; what is recorded already is not counted twice. Status 1: some stay"
    )
    replay.add_argument("ids", type=_letter_id, nargs="*", metavar="ID", help="only these (default: all)")
    replay.add_argument("--repair", action="store_true", help="change what cannot be recorded, and name it")
    replay.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    replay.set_defaults(work=_replay)
    drop = commands.add_parser("drop", help="delete events for good, each after it was printed: id and bytes in base64")
    drop.add_argument("ids", type=_letter_id, nargs="*", metavar="ID")
    drop.add_argument("--all", action="store_true", help="all that there are now")
    drop.set_defaults(work=_drop)


def _letter_id(text: str) -> str:
    if not _LETTER_ID.fullmatch(text):
        raise ValueError(text)
    return text


_letter_id.__name__ = "id (1700000000000-0)"


def _limit(text: str) -> int:
    limit = int(text)
    if not 1 <= limit <= _MAX_LIMIT:
        raise ValueError(text)
    return limit


_limit.__name__ = f"number from 1 to {_MAX_LIMIT}"


@asynccontextmanager
async def _client(settings: Settings) -> AsyncIterator[RedisClient]:
    client = open_redis(
        settings.redis_url,
        settings.redis_access(),
        max_connections=2,
        socket_timeout_seconds=_SOCKET_TIMEOUT_SECONDS,
    )
    try:
        yield client
    except RedisError as error:
        raise CommandRefused(f"Redis: {type(error).__name__}: {error}") from error
    finally:
        await client.aclose()


async def _list(settings: Settings, arguments: argparse.Namespace) -> int:
    async with _client(settings) as client:
        letters = await read_letters(client, arguments.after or "", arguments.limit + 1)
    if not letters:
        say("there are no dead letters" + (" after this one" if arguments.after else ""))
        return Status.OK
    shown = letters[: arguments.limit]
    rows = [
        [
            letter.letter_id,
            f"{appended_at(letter.letter_id):%Y-%m-%d %H:%M:%S}",
            _printable(letter.request_id, 36),
            f"{len(letter.data):,}",
            _printable(letter.reason, _REASON_CHARACTERS),
        ]
        for letter in shown
    ]
    say(*table_lines(("id", "time (UTC)", "request", "bytes", "reason"), rows))
    if len(letters) > len(shown):
        say(f"there are more: --after {shown[-1].letter_id}")
    return Status.OK


async def _show(settings: Settings, arguments: argparse.Namespace) -> int:
    async with _client(settings) as client:
        letter = await read_letter(client, arguments.id)
    if letter is None:
        raise CommandRefused(f"there is no dead letter {arguments.id}")
    say(f"id      {letter.letter_id}", f"entry   {_printable(letter.entry_id, 41)}")
    say(f"reason  {_printable(letter.reason, _REASON_CHARACTERS)}", f"bytes   {len(letter.data):,}")
    event = letter.event
    if event is None:
        say(f"these bytes are no cost event: {letter.data[:200].hex(' ')}")
        return Status.OK
    text = MessageToJson(event, preserving_proto_field_name=True, ensure_ascii=True)
    say(text[:_SHOWN_CHARACTERS])
    if len(text) > _SHOWN_CHARACTERS:
        say(f"... {len(text) - _SHOWN_CHARACTERS:,} more characters")
    changes = repair_event(event, appended_at(letter.letter_id))
    say(*(f"a repair changes {change}" for change in changes) if changes else ("a repair changes nothing",))
    return Status.OK


async def _replay(settings: Settings, arguments: argparse.Namespace) -> int:
    counts: Counter[str] = Counter()
    pool = write_pool(settings)
    async with _client(settings) as client, closing(pool):
        replayer = Replayer(client, Store(pool, STATEMENT_TIMEOUT_SECONDS), PriceList(pool, STATEMENT_TIMEOUT_SECONDS))
        async for letter in _chosen(client, arguments.ids):
            done = await replayer.replay(letter, may_repair=arguments.repair, dry_run=arguments.dry_run)
            counts[done.outcome] += 1
            would = "would be " if arguments.dry_run and done.outcome == "recorded" else ""
            reason = f": {_printable(done.reason, _REASON_CHARACTERS)}" if done.reason else ""
            say(f"{letter.letter_id}  {would}{_WORDS[done.outcome]}{reason}")
            say(*(f"    {change}" for change in done.changes))
    say(", ".join(f"{counts[outcome]:,} {words}" for outcome, words in _WORDS.items()))
    return Status.WRONG if counts["poisoned"] else Status.OK


_WORDS = {"recorded": "recorded", "duplicate": "recorded already", "poisoned": "cannot be recorded"}


async def _drop(settings: Settings, arguments: argparse.Namespace) -> int:
    if bool(arguments.ids) == arguments.all:
        raise CommandRefused("name the dead letters to delete, or --all")
    async with _client(settings) as client:
        async for letter in _chosen(client, arguments.ids):
            say(f"{letter.letter_id} {b64encode(letter.data).decode()}")
            await client.xdel(DEAD_LETTERS, letter.letter_id)
    return Status.OK


async def _chosen(client: RedisClient, ids: list[str]) -> AsyncIterator[Letter]:
    """Yield these letters, or all that there are now: those that arrive meanwhile are for another run."""
    for letter_id in ids:
        if (letter := await read_letter(client, letter_id)) is not None:
            yield letter
        else:
            say(f"{letter_id}  is no dead letter any more")
    if ids:
        return
    last, after = await _newest(client), ""
    while letters := await read_letters(client, after, _BATCH):
        for letter in letters:
            yield letter
            if letter.letter_id == last:
                return
        after = letters[-1].letter_id


async def _newest(client: RedisClient) -> str:
    newest: Any = await client.xrevrange(DEAD_LETTERS, count=1)
    return str(newest[0][0].decode()) if newest else ""


def _printable(text: str, length: int) -> str:
    cut = text if len(text) <= length else f"{text[:length]}..."
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in cut)
