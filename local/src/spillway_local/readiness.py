"""Readiness checks, one per protocol."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Awaitable, Callable

from servicekit.rpc import create_channel, is_serving
from servicekit.rpc_token import OneToken
from spillway_local import postgres, valkey
from spillway_local.ports import LOOPBACK

IsReady = Callable[[], Awaitable[bool]]
_TIMEOUT_SECONDS = 1.0


def by_http(port: int, path: str) -> IsReady:
    """Ready when GET `path` returns 200."""
    return lambda: asyncio.to_thread(_answers_200, port, path)


def by_grpc(port: int, token: str) -> IsReady:
    """Ready when the standard health service, which may ask for the `token`, reports SERVING."""

    async def is_ready() -> bool:
        async with create_channel(f"{LOOPBACK}:{port}", tokens=OneToken(token) if token else None) as channel:
            return await is_serving(channel, "", _TIMEOUT_SECONDS)

    return is_ready


def by_postgres_login(port: int) -> IsReady:
    """Ready when PostgreSQL accepts logins."""
    return lambda: asyncio.to_thread(postgres.accepts_connections, port)


def by_valkey_ping(port: int, password: str) -> IsReady:
    """Ready when Valkey answers PING, which it does once it has loaded its data."""
    return lambda: asyncio.to_thread(valkey.answers_ping, port, password)


def check_of(name: str, port: int, password: str = "") -> IsReady:
    """Return the readiness check of the process `name`; `password` is Valkey's, or the token of a gRPC server."""
    match name:
        case "postgres":
            return by_postgres_login(port)
        case "valkey":
            return by_valkey_ping(port, password)
        case "cost-ledger" | "llm-router":
            return by_grpc(port, password)
        case "local-model":
            return by_http(port, "/health")
        case _:
            return by_http(port, "/health/ready")


def _answers_200(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
