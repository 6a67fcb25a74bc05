"""What the chart requests: little enough for a small cluster by default, more with values-production.yaml."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/chart_requests.py"
DEFAULTS: dict[str, Any] = yaml.safe_load((ROOT / "charts/spillway/values.yaml").read_text())
PRODUCTION: dict[str, Any] = yaml.safe_load((ROOT / "charts/spillway/values-production.yaml").read_text())
DEPLOYMENTS = ("edge", "llmRouter", "costLedger", "localModel")
STORES = ("postgres", "valkey")
UNITS = {"m": Decimal("0.001"), "Mi": Decimal(1 << 20), "Gi": Decimal(1 << 30)}


def amount(quantity: str) -> Decimal:
    """Return CPUs or bytes."""
    for unit, factor in UNITS.items():
        if quantity.endswith(unit):
            return Decimal(quantity.removesuffix(unit)) * factor
    return Decimal(quantity)


def requested(values: dict[str, Any], component: str, resource: str) -> Decimal:
    """Return what each pod of a component requests."""
    return amount(values[component]["resources"]["requests"][resource])


@pytest.mark.parametrize(("resource", "room"), [("cpu", "700m"), ("memory", "2560Mi")])
def test_the_defaults_fit_on_a_small_node(resource: str, room: str) -> None:
    """Each Deployment may have a pod more during an upgrade, all of them at once."""
    deployments = [(DEFAULTS[name]["replicas"] + 1) * requested(DEFAULTS, name, resource) for name in DEPLOYMENTS]
    stores = [requested(DEFAULTS, name, resource) for name in STORES]

    assert sum(deployments + stores) <= amount(room)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_production_has_more_of_everything(name: str) -> None:
    """Larger requests and limits, no fewer pods, each with a budget and spread over nodes."""
    production, default = PRODUCTION[name], DEFAULTS[name]
    replicas = production.get("autoscaling", {}).get("minReplicas", production.get("replicas"))

    assert requested(DEFAULTS, name, "cpu") < requested(PRODUCTION, name, "cpu")
    assert requested(DEFAULTS, name, "memory") < requested(PRODUCTION, name, "memory")
    assert amount(default["resources"]["limits"]["memory"]) <= amount(production["resources"]["limits"]["memory"])
    assert default["replicas"] < replicas
    assert production["podDisruptionBudget"]["enabled"]
    assert production["topologySpread"]["enabled"]


@pytest.mark.parametrize("name", [name for name in DEPLOYMENTS if "autoscaling" in DEFAULTS[name]])
def test_production_scales_by_the_core_that_a_process_can_use(name: str) -> None:
    """A percentage of a smaller request would add pods to ones that are nearly idle."""
    assert PRODUCTION[name]["autoscaling"]["enabled"]
    assert 1 == requested(PRODUCTION, name, "cpu")


def deployment(cpu: str, init_cpu: str = "1m", memory: str = "1Mi", replicas: int = 1) -> dict[str, Any]:
    """Return a Deployment with an init container."""

    def container(cpu: str) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu, "memory": memory}}}

    pod = {"containers": [container(cpu)], "initContainers": [container(init_cpu)]}
    return {"kind": "Deployment", "spec": {"replicas": replicas, "template": {"spec": pod}}}


def checked(*manifests: dict[str, Any]) -> tuple[int, str]:
    """Return the status of scripts/chart_requests.py for manifests, and what it says."""
    done = subprocess.run(
        [sys.executable, SCRIPT], input=yaml.safe_dump_all(manifests), capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize(
    ("manifests", "expected"),
    [
        ([deployment("350m")], (0, "")),
        ([deployment("351m")], (1, "cpu: 0.702 is requested, a small cluster has 700m")),
        ([deployment("10m", init_cpu="400m")], (1, "cpu: 0.8 is requested, a small cluster has 700m")),
        (
            [deployment("1m", memory="1Gi", replicas=2)],
            (1, "memory: 3221225472 is requested, a small cluster has 2560Mi"),
        ),
        (
            [
                deployment("350m"),
                {"kind": "Pod", "spec": {"containers": [{"resources": {"requests": {"cpu": "1m", "memory": 0}}}]}},
            ],
            (1, "cpu: 0.701 is requested, a small cluster has 700m"),
        ),
        ([{"kind": "ConfigMap"}], (1, "there is no pod in these manifests")),
    ],
    ids=["fits", "one replica more", "init container", "memory", "pod of a hook", "nothing"],
)
def test_manifests_that_request_too_much_are_refused(
    manifests: list[dict[str, Any]], expected: tuple[int, str]
) -> None:
    """`make chart` ends with the resource that is short."""
    assert expected == checked(*manifests)
