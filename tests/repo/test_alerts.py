"""Alert, page and metric hold together: no alert lacks a tested page, and nothing asks for what nobody counts."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

import cost_ledger.metrics
import edge.metrics
import llm_router.metrics
from servicekit.metrics import create_registry

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/spillway"
RUNBOOK = ROOT / "runbook"
RULE_FILES = sorted((CHART / "alerts").glob("*.yaml"))
TEST_FILES = sorted((CHART / "alerts/tests").glob("*.yaml"))
DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "Verify"]
# At 50 lines a printed page.
MAX_README_LINES = 150
# Of others: Prometheus itself, and vLLM (its documentation, 0.32).
FOREIGN = {
    "ALERTS",
    "up",
    "vllm:generation_tokens_total",
    "vllm:kv_cache_usage_perc",
    "vllm:num_preemptions_total",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:prefix_cache_hits_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prompt_tokens_total",
    "vllm:request_queue_time_seconds_bucket",
    "vllm:time_to_first_token_seconds_bucket",
    "vllm:inter_token_latency_seconds_bucket",
}
OUR_METRIC = re.compile(
    r"\b(?:edge|llm_router|cost_ledger|process|python)_[a-z_0-9]+|\b(?:vllm:[a-z_]+|spillway:[a-z_]+:\w+)"
)
# What a line of PromQL can have beside metrics.
_NO_METRIC = re.compile(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)')
_NAME = re.compile(r"(?<![\w:.$])([a-zA-Z_:][\w:]*)(?![\w:]|\s*\()")
_WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "inf", "nan"}


def rules() -> list[dict[str, Any]]:
    """Return all rules of all files."""
    groups = [group for file in RULE_FILES for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def pages() -> dict[str, Path]:
    """Return the pages of alerts by name."""
    return {page.stem: page for page in RUNBOOK.glob("Spillway*.md")}


@cache
def counted() -> frozenset[str]:
    """Return the names of all series that the services have, histograms with their suffixes, and of recorded ones."""
    names = set(FOREIGN)
    parts = (edge.metrics.Metrics, llm_router.metrics.Metrics, cost_ledger.metrics.Metrics)
    registries = [CollectorRegistry() for _ in parts]
    for part, registry in zip(parts, registries, strict=True):
        part(registry)
    for metric in (metric for registry in [*registries, create_registry()] for metric in registry.collect()):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(metric.type, [""])
        names |= {metric.name + suffix for suffix in suffixes}
    return frozenset(names | {rule["record"] for rule in rules() if "record" in rule})


def metrics_in(expression: str) -> set[str]:
    """Return the names of metrics in PromQL: what is no function, no label, no word of the language."""
    bare = _NO_METRIC.sub(" ", re.sub(r"#.*", "", expression))
    return {name for name in _NAME.findall(bare) if name.lower() not in _WORDS}


def expressions_of(dashboard: object) -> Iterator[str]:
    """Return every query in a dashboard, those of its variables too."""
    if isinstance(dashboard, dict):
        for key, value in dashboard.items():
            if key in {"expr", "query"} and isinstance(value, str):
                yield re.sub(r"label_values\((.+), \w+\)", r"\1", value)
            else:
                yield from expressions_of(value)
    elif isinstance(dashboard, list):
        for value in dashboard:
            yield from expressions_of(value)


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    """By name."""
    assert len(alerts()) == sum("alert" in rule for rule in rules())
    assert alerts().keys() == pages().keys()


def test_every_alert_says_what_it_is_and_where_its_page_is() -> None:
    """Severity, one line, a text, and the page."""
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in {"critical", "warning"}, name
        assert {"summary", "description", "runbook_url"} == rule["annotations"].keys(), name
        assert f"runbook/{name}.md" == rule["annotations"]["runbook_url"]
        assert (ROOT / rule["annotations"]["runbook_url"]).is_file()


@pytest.mark.parametrize("page", sorted(pages().values()), ids=lambda page: page.stem)
def test_a_page_has_its_sections_in_order_and_commands_where_they_are_needed(page: Path) -> None:
    """Diagnosis begins with the question whose fault it is and a command that tells; verifying has a command too."""
    title, *sections = re.split(r"^## ", page.read_text(), flags=re.MULTILINE)
    by_name = {section.partition("\n")[0]: section.partition("\n")[2].strip() for section in sections}

    assert f"# {page.stem}" == title.strip()
    assert list(by_name) == SECTIONS
    assert all(by_name.values())
    assert by_name["Diagnosis"].startswith("Us or the provider?")
    assert "\n```sh\n" in by_name["Diagnosis"]
    assert "```sh\n" in by_name["Verify"]


def test_the_readme_is_three_printed_pages_and_leads_to_every_page() -> None:
    """Whoever is woken reads it whole."""
    text = (RUNBOOK / "README.md").read_text()

    assert len(text.splitlines()) <= MAX_README_LINES
    assert [] == [
        page.name for page in RUNBOOK.glob("*.md") if page.name != "README.md" and f"({page.name})" not in text
    ]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_for_metrics_that_exist(rule: dict[str, Any]) -> None:
    """A name that nobody exposes fires never, and errs nowhere."""
    used = metrics_in(rule["expr"])

    assert used
    assert set() == used - counted()


@pytest.mark.parametrize("page", sorted([*RUNBOOK.glob("*.md"), ROOT / "docs/slo.md"]), ids=lambda page: page.name)
def test_a_page_names_metrics_that_exist(page: Path) -> None:
    """In its commands and in its words."""
    packages = {"cost_ledger", "llm_router", "edge_"}
    named = {name for name in OUR_METRIC.findall(page.read_text()) if name not in packages}

    assert set() == named - counted()


def test_every_alert_is_shown_to_fire_and_not_to() -> None:
    """In a test that promtool runs, against its own file of rules."""
    fires: Counter[str] = Counter()
    is_silent: Counter[str] = Counter()
    for file in TEST_FILES:
        document = yaml.safe_load(file.read_text())
        (rule_file,) = document["rule_files"]
        names = {
            rule.get("alert")
            for group in yaml.safe_load((file.parent / rule_file).read_text())["groups"]
            for rule in group["rules"]
        }
        for test in document["tests"]:
            assert (
                set() == {name for series in test["input_series"] for name in metrics_in(series["series"])} - counted()
            )
            for case in test["alert_rule_test"]:
                assert case["alertname"] in names, test["name"]
                (fires if case["exp_alerts"] else is_silent)[case["alertname"]] += 1

    assert alerts().keys() == fires.keys()
    assert alerts().keys() == is_silent.keys()


def test_dashboards_are_told_apart() -> None:
    """By uid and by title; each lets its reader choose the data source and the namespace."""
    documents = [json.loads(file.read_text()) for file in DASHBOARDS]

    assert {"request-path", "providers", "spend", "vllm-pool"} == {file.stem for file in DASHBOARDS}
    assert len(documents) == len({document["uid"] for document in documents})
    assert len(documents) == len({document["title"] for document in documents})
    for document in documents:
        variables = {variable["name"]: variable for variable in document["templating"]["list"]}
        assert ["datasource", "namespace"] == list(variables)
        assert "prometheus" == variables["datasource"]["query"]


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_asks_for_metrics_that_exist_and_says_in_what_unit(file: Path) -> None:
    """Every panel has a title, a text that explains it, a unit, and the data source that was chosen."""
    document = json.loads(file.read_text())
    panels = [panel for panel in document["panels"] if panel["type"] != "row"]

    assert panels
    assert len(panels) == len({panel["id"] for panel in panels})
    for panel in panels:
        assert panel["title"]
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert {"type": "prometheus", "uid": "${datasource}"} == panel["datasource"], panel["title"]
        assert panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert '{namespace=~"$namespace"' in target["expr"], panel["title"]
    asked = {name for expression in expressions_of(document) for name in metrics_in(expression)} - {"prometheus"}
    assert asked
    assert set() == asked - counted()
