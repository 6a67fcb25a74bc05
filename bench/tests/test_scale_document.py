"""What docs/scale.md tells an operator to set or to look at exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

from bench.scale.record import DOCUMENT
from cost_ledger.settings import Settings as LedgerSettings
from edge.settings import Settings as EdgeSettings
from llm_router.settings import Settings as RouterSettings

ROOT = Path(__file__).parents[2]
_SETTINGS: dict[str, type[BaseSettings]] = {
    "EDGE": EdgeSettings,
    "LLM_ROUTER": RouterSettings,
    "COST_LEDGER": LedgerSettings,
}
_TEXT = DOCUMENT.read_text()


def _found(pattern: str) -> list[str]:
    return sorted(set(re.findall(pattern, _TEXT)))


@pytest.mark.parametrize("name", _found(r"\b(?:EDGE|LLM_ROUTER|COST_LEDGER)_[A-Z_]+\b"))
def test_each_variable_is_a_setting(name: str) -> None:
    """Of the service that its prefix names."""
    prefix = next(prefix for prefix in _SETTINGS if name.startswith(f"{prefix}_"))

    assert name.removeprefix(f"{prefix}_").lower() in _SETTINGS[prefix].model_fields


@pytest.mark.parametrize(
    "path",
    _found(r"`((?:edge|llmRouter|costLedger|valkey|postgres|jwt|gateway|ingress)\.[A-Za-z.]+)(?:: [^`]*)?`"),
)
def test_each_value_is_in_the_chart(path: str) -> None:
    """By its whole path."""
    values: Any = yaml.safe_load((ROOT / "charts/spillway/values.yaml").read_text())
    for name in path.split("."):
        assert name in values
        values = values[name]


@pytest.mark.parametrize("alert", _found(r"\bSpillway[A-Z][A-Za-z]+\b"))
def test_each_alert_has_its_page(alert: str) -> None:
    """There is a rule for it, and a page that says what to do."""
    rules = "".join(file.read_text() for file in (ROOT / "charts/spillway/alerts").glob("*.yaml"))

    assert f"alert: {alert}\n" in rules
    assert (ROOT / f"runbook/{alert}.md").is_file()


@pytest.mark.parametrize("metric", _found(r"`((?:edge|llm_router|cost_ledger)_[a-z_]+)[`{]"))
def test_each_metric_is_measured(metric: str) -> None:
    """By one of the services."""
    sources = "".join(file.read_text() for file in (ROOT / "services").glob("*/src/*/metrics.py"))

    assert f'"{metric}"' in sources
