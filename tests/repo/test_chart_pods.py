"""What is set for every pod reaches every pod, those of Jobs and of `helm test` too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/spillway"
EVERYWHERE = CHART / "ci/everywhere-values.yaml"
VALUES: dict[str, Any] = yaml.safe_load(EVERYWHERE.read_text())
SCRIPT = ROOT / "scripts/chart_pods.py"

POD: dict[str, Any] = {
    "metadata": {
        "labels": {**VALUES["labels"], **VALUES["podLabels"]},
        "annotations": {**VALUES["annotations"], **VALUES["podAnnotations"]},
    },
    "spec": {
        "imagePullSecrets": [{"name": "registry"}],
        "securityContext": {"runAsNonRoot": True},
        "containers": [{"name": "c", "env": [{"name": "TZ", "value": "UTC"}]}],
        "initContainers": [{"name": "i", "env": [{"name": "TZ", "value": "UTC"}]}],
    },
}


def checked(manifests: str) -> tuple[int, str]:
    """Return the status of scripts/chart_pods.py for manifests, and what it says."""
    done = subprocess.run(
        [sys.executable, SCRIPT, EVERYWHERE], input=manifests, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr.strip()


def manifest(kind: str, pod: dict[str, Any]) -> str:
    """Write a manifest with a pod."""
    document = pod if kind == "Pod" else {"metadata": {}, "spec": {"template": pod}}
    named = {**document, "kind": kind, "metadata": {**document["metadata"], "name": "x"}}
    return yaml.safe_dump(named)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "Job", "Pod"])
@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("metadata.labels.example.com/zone", "no label example.com/zone"),
        ("metadata.labels.example.com/cost-centre", "no label example.com/cost-centre"),
        ("metadata.annotations.example.com/scan", "no annotation example.com/scan"),
        ("spec.imagePullSecrets", "no pull secret registry"),
        ("spec.containers.0.env", "no variable TZ in c"),
        ("spec.initContainers.0.env", "no variable TZ in i"),
    ],
)
def test_a_pod_that_lacks_something_is_named(kind: str, path: str, fault: str) -> None:
    """Wherever it is defined, with what it lacks; one that lacks nothing passes."""
    assert (0, "") == checked(manifest(kind, POD))

    pod = deepcopy(POD)
    *way, name = path.replace("example.com", "example_com").split(".")
    place: Any = pod
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    del place[name.replace("example_com", "example.com")]
    assert (1, f"{kind}/x: {fault}") == checked(manifest(kind, pod))


def test_a_user_of_the_charts_own_is_named() -> None:
    """Where users are the cluster's to give."""
    pod = deepcopy(POD)
    pod["spec"]["securityContext"]["fsGroup"] = 1
    pod["spec"]["containers"][0]["securityContext"] = {"runAsGroup": 0}

    assert (1, "Job/x: runAsGroup in c\nJob/x: fsGroup of the pod") == checked(manifest("Job", pod))


def test_what_may_hide_pods_is_named() -> None:
    """A new kind with a template must not pass unseen, nor must nothing at all."""
    status, said = checked(manifest("CronJob", POD))
    assert (1, "CronJob/x: it may have pods, and nothing here knows how to find them") == (status, said)
    assert (1, "there is no pod in these manifests") == checked(
        yaml.safe_dump({"kind": "ConfigMap", "metadata": {"name": "x"}})
    )


def rendered(*values: str) -> str:
    """Render the chart without a cluster, as GitOps does."""
    helm = shutil.which("helm") or str(Path.home() / ".cache/cluster/bin/helm")
    if not os.access(helm, os.X_OK):
        pytest.skip("there is no helm; `make chart` does the same")
    files = [argument for name in values for argument in ("--values", CHART / "ci" / f"{name}-values.yaml")]
    command = [helm, "template", "spillway", CHART, "--namespace", "llm", "--kube-version", "1.34.0", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert 0 == done.returncode, done.stderr
    return done.stdout


@pytest.mark.integration
@pytest.mark.parametrize("more", [[], ["gpu-pool"]], ids=["small model", "vllm"])
def test_every_pod_of_the_chart_has_what_is_set_for_every_pod(more: list[str]) -> None:
    """And every object the labels and annotations for all, none twice."""
    text = rendered("everywhere", *more)
    assert (0, "") == checked(text)

    for document in yaml.safe_load_all(text):
        if document:
            metadata = document["metadata"]
            assert VALUES["annotations"].keys() <= metadata.get("annotations", {}).keys(), metadata["name"]
            assert VALUES["labels"].keys() <= metadata["labels"].keys(), metadata["name"]
            assert "spillway" == metadata["labels"]["app.kubernetes.io/part-of"]


@pytest.mark.integration
def test_what_is_given_is_rendered_the_same_each_time() -> None:
    """GitOps compares two renderings; nothing may be made up when each Secret exists."""
    assert rendered("gitops") == rendered("gitops")


@pytest.mark.integration
def test_every_service_says_its_protocol_and_takes_both_families() -> None:
    """A mesh goes by the protocol."""
    services = [each for each in yaml.safe_load_all(rendered("everywhere")) if each and each["kind"] == "Service"]

    assert services
    for service in services:
        assert ("PreferDualStack", ["IPv6", "IPv4"]) == (
            service["spec"]["ipFamilyPolicy"],
            service["spec"]["ipFamilies"],
        )
        protocols = {port["name"]: port.get("appProtocol") for port in service["spec"]["ports"]}
        expected = {"grpc": "grpc", "postgres": "tcp", "valkey": "tcp"}
        assert {name: expected.get(name, "http") for name in protocols} == protocols
