"""`make gameday`: break a running system in each of the ways there are alerts for, and do what the runbook says.

For each alert it shows that the shipped rule fires when that happens, that every command on its page works in that
moment, and that the alert ends when it was mended. The rules are the shipped ones with shorter times
(rules.py); what scrapes the pods and evaluates the rules is a real Prometheus.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from .cluster import HERE, PARTS, RELEASE, ROOT, Cluster, Failed, Prometheus
from .pages import blocks, run
from .rules import FACTOR, shortened
from .traffic import Traffic
from .waves import Wave, Waves

ALERTS = ROOT / "charts/spillway/alerts"
_FIRE_SECONDS = 240.0
_RESOLVE_SECONDS = 240.0


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


@dataclass(slots=True)
class Verdict:
    """What is known of one alert."""

    fired_after: float | None = None
    labels: dict[str, str] = field(default_factory=dict)
    commands: int = 0
    faults: list[str] = field(default_factory=list)
    resolved_after: float | None = None


class GameDay:
    """Plays waves, one after the other, and keeps what came out of it."""

    def __init__(self, cluster: Cluster, prometheus: Prometheus, folder: Path) -> None:
        """Put what the pages ask of a reader into `folder`, where their commands run."""
        self._cluster = cluster
        self._prometheus = prometheus
        self._folder = folder
        self.verdicts: dict[str, Verdict] = {}
        self.faults: list[str] = []
        (folder / "new-key").write_text("sk-not-a-key-either")
        (folder / "prices.yaml").write_text(
            "prices:\n  - {provider: openai, target_model: 'ok?test=unpriced', effective_from: 2026-01-01,"
            " rates: {input: 0.1, output: 0.1}, source: made up, source_date: 2026-01-01}\n"
        )

    def play(self, wave: Wave) -> None:
        """Break, see the alerts fire, work through their pages, mend, see them end."""
        say(f"--- {wave.name}")
        for name in self._prometheus.firing().keys() & wave.alerts.keys():
            say(f"{name} fires already, and would have to begin anew")
        self._prometheus.forget()
        began = time.monotonic()
        try:
            wave.breaks()
        except Failed as error:
            self.faults.append(f"{wave.name}: {error}")
        self._meet({name: how for name, how in wave.alerts.items() if name not in wave.by_pages}, began)
        self._meet({name: wave.alerts[name] for name in wave.by_pages}, began)
        for page, sections in wave.procedures:
            self._work_through(page, sections, Verdict())
        self._mend(wave)

    def _meet(self, alerts: dict[str, str], began: float) -> None:
        """Wait until all of these fire, then work through their pages: what one page does may end another alert."""
        waiting = dict(alerts)
        deadline = time.monotonic() + _FIRE_SECONDS
        while waiting and time.monotonic() < deadline:
            for name, (moment, labels) in self._prometheus.seen().items():
                if name in waiting:
                    how = waiting.pop(name)
                    self.verdicts[name] = Verdict(max(moment - began, 0), labels)
                    say(f"{name} fired after {moment - began:.0f} s ({how})")
            time.sleep(0.5)
        for name in waiting:
            self.verdicts[name] = Verdict()
            say(f"{name} did NOT fire within {_FIRE_SECONDS:.0f} s ({alerts[name]})")
        for name in alerts:
            if name not in waiting:
                self._work_through(name, ["Diagnosis", "Mitigation"], self.verdicts[name])

    def _mend(self, wave: Wave) -> None:
        say(f"mending: {wave.name}")
        mended = time.monotonic()
        try:
            wave.mends()
            # Pages scale up; everything is one again for the next wave.
            for part, replicas in (("edge", 1), ("llm-router", 1), ("cost-ledger", 1), ("vllm", 0)):
                self._cluster.scale("deploy", part, replicas)
        except Failed as error:
            self.faults.append(f"mending {wave.name}: {error}")
        for page, sections in wave.afterwards:
            self._work_through(page, sections, Verdict())
        waiting = [name for name in wave.alerts if self.verdicts[name].fired_after is not None and not _is_slow(name)]
        while waiting and time.monotonic() - mended < _RESOLVE_SECONDS:
            firing = self._prometheus.firing()
            for name in [name for name in waiting if name not in firing]:
                waiting.remove(name)
                verdict = self.verdicts[name]
                verdict.resolved_after = time.monotonic() - mended
                say(f"{name} ended after {verdict.resolved_after:.0f} s")
            time.sleep(0.5)
        for name in wave.alerts:
            self._work_through(name, ["Verify"], self.verdicts[name])
        if besides := sorted(self._prometheus.seen().keys() - wave.alerts.keys()):
            say(f"fired besides: {', '.join(besides)}")

    def _work_through(self, page: str, sections: Sequence[str] | None, verdict: Verdict) -> None:
        names = {name.upper(): value for name, value in verdict.labels.items()}
        environment = {
            "TARGET": "refused",
            "REQUESTED_MODEL": "sick",
            "COMPONENT": "cost-ledger",
            "MODEL_NAME": "pretended",
            **self._cluster.environment,
            **names,
            "PROVIDER": "openai",
            "NEW_KEY_FILE": "new-key",
            "NAMESPACE": self._cluster.namespace,
            "RELEASE": RELEASE,
            "PROMETHEUS": self._prometheus.url,
        }
        for block in blocks(page, sections):
            verdict.commands += 1
            fault = run(block, self._folder, environment)
            if fault is not None:
                verdict.faults.append(fault)
                self.faults.append(fault)
                say(f"FAULT {fault}")


@dataclass(frozen=True, slots=True)
class Images:
    """Those that are not the chart's."""

    fault_provider: str
    prometheus: str


def main() -> None:
    """Set the system up, play the waves, tell the verdict; status 1 when an alert or a command of a page failed."""
    arguments = _arguments()
    images = Images(arguments.fault_provider_image, arguments.prometheus_image)
    for tool in ("kubectl", "helm", "jq", "curl", "openssl"):
        if shutil.which(tool) is None:
            sys.exit(f"gameday: {tool} is missing")
    folder = Path(tempfile.mkdtemp(prefix="spillway-gameday-"))
    say(f"commands and what they print: {folder}/commands.log; times of the rules divided by {FACTOR}")
    values = [HERE / "values.yaml", *arguments.values]
    cluster = Cluster(arguments.context, arguments.namespace, folder)
    try:
        _set_up(cluster, values, images)
        edge = cluster.forward(f"service/{RELEASE}-edge", 8080)
        prometheus = Prometheus(cluster.forward("deployment/gameday-prometheus", 9090))
        traffic = Traffic(edge, _api_key(cluster))
        traffic.begin("default", 3)
        prometheus.until("sum(rate(cost_ledger_settled_events_total[20s])) > 0", 180)
        time.sleep(30)
        game = GameDay(cluster, prometheus, folder)
        for wave in Waves(cluster, prometheus, traffic, folder, values).all():
            if not arguments.only or any(each in wave.alerts for each in arguments.only):
                game.play(wave)
        traffic.close()
        is_good = _tell(game, bool(arguments.only))
    finally:
        cluster.close()
    sys.exit(0 if is_good else 1)


def _is_slow(alert: str) -> bool:
    """Tell whether the alert looks back over a shortened six hours, and so ends twelve minutes after it was mended."""
    return alert.endswith("BurnsSlowly")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--context", help="of kubectl; default: the current one")
    parser.add_argument("--namespace", default="gameday", help="is made if it is not there, and left as it is")
    parser.add_argument("--values", action="append", default=[], type=Path, help="for the chart: images")
    parser.add_argument("--fault-provider-image", default="spillway/fault-provider:dev")
    parser.add_argument("--prometheus-image", default="prom/prometheus:v3.5.0")
    parser.add_argument("--only", action="append", choices=_shipped(), metavar="ALERT", help="the wave with this alert")
    return parser.parse_args()


def _set_up(cluster: Cluster, values: Sequence[Path], images: Images) -> None:
    say("installing")
    cluster.kubectl(
        "apply", "-f", "-", text=f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {cluster.namespace}}}\n"
    )
    provider = (ROOT / "tests/fault-provider/k8s.yaml").read_text()
    cluster.kubectl(
        "apply", "-f", "-", text=provider.replace("image: spillway/fault-provider", f"image: {images.fault_provider}")
    )
    rules = {file.name: yaml.safe_dump(shortened(yaml.safe_load(file.read_text()))) for file in ALERTS.glob("*.yaml")}
    cluster.apply_object(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "gameday-rules"}, "data": rules}
    )
    cluster.apply(HERE / "cluster.yaml", PROMETHEUS_IMAGE=images.prometheus)
    cluster.apply(HERE / "engine.yaml", FAULT_PROVIDER_IMAGE=images.fault_provider)
    cluster.install(values)
    cluster.wait_ready(*PARTS, "deploy/fault-provider", "deploy/gameday-prometheus", timeout=600)


def _api_key(cluster: Cluster) -> str:
    encoded = cluster.kubectl("get", "secret", f"{RELEASE}-keys", "-o", r"jsonpath={.data.api-key}")
    return base64.b64decode(encoded).decode()


def _shipped() -> list[str]:
    """Return the names of the chart's alerts."""
    groups = [group for file in ALERTS.glob("*.yaml") for group in yaml.safe_load(file.read_text())["groups"]]
    return sorted(rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule)


def _tell(game: GameDay, is_part: bool) -> bool:
    """Print a line for each alert; return whether all is well."""
    say("--- verdict")
    missed = 0
    for name in _shipped():
        verdict = game.verdicts.get(name)
        if verdict is None:
            if not is_part:
                missed += 1
                say(f"{name}: no wave provokes it")
            continue
        fired = "did NOT fire" if verdict.fired_after is None else f"fired after {verdict.fired_after:.0f} s"
        ended = (
            "did NOT end" if verdict.resolved_after is None else f"ended {verdict.resolved_after:.0f} s after mending"
        )
        if _is_slow(name) and verdict.resolved_after is None:
            ended = "its end was not waited for"
        missed += verdict.fired_after is None or (verdict.resolved_after is None and not _is_slow(name))
        say(f"{name}: {fired}, {verdict.commands} blocks of its page run, {len(verdict.faults)} failed, {ended}")
    say(
        f"gameday: {len(game.verdicts)} alerts provoked, {missed} missed, {len(game.faults)} faults in pages or the run"
    )
    for fault in game.faults:
        say(f"  {fault}")
    return missed == 0 and not game.faults


if __name__ == "__main__":
    threading.excepthook = lambda hook: say(f"a thread failed: {hook.exc_value!r}")
    main()
