"""skaffold.yaml and k8s/ match the images and the chart; only a cluster shows that they work."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_router.routes.load import load_routes
from llm_router.routes.sources import Sources

ROOT = Path(__file__).parents[2]
SKAFFOLD: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
PROFILES: dict[str, Any] = {profile["name"]: profile for profile in SKAFFOLD["profiles"]}
DEV_ARTIFACTS: list[dict[str, Any]] = PROFILES["dev"]["build"]["artifacts"]
CHART: dict[str, Any] = yaml.safe_load((ROOT / "charts/spillway/values.yaml").read_text())


def dockerfile_of(artifact: dict[str, Any]) -> str:
    """Return the text of the Dockerfile that an artifact is built from."""
    return Path(ROOT, artifact["docker"]["dockerfile"]).read_text()


def releases(part: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the releases of the configuration or of a profile."""
    found: list[dict[str, Any]] = part["deploy"]["helm"]["releases"]
    return found


def values_files(release: dict[str, Any]) -> list[str]:
    """Return a release's values files with nothing set in the environment."""
    return [re.sub(r'\{\{ default "(.+)" \.\w+ \}\}', r"\1", file) for file in release.get("valuesFiles", [])]


def leaves(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value that helm replaces as a whole, with its path."""
    if isinstance(values, dict) and values:
        for name, value in values.items():
            yield from leaves(value, f"{path}.{name}")
    else:
        yield path, values


@pytest.mark.parametrize("artifacts", [SKAFFOLD["build"]["artifacts"], DEV_ARTIFACTS], ids=["run", "dev"])
def test_skaffold_builds_every_image(artifacts: list[dict[str, Any]]) -> None:
    """Each Dockerfile has an artifact, and its image has the name that the chart uses."""
    built = {artifact["docker"]["dockerfile"]: artifact["image"] for artifact in artifacts}
    dockerfiles = {str(file.relative_to(ROOT)): file.parent.name for file in ROOT.glob("services/*/Dockerfile")}
    dockerfiles["tests/fault-provider/Dockerfile"] = "fault-provider"

    assert {file: f"spillway/{name}" for file, name in dockerfiles.items()} == built


@pytest.mark.parametrize(
    "artifact", [artifact for artifact in DEV_ARTIFACTS if "sync" in artifact], ids=lambda artifact: artifact["image"]
)
def test_all_sources_of_an_image_are_synced_to_where_it_runs_from(artifact: dict[str, Any]) -> None:
    """Every changed source is copied to the reloader's folder instead of causing a build."""
    dockerfile = dockerfile_of(artifact)
    entrypoint = re.findall(r'^ENTRYPOINT (\["python", "/reload.py".*\])$', dockerfile, re.MULTILINE)
    (copy,) = re.findall(r"^COPY (.*) /app/$", dockerfile, re.MULTILINE)
    synced = artifact["sync"]["manual"]

    assert "dev" == artifact["docker"]["target"]
    assert {f"{source}/" for source in copy.split()} == {rule["strip"] for rule in synced}
    for rule in synced:
        assert f"{rule['strip']}**/*.py" == rule["src"]
        assert [rule["dest"]] == [json.loads(line)[2] for line in entrypoint]
        assert any((ROOT / rule["strip"]).rglob("*.py"))


@pytest.mark.parametrize(
    "part", [SKAFFOLD, *PROFILES.values()], ids=lambda part: str(part.get("name", "without a profile"))
)
def test_a_release_sets_only_values_that_the_chart_has(part: dict[str, Any]) -> None:
    """The chart refuses others; the values files exist, and the images are those that are built."""
    built = {artifact["image"] for artifact in SKAFFOLD["build"]["artifacts"]} - {"spillway/fault-provider"}
    for release in releases(part):
        given = {**release["setValueTemplates"], **release.get("setValues", {})}
        for path in given:
            place: Any = CHART
            for step in path.split("."):
                assert step in place, path
                place = place[step]
        templates = " ".join(release["setValueTemplates"].values())
        assert all(f"IMAGE_TAG_{image.replace('/', '_').replace('-', '_')}}}" in templates for image in built)
        files = values_files(release)
        assert all((ROOT / file).is_file() for file in files)
        # The last file wins; without SPILLWAY_VALUES it must not override what another file sets.
        in_force = {path: value for file in files for path, value in leaves(yaml.safe_load((ROOT / file).read_text()))}
        for file in files:
            assert {} == {
                path: value
                for path, value in leaves(yaml.safe_load((ROOT / file).read_text()))
                if in_force[path] != value
            }, file


def test_the_fault_provider_is_both_vendors_of_routes_that_are_valid(tmp_path: Path) -> None:
    """`skaffold dev` needs no key and calls nothing outside the cluster."""
    values = yaml.safe_load((ROOT / "tests/fault-provider/values.yaml").read_text())
    for target in values["routes"]["targets"].values():
        if "credential_file" in target:
            (tmp_path / target["provider"]).write_text("sk-not-a-key")
            target["credential_file"] = str(tmp_path / target["provider"])
        target["base_url"] = target["base_url"].replace('{{ include "spillway.fullname" . }}', "spillway")
    (tmp_path / "routes.yaml").write_text(yaml.safe_dump(values["routes"]))

    routes = load_routes(tmp_path / "routes.yaml", Sources())

    default = routes["default"].targets
    assert ["openai", "anthropic", "vllm"] == [target.provider for target in default]
    assert {"http://fault-provider:9000/v1", "http://fault-provider:9000", "http://spillway-vllm:8000/v1"} == {
        target.base_url for route in routes.values() for target in route.targets
    }


def test_the_fault_provider_in_the_cluster_is_where_the_values_say() -> None:
    """Service, pod, port and network policy agree."""
    service, deployment = yaml.safe_load_all((ROOT / "tests/fault-provider/k8s.yaml").read_text())
    values = yaml.safe_load((ROOT / "tests/fault-provider/values.yaml").read_text())
    pod = deployment["spec"]["template"]
    (rule,) = values["networkPolicy"]["providers"]

    assert "fault-provider" == service["metadata"]["name"]
    assert 9000 == service["spec"]["ports"][0]["port"] == rule["ports"][0]["port"]
    assert pod["metadata"]["labels"] == service["spec"]["selector"] == rule["to"][0]["podSelector"]["matchLabels"]
    assert 9000 == pod["spec"]["containers"][0]["ports"][0]["containerPort"]


def test_the_gpu_pool_of_kind_is_the_pool_that_vllm_asks_for() -> None:
    """vLLM's default selector and toleration match one node, whose taint keeps all other pods out."""
    kind = yaml.safe_load((ROOT / "k8s/kind.yaml").read_text())
    (pool,) = [node for node in kind["nodes"] if node.get("labels") == CHART["vllm"]["nodeSelector"]]
    (patch,) = [yaml.safe_load(text) for text in pool["kubeadmConfigPatches"]]
    (taint,) = patch["nodeRegistration"]["taints"]
    (toleration,) = CHART["vllm"]["tolerations"]

    assert (toleration["key"], toleration["effect"]) == (taint["key"], taint["effect"])
    assert "Exists" == toleration["operator"] or taint["value"] == toleration["value"]
    assert 3 == len(kind["nodes"])


def test_the_front_door_on_kind_is_open_on_this_machine_only() -> None:
    """kind maps the NodePort to loopback, and the edge's policy allows it."""
    kind = yaml.safe_load((ROOT / "k8s/kind.yaml").read_text())
    values = yaml.safe_load((ROOT / "k8s/kind-values.yaml").read_text())
    ports = [port for node in kind["nodes"] for port in node.get("extraPortMappings", [])]
    (release,) = releases(PROFILES["e2e"])

    assert "k8s/kind-values.yaml" in release["valuesFiles"]
    assert values["edge"]["service"]["nodePort"] in {port["containerPort"] for port in ports}
    assert values["networkPolicy"]["clients"]
    assert {"127.0.0.1"} == {port["listenAddress"] for port in ports}


def test_gpus_are_simulated_only_on_kind(tmp_path: Path) -> None:
    """Another cluster's context is refused before anything changes."""
    (tmp_path / "kubectl").write_text(
        '#!/bin/sh\n[ "$*" = "config current-context" ] && echo production || touch called\n'
    )
    (tmp_path / "kubectl").chmod(0o755)

    refused = subprocess.run(
        [ROOT / "k8s/pretend-gpu", "2"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, cwd=tmp_path, capture_output=True
    )

    assert 1 == refused.returncode
    assert b"production" in refused.stderr
    assert not (tmp_path / "called").exists()


GIB = 1 << 30


def kind_small(tmp_path: Path, cpus: int, memory: int) -> subprocess.CompletedProcess[str]:
    """Run k8s/kind-small beside a docker whose machine has this size."""
    (tmp_path / "docker").write_text(f"#!/bin/sh\necho {cpus} {memory}\n")
    (tmp_path / "docker").chmod(0o755)
    return subprocess.run(
        [ROOT / "k8s/kind-small"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True
    )


def test_a_small_cluster_reserves_all_but_2_cpus_and_4_gib(tmp_path: Path) -> None:
    """Its one node has as much for pods as minikube's, whatever the machine has."""
    done = kind_small(tmp_path, cpus=6, memory=16 * GIB)

    (node,) = yaml.safe_load(done.stdout)["nodes"]
    (patch,) = [yaml.safe_load(text) for text in node["kubeadmConfigPatches"]]
    assert {"cpu": "4", "memory": f"{12 * GIB // 1024}Ki"} == patch["systemReserved"]


@pytest.mark.parametrize(("cpus", "memory"), [(1, 8 * GIB), (2, 4 * GIB - 1)])
def test_a_machine_smaller_than_the_small_cluster_is_refused(tmp_path: Path, cpus: int, memory: int) -> None:
    """A node cannot have more than its machine."""
    done = kind_small(tmp_path, cpus, memory)

    assert (1, "") == (done.returncode, done.stdout)
    assert "less than 2 CPUs and 4 GiB" in done.stderr


@pytest.mark.parametrize(
    "file",
    sorted(
        [
            *ROOT.glob("k8s/*/values.yaml"),
            ROOT / "k8s/kind-values.yaml",
            ROOT / "charts/spillway/values-production.yaml",
        ]
    ),
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_files_of_values_name_what_the_chart_has(file: Path) -> None:
    """A value that the chart does not know would be refused at the install."""

    def check(given: dict[str, Any], known: dict[str, Any]) -> None:
        for name, value in given.items():
            assert name in known, name
            if isinstance(value, dict) and known[name]:
                check(value, known[name])

    check(yaml.safe_load(file.read_text()), CHART)
