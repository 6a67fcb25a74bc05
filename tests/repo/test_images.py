"""The Dockerfiles keep the rules of images; that they build and run is seen where there is docker."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted([*ROOT.glob("services/*/Dockerfile"), ROOT / "tests/fault-provider/Dockerfile"])
SERVICES = [file for file in DOCKERFILES if file.parts[-3] == "services"]


@dataclass
class Stage:
    """One stage of a Dockerfile: what it is made from, and its instructions as (name, rest)."""

    name: str
    origin: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        """Return what stands behind each `instruction`, in order."""
        return [rest for name, rest in self.instructions if name == instruction]


@dataclass
class Dockerfile:
    """The arguments before the first stage, and the stages by name."""

    arguments: list[str]
    stages: dict[str, Stage]

    def lineage(self) -> list[Stage]:
        """Return the stages of the image that is built unless told otherwise, the last one first."""
        found = [list(self.stages.values())[-1]]
        while found[-1].origin in self.stages:
            found.append(self.stages[found[-1].origin])
        return found

    def last(self, instruction: str) -> str:
        """Return what holds in the image for an instruction of which the last one counts."""
        return next(stage.all(instruction)[-1] for stage in self.lineage() if stage.all(instruction))

    def sources(self) -> set[str]:
        """Return the paths that are copied from the repository."""
        copies = [rest.split() for stage in self.stages.values() for rest in stage.all("COPY")]
        return {source for copy in copies if not copy[0].startswith("--from") for source in copy[:-1]}


def read(file: Path) -> Dockerfile:
    """Read a Dockerfile as far as these tests need it."""
    text = re.sub(r"^\s*#.*\n", "", file.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found = Dockerfile([], {})
    for line in filter(None, (line.strip() for line in text.splitlines())):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            origin, _, name = rest.partition(" AS ")
            found.stages[name] = Stage(name, origin)
        elif found.stages:
            list(found.stages.values())[-1].instructions.append((instruction, rest.strip()))
        else:
            found.arguments.append(rest)
    return found


def name_of(file: Path) -> str:
    """Return the name of the image."""
    return file.parent.name


def packages_of(dockerfile: Dockerfile) -> dict[str, Path]:
    """Return our packages in the image, each with its folder of sources."""
    folders = [ROOT / source for source in dockerfile.sources() if source.endswith("/src")]
    return {package.name: package for folder in folders for package in folder.iterdir() if package.is_dir()}


def test_every_service_has_an_image() -> None:
    """A service that runs has a Dockerfile."""
    services = {file.parent.name for file in ROOT.glob("services/*/pyproject.toml")}

    assert services == {name_of(file) for file in SERVICES}


@pytest.mark.parametrize("file", DOCKERFILES, ids=name_of)
def test_every_stage_is_from_the_base_that_can_be_chosen(file: Path) -> None:
    """One argument says which Python an image is made from; nothing comes from a registry behind its back."""
    dockerfile = read(file)
    known = {"${BASE_IMAGE}", "scratch"}

    assert ["BASE_IMAGE=python:3.13-slim"] == dockerfile.arguments
    assert "syntax=" not in file.read_text()
    for stage in dockerfile.stages.values():
        assert stage.origin in known, stage
        assert {
            match for copy in stage.all("COPY") for match in re.findall(r"--from=(\S+)", copy)
        } <= dockerfile.stages.keys()
        known.add(stage.name)


@pytest.mark.parametrize("file", DOCKERFILES, ids=name_of)
def test_an_image_runs_its_service_as_nobody_in_particular_and_ends_on_sigterm(file: Path) -> None:
    """PID 1 is the service, not a shell; it is not root; it is stopped by the signal that it drains on."""
    dockerfile = read(file)
    module = name_of(file).replace("-", "_")

    assert ["python", "-m", module] == json.loads(dockerfile.last("ENTRYPOINT"))
    assert "10001:10001" == dockerfile.last("USER")
    assert "SIGTERM" == dockerfile.last("STOPSIGNAL")
    assert "PYTHONDONTWRITEBYTECODE=1" in dockerfile.last("ENV").split()
    assert "scratch" == dockerfile.lineage()[-1].origin


@pytest.mark.parametrize("file", DOCKERFILES, ids=name_of)
def test_an_image_installs_its_own_hashed_lock_and_nothing_else(file: Path) -> None:
    """What is in the lock is installed by its hash, is not compiled, and pulls in nothing."""
    dockerfile = read(file)
    (installs,) = [run for stage in dockerfile.stages.values() for run in stage.all("RUN") if "-m pip" in run]

    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(installs.split())
    assert {f"locks/{name_of(file)}.txt"} == {source for source in dockerfile.sources() if source.startswith("locks/")}


@pytest.mark.parametrize("file", DOCKERFILES, ids=name_of)
def test_the_lock_of_an_image_has_what_its_packages_need(file: Path) -> None:
    """Each dependency that a package in the image names is in the image's lock."""
    lock = (ROOT / f"locks/{name_of(file)}.txt").read_text()
    locked = {name.lower() for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)}
    for package in packages_of(read(file)).values():
        manifest = tomllib.loads((package.parents[1] / "pyproject.toml").read_text())
        named = {re.split(r"[^A-Za-z0-9._-]", need)[0].lower() for need in manifest["project"]["dependencies"]}
        assert {name for name in named if not name.startswith("spillway-")} <= locked, package


@pytest.mark.parametrize("file", DOCKERFILES, ids=name_of)
def test_an_image_has_all_of_our_packages_that_it_imports(file: Path) -> None:
    """No package of ours is imported in an image that does not have it, and none is there for nothing."""
    packages = packages_of(read(file))
    ours = {package.name for folder in ("proto", "libs/*", "services/*") for package in ROOT.glob(f"{folder}/src/*")}
    imported = {name_of(file).replace("-", "_")}
    for package in packages.values():
        for module in package.rglob("*.py"):
            imported |= imported_names(module) & ours

    assert imported == packages.keys()


def imported_names(module: Path) -> set[str]:
    """Return the top-level names that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("file", DOCKERFILES, ids=name_of)
def test_the_labels_of_an_image_are_the_same_at_every_build(file: Path) -> None:
    """Version and revision come from outside; no label holds a time or an address."""
    (label,) = read(file).lineage()[0].all("LABEL")
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', label))

    expected = {
        "title": f"spillway/{name_of(file)}",
        "licenses": "Apache-2.0",
        "version": "${VERSION}",
        "revision": "${REVISION}",
    }
    assert expected == labels
    assert len(expected) == label.count("=")


def test_the_build_context_is_what_the_dockerfiles_copy() -> None:
    """A build sees no key, no test and no history, and everything that it needs."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = {source for file in DOCKERFILES for source in read(file).sources()}

    assert "*" == lines[0]
    assert copied == allowed
    assert all((ROOT / path).exists() for path in copied)
