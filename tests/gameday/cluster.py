"""The cluster: kubectl, helm, and ways to the edge and to Prometheus that survive the end of a pod."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from string import Template
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RELEASE = "spillway"
PARTS = [f"deploy/{RELEASE}-{each}" for each in ("edge", "llm-router", "cost-ledger")]


class Failed(Exception):
    """A command of the game day itself failed; the message is what it said."""


class Cluster:
    """One namespace of one cluster."""

    def __init__(self, context: str | None, namespace: str, folder: Path) -> None:
        """Write a separate kubeconfig into `folder`, so that a `use-context` elsewhere has no effect."""
        chosen = ["--context", context] if context else []
        config = _run(["kubectl", "config", "view", "--minify", "--flatten", *chosen])
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(config)
        self.namespace = namespace
        self.environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        self._forwards: list[Forward] = []

    def kubectl(self, *arguments: str, text: str | None = None, timeout: float = 300) -> str:
        """Run kubectl in the namespace and return what it prints; Failed when it fails."""
        return _run(["kubectl", "-n", self.namespace, *arguments], self.environment, text, timeout)

    def apply(self, file: Path, **names: str) -> None:
        """Apply a manifest, its `$NAMES` filled in."""
        self.kubectl("apply", "-f", "-", text=Template(file.read_text()).safe_substitute(names))

    def apply_object(self, document: Mapping[str, Any]) -> None:
        """Apply one object."""
        self.kubectl("apply", "-f", "-", text=json.dumps(document))

    def install(self, values: Sequence[Path], *sets: str) -> None:
        """Install the chart, or change what is installed."""
        files = [argument for file in values for argument in ("--values", str(file))]
        settings = [argument for each in sets for argument in ("--set", each)]
        command = ["helm", "upgrade", "--install", RELEASE, str(ROOT / "charts/spillway"), "-n", self.namespace]
        _run([*command, *files, *settings, "--timeout", "10m"], self.environment, None, 700)

    def wait_ready(self, *deployments: str, timeout: int = 300) -> None:
        """Wait until the newest pods of these are ready."""
        for name in deployments:
            self.kubectl("rollout", "status", name, f"--timeout={timeout}s", timeout=timeout + 20)

    def scale(self, kind: str, component: str, replicas: int) -> None:
        """Ask for so many pods of a component; `kind` is deploy or sts."""
        self.kubectl("scale", f"{kind}/{RELEASE}-{component}", f"--replicas={replicas}")

    def pods(self, component: str) -> list[str]:
        """Return the names of the pods of a component."""
        label = f"app.kubernetes.io/component={component}"
        return self.kubectl("get", "pods", "-l", label, "-o", "name").split()

    def forward(self, what: str, port: int) -> Forward:
        """Open a way from a port of this machine to `what` (service/NAME)."""
        forward = Forward(self, what, port)
        self._forwards.append(forward)
        return forward

    def close(self) -> None:
        """End the ways."""
        for forward in self._forwards:
            forward.close()


class Forward:
    """`kubectl port-forward`, started again whenever it ends: it does so with its pod."""

    def __init__(self, cluster: Cluster, what: str, port: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self._command = ["kubectl", "-n", cluster.namespace, "port-forward", what, f"{self.port}:{port}"]
        self._environment = cluster.environment
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it leads from."""
        return f"http://127.0.0.1:{self.port}"

    def renew(self) -> None:
        """Start it again: kubectl does not notice by itself that its pod is gone."""
        if self._process is not None:
            self._process.terminate()

    def close(self) -> None:
        """End it."""
        self._is_closed.set()
        self.renew()
        self._thread.join(5)

    def _keep(self) -> None:
        while not self._is_closed.is_set():
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            self._process.wait()
            time.sleep(0.5)


class Prometheus:
    """What Prometheus says, asked every second from a thread."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._firing: dict[str, list[dict[str, str]]] = {}
        self._seen: dict[str, tuple[float, dict[str, str]]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it is asked."""
        return self._forward.url

    def firing(self) -> dict[str, list[dict[str, str]]]:
        """Return the labels of all alerts that fire, by name."""
        with self._lock:
            return dict(self._firing)

    def forget(self) -> None:
        """Forget the alerts seen so far; one that is firing counts again only after it has ended."""
        with self._lock:
            self._seen = {}

    def seen(self) -> dict[str, tuple[float, dict[str, str]]]:
        """Return when (on the monotonic clock) and with which labels each alert first began to fire, ended or not."""
        with self._lock:
            return dict(self._seen)

    def value(self, expression: str) -> float | None:
        """Return the first value of an expression, None without a value or an answer."""
        try:
            answer = self._get("query", query=expression)["result"]
        except (OSError, ValueError):
            return None
        return float(answer[0]["value"][1]) if answer else None

    def until(self, expression: str, timeout_seconds: float = 60) -> None:
        """Wait until `expression` has a value; Failed when that takes longer."""
        deadline = time.monotonic() + timeout_seconds
        while self.value(expression) is None:
            if time.monotonic() > deadline:
                raise Failed(f"not so after {timeout_seconds:.0f} s: {expression}")
            time.sleep(1)

    def _watch(self) -> None:
        failures = 0
        while True:
            time.sleep(1)
            try:
                alerts = self._get("alerts")["alerts"]
                failures = 0
            except (OSError, ValueError):
                failures += 1
                if failures % 5 == 0:
                    self._forward.renew()
                continue
            firing: dict[str, list[dict[str, str]]] = {}
            for alert in alerts:
                if alert["state"] == "firing":
                    firing.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
            with self._lock:
                for name in firing.keys() - self._firing.keys():
                    self._seen.setdefault(name, (time.monotonic(), firing[name][0]))
                self._firing = firing

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310 - our own http address
            return json.load(reply)["data"]


def _run(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    text: str | None = None,
    timeout: float = 300,
) -> str:
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True, timeout=timeout)
        if done.returncode == 0:
            return done.stdout
        raise Failed(f"{' '.join(command[:8])}: {done.stderr.strip()[-600:]}")
    raise Failed(f"{' '.join(command[:8])}: took more than {timeout:.0f} s")
