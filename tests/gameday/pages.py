"""The commands of the runbook, run as they stand on its pages."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNBOOK = ROOT / "runbook"
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BLOCK_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Block:
    """Commands that stand together on a page."""

    page: str
    section: str
    commands: str


def blocks(page: str, sections: Sequence[str] | None = None) -> list[Block]:
    """Return the blocks of the page `runbook/{page}.md` in their order: of all sections, or of these.

    LookupError when the page has no such section: what is not there cannot be tested.
    """
    _, *parts = re.split(r"^## ", (RUNBOOK / f"{page}.md").read_text(), flags=re.MULTILINE)
    texts = dict(part.split("\n", 1) for part in parts)
    if missing := set(sections or ()) - texts.keys():
        raise LookupError(f"{page}.md has no section {sorted(missing)}, only {list(texts)}")
    return [
        Block(page, section, each)
        for section, text in texts.items()
        if sections is None or section in sections
        for each in _BLOCK.findall(text)
    ]


def run(block: Block, folder: Path, environment: Mapping[str, str]) -> str | None:
    """Run a block in `folder` as a person would who has read env.sh; return what went wrong, None when nothing did."""
    script = f". {RUNBOOK / 'env.sh'}\nset -e -o pipefail\n{block.commands}"
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_BLOCK_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"{block.page}, {block.section}: took more than {_BLOCK_TIMEOUT_SECONDS:.0f} s"
    with (folder / "commands.log").open("a") as log:
        log.write(f"### {block.page}, {block.section} (status {done.returncode})\n{block.commands}\n")
        log.write(f"{done.stdout}{done.stderr}\n")
    if done.returncode == 0:
        return None
    return f"{block.page}, {block.section}: status {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}"
