"""`make e2e`: Spillway on a cluster, asked through its front door and attacked from behind.

Builds the images, loads them into kind, installs the chart with the tests' values into a namespace of its own, runs the
front-door tests of tests/e2e against it, then those of tests/e2e/cluster, and takes the namespace away. The last line
is the verdict. Needed on the PATH: kubectl and helm; skaffold, docker and kind unless --no-build is given.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from .cluster import CommandFailed, Place, connected, run
from .installation import REPOSITORY, Installation

_BUILD_SECONDS = 1800
_GPUS = 2
_COUNTS = re.compile(r"(\d+) (passed|failed|error|skipped)")


def say(line: str) -> None:
    """Write a line, at once."""
    print(f"e2e: {line}", flush=True)  # noqa: T201 - the program's output


class Unfit(Exception):
    """The cluster cannot hold what is to be tested; the text says what to do."""


async def check_pool(place: Place) -> None:
    """Look whether there is a GPU pool, real or pretended, for the two models of the tests; Unfit when not."""
    async with connected(place) as cluster:
        nodes = (await cluster.core.list_node(label_selector="pool=gpu")).items
    gpus = sum(int(((node.status and node.status.allocatable) or {}).get("nvidia.com/gpu", 0)) for node in nodes)
    if gpus < _GPUS:
        raise Unfit(
            f"{len(nodes)} nodes with the label pool=gpu have {gpus} GPUs, and the tests need {_GPUS}: make the cluster"
            f" with `kind create cluster --config k8s/kind.yaml`, then run `k8s/pretend-gpu {_GPUS}`"
        )


async def built_images(context: str) -> Mapping[str, str]:
    """Build the images and put them where the cluster finds them; return their references by their names."""
    with tempfile.NamedTemporaryFile("rb", suffix=".json") as file:
        command = ("skaffold", "build", "--kube-context", context, "--file-output", file.name)
        await run(*command, within_seconds=_BUILD_SECONDS)
        builds = orjson.loads(file.read())["builds"]
    images = {build["imageName"]: build["tag"].partition("@")[0] for build in builds}
    if context.startswith("kind-"):
        cluster = context.removeprefix("kind-")
        await run("kind", "load", "docker-image", "--name", cluster, *images.values(), within_seconds=_BUILD_SECONDS)
    return images


def pytest(folder: Path, environment: Mapping[str, str], arguments: Sequence[str]) -> tuple[bool, str]:
    """Run the tests of a folder with a line for each; return whether all passed, and how many did what."""
    command = [sys.executable, "-m", "pytest", str(folder), "-v", "-rfEs", *arguments]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    last = ""
    for line in process.stdout:
        print(line, end="", flush=True)  # noqa: T201 - progress
        last = line if _COUNTS.search(line) else last
    counts = ", ".join(f"{count} {what}" for count, what in _COUNTS.findall(last))
    return process.wait() == 0, counts or "no test"


async def all_the_way(arguments: argparse.Namespace) -> bool:
    """Build, install, test, remove; return whether everything was as it should be."""
    place = Place(arguments.context, arguments.namespace, "spillway")
    await check_pool(place)
    images: Mapping[str, str] = {}
    if arguments.build:
        say("building the images")
        images = await built_images(place.context)
    installation = Installation(place, arguments.values, images)
    try:
        say(f"installing into {place.namespace} of {place.context}")
        keys = await installation.install()
        verdicts = await _tested(place, keys, arguments, images)
    finally:
        if arguments.keep:
            say(f"kept: namespace {place.namespace}")
        else:
            say(f"removing the namespace {place.namespace}")
            await installation.remove()
    for name, (is_good, counts) in verdicts.items():
        say(f"{name}: {counts}{'' if is_good else ': NOT GOOD'}")
    return all(is_good for is_good, _ in verdicts.values())


async def _tested(
    place: Place, keys: Mapping[str, str], arguments: argparse.Namespace, images: Mapping[str, str]
) -> Mapping[str, tuple[bool, str]]:
    environment = {
        "E2E_URL": arguments.edge,
        "E2E_FAULT_PROVIDER_URL": arguments.provider,
        "E2E_API_KEY": keys["blue"],
        "E2E_OTHER_API_KEY": keys["red"],
        "E2E_KEYS": orjson.dumps(keys).decode(),
        "E2E_CONTEXT": place.context,
        "E2E_NAMESPACE": place.namespace,
        "E2E_RELEASE": place.release,
        "E2E_VALUES": os.pathsep.join(map(str, arguments.values)),
        "E2E_IMAGES": orjson.dumps(images).decode(),
    }
    folder = REPOSITORY / "tests" / "e2e"
    verdicts: dict[str, tuple[bool, str]] = {}
    if arguments.part in ("all", "front-door"):
        async with connected(place) as cluster, cluster.postgres_url() as postgres, cluster.redis_url() as redis:
            stores = {"E2E_POSTGRES_URL": postgres, "E2E_REDIS_URL": redis}
            say("the front-door tests")
            verdicts["front door"] = await asyncio.to_thread(
                pytest, folder, {**environment, **stores}, arguments.pytest
            )
    if arguments.part in ("all", "cluster"):
        say("the cluster tests")
        verdicts["cluster"] = await asyncio.to_thread(pytest, folder / "cluster", environment, arguments.pytest)
    return verdicts


def main() -> int:
    """Run; 0 when all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--context", required=True, help="of the kubeconfig: kind-spillway")
    parser.add_argument("--namespace", required=True, help="made, and taken away at the end")
    parser.add_argument("--values", type=Path, action="append", default=[], help="of the chart, on top of the tests'")
    parser.add_argument("--edge", required=True, help="the edge's NodePort 30080 as this machine reaches it")
    parser.add_argument("--provider", required=True, help="the fault provider's NodePort 30090, likewise")
    parser.add_argument("--no-build", dest="build", action="store_false", help="the values name images that are there")
    parser.add_argument("--keep", action="store_true", help="leave the namespace, and use what is in it")
    parser.add_argument("--part", choices=("all", "front-door", "cluster"), default="all")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, behind --")
    started = time.monotonic()
    arguments = parser.parse_args()
    try:
        is_good = asyncio.run(all_the_way(arguments))
    except (CommandFailed, Unfit, TimeoutError) as failure:
        say(f"{failure}")
        is_good = False
    minutes = (time.monotonic() - started) / 60
    say(f"{'green' if is_good else 'RED'} after {minutes:.1f} minutes")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
