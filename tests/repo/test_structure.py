"""The repository keeps what its documents promise."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    "edge": ROOT / "services/edge/src/edge",
    "llm_router": ROOT / "services/llm-router/src/llm_router",
    "cost_ledger": ROOT / "services/cost-ledger/src/cost_ledger",
    "pricing": ROOT / "libs/pricing/src/pricing",
}


def tracked(*patterns: str) -> list[Path]:
    """Return the tracked files that match."""
    command = ["git", "ls-files", *patterns]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    return [ROOT / name for name in listed if name and (ROOT / name).exists()]


def test_each_step_of_the_request_path_opens_its_module() -> None:
    """The digits of docs/request-path.md lead to the modules and the modules say which step they are."""
    rows = re.findall(r"^\| (\d) (?:\w| )+ \| (.+?) \|", (ROOT / "docs/request-path.md").read_text(), re.MULTILINE)

    assert [str(step) for step in range(1, 10)] == [step for step, _ in rows]
    for step, cell in rows:
        files = [
            SOURCES[path.partition("/")[0]] / path.partition("/")[2] for path in re.findall(r"`([\w/]+\.py)`", cell)
        ]
        assert all(file.is_file() for file in files), cell
        docstrings = [ast.get_docstring(ast.parse(file.read_text())) or "" for file in files]
        assert any(docstring.startswith(f"Step {step} of the request path") for docstring in docstrings), cell


@pytest.mark.parametrize("document", tracked("*.md"), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """A relative link of a document names a file."""
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("lock", tracked("locks/*.txt"), ids=lambda path: path.name)
def test_locks_hold_versions_and_hashes_and_no_address(lock: Path) -> None:
    """What is installed is what was locked, wherever it is fetched from."""
    text = lock.read_text()
    requirements = re.findall(r"^[A-Za-z0-9]\S*", text, re.MULTILINE)

    assert requirements
    assert all("==" in requirement for requirement in requirements)
    assert text.count("--hash=sha256:") >= len(requirements)
    assert "://" not in text


def test_the_locks_are_for_the_manifests() -> None:
    """Each dependency that a package names is in the development lock."""
    locked = {
        name.lower() for name in re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "locks/dev.txt").read_text(), re.MULTILINE)
    }
    for manifest in tracked("*pyproject.toml"):
        dependencies = re.search(r"^dependencies = \[(.*?)\]", manifest.read_text(), re.MULTILINE | re.DOTALL)
        names = re.findall(r'"([A-Za-z0-9._-]+)', dependencies.group(1)) if dependencies else []
        assert {name.lower() for name in names if not name.startswith("spillway-")} <= locked, manifest


def test_no_file_has_a_name_that_says_nothing() -> None:
    """A file is one noun."""
    vague = {"utils.py", "util.py", "helpers.py", "common.py", "misc.py", "base.py", "constants.py"}

    assert [] == [file for file in tracked("*.py") if file.name in vague]
