"""A database with the ledger's tables."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from cost_ledger.schema.migrate import migrate
from cost_ledger.settings import Settings
from kit.ledger.process import PRICE_BOOK, database


@pytest.fixture
async def pool(postgres_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Yield connections to a fresh database with the prices of the tests."""
    url = database(postgres_url, f"stores-{uuid.uuid4()}")
    await migrate(Settings(postgres_url=url, redis_url="redis://127.0.0.1:1", price_book_file=PRICE_BOOK))
    async with asyncpg.create_pool(url, min_size=0, max_size=8) as pool:
        yield pool
