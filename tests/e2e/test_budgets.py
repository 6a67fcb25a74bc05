"""Budgets as an operator sets them and a client meets them, on the whole system."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from kit.front_door.edge_client import Behind, Chat, EdgeClient

pytestmark = [pytest.mark.integration, pytest.mark.local]


async def run(behind: Behind, *arguments: str) -> str:
    """Run `spillway budgets`; return what it says."""
    command = [sys.executable, "-m", "spillway_local", "budgets", *arguments]
    environment = {**os.environ, "SPILLWAY_HOME": str(behind.home)}
    done = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


async def ask_until(edge: EdgeClient, query: str, is_reached: Callable[[Chat], bool]) -> Chat:
    """Ask again, each time something new, until a change is in force."""
    async with asyncio.timeout(20):
        number = 0
        while not is_reached(chat := await edge.chat(f"{query} {number}", model="rich")):
            number += 1
            await asyncio.sleep(0.2)
    return chat


async def test_a_budget_from_its_making_to_its_end(edge: EdgeClient, behind: Behind) -> None:
    """Used up it means another model, then a refusal, each said to the client and in the receipt; removed, nothing."""
    edges, per, zone = ("--each", "tenant"), ("--per", "month"), ("--zone", "Europe/Berlin")
    whom = ("--tenant", "blue")
    before = await edge.chat("before any budget", model="rich")
    await run(behind, "set", "month", *edges, *per, *zone, *whom, "--usd", "0")
    try:
        moved = await ask_until(edge, "moved", lambda chat: "x-economy-model" in chat.headers)
        receipt = await edge.receipt(moved.request_id)
        verified = await run(behind, "verify")
        listed = await run(behind, "list")

        await run(behind, "set", "month", *edges, *per, *zone, *whom, "--usd", "0", "--stop-usd", "0")
        stopped = await ask_until(edge, "stopped", lambda chat: chat.status != 200)
    finally:
        await run(behind, "remove", "month")
    await ask_until(edge, "again", lambda chat: chat.status == 200 and "x-economy-model" not in chat.headers)

    economy = {"model": "other", "budget": "month"}
    assert before.events[0].data["economy"] is None
    assert ("other", economy, economy) == (
        moved.headers["x-economy-model"],
        moved.events[0].data["economy"],
        moved.last["economy"],
    )
    assert ("rich", economy, ["ok?test=other"]) == (
        receipt["requested_model"],
        receipt["economy"],
        [attempt["target_model"] for attempt in receipt["attempts"]],
    )
    assert "0 differ" in verified
    assert ["month", "tenant", "month", "Europe/Berlin", "0", "economy", "tenant", "blue"] in [
        line.split() for line in listed.splitlines()
    ]
    assert (429, "spend_limit_reached") == (stopped.status, stopped.last["error"]["code"])
    assert "tenant 'blue'" in stopped.last["error"]["message"]
    assert "(budget 'month'); the next month begins" in stopped.last["error"]["message"]


async def test_what_is_spent_is_in_the_figure(edge: EdgeClient, behind: Behind) -> None:
    """A budget that is made in the middle of a day knows what was spent before it."""
    chat = await edge.chat("spent before", model="happy")
    await edge.receipt(chat.request_id)
    await run(behind, "set", "late", "--each", "user", "--per", "day", "--usd", "0.000001", "--over", "warn")
    try:
        told = await ask_until(edge, "told", lambda chat: "late;exhausted" in chat.headers.get("x-budget", ""))
    finally:
        await run(behind, "remove", "late")

    assert told.status == 200
    assert "x-economy-model" not in told.headers


async def test_mistakes_are_said_in_a_line(behind: Behind) -> None:
    """Without a traceback, with status 2."""
    for arguments in (
        ["set", "x", "--each", "user", "--per", "day", "--usd", "-1"],
        ["set", "x", "--each", "user", "--per", "day", "--usd", "1", "--zone", "Mars/Olympus"],
        ["set", "x", "--each", "user", "--per", "day", "--usd", "1", "--over", "emergency"],
        ["remove", "none-of-this-name"],
    ):
        command = [sys.executable, "-m", "spillway_local", "budgets", *arguments]
        environment = {**os.environ, "SPILLWAY_HOME": str(behind.home)}
        done = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True)
        assert 2 == done.returncode
        assert 1 == done.stderr.count("\n"), done.stderr
