"""Clients of Redis or Valkey, the same for every service: one server, a primary that Sentinels name, or a Cluster.

    redis://USER:PASSWORD@HOST:6379/0                                one server
    redis+sentinel://USER:PASSWORD@HOST:26379,HOST:26379/0?master=NAME    the primary of the group NAME
    redis+cluster://USER:PASSWORD@HOST:6379,HOST:6379                nodes to ask for all others

`rediss` instead of `redis` in any of them: TLS, also to the Sentinels. Other options of redis-py may follow in a query.
Services that use this module depend on redis themselves: servicekit does not, as not all of them do.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import redis.asyncio as redis
import structlog
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import MaxConnectionsError, ReadOnlyError, RedisError

log = structlog.get_logger()

RedisClient: TypeAlias = redis.Redis | redis.RedisCluster

_CONNECT_SECONDS = 1.0
# A peer that is gone without a word is noticed after about ten seconds, by the kernel.
_KEEPALIVE = {
    getattr(socket, name): value
    for name, value in (
        ("TCP_KEEPIDLE", 4),
        ("TCP_KEEPINTVL", 2),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 10_000),  # milliseconds
    )
    if hasattr(socket, name)
}
# A node of a Cluster that hangs must not keep the client from asking the next one where everything is.
_CLUSTER_SOCKET_SECONDS = 1.0
# One that has not settled for what others have decided already answers later than those.
_OTHER_SENTINELS_SECONDS = 0.02
# Two in a row, because a slow server alone is no reason to connect to it again.
_FAILURES = 2
_DROP_SECONDS = 10.0
# What a server says that is no primary, or not with enough replicas to be one for long.
_NO_PRIMARY = ("MASTERDOWN", "NOREPLICAS", "UNBLOCKED")


@dataclass(frozen=True, slots=True)
class RedisAccess:
    """What is secret, or a file, and therefore in no URL; each goes before what the URL says."""

    username: str | None = None
    password: str | None = None
    tls_directory: Path | None = None
    """A folder with `ca.crt`, and `tls.crt` and `tls.key` when the servers ask for a certificate."""
    sentinel_username: str | None = None
    sentinel_password: str | None = None


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A URL, read."""

    kind: str
    """`server`, `sentinel` or `cluster`."""
    hosts: Sequence[tuple[str, int]]
    has_tls: bool
    master: str
    options: Mapping[str, Any]
    """Arguments of redis-py's connections."""


# Scheme, login, hosts, the rest. urllib refuses several hosts when one is an IPv6 address (since Python 3.11.4).
_SERVERS = re.compile(r"([^:/?#]+://)([^/?#]*@)?([^/?#]*)(.*)", re.DOTALL)


def read_address(url: str) -> RedisAddress:
    """Read a URL of one of the three forms; ValueError with a reason that shows nothing of the URL."""
    try:
        return _read_address(url)
    except _UrlUnusable:
        raise
    except ValueError:
        # The reason of urllib may quote a part of the password.
        raise ValueError("cannot be read; in a password / : @ ? # and % must be percent-encoded") from None


class _UrlUnusable(ValueError):
    """Why, in words that may be shown."""


def _read_address(url: str) -> RedisAddress:
    address = _SERVERS.fullmatch(url)
    if address is None:
        raise _UrlUnusable("must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://")
    start, login, hosts, rest = address.groups()
    parts = urlsplit(start + hosts.partition(",")[0] + rest)
    scheme, _, form = parts.scheme.partition("+")
    kind = {"": "server", "sentinel": "sentinel", "cluster": "cluster"}.get(form)
    if kind is None or scheme not in ("redis", "rediss", "unix") or (scheme == "unix" and kind != "server"):
        raise _UrlUnusable("must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://")
    if kind == "server":
        return RedisAddress(kind, (), scheme == "rediss", "", {**parse_url(url)})
    query = dict(parse_qsl(parts.query))
    master = query.pop("master", "") if kind == "sentinel" else ""
    if kind == "sentinel" and not master:
        raise _UrlUnusable("must end with ?master=NAME, the name by which the Sentinels know the group")
    if kind == "cluster" and parts.path.strip("/") not in ("", "0"):
        raise _UrlUnusable("must name no database: a Cluster has only one")
    each: list[dict[str, Any]] = [
        {**parse_url(urlunsplit((scheme, f"{login or ''}{host}", parts.path, urlencode(query), "")))}
        for host in hosts.split(",")
    ]
    port = 26379 if kind == "sentinel" else 6379
    found = tuple((one.pop("host", ""), one.pop("port", port)) for one in each)
    if not all(host for host, _ in found):
        raise _UrlUnusable("must name a host")
    return RedisAddress(kind, found, scheme == "rediss", master, each[0])


def open_redis(
    url: str, access: RedisAccess | None = None, *, max_connections: int, socket_timeout_seconds: float | None = None
) -> RedisClient:
    """Return a client, not connected yet, that fails at once: each caller has a deadline of its own, and a fallback.

    Beyond `max_connections` to a server a command waits for a second; in a Cluster it fails. Without a socket timeout
    redis-py's writes are not wrapped in `asyncio.wait_for`, which before Python 3.12 may lose a cancellation.
    """
    address, access = read_address(url), access or RedisAccess()
    options = {**address.options, **_connection_options(address, access)}
    if socket_timeout_seconds is not None:
        options["socket_timeout"] = socket_timeout_seconds
    if address.kind == "cluster":
        return _open_cluster(address, options, max_connections)
    if address.kind == "sentinel":
        options["sentinels"] = _Sentinels(address, access)
        options["connection_class"] = _NamedSSLConnection if address.has_tls else _NamedConnection
    options = {"socket_timeout": None, **options, "retry": _no_retry()}
    pool = redis.BlockingConnectionPool(max_connections=max_connections, timeout=1, **options)
    return redis.Redis.from_pool(pool)


def _open_cluster(address: RedisAddress, options: dict[str, Any], max_connections: int) -> redis.RedisCluster:
    options.pop("connection_class", None)
    options.pop("db", None)
    return redis.RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
        # Names in the URL outlive the addresses that nodes have at one time.
        dynamic_startup_nodes=False,
        max_connections=max_connections,
        ssl=address.has_tls,
        # One more try, at the node that has the slot by then.
        retry=Retry(NoBackoff(), 1),
        **{"socket_timeout": _CLUSTER_SOCKET_SECONDS, **options},
    )


def _no_retry() -> Retry:
    return Retry(NoBackoff(), 0)


def _connection_options(address: RedisAddress, access: RedisAccess) -> dict[str, Any]:
    options: dict[str, Any] = {
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_keepalive": True,
        "socket_keepalive_options": _KEEPALIVE,
    }
    if "path" in address.options:
        return {"socket_connect_timeout": _CONNECT_SECONDS}
    if access.username is not None:
        options["username"] = access.username
    if access.password is not None:
        options["password"] = access.password
    return {**options, **_tls_options(access.tls_directory)}


def _tls_options(directory: Path | None) -> dict[str, str]:
    """Return redis-py's names for the files; OSError when they cannot be loaded."""
    if directory is None:
        return {}
    authority, certificate, key = (directory / name for name in ("ca.crt", "tls.crt", "tls.key"))
    context = ssl.create_default_context(cafile=authority)
    options = {"ssl_ca_certs": str(authority)}
    if certificate.exists():
        context.load_cert_chain(certificate, key)
        options |= {"ssl_certfile": str(certificate), "ssl_keyfile": str(key)}
    return options


class _Sentinels:
    """Ask all Sentinels at once, so that none that hangs is waited for."""

    def __init__(self, address: RedisAddress, access: RedisAccess) -> None:
        self._hosts = address.hosts
        self._master = address.master
        own = {name: value for name, value in address.options.items() if name.startswith("ssl_")}
        self._options: dict[str, Any] = {
            **own,
            **_tls_options(access.tls_directory),
            "username": access.sentinel_username,
            "password": access.sentinel_password,
            "ssl": address.has_tls,
            "socket_connect_timeout": _CONNECT_SECONDS,
            "socket_timeout": _CONNECT_SECONDS,
        }

    async def find_primary(self) -> tuple[str, int]:
        """Return the primary's host and port; redis.ConnectionError when no Sentinel names one."""
        asked = {asyncio.create_task(self._ask(host, port)) for host, port in self._hosts}
        waiting = set(asked)
        answers: list[tuple[int, str, int]] = []
        try:
            while waiting:
                timeout = _OTHER_SENTINELS_SECONDS if answers else None
                done, waiting = await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    break
                answers += [answer for task in done if (answer := task.result()) is not None]
        finally:
            for task in asked:
                task.cancel()
        if not answers:
            raise redis.ConnectionError(f"no Sentinel names a primary of {self._master!r}")
        # The one with the latest decision: a Sentinel that was cut off still names the former primary.
        _, host, port = max(answers)
        return host, port

    async def _ask(self, host: str, port: int) -> tuple[int, str, int] | None:
        client = redis.Redis(host=host, port=port, retry=_no_retry(), **self._options)
        try:
            state: Any = await client.sentinel_master(self._master)
        except (RedisError, OSError):
            return None
        finally:
            with suppress(RedisError, OSError):
                await client.aclose()
        if state["is_sdown"] or state["is_odown"]:
            return None
        return state["config-epoch"], state["ip"], state["port"]


class _NamedConnection(Connection):
    """A connection to the server that is the primary at the time of connecting."""

    def __init__(self, *, sentinels: _Sentinels, **options: Any) -> None:
        super().__init__(**options)
        self._sentinels = sentinels

    async def _connect(self) -> None:
        self.host, self.port = await self._sentinels.find_primary()
        await super()._connect()  # type: ignore[no-untyped-call]


class _NamedSSLConnection(_NamedConnection, SSLConnection):
    """The same with TLS."""


class Reconnection:
    """Drops connections that lead to a wrong server: one that hangs, is gone, or has been made a replica.

    The next ones are made to where the name, the Sentinels or the Cluster point by then.
    """

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._failures = 0
        self._dropping: asyncio.Task[None] | None = None

    def note_success(self) -> None:
        """Note that a command was carried out."""
        self._failures = 0

    def note_failure(self, error: BaseException) -> None:
        """Note that a command was not: what a replica answers drops the connections at once, others the second time."""
        if _is_busy(error):
            return  # all connections are in use, which says nothing of the server
        self._failures += 1
        if self._failures < _FAILURES and not _is_from_replica(error):
            return
        self._failures = 0
        if self._dropping is None or self._dropping.done():
            log.warning("redis_connections_dropped", cause=type(error).__name__)
            self._dropping = asyncio.create_task(_drop_connections(self._client))


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, MaxConnectionsError) or str(error) == "No connection available."


def _is_from_replica(error: BaseException) -> bool:
    return isinstance(error, ReadOnlyError) or str(error).startswith(_NO_PRIMARY)


async def _drop_connections(client: RedisClient) -> None:
    # Where everything is in a Cluster is asked here: the next request may have no time for that.
    with suppress(RedisError, OSError):
        async with asyncio.timeout(_DROP_SECONDS):
            if isinstance(client, redis.RedisCluster):
                await client.aclose()
                await client.initialize()
            else:
                # Those in use fail by themselves, or do their work.
                await client.connection_pool.disconnect(inuse_connections=False)
