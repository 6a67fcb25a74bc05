"""The game day itself: its rules are the shipped ones, its commands those of the pages."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from .pages import ROOT, RUNBOOK, Block, blocks, run
from .rules import shortened
from .waves import Waves

RULE_FILES = sorted((ROOT / "charts/spillway/alerts").glob("*.yaml"))


def rules_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all rules of a file."""
    return [rule for group in document["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("file", RULE_FILES, ids=lambda file: file.stem)
def test_shortened_rules_differ_in_times_alone(file: Path) -> None:
    """No name, threshold or label is another one, and every time is shorter or at its bound."""
    shipped = yaml.safe_load(file.read_text())
    times = re.compile(r"(?<=\[)\d+[smhd](?=[\]:])|(?<=:)\d+[smhd](?=\])|(?<=offset )\d+[smhd]")
    seconds = re.compile(r"(?<=\[)\d+s(?=[\]:])|(?<=:)\d+s(?=\])|(?<=offset )\d+s")

    for before, after in zip(rules_of(shipped), rules_of(shortened(shipped)), strict=True):
        assert times.sub("T", before["expr"]) == times.sub("T", after["expr"])
        assert len(times.findall(before["expr"])) == len(seconds.findall(after["expr"]))
        assert {**before, "expr": "", "for": ""} == {**after, "expr": "", "for": ""}
        assert ("for" in before) == ("for" in after)


def test_times_are_a_thirtieth_within_bounds() -> None:
    """A day is 48 minutes; a window holds some scrapes, and nothing waits for more than a minute."""
    rules = [
        {"alert": "A", "expr": "rate(a[1d]) > rate(a[5m] offset 1h)", "for": "3h"},
        {"record": "b:rate1h", "expr": "rate(b[1h]) + c:rate5m + max_over_time(d[6h:1m])"},
    ]
    first, second = rules_of(shortened({"groups": [{"name": "g", "rules": rules}]}))

    assert ("rate(a[2880s]) > rate(a[20s] offset 120s)", "60s") == (first["expr"], first["for"])
    assert {"record": "b:rate1h", "expr": "rate(b[120s]) + c:rate5m + max_over_time(d[720s:2s])"} == second


@pytest.mark.parametrize("page", sorted(RUNBOOK.glob("*.md")), ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_a_shell_script(page: Path) -> None:
    """Bash can read every block."""
    for block in blocks(page.stem):
        checked = subprocess.run(["bash", "-n", "-c", block.commands], capture_output=True, text=True)
        assert (0, "") == (checked.returncode, checked.stderr), block


def test_every_section_that_a_wave_works_through_is_on_its_page() -> None:
    """A section that was renamed would not be tested any more."""
    untouched: Any = Mock()
    waves = Waves(untouched, untouched, untouched, untouched, untouched).all()
    steps = [step for wave in waves for step in (*wave.procedures, *wave.afterwards)]
    steps += [(alert, ["Diagnosis", "Mitigation", "Verify"]) for wave in waves for alert in wave.alerts]

    assert len(steps) > 30
    assert not [step for step in steps if not blocks(*step)]
    with pytest.raises(LookupError, match="no section"):
        blocks("replay-the-spool", ["The pod has gone"])


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    """With its page and what it said; the first one ends the block, also within a pipe."""
    good = Block("page", "Verify", "echo $NAME | cat")
    bad = Block("page", "Verify", "ls /nowhere | cat\ntouch went-on")

    assert run(good, tmp_path, {"NAME": "x", "PATH": "/usr/bin:/bin"}) is None
    fault = run(bad, tmp_path, {"PATH": "/usr/bin:/bin"})
    assert fault is not None
    assert "page, Verify: status 2" in fault
    assert not (tmp_path / "went-on").exists()
    assert "x\n" in (tmp_path / "commands.log").read_text()
