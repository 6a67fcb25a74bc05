"""The spool keeps every event it acknowledged: in order, across restarts, kills, full disks and cancellation."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from edge.events.spool import Spool, SpoolFull, SpoolInUse, _Append

# Appends numbered events without end and prints each number once its append has returned.
WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from edge.events.spool import Spool

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
    """Return all events in the queue."""
    return [spooled.event for spooled in await spool.oldest(1_000_000)]


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
    assert given[:2] == [spooled.event for spooled in await spool.oldest(2)]
    assert 4 == spool.depth


async def test_only_replayed_events_are_removed(spool: Spool) -> None:
    """Also while more are appended; sequence numbers are never reused."""
    for number in range(3):
        await spool.append(b"%d" % number)
    second = (await spool.oldest(2))[-1].sequence
    await spool.append(b"3")
    await spool.remove_through(second)

    assert ([b"2", b"3"], 2) == (await events_of(spool), spool.depth)

    await spool.remove_through((await spool.oldest(9))[-1].sequence)
    await spool.append(b"4")
    assert [b"4"] == await events_of(spool)
    assert (await spool.oldest(1))[0].sequence > second + 2


async def test_events_survive_a_restart(path: Path) -> None:
    """With their order and their number."""
    for number in range(3):
        spool = Spool(path)
        assert number == spool.depth
        await spool.append(b"%d" % number)
        await spool.close()

    assert [b"0", b"1", b"2"] == await reopened(path)


@pytest.mark.integration
async def test_an_acknowledged_event_survives_a_kill(path: Path) -> None:
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


async def test_concurrent_appends_are_all_kept(spool: Spool) -> None:
    """Requests fail together when Redis goes away."""
    given = [b"%d" % number for number in range(200)]
    await asyncio.gather(*(spool.append(event) for event in given))

    assert given == await events_of(spool)
    assert 200 == spool.depth


async def test_a_cancelled_append_corrupts_nothing(path: Path, spool: Spool) -> None:
    """A cancelled event is kept whole or not at all; the appends around it are kept."""
    tasks = [asyncio.create_task(spool.append(b"%d" % number * 1000)) for number in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    await asyncio.wait(tasks)
    events = await events_of(spool)

    assert events == [event for number in range(50) if (event := b"%d" % number * 1000) in events]
    assert {b"%d" % number * 1000 for number in range(50) if number % 3} <= set(events)
    assert len(events) == spool.depth


async def is_kept(spool: Spool, event: bytes, *, may_use_reserve: bool = True) -> bool:
    """Append an event; return whether the spool had space for it."""
    try:
        await spool.append(event, may_use_reserve=may_use_reserve)
    except SpoolFull:
        return False
    return True


async def test_a_full_disk_is_an_error_and_loses_no_acknowledged_event(path: Path) -> None:
    """SpoolFull, no part of the event is stored, and earlier events can still be read and replayed."""
    spool = Spool(path)
    pages = spool._connection.execute("PRAGMA page_count").fetchone()[0]
    spool._connection.execute(f"PRAGMA max_page_count = {pages + 20}")
    kept = 0
    while await is_kept(spool, b"%d" % kept * 1000):
        kept += 1

    assert 0 < kept < 100
    assert kept == spool.depth
    assert [b"%d" % number * 1000 for number in range(kept)] == await events_of(spool)

    await spool.remove_through((await spool.oldest(kept))[-1].sequence)
    await spool.append(b"space again")
    await spool.close()
    assert [b"space again"] == await reopened(path)


async def test_the_file_stays_within_its_size_and_the_reserve_is_for_settled_events(path: Path) -> None:
    """Admitted events are refused first; when settled events are refused too, no stored event is lost."""
    largest = 512 * 1024
    spool = Spool(path, largest)
    admitted = 0
    while await is_kept(spool, b"a" * 1000, may_use_reserve=False):
        admitted += 1
    settled = 0
    while await is_kept(spool, b"s" * 1000):
        settled += 1
        assert not await is_kept(spool, b"b", may_use_reserve=False)
    events = await events_of(spool)
    await spool.close()

    # An event takes a little more than itself, four on a page of 4 KiB at best.
    assert largest / 2 / 1000 < admitted < largest / 1000
    assert largest / 16 / 2 / 1000 < settled < largest / 16 / 1000 + 10
    assert [b"a" * 1000] * admitted + [b"s" * 1000] * settled == events
    assert path.stat().st_size <= largest


async def test_freed_space_is_used_again(path: Path) -> None:
    """After an outage that filled it, the spool takes as many events as before."""
    spool = Spool(path, 256 * 1024)
    for _ in range(3):
        while await is_kept(spool, b"a" * 1000, may_use_reserve=False):
            pass
        await spool.remove_through((await spool.oldest(10_000))[-1].sequence)
        assert (0, True) == (spool.depth, await is_kept(spool, b"a" * 1000, may_use_reserve=False))
    await spool.close()


@pytest.mark.integration
async def test_a_spool_belongs_to_one_process(path: Path) -> None:
    """A second edge on the same file is refused with an error that says what to do, until the first one ends."""
    spool = Spool(path)
    with pytest.raises(SpoolInUse, match=r"cost-events\.sqlite: another edge uses this spool; each edge needs"):
        Spool(path)
    command = [sys.executable, "-c", WRITER, str(path)]
    second = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, said = await second.communicate()
    assert b"another edge uses this spool" in said

    await spool.append(b"kept")
    await spool.close()
    assert [b"kept"] == await reopened(path)


class HeldSpool(Spool):
    """A spool on a disk that blocks until `go` is set."""

    go: threading.Event
    commits = 0

    def _append_together(self, batch: Sequence[_Append]) -> list[bool]:
        assert self.go.wait(30)
        self.commits += 1
        return super()._append_together(batch)


async def test_events_that_arrive_while_the_disk_is_busy_are_synced_together(path: Path) -> None:
    """A hundred requests that fail together wait for two syncs and not for a hundred."""
    spool = HeldSpool(path)
    spool.go = threading.Event()
    appends = [asyncio.create_task(spool.append(b"%d" % number)) for number in range(100)]
    await asyncio.sleep(0)  # the loop goes on although the disk does not
    more = asyncio.create_task(spool.append(b"100"))
    await asyncio.sleep(0)
    assert not any(append.done() for append in appends)
    spool.go.set()
    await asyncio.wait_for(asyncio.gather(*appends, more), 20)

    assert [b"%d" % number for number in range(101)] == await events_of(spool)
    assert spool.commits <= 3
    await spool.close()


async def test_one_event_that_does_not_fit_costs_no_other(path: Path) -> None:
    """When a batch fails, its events are written one by one."""
    spool = HeldSpool(path, 256 * 1024)
    spool.go = threading.Event()
    given = [b"a" * 1000, b"too large" * 100_000, b"c" * 1000]
    appends = [asyncio.create_task(is_kept(spool, event)) for event in given]
    await asyncio.sleep(0)
    spool.go.set()
    kept = await asyncio.wait_for(asyncio.gather(*appends), 20)

    assert [True, False, True] == kept
    assert [given[0], given[2]] == await events_of(spool)
    assert 2 == spool.depth
    await spool.close()


async def test_close_waits_for_pending_writes(path: Path) -> None:
    """Also for events whose callers were cancelled."""
    spool = HeldSpool(path)
    spool.go = threading.Event()
    appends = []
    for event in (b"writing", b"waiting"):
        appends.append(asyncio.create_task(spool.append(event)))
        await asyncio.sleep(0.01)
        appends[-1].cancel()
    closing = asyncio.create_task(spool.close())
    await asyncio.wait(appends)
    assert not closing.done()
    spool.go.set()
    await asyncio.wait_for(closing, 20)

    assert [b"writing", b"waiting"] == await reopened(path)


def test_a_path_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path) -> None:
    """Not at the first outage of Redis."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Spool(tmp_path / "file" / "spool.sqlite")
    with pytest.raises(sqlite3.Error):
        Spool(tmp_path)
    (tmp_path / "text.sqlite").write_text("this is no database, and long enough to be seen as none" * 20)
    with pytest.raises(sqlite3.Error):
        Spool(tmp_path / "text.sqlite")
