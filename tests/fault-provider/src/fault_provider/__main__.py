"""`python -m fault_provider --port N`: serve until SIGTERM; the first line of output is the address."""

from __future__ import annotations

import argparse
import socket
import sys

import uvicorn

from fault_provider.app import create_app
from fault_provider.connection import ConnectionProtocol


class AnnouncingServer(uvicorn.Server):
    """Prints its address on the first line of standard output once it takes connections."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then say where."""
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            print(f"http://{host}:{port}", flush=True)  # noqa: T201 - the one line that whoever started this reads


def main() -> None:
    """Bind, so that a taken port is one clear line, and serve."""
    parser = argparse.ArgumentParser(prog="fault_provider", description=sys.modules[__name__].__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    arguments = parser.parse_args()
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((arguments.host, arguments.port))
    except OSError as error:
        listener.close()
        sys.exit(f"fault_provider: cannot listen on {arguments.host}:{arguments.port}: {error.strerror}")
    config = uvicorn.Config(
        create_app(),
        http=ConnectionProtocol,
        ws="none",
        loop="uvloop",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        backlog=2048,
    )
    AnnouncingServer(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
