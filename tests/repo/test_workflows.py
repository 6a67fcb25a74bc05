"""The workflows of .github run existing commands and pinned actions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github/workflows").glob("*.yaml"))
# YAML 1.1 takes the key `on` for true.
WORKFLOWS: dict[str, dict[Any, Any]] = {file.stem: yaml.safe_load(file.read_text()) for file in FILES}
JOBS = {(name, job): body for name, workflow in WORKFLOWS.items() for job, body in workflow["jobs"].items()}
MAKE_TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def commands(job: dict[str, Any]) -> str:
    """Return all commands of a job as one text."""
    return "\n".join(step["run"] for step in job["steps"] if "run" in step)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_action_is_pinned_by_commit(file: Path) -> None:
    """An action's owner can move a tag but not a commit; the tag is a comment for readers."""
    uses = re.findall(r"uses: (.*)", file.read_text())

    assert uses
    for use in uses:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use), use


@pytest.mark.parametrize("job", JOBS, ids="-".join)
def test_a_job_runs_commands_that_exist(job: tuple[str, str]) -> None:
    """Each make target and each file of the repository that a job names exists."""
    text = commands(JOBS[job])
    paths = re.findall(r"(?<![\w/.-])((?:k8s|scripts|charts|tests|services)/[\w./-]+)", text)
    paths += [entry["dockerfile"] for entry in JOBS[job].get("strategy", {}).get("matrix", {}).get("include", [])]

    assert set(re.findall(r"\bmake ([a-z0-9-]+)", text)) <= MAKE_TARGETS
    assert [] == [path for path in paths if not (ROOT / path).exists()]


@pytest.mark.parametrize("job", JOBS, ids="-".join)
def test_a_job_has_a_timeout_and_minimal_permissions(job: tuple[str, str]) -> None:
    """A job that hangs is stopped, and its token has only the permissions listed here."""
    workflow = WORKFLOWS[job[0]]

    assert JOBS[job]["timeout-minutes"] <= 60
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for step in JOBS[job]["steps"]:
        if str(step.get("uses", "")).startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_every_check_runs_in_ci() -> None:
    """CI runs all of `make check` on every supported Python, and `make chart`."""
    checked = "\n".join(commands(job) for (workflow, _), job in JOBS.items() if workflow == "check")
    (check,) = re.findall(r"^check: (.*?) ##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    promised = re.findall(r"3\.\d+", (ROOT / "pyproject.toml").read_text().partition("requires-python")[2])[0]

    assert {*check.split(), "chart"} - {"setup"} <= set(re.findall(r"\bmake ([a-z0-9-]+)", checked))
    assert promised == JOBS["check", "test"]["strategy"]["matrix"]["python"][0]


def test_a_release_has_every_image_that_the_chart_names() -> None:
    """Each is built from its Dockerfile with an SBOM and signed by the pushed digest."""
    release = JOBS["release", "images"]
    included = {entry["image"]: entry["dockerfile"] for entry in release["strategy"]["matrix"]["include"]}
    (build,) = [step for step in release["steps"] if "build-push-action" in step.get("uses", "")]

    assert {file.parent.name: str(file.relative_to(ROOT)) for file in ROOT.glob("services/*/Dockerfile")} == included
    assert build["with"]["sbom"] is True
    assert {"VERSION", "REVISION"} == {line.partition("=")[0] for line in build["with"]["build-args"].splitlines()}
    assert 'cosign sign --yes "$IMAGE@$DIGEST"' in commands(release)
    assert "write" == release["permissions"]["id-token"]
