"""The chart's hook that waits for a release and reports what keeps its pods from serving."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

SCRIPT = Path(__file__).parents[2] / "charts/spillway/files/rollout_report.py"
SELECTOR = "app.kubernetes.io/instance=spillway"

NO_ROOM = "0/1 nodes are available: 1 Insufficient cpu."


def deployment(**status: Any) -> dict[str, Any]:
    """Return the edge's Deployment of two replicas, rolled out unless its status says otherwise."""
    rolled_out = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
    return {
        "metadata": {"name": "spillway-edge", "generation": 3},
        "spec": {"replicas": 2},
        "status": {**rolled_out, **status},
    }


def pod(name: str, *conditions: dict[str, str], phase: str = "Running", **status: Any) -> dict[str, Any]:
    """Return a pod with these conditions."""
    return {"metadata": {"name": name}, "status": {"phase": phase, "conditions": list(conditions), **status}}


READY = pod("spillway-edge-1", {"type": "Ready", "status": "True"})
UNSCHEDULABLE = pod(
    "spillway-edge-2",
    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_ROOM},
    phase="Pending",
)


class FakeApiServer:
    """Answers lists of Kubernetes objects; each list is a script whose last answer stays."""

    def __init__(self) -> None:
        self.status = 200
        self.lists: dict[str, list[list[dict[str, Any]]]] = {"deployments": [[]], "statefulsets": [[]], "pods": [[]]}
        self.requests: list[tuple[str, str, str]] = []

    def answer(self, url: str, authorization: str) -> bytes:
        """Return the next list of the kind that is asked for."""
        parts = urlsplit(url)
        self.requests.append((parts.path, parse_qs(parts.query)["labelSelector"][0], authorization))
        script = self.lists[parts.path.rpartition("/")[2]]
        return json.dumps({"items": script.pop(0) if len(script) > 1 else script[0]}).encode()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeApiServer]:
    """Serve a cluster, with an account for it in the environment."""
    fake = FakeApiServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer."""
            body = fake.answer(self.path, self.headers["authorization"])
            self.send_response(fake.status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the interface's
            """Keep quiet."""

    (tmp_path / "token").write_text("a-token")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("KUBERNETES_API", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("SERVICE_ACCOUNT", str(tmp_path))
        monkeypatch.setenv("NAMESPACE", "llm")
        monkeypatch.setenv("SELECTOR", SELECTOR)
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script as a module that does not wait between looks."""
    spec = importlib.util.spec_from_file_location("rollout_report", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setattr(module, "SECONDS_BETWEEN_REPORTS", 0)
    return module


def test_a_release_that_is_rolled_out_ends_the_hook(
    api: FakeApiServer, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """It asks for the release's own workloads with its account's token, and prints nothing."""
    api.lists["deployments"] = [[deployment()]]

    script.main()

    assert "" == capsys.readouterr().out
    assert [
        ("/apis/apps/v1/namespaces/llm/deployments", SELECTOR, "Bearer a-token"),
        ("/apis/apps/v1/namespaces/llm/statefulsets", SELECTOR, "Bearer a-token"),
    ] == api.requests


def test_a_pod_without_room_is_reported_once_in_the_words_of_the_scheduler(
    api: FakeApiServer, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hook goes on waiting, and repeats itself only when something changed."""
    waiting = [deployment(readyReplicas=1)]
    api.lists["deployments"] = [waiting, waiting, waiting, [deployment()]]
    api.lists["pods"] = [[READY, UNSCHEDULABLE]]

    script.main()

    assert f"after 0 s:\n  spillway-edge-2: Pending: {NO_ROOM}\n" == capsys.readouterr().out


def test_an_api_server_that_refuses_ends_the_hook(api: FakeApiServer, script: ModuleType) -> None:
    """Without the rights to look there is nothing to wait for."""
    api.status = 403

    with pytest.raises(SystemExit, match="the API server answered 403"):
        script.main()


def test_an_api_server_that_is_away_is_asked_again(
    script: ModuleType, api: FakeApiServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A control plane that restarts does not fail the release."""
    address = script.os.environ["KUBERNETES_API"]
    monkeypatch.setenv("KUBERNETES_API", "http://127.0.0.1:1")
    monkeypatch.setattr(script.time, "sleep", lambda _: monkeypatch.setenv("KUBERNETES_API", address))

    script.main()

    assert "the API server cannot be reached" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "is_rolled_out"),
    [
        ({}, True),
        ({"observedGeneration": 2}, False),
        ({"updatedReplicas": 1}, False),
        ({"readyReplicas": 1}, False),
        ({"replicas": 3}, False),
    ],
    ids=["all there", "not seen yet", "not updated", "not ready", "old pods left"],
)
def test_a_workload_is_rolled_out_when_all_its_pods_are_new_and_ready(
    script: ModuleType, status: dict[str, int], is_rolled_out: bool
) -> None:
    """Old pods that are ready do not count."""
    assert is_rolled_out == script.is_rolled_out(deployment(**status))


def test_a_workload_of_no_replicas_is_rolled_out(script: ModuleType) -> None:
    """Kubernetes leaves out counts that are 0."""
    scaled_down = deployment()
    scaled_down["spec"]["replicas"] = 0
    scaled_down["status"] = {"observedGeneration": 3}

    assert script.is_rolled_out(scaled_down)


@pytest.mark.parametrize(
    ("pods", "lines"),
    [
        ([READY], ["not rolled out yet: spillway-edge"]),
        ([UNSCHEDULABLE], [f"spillway-edge-2: Pending: {NO_ROOM}"]),
        (
            [
                pod(
                    "p",
                    containerStatuses=[
                        {"name": "edge", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}
                    ],
                )
            ],
            ["p: edge: ErrImagePull: no such image"],
        ),
        (
            [
                pod(
                    "p",
                    initContainerStatuses=[{"name": "schema", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
                )
            ],
            ["p: schema: CrashLoopBackOff"],
        ),
        (
            [
                pod(
                    "p",
                    phase="Pending",
                    initContainerStatuses=[{"name": "schema", "state": {"running": {}}}],
                    containerStatuses=[{"name": "cost-ledger", "state": {"waiting": {"reason": "PodInitializing"}}}],
                )
            ],
            ["p: Pending, not ready"],
        ),
        ([pod("p", phase="Succeeded")], ["not rolled out yet: spillway-edge"]),
        (
            [{**UNSCHEDULABLE, "metadata": {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}}],
            ["not rolled out yet: spillway-edge"],
        ),
    ],
    ids=["ready", "no room", "no image", "crashes", "initializing", "done", "terminating"],
)
def test_each_pod_that_does_not_serve_has_its_reason(
    script: ModuleType, pods: list[dict[str, Any]], lines: list[str]
) -> None:
    """Pods that serve, have done their work or are about to go are left out."""
    assert lines == script.report([deployment(readyReplicas=1)], pods)


def test_a_workload_whose_pods_are_refused_has_its_reason(script: ModuleType) -> None:
    """A quota, for one, lets no pod come into being that could say why."""
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}

    assert ["spillway-edge: exceeded quota: small"] == script.report([deployment(conditions=[refused])], [])
