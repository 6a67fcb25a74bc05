"""`spillway up`: the whole system on one machine until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

from spillway_local import ports
from spillway_local.home import Home, Refusal, held
from spillway_local.local_system import STOP_ORDER, LocalSystem
from spillway_local.supervisor import Supervisor


def parse_port(text: str) -> int:
    """Read SPILLWAY_PORT; Refusal when it is no port, or taken, with the name of who holds it."""
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise Refusal(f"SPILLWAY_PORT: {text!r} is no port")
    port = int(text)
    try:
        taken = not ports.is_free(port)
    except PermissionError as error:
        raise Refusal(f"port {port} may not be used by this user") from error
    if taken:
        holder = ports.holder_of(port)
        raise Refusal(f"port {port} is taken{f' by {holder}' if holder else ''}; SPILLWAY_PORT chooses another")
    return port


def run_up(home: Home, environment: Mapping[str, str], chosen_routes: Path | None) -> None:
    """Run until a signal comes. Refusal or ChildDied when it cannot start, or when a process dies."""
    port = parse_port(environment.get("SPILLWAY_PORT") or "8080")
    if chosen_routes is not None and not chosen_routes.is_file():
        raise Refusal(f"no routes file at {chosen_routes}")
    with held(home):
        system = LocalSystem(home, port, environment, chosen_routes)
        asyncio.run(_supervise(home, system))


async def _supervise(home: Home, system: LocalSystem) -> None:
    supervisor = Supervisor(home.logs, lambda line: print(line, flush=True))
    stop_requested = asyncio.Event()
    _take_signals(stop_requested, supervisor)
    home.run_file.unlink(missing_ok=True)
    try:
        starting = _start_and_publish(system, supervisor)
        await _first_of(starting, stop_requested.wait(), supervisor.first_death())
        await _first_of(stop_requested.wait(), supervisor.first_death())
    finally:
        home.run_file.unlink(missing_ok=True)
        await supervisor.stop(STOP_ORDER)
    if supervisor.was_hurried:
        raise Refusal("killed before everything had ended by itself")


async def _start_and_publish(system: LocalSystem, supervisor: Supervisor) -> None:
    await system.start(supervisor)
    system.publish(supervisor)
    print(f"\n{system.banner()}\n", flush=True)


def _take_signals(stop_requested: asyncio.Event, supervisor: Supervisor) -> None:
    """Stop at the first signal, kill at the second; also where they were ignored by whoever started this."""

    def on_signal() -> None:
        if stop_requested.is_set():
            supervisor.hurry()
        else:
            print("\nStopping; once more to kill.", flush=True)
            stop_requested.set()

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signum, on_signal)


async def _first_of(*coroutines: Coroutine[Any, Any, Any]) -> None:
    """Run all until one ends, cancel the others, and raise what it raised, out of its group if it was in one."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        error = task.exception()
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if error is not None:
            raise error
