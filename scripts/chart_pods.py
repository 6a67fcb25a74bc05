"""Reads manifests from standard input and walks their pods: what is set for every pod has reached every one of them.

`python scripts/chart_pods.py VALUES-FILE` with the values that they were rendered with: `labels`, `podLabels`,
`annotations`, `podAnnotations`, `extraEnv`, `image.pullSecrets`, and no user or group where `fixedUserIds` is false.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
_WITH_TEMPLATES = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Job"})
_IDS = ("runAsUser", "runAsGroup", "fsGroup")


def pods(manifests: list[Json]) -> Iterator[tuple[str, Json]]:
    """Yield each pod or its template, with a name for it."""
    for manifest in manifests:
        name = f"{manifest['kind']}/{manifest['metadata']['name']}"
        if manifest["kind"] == "Pod":
            yield name, manifest
        elif manifest["kind"] in _WITH_TEMPLATES:
            yield name, manifest["spec"]["template"]
        elif {"template", "jobTemplate"} & manifest.get("spec", {}).keys():
            sys.exit(f"{name}: it may have pods, and nothing here knows how to find them")


def faults_of(pod: Json, values: Json) -> Iterator[str]:
    """Yield what a pod lacks; a value that its component has set instead counts as well."""
    for field, keys in (("labels", ("labels", "podLabels")), ("annotations", ("annotations", "podAnnotations"))):
        found = pod["metadata"].get(field, {})
        yield from (f"no {field[:-1]} {name}" for key in keys for name in values.get(key, {}) if name not in found)
    spec = pod["spec"]
    secrets = {each["name"] for each in spec.get("imagePullSecrets", ())}
    yield from (f"no pull secret {name}" for name in values["image"].get("pullSecrets", ()) if name not in secrets)
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        names = [each["name"] for each in container.get("env", ())]
        wanted = [each["name"] for each in values.get("extraEnv", ())]
        yield from (f"no variable {name} in {container['name']}" for name in wanted if name not in names)
        yield from (f"{name} twice in {container['name']}" for name in set(names) if names.count(name) > 1)
        if not values.get("fixedUserIds", True):
            given = container.get("securityContext", {})
            yield from (f"{name} in {container['name']}" for name in _IDS if name in given)
    if not values.get("fixedUserIds", True):
        yield from (f"{name} of the pod" for name in _IDS if name in spec.get("securityContext", {}))


def main() -> None:
    """Exit with 1 and a line for each thing that has not reached a pod."""
    values = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
    manifests = [each for each in yaml.safe_load_all(sys.stdin) if each]
    found = list(pods(manifests))
    if not found:
        sys.exit("there is no pod in these manifests")
    faults = [f"{name}: {fault}" for name, pod in found for fault in faults_of(pod, values)]
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
