"""The spool keeps what was handed to it: in order, across restarts, kills, full disks and cancellation."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge.spool import Spool, SpoolFull

# Appends numbered events for ever and prints each number once its event counts as kept.
WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from edge.spool import Spool

async def write():
    spool = Spool(Path(sys.argv[1]))
    for number in itertools.count():
        await spool.append(b"%d" % number)
        print(number, flush=True)

asyncio.run(write())
"""


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "cost-events.sqlite"


@pytest.fixture(name="spool")
async def _spool(path: Path) -> AsyncIterator[Spool]:
    spool = Spool(path)
    yield spool
    await spool.close()


async def events_of(spool: Spool) -> list[bytes]:
    """Return what waits."""
    return [event for _, event in await spool.oldest(1_000_000)]


async def reopened(path: Path) -> list[bytes]:
    """Return what a new process would find."""
    spool = Spool(path)
    events = await events_of(spool)
    assert len(events) == spool.depth
    await spool.close()
    return events


async def test_events_come_back_in_order(spool: Spool) -> None:
    """Oldest first, as many as asked for, any bytes."""
    given = [b"", b"\x00\xff", b"x" * 1_000_000, b"last"]
    for event in given:
        await spool.append(event)

    assert given == await events_of(spool)
    assert given[:2] == [event for _, event in await spool.oldest(2)]
    assert 4 == spool.depth


async def test_what_was_replayed_is_forgotten_and_nothing_else(spool: Spool) -> None:
    """Also while more comes in; numbers are never used twice."""
    for number in range(3):
        await spool.append(b"%d" % number)
    second = (await spool.oldest(2))[-1][0]
    await spool.append(b"3")
    await spool.remove_through(second)

    assert ([b"2", b"3"], 2) == (await events_of(spool), spool.depth)

    await spool.remove_through((await spool.oldest(9))[-1][0])
    await spool.append(b"4")
    assert [b"4"] == await events_of(spool)
    assert (await spool.oldest(1))[0][0] > second + 2


async def test_events_survive_a_restart(path: Path) -> None:
    """With their order and their number."""
    for number in range(3):
        spool = Spool(path)
        assert number == spool.depth
        await spool.append(b"%d" % number)
        await spool.close()

    assert [b"0", b"1", b"2"] == await reopened(path)


async def test_an_event_that_counts_as_kept_survives_a_kill(path: Path) -> None:
    """SIGKILL right after an acknowledgement: every acknowledged event is there, in order, and at most one more."""
    command = [sys.executable, "-c", WRITER, str(path)]
    writer = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert writer.stdout is not None
    acknowledged = [int(await writer.stdout.readline()) for _ in range(20)]
    writer.kill()
    acknowledged += [int(line) async for line in writer.stdout]
    await writer.wait()
    found = [int(event) for event in await reopened(path)]

    assert acknowledged == found[: len(acknowledged)]
    assert len(found) <= len(acknowledged) + 1


async def test_an_append_is_committed_before_it_returns(path: Path, spool: Spool) -> None:
    """Another process sees it at once, and the file is synced at each commit."""
    await spool.append(b"kept")
    other = sqlite3.connect(path)
    try:
        assert [(b"kept",)] == other.execute("SELECT event FROM events").fetchall()
        assert [("wal",)] == other.execute("PRAGMA journal_mode").fetchall()
    finally:
        other.close()
    synchronous = spool._connection.execute("PRAGMA synchronous").fetchone()
    assert (2,) == synchronous


async def test_appends_at_the_same_time_are_all_kept(spool: Spool) -> None:
    """Requests fail together when Redis goes away."""
    given = [b"%d" % number for number in range(200)]
    await asyncio.gather(*(spool.append(event) for event in given))

    assert given == await events_of(spool)
    assert 200 == spool.depth


async def test_a_cancelled_append_corrupts_nothing(path: Path, spool: Spool) -> None:
    """What was begun is kept or not, but whole; the appends around it are kept."""
    tasks = [asyncio.create_task(spool.append(b"%d" % number * 1000)) for number in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    await asyncio.wait(tasks)
    events = await events_of(spool)

    assert events == [event for number in range(50) if (event := b"%d" % number * 1000) in events]
    assert {b"%d" % number * 1000 for number in range(50) if number % 3} <= set(events)
    assert len(events) == spool.depth


async def is_kept(spool: Spool, event: bytes) -> bool:
    """Tell whether the spool took an event."""
    try:
        await spool.append(event)
    except SpoolFull:
        return False
    return True


async def test_a_full_disk_is_told_and_loses_nothing_that_was_kept(path: Path, spool: Spool) -> None:
    """SpoolFull, the event is not half there, and what was kept can still be read and replayed."""
    pages = spool._connection.execute("PRAGMA page_count").fetchone()[0]
    spool._connection.execute(f"PRAGMA max_page_count = {pages + 20}")
    kept = 0
    while await is_kept(spool, b"%d" % kept * 1000):
        kept += 1

    assert 0 < kept < 100
    assert kept == spool.depth
    assert [b"%d" % number * 1000 for number in range(kept)] == await reopened(path)

    await spool.remove_through((await spool.oldest(kept))[-1][0])
    await spool.append(b"room again")
    assert [b"room again"] == await events_of(spool)


def test_a_place_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path) -> None:
    """Not at the first outage of Redis."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Spool(tmp_path / "file" / "spool.sqlite")
    with pytest.raises(sqlite3.Error):
        Spool(tmp_path)
    (tmp_path / "text.sqlite").write_text("this is no database, and long enough to be seen as none" * 20)
    with pytest.raises(sqlite3.Error):
        Spool(tmp_path / "text.sqlite")
