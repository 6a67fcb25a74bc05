"""Two processes of one group share the load; when one is killed the other does its work."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import httpx2

from cost_ledger.recording.consumer import GROUP, STREAM
from kit.ledger.cost_events import admitted, request, settled
from kit.ledger.process import LedgerProcess, Parts, running_ledger, until
from spillway.ledger.v1 import ledger_pb2 as ledgerpb


async def send_quickly(parts: Parts, events: list[ledgerpb.CostEvent]) -> None:
    """Put all of them on the stream in one go."""
    pipeline = parts.client.pipeline(transaction=False)
    for event in events:
        pipeline.xadd(STREAM, {"event": event.SerializeToString()})
    await pipeline.execute()


def recorded_by(ledger: LedgerProcess) -> int:
    """Return how many ends of requests a process has recorded."""
    lines = [line for line in ledger.log_lines() if line["event"] == "request_recorded"]
    return sum(line["outcome"] == "recorded" for line in lines)


async def members(parts: Parts) -> set[bytes]:
    """Return the names in the group."""
    members: Any = await parts.client.xinfo_consumers(STREAM, GROUP)
    return {member["name"] for member in members}


async def test_two_processes_share_the_load(parts: Parts, database_url: str, redis_url: str, tmp_path: Path) -> None:
    """Both record, together everything, and nothing twice."""
    asked = [request(user=f"user-{number % 7}") for number in range(5000)]
    async with (
        running_ledger(tmp_path, database_url, redis_url, CONSUMER="one") as one,
        running_ledger(tmp_path, database_url, redis_url, CONSUMER="two") as two,
    ):
        await send_quickly(parts, [event for each in asked for event in (admitted(each), settled(each))])
        await until(parts.is_drained, 60.0)
        assert (0, 0) == (one.stop(20.0), two.stop(20.0))

    assert 0 < recorded_by(one)
    assert 0 < recorded_by(two)
    assert 5000 == recorded_by(one) + recorded_by(two)
    assert [(5000, 5000)] == await parts.rows("(SELECT sum(requests)::int, sum(attempts)::int FROM spend_daily)")
    assert [] == await parts.dead()


async def test_what_a_killed_process_held_is_recorded_by_the_other(
    parts: Parts, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """SIGKILL during a batch: its entries are claimed, and its name is removed from the group."""
    asked = [request(user=f"user-{number % 7}") for number in range(600)]
    async with running_ledger(tmp_path, database_url, redis_url, CONSUMER="killed") as killed:
        # While this lock is held the batch cannot end.
        async with parts.pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE requests IN EXCLUSIVE MODE")
            await send_quickly(parts, [settled(each) for each in asked])
            await until(lambda: _is_pending(parts))
            killed.process.send_signal(signal.SIGKILL)
            killed.process.wait(10.0)
        assert 0 < await parts.pending()
        async with running_ledger(tmp_path, database_url, redis_url, CONSUMER="heir", CLAIM_AFTER_SECONDS=0.2) as heir:
            await until(parts.is_drained, 60.0)
            # The sweep that removes it comes every ten seconds.
            await until(lambda: _is_alone(parts, b"heir"), 60.0)
            # It says so after it was done.
            await until(lambda: _is_logged(heir, "members_removed"))

    assert [(600, 600)] == await parts.rows("(SELECT sum(requests)::int, sum(attempts)::int FROM spend_daily)")
    assert 0 == await parts.pending()


async def test_requests_whose_ends_are_on_the_stream_are_not_given_up(
    parts: Parts, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """While the ledger lags nothing is given up, the reason is logged, and metrics have the lag."""
    asked = request()
    await parts.send(admitted(asked))
    await parts.consume_all()
    await parts.pool.execute("UPDATE requests SET recorded_at = now() - interval '1 hour'")
    seconds, _ = await parts.client.time()
    # An end that another member has read, and does not give back before it is claimed.
    await parts.client.delete(STREAM)
    await parts.client.xadd(STREAM, {"event": settled(asked).SerializeToString()}, id=f"{(seconds - 60) * 1000}-0")
    await parts.client.xgroup_create(STREAM, GROUP, id="0")
    await parts.client.xreadgroup(GROUP, "slow", {STREAM: ">"})
    async with running_ledger(tmp_path, database_url, redis_url, CLAIM_AFTER_SECONDS=600) as ledger:
        await until(lambda: _is_logged(ledger, "sweep_put_off"), 60.0)
        assert "admitted" == await parts.state_of(asked.request_id)
        await until(lambda: _is_exported(ledger, "cost_ledger_sweeps_put_off_total 1.0"), 60.0)
        page = httpx2.get(ledger.metrics_url).text
    [age] = [line for line in page.splitlines() if line.startswith("cost_ledger_oldest_event_seconds ")]
    assert 59 <= float(age.split()[1]) <= 300
    assert "cost_ledger_backlog_events 1.0" in page


async def _is_pending(parts: Parts) -> bool:
    return 0 < await parts.pending()


async def _is_alone(parts: Parts, name: bytes) -> bool:
    return {name} == await members(parts)


async def _is_logged(ledger: LedgerProcess, event: str) -> bool:
    return event in {line["event"] for line in ledger.log_lines()}


async def _is_exported(ledger: LedgerProcess, text: str) -> bool:
    return text in httpx2.get(ledger.metrics_url).text
