"""The URL and the settings of Redis, one server, Sentinels or a Cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis.asyncio as redis
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict
from structlog.testing import capture_logs

from servicekit.redis_client import Reconnection, open_redis, read_address
from servicekit.redis_settings import RedisSettings


class _Settings(RedisSettings):
    model_config = SettingsConfigDict(env_prefix="TEST_REDIS_CLIENT_")


def test_one_server() -> None:
    """What redis-py reads of a URL, unchanged."""
    address = read_address("rediss://ada:p%40ss@redis:6380/2?protocol=3")
    assert ("server", True) == (address.kind, address.has_tls)
    options = {name: value for name, value in address.options.items() if name != "connection_class"}
    assert {"host": "redis", "port": 6380, "db": 2, "username": "ada", "password": "p@ss", "protocol": 3} == options


def test_sentinels() -> None:
    """Their hosts, the name of the group, and what goes to the servers that they name."""
    address = read_address("redis+sentinel://ada:p%2Fss@a:26379,[::1]:26380,c/1?master=spillway")
    assert ("sentinel", "spillway", False) == (address.kind, address.master, address.has_tls)
    assert (("a", 26379), ("::1", 26380), ("c", 26379)) == address.hosts
    assert {"username": "ada", "password": "p/ss", "db": 1} == address.options


def test_a_cluster() -> None:
    """Any of its nodes will do."""
    address = read_address("rediss+cluster://:secret@a:7000,b")
    assert ("cluster", True, (("a", 7000), ("b", 6379))) == (address.kind, address.has_tls, address.hosts)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://redis:6379", "must begin with"),
        ("redis+nodes://redis:6379", "must begin with"),
        ("redis+sentinel://a:26379/0", "master=NAME"),
        ("redis+cluster://a:7000/1", "no database"),
        ("redis+cluster://", "name a host"),
        ("redis+cluster://a:7000,:7001", "name a host"),
        ("redis://:pass/word@redis:6379", "percent-encoded"),
        ("redis://redis:99999", "percent-encoded"),
    ],
)
def test_a_url_that_cannot_work_is_refused_without_being_shown(url: str, reason: str) -> None:
    """At the start, and a part of a password is in no message."""
    with pytest.raises(ValidationError, match=reason) as refused:
        _Settings(redis_url=url)
    [error] = refused.value.errors(include_url=False, include_input=False, include_context=False)
    assert ("redis_url",) == error["loc"]
    assert "pass" not in error["msg"].replace("password", "")


def test_an_authority_needs_tls(tmp_path: Path) -> None:
    """Otherwise somebody would think that the connection has it."""
    with pytest.raises(ValidationError, match="begins with rediss"):
        _Settings(redis_url="redis://redis:6379", redis_tls_directory=tmp_path)


def test_secrets_come_from_files(tmp_path: Path) -> None:
    """Without the newline that editors add."""
    (tmp_path / "password").write_text("secret\n")
    settings = _Settings(redis_url="redis://redis", redis_username="ada", redis_password_file=tmp_path / "password")
    access = settings.redis_access()
    assert ("ada", "secret", None) == (access.username, access.password, access.sentinel_password)


def test_files_that_are_missing_are_reported_at_the_start(tmp_path: Path) -> None:
    """Not with the first request."""
    settings = _Settings(redis_url="rediss://redis", redis_tls_directory=tmp_path)
    with pytest.raises(OSError, match="No such file"):
        open_redis("rediss://redis", settings.redis_access(), max_connections=1)


async def test_connections_that_are_all_in_use_are_not_dropped(redis_url: str) -> None:
    """It says nothing of the server, and new ones would make it worse; two other failures do drop them."""
    client = open_redis(redis_url, max_connections=1)
    assert isinstance(client, redis.Redis)
    reconnection = Reconnection(client)
    held = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
    with pytest.raises(redis.ConnectionError) as busy:
        await client.ping()
    reconnection.note_failure(busy.value)
    with capture_logs() as logs:
        reconnection.note_failure(busy.value)
        assert [] == logs
        for _ in range(2):
            reconnection.note_failure(redis.ConnectionError("reset"))
        assert ["redis_connections_dropped"] == [line["event"] for line in logs]
    await client.connection_pool.release(held)
    await client.aclose()
