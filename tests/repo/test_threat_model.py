"""What the threat model says is shown by tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(test_\w+\.py)::(test_\w+)`", MODEL)


@pytest.mark.parametrize(("file", "function"), NAMED)
def test_each_test_that_is_named_exists(file: str, function: str) -> None:
    """In a file of that name."""
    found = [path for path in ROOT.glob(f"*/**/tests/{file}") if ".venv" not in path.parts]
    found += [path for path in ROOT.glob(f"tests/**/{file}") if ".venv" not in path.parts]
    assert any(f"def {function}(" in path.read_text(encoding="utf-8") for path in found), (file, found)


def test_every_row_names_what_shows_it() -> None:
    """A bound that no test shows is a hope."""
    tables = MODEL.partition("## A stranger")[2].partition("## What is not held")[0]
    rows = [
        line for line in tables.splitlines() if line.startswith("| ") and not line.startswith(("| tries", "| fails"))
    ]
    shown = [row for row in rows if "`test_" in row.rsplit(" | ", 1)[1] or "`make " in row.rsplit(" | ", 1)[1]]

    assert len(rows) > 25
    assert rows == shown
