"""Settings are valid, or the process does not start and prints the reason."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

PROGRAM = """
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict
from servicekit.settings import load_settings

class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="DEMO_", frozen=True)
    port: int = Field(default=8080, ge=1, le=65535)
    name: str = "demo"

print(load_settings(Settings))
"""


def run(**environment: str) -> tuple[int, str, list[str]]:
    """Start a process with these variables; return its status, its output and its lines of error."""
    command = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    return result.returncode, result.stdout.strip(), result.stderr.splitlines()


def test_an_unset_variable_has_its_default() -> None:
    """Variables without the prefix are ignored."""
    assert (0, "port=8080 name='demo'", []) == run(PORT="1", DEM="x", DEMOS_PORT="2")
    assert (0, "port=99 name='x'", []) == run(DEMO_PORT="99", DEMO_NAME="x")


def test_an_unknown_variable_is_refused_and_the_known_ones_are_named() -> None:
    """A typo would otherwise leave a setting at its default, unnoticed."""
    assert (2, "", ["settings: DEMO_PROT: no such setting; known are DEMO_NAME, DEMO_PORT"]) == run(DEMO_PROT="99")


@pytest.mark.parametrize("value", ["SECRET", "", "0", "65536", "1.5"])
def test_a_bad_value_is_refused_by_name_and_not_quoted(value: str) -> None:
    """One line, no traceback; a value may be a secret in the wrong place."""
    status, output, errors = run(DEMO_PORT=value)

    assert (2, "", 1) == (status, output, len(errors))
    assert errors[0].startswith("settings: DEMO_PORT: Input should be ")
    assert "SECRET" not in errors[0]


def test_all_faults_are_reported_at_once() -> None:
    """One line each."""
    status, _, errors = run(DEMO_PORT="x", DEMO_B="", DEMO_A="")

    assert 2 == status
    assert ["DEMO_A", "DEMO_B", "DEMO_PORT"] == [line.split(": ")[1] for line in errors]
