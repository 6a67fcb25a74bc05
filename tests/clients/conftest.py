"""One running system, whose routes are the cells of the matrix; all cells are asked at once, before the first test."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from edge.guard.keys import add_key
from kit.front_door.local_system import running_local_system

from .asking import Outcome, ask_all
from .cells import cells


@pytest.fixture(scope="session", name="outcomes")
def _outcomes(fault_provider_url: str) -> Iterator[Mapping[str, Outcome]]:
    """Yield what became of each cell, by its route."""
    with tempfile.TemporaryDirectory(prefix="spillway-clients-") as folder:
        home = Path(folder)
        key = add_key(home / "keys.yaml", "blue", "blue-user", "test")
        (home / "development-key").write_text(key)
        matrix = cells()
        routes = {cell.route: cell.targets for cell in matrix}
        with running_local_system(home, fault_provider_url, routes) as behind:
            yield asyncio.run(ask_all(matrix, str(behind.run["url"]), key, fault_provider_url))
