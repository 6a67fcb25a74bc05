"""Reads manifests from standard input and adds up what their pods request at the busiest moment of an upgrade.

That is every replica, one more of each Deployment, and the pods of hooks: they have to find room at the same time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import yaml

_UNITS: dict[str, Decimal | int] = {"": 1, "m": Decimal("0.001"), "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
# A node of 2 CPUs and 4 GiB has this much left beside the pods of Kubernetes itself.
_ROOM = {"cpu": "700m", "memory": "2560Mi"}


def amount(quantity: str | int) -> Decimal:
    """Return a quantity of Kubernetes as a number of CPUs or bytes."""
    text = str(quantity)
    digits = text.rstrip("mKiMG")
    return Decimal(digits) * _UNITS[text[len(digits) :]]


def request_of_pod(spec: dict[str, Any], resource: str) -> Decimal:
    """Return what the scheduler looks for: its containers together, or its largest init container."""

    def requested(container: dict[str, Any]) -> Decimal:
        return amount(container["resources"]["requests"][resource])

    together = sum((requested(each) for each in spec["containers"]), Decimal(0))
    return max([together, *(requested(each) for each in spec.get("initContainers", []))])


def pods(manifests: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the specifications of pods, each with how many of them there are at once."""
    for manifest in manifests:
        match manifest["kind"]:
            case "Deployment":
                yield manifest["spec"]["replicas"] + 1, manifest["spec"]["template"]["spec"]
            case "StatefulSet":
                yield manifest["spec"]["replicas"], manifest["spec"]["template"]["spec"]
            case "Job":
                yield 1, manifest["spec"]["template"]["spec"]
            case "Pod":
                yield 1, manifest["spec"]


def main() -> None:
    """Exit with 1 and a line when it is more than a small cluster has room for."""
    manifests = [each for each in yaml.safe_load_all(sys.stdin) if each]
    found = list(pods(manifests))
    if not found:
        sys.exit("there is no pod in these manifests")
    for resource, room in _ROOM.items():
        requested = sum((count * request_of_pod(spec, resource) for count, spec in found), Decimal(0))
        if requested > amount(room):
            sys.exit(f"{resource}: {requested.normalize():f} is requested, a small cluster has {room}")


if __name__ == "__main__":
    main()
