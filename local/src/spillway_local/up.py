"""`spillway up`: the whole system on one machine until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from spillway_local import ports
from spillway_local.home import CommandError, Home, lock_home
from spillway_local.local_system import STOP_ORDER, LocalSystem
from spillway_local.supervisor import Supervisor


def parse_port(text: str) -> int:
    """Read SPILLWAY_PORT; CommandError when it is not a port, or when another process uses it, with its name."""
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise CommandError(f"SPILLWAY_PORT: {text!r} is not a port number")
    port = int(text)
    try:
        in_use = not ports.is_free(port)
    except PermissionError as error:
        raise CommandError(f"this user may not listen on port {port}") from error
    if in_use:
        process = ports.process_on(port)
        user = f" by {process}" if process else ""
        raise CommandError(f"port {port} is in use{user}; choose another with SPILLWAY_PORT")
    return port


def run_up(home: Home, environment: Mapping[str, str], custom_routes: Path | None) -> None:
    """Run until a signal arrives. CommandError or ChildDied when the start fails or a process dies."""
    port = parse_port(environment.get("SPILLWAY_PORT") or "8080")
    if custom_routes is not None and not custom_routes.is_file():
        raise CommandError(f"routes file not found: {custom_routes}")
    with lock_home(home):
        system = LocalSystem(home, port, environment, custom_routes)
        asyncio.run(_supervise(home, system))


async def _supervise(home: Home, system: LocalSystem) -> None:
    supervisor = Supervisor(home.logs, lambda line: print(line, flush=True))
    stop_requested = asyncio.Event()
    _handle_signals(stop_requested, supervisor)
    home.run_file.unlink(missing_ok=True)
    rotating = asyncio.create_task(supervisor.rotate_logs())
    try:
        starting = _start_and_publish(system, supervisor)
        await _first_of(starting, stop_requested.wait(), supervisor.first_death())
        await _first_of(stop_requested.wait(), supervisor.first_death(), system.follow_routes())
    finally:
        home.run_file.unlink(missing_ok=True)
        await supervisor.stop(STOP_ORDER)
        rotating.cancel()
    if supervisor.is_killing:
        raise CommandError("killed before all processes had stopped")


async def _start_and_publish(system: LocalSystem, supervisor: Supervisor) -> None:
    await system.start(supervisor)
    system.publish(supervisor)
    print(f"\n{system.banner()}\n", flush=True)


def _handle_signals(stop_requested: asyncio.Event, supervisor: Supervisor) -> None:
    """Stop at the first signal, kill at the second, even if the parent process had these signals ignored."""

    def on_signal() -> None:
        if stop_requested.is_set():
            supervisor.kill_all()
        else:
            stop_requested.set()
            with suppress(OSError):  # who reads the output may be gone
                print("\nStopping. Press Ctrl-C again to kill.", flush=True)

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signum, on_signal)


async def _first_of(*coroutines: Coroutine[Any, Any, Any]) -> None:
    """Run all until one ends, cancel the others, and raise its exception, the first one if it is a group."""
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
