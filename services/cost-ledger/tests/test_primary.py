"""The URL of PostgreSQL may name several servers."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from cost_ledger.primary import server_urls, with_database
from cost_ledger.settings import Settings

_REDIS = "redis://127.0.0.1:6379/0"


def test_each_server_has_its_own_url() -> None:
    """Login, database and options are those of all."""
    assert [
        "postgresql://ada:p%40ss@a:5432/spillway?sslmode=require",
        "postgresql://ada:p%40ss@[::1]:5433/spillway?sslmode=require",
    ] == server_urls("postgresql://ada:p%40ss@a:5432,[::1]:5433/spillway?sslmode=require")


@pytest.mark.parametrize("url", ["postgresql://ada@a/spillway", "postgresql:///spillway?host=a,b"])
def test_one_server_stays_as_it_is(url: str) -> None:
    """So do servers in the query: asyncpg goes through them itself."""
    assert [url] == server_urls(url)


@pytest.mark.parametrize("wanted", ["", "?target_session_attrs=read-write", "?target_session_attrs=primary"])
def test_a_url_may_name_several_servers(wanted: str) -> None:
    """Whether or not it says that it wants the one that takes writes, which the ledger wants anyway."""
    url = f"postgresql://ada@a:5432,b:5433/spillway{wanted}"
    assert url == Settings.model_validate({"postgres_url": url, "redis_url": _REDIS}).postgres_url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://ada@a:5432,b:99999/spillway", "port"),
        ("postgresql://ada@a:x,b:5432/spillway", "port"),
        ("postgresql://ada@a,b/spillway?target_session_attrs=standby", "the ledger writes"),
        ("postgresql://ada@a,b/spillway?target_session_attrs=prefer-standby", "the ledger writes"),
    ],
)
def test_a_url_that_cannot_work_is_refused_at_the_start(url: str, reason: str) -> None:
    """With a reason for the operator."""
    with pytest.raises(ValidationError, match=reason):
        Settings.model_validate({"postgres_url": url, "redis_url": _REDIS})


def test_another_database_of_the_same_servers() -> None:
    """Login, servers and options stay."""
    url = "postgresql://ada:p%40ss@a:5432,[::1]:5433/spillway?sslmode=require"

    assert "postgresql://ada:p%40ss@a:5432,[::1]:5433/postgres?sslmode=require" == with_database(url, "postgres")
    assert "postgresql:///b?host=/run" == with_database("postgresql:///a?host=/run", "b")


def test_settings_take_an_ipv6_address_among_several_servers() -> None:
    """Which urllib does not."""
    url = "postgresql://ada@a:5432,[::1]:5433/spillway?target_session_attrs=primary"
    assert url == Settings.model_validate({"postgres_url": url, "redis_url": _REDIS}).postgres_url
