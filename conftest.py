"""What tests of several parts share: one real PostgreSQL and one real Valkey for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spillway_local.postgres import running_postgres
from spillway_local.valkey import running_valkey


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL, with password, of the database `postgres` of a fresh PostgreSQL 18, as its superuser."""
    with running_postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a fresh, empty Valkey 9; whoever writes to it cleans up, it is shared."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url
