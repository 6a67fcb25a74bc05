"""`python -m local_model`: serve a small model until SIGTERM or SIGINT."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from typing import Any

import structlog

from local_model import llama_log
from local_model.llama_server import ServerFailed, has_requests, start_server
from local_model.settings import Settings
from local_model.weights import MODEL_NAME, WeightsMissing, find_weights
from servicekit.addresses import host_of_both, join_address
from servicekit.logs import configure_logs
from servicekit.settings import load_settings

_STOPS = {signal.SIGTERM, signal.SIGINT}
_IDLE_LOOKS, _LOOK_SECONDS = 3, 0.2
log = structlog.get_logger()


def main() -> None:
    """Serve until told to stop; exit status 1 and one line on standard error when that cannot begin."""
    settings = load_settings(Settings)
    logs = configure_logs("local-model", settings.log_level)
    # Before any thread exists, so that all of them leave the signals to sigwait below.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    begun = time.monotonic()
    try:
        weights = find_weights(settings.model_file)
        _check_port(host_of_both(settings.host), settings.port)
        log_filter = llama_log.redirect("local-model")
        server = start_server(settings, weights)
    except (WeightsMissing, PortTaken, ServerFailed) as error:
        sys.exit(f"local-model: {error}")
    llama_log.withhold_from_now_on()
    log.info(
        "serving",
        address=server.listening_address,
        model=MODEL_NAME,
        threads=settings.threads,
        parallel=settings.parallel,
        log_filter_pid=log_filter.pid,
        load_seconds=round(time.monotonic() - begun, 3),
    )
    received = signal.sigwait(_STOPS)
    _drain(server, settings.drain_timeout_seconds)
    log.info("stopped", signal=signal.Signals(received).name)
    # Without the server's destructor: told to stop while it starts, llama.cpp waits for itself for ever. There is
    # nothing to save but the last lines of the log, and an answer that still runs has had its time.
    logs.flush()
    os._exit(0)


def _drain(server: Any, seconds: float) -> None:
    """Let running answers finish, for `seconds` at most and not beyond a second signal; new ones are answered, too.

    llama.cpp has no way to refuse them. What has been written is on its way when nothing was left for some looks.
    """
    until = time.monotonic() + seconds
    idle_looks = 0
    while time.monotonic() < until and idle_looks < _IDLE_LOOKS:
        idle_looks = 0 if has_requests(server) else idle_looks + 1
        if signal.sigtimedwait(_STOPS, _LOOK_SECONDS):
            return


class PortTaken(Exception):
    """Somebody else listens where this server should."""


def _check_port(host: str, port: int) -> None:
    """Refuse a port that cannot be bound; llama.cpp says it in five lines, one of them wrong."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(f"cannot listen on {join_address(host, port)}: {error.strerror}") from error


if __name__ == "__main__":
    main()
