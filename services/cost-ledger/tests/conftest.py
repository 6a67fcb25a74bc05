"""What the ledger's tests share: a database of the module's own, the ledger's parts on it, a serving process."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cost_ledger.schema.migrate import migrate
from cost_ledger.settings import Settings
from kit.ledger.process import PRICE_BOOK, LedgerProcess, Parts, database, parts_on, running_ledger


@pytest.fixture(scope="module")
async def database_url(postgres_url: str, redis_url: str) -> str:
    """Return the URL of a fresh database with the tables and the prices of the tests."""
    url: str = database(postgres_url, f"ledger-{uuid.uuid4()}")
    await migrate(Settings(postgres_url=url, redis_url=redis_url, price_book_file=PRICE_BOOK))
    return url


@pytest.fixture
async def parts(database_url: str, redis_url: str) -> AsyncIterator[Parts]:
    """Yield the ledger's parts; nothing is recorded and nothing is on the stream."""
    async with parts_on(database_url, redis_url) as parts:
        await parts.empty()
        yield parts
        await parts.client.flushall()


@pytest.fixture
async def ledger(parts: Parts, database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[LedgerProcess]:
    """Yield a serving process on the module's database."""
    async with running_ledger(tmp_path, database_url, redis_url) as ledger:
        yield ledger
