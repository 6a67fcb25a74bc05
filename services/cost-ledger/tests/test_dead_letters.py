"""What could not be recorded is listed, shown, repaired and recorded after all, each event once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from cost_ledger.recording.consumer import DEAD_LETTERS
from kit.ledger.cost_events import admitted, attempt, hit, request, settled, used
from kit.ledger.process import Parts, environment, run_ledger_command
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

_TEXTS = ("", "\0", "a\0b", "x" * 100_000, "ü" * 3_000, "🙂" * 700, "'; DROP TABLE requests; --", "\u202e\ufeff")
# What says who asked or how often cannot be guessed; an enum's value comes from a newer edge. Two templates of the same
# day, user and model are refused until the primary key of revision 0001 is gone (see `spend_daily`).
_NOT_REPAIRABLE = {"tenant", "request_id", "attempt_number"} | {
    "outcome",
    "finish_reason",
    "usage_source",
    "cache_status",
}


def _places(message: Message, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield the path of each text, number and time in `message`, whether it is set or not."""
    for field in message.DESCRIPTOR.fields:
        here = (*path, field.name)
        if field.message_type is None or field.message_type in (Timestamp.DESCRIPTOR, Duration.DESCRIPTOR):
            yield here, field
        elif field.is_repeated:
            for number, each in enumerate(getattr(message, field.name)):
                yield from _places(each, (*here, number))
        elif message.HasField(field.name):
            yield from _places(getattr(message, field.name), here)


def _values(field: FieldDescriptor) -> list[Any]:
    """Return hostile values for a field."""
    if field.message_type is Timestamp.DESCRIPTOR:
        return [Timestamp(seconds=-(2**63)), Timestamp(seconds=2**63 - 1), Timestamp(nanos=-1), None]
    if field.message_type is Duration.DESCRIPTOR:
        return [Duration(seconds=-(2**63)), Duration(seconds=2**63 - 1), Duration(nanos=-(2**31)), None]
    of_types: dict[int, list[Any]] = {
        FieldDescriptor.TYPE_STRING: [*_TEXTS],
        FieldDescriptor.TYPE_INT64: [-1, 10**12, 2**63 - 1, -(2**63)],
        FieldDescriptor.TYPE_UINT32: [0, 2**31, 2**32 - 1],
        FieldDescriptor.TYPE_BOOL: [True],
        FieldDescriptor.TYPE_ENUM: [0, 999],
    }
    values = of_types[field.type]
    return [*([value, value] for value in values), values[:1] * 1000] if field.is_repeated else values


def _spoiled(event: ledgerpb.CostEvent, path: tuple[Any, ...], value: Any) -> ledgerpb.CostEvent:
    copy = ledgerpb.CostEvent()
    copy.CopyFrom(event)
    parent: Any = copy
    for step in path[:-1]:
        parent = parent[step] if isinstance(step, int) else getattr(parent, step)
    if value is None:
        parent.ClearField(path[-1])
    elif isinstance(value, list):
        getattr(parent, path[-1]).extend(value)
    elif isinstance(value, Message):
        getattr(parent, path[-1]).CopyFrom(value)
    else:
        setattr(parent, path[-1], value)
    return copy


def _hostile_events() -> Iterator[tuple[str, ledgerpb.CostEvent]]:
    for make in (admitted, settled, lambda asked: hit(asked, used())):
        for path, field in _places(make(request())):
            for value in _values(field):
                yield path[-1], _spoiled(make(request()), path, value)


def _run(database_url: str, redis_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_ledger_command(environment(database_url, redis_url), "dead-letters", *arguments)


async def test_every_field_may_hold_anything(parts: Parts, database_url: str, redis_url: str) -> None:
    """A hostile value in any field of the contract blocks nothing; what it keeps from being recorded is repaired.

    Left are those that do not say who asked, or say so twice, or come from a newer edge.
    """
    hostile = list(_hostile_events())
    good = request()
    await parts.send(*(event for _, event in hostile), settled(good))
    await parts.consume_all()
    before = len(await parts.dead())
    assert "settled" == await parts.state_of(good.request_id)
    assert 0 == parts.counted("cost_ledger_database_errors_total")
    assert 100 < before < len(hostile)

    done = _run(database_url, redis_url, "replay", "--repair")

    names = {event.SerializeToString(): name for name, event in hostile}
    left = [names[letter[b"event"]] for letter in await parts.dead()]
    assert set(left) == _NOT_REPAIRABLE
    assert f"{len(left)} cannot be recorded" in done.stdout
    assert 1 == done.returncode
    assert "" == done.stderr
    assert "Traceback" not in done.stdout
    assert [(0,)] == await parts.rows("(SELECT count(*)::int FROM requests WHERE state = 'unsettled')")


async def test_a_letter_is_recorded_once_however_often_it_is_replayed(
    parts: Parts, database_url: str, redis_url: str
) -> None:
    """The command may be killed between the commit and the removal."""
    asked = request(user="a\0b")
    end = settled(asked, [attempt(usage=used(100, 20))])
    end.settled.attempts[0].response_model = "gpt\0" + "x" * 500
    end.settled.attempts[0].dropped.extend(["a\0b", *(f"field {number}" for number in range(60))])
    await parts.send(end)
    await parts.consume_all()
    letters: Any = await parts.client.xrange(DEAD_LETTERS)
    [(letter_id, fields)] = letters

    dry = _run(database_url, redis_url, "replay", "--repair", "--dry-run")
    assert (1, None) == (await parts.client.xlen(DEAD_LETTERS), await parts.state_of(asked.request_id))
    plain = _run(database_url, redis_url, "replay")
    assert (1, None) == (await parts.client.xlen(DEAD_LETTERS), await parts.state_of(asked.request_id))
    first = _run(database_url, redis_url, "replay", "--repair")
    await parts.client.xadd(DEAD_LETTERS, fields)
    second = _run(database_url, redis_url, "replay", "--repair")

    assert [0, 1, 0, 0] == [each.returncode for each in (dry, plain, first, second)]
    assert "would be recorded" in dry.stdout
    assert "PostgreSQL refuses it" in plain.stdout
    assert f"{letter_id.decode()}  recorded\n    settled.request.user: NUL replaced\n" in first.stdout
    assert "settled.attempts[1].response_model: NUL replaced" in first.stdout
    assert "settled.attempts[1].response_model: cut from 504 characters to 248" in first.stdout
    assert "settled.attempts[1].dropped: 61 of them, now 51" in first.stdout
    assert "settled.attempts[1].dropped[1]: NUL replaced" in first.stdout
    assert "recorded already" in second.stdout
    assert [] == await parts.dead()
    assert [("a\N{REPLACEMENT CHARACTER}b", 1, 100)] == await parts.rows(
        "spend_daily", "user_id, requests::int, input_tokens::int"
    )


async def test_a_request_that_was_given_up_gets_its_end(parts: Parts, database_url: str, redis_url: str) -> None:
    """The edge said how it ended, in an event that could not be recorded then."""
    asked = request()
    end = settled(asked)
    end.settled.attempts[0].provider_request_id = "\0"
    await parts.send(admitted(asked), end)
    await parts.consume_all()
    await parts.pool.execute("UPDATE requests SET recorded_at = recorded_at - interval '1 hour'")
    assert 1 == await parts.store.give_up(60)

    done = _run(database_url, redis_url, "replay", "--repair")

    assert (0, "settled") == (done.returncode, await parts.state_of(asked.request_id))


async def test_a_list_is_read_page_by_page(parts: Parts, database_url: str, redis_url: str) -> None:
    """Neither a page nor a single event can be longer than a screen can take."""
    for number in range(5):
        await parts.client.xadd(
            DEAD_LETTERS, {"event": b"\xff" * 100_000, "reason": f"r{number}\x1b[2J", "entry_id": "1-1"}
        )
    first = _run(database_url, redis_url, "list", "--limit", "3")
    last_shown = first.stdout.splitlines()[-1].rpartition(" ")[2]
    second = _run(database_url, redis_url, "list", "--limit", "3", "--after", last_shown)
    shown = _run(database_url, redis_url, "show", last_shown)

    assert ["r0", "r1", "r2"] == [
        word[:2] for word in first.stdout.split() if word.startswith("r") and word[1:2].isdigit()
    ]
    assert "there are more: --after" in first.stdout
    assert "there are more" not in second.stdout
    assert "\x1b" not in first.stdout
    assert "no cost event: ff ff" in shown.stdout
    assert len(shown.stdout) < 2_000


async def test_a_command_that_cannot_be_run_says_why(parts: Parts, database_url: str, redis_url: str) -> None:
    """With status 2, and without a traceback."""
    unknown = _run(database_url, redis_url, "show", "1-1")
    no_id = _run(database_url, redis_url, "replay", "all")
    away = _run(database_url, "redis://127.0.0.1:1", "list")
    assert [] == await parts.dead()
    assert [2, 2, 2] == [each.returncode for each in (unknown, no_id, away)]
    assert "there is no dead letter 1-1" in unknown.stderr
    assert "Redis: ConnectionError" in away.stderr


async def test_what_is_dropped_is_printed_first(parts: Parts, database_url: str, redis_url: str) -> None:
    """All or those that are named; not by mistake."""
    ids: list[Any] = [await parts.client.xadd(DEAD_LETTERS, {"event": data}) for data in (b"one", b"two", b"three")]
    nothing = _run(database_url, redis_url, "drop")
    one = _run(database_url, redis_url, "drop", ids[1].decode())
    rest = _run(database_url, redis_url, "drop", "--all")

    assert [2, 0, 0] == [each.returncode for each in (nothing, one, rest)]
    assert f"{ids[1].decode()} dHdv\n" == one.stdout
    assert f"{ids[0].decode()} b25l\n{ids[2].decode()} dGhyZWU=\n" == rest.stdout
    assert [] == await parts.dead()
