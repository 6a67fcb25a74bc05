"""`make gameday`: break a running system in each of the ways there are alerts for, and do what the runbook says.

For each alert it shows that the shipped rule fires when that happens, that every command on its page works in that
moment, and that the alert ends when it was mended. The rules are the shipped ones with shorter times
(gameday_rules.py); what scrapes the pods and evaluates the rules is a real Prometheus.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from gameday_cluster import HERE, RELEASE, ROOT, Cluster, Failed, Prometheus
from gameday_pages import blocks, run
from gameday_rules import FACTOR, shortened
from gameday_traffic import Traffic

ALERTS = ROOT / "charts/spillway/alerts"
STREAM = "spillway:cost-events"
PARTS = [f"deploy/{RELEASE}-{each}" for each in ("edge", "llm-router", "cost-ledger")]
_FIRE_SECONDS = 240.0
_RESOLVE_SECONDS = 240.0


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stdout.flush()


@dataclass(slots=True)
class Wave:
    """What is broken together, the alerts that have to fire, and how it is mended."""

    name: str
    breaks: Callable[[], None]
    alerts: dict[str, str]
    """By name: how it was provoked."""
    mends: Callable[[], None]
    by_pages: frozenset[str] = frozenset()
    """Those of the alerts that fire for what the pages of the others did."""
    procedures: Sequence[tuple[str, Sequence[str] | None]] = ()
    """Pages, and the sections of them, that are worked through while it is broken."""
    afterwards: Sequence[tuple[str, Sequence[str] | None]] = ()
    """And after it was mended."""


@dataclass(slots=True)
class Verdict:
    """What is known of one alert."""

    fired_after: float | None = None
    labels: dict[str, str] = field(default_factory=dict)
    commands: int = 0
    faults: list[str] = field(default_factory=list)
    resolved_after: float | None = None


class GameDay:
    """The waves, one after the other."""

    def __init__(
        self, cluster: Cluster, prometheus: Prometheus, traffic: Traffic, folder: Path, values: Sequence[Path]
    ) -> None:
        """`values` are the files that the chart was installed with."""
        self._cluster = cluster
        self._prometheus = prometheus
        self._traffic = traffic
        self._folder = folder
        self._values = values
        self._locks: list[subprocess.Popen[bytes]] = []
        self.verdicts: dict[str, Verdict] = {}
        self.faults: list[str] = []
        (folder / "new-key").write_text("sk-not-a-key-either")
        (folder / "prices.yaml").write_text(
            "prices:\n  - {provider: openai, target_model: 'ok?test=unpriced', effective_from: 2026-01-01,"
            " rates: {input: 0.1, output: 0.1}, source: made up, source_date: 2026-01-01}\n"
        )

    def waves(self) -> list[Wave]:
        """Return all of them in their order."""
        makers = (self._providers, self._edge_killed, self._redis_away, self._postgres_away, self._tables_locked)
        return [*(make() for make in makers), self._ledger_away(), self._certificates()]

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
                self._scale("deploy", part, replicas)
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

    # What is broken, and how it is mended.

    def _providers(self) -> Wave:
        traffic = self._traffic

        def breaks() -> None:
            traffic.end()
            for model, does in (("sick", "status-503"), ("refused", "status-401"), ("missing", "status-404")):
                traffic.begin(model, 0.7, does)
            traffic.begin("slow", 3.5)
            for model in ("unpriced", "dear", "gpu"):
                traffic.begin(model, 0.4)
            self._valkey("xadd", STREAM, "*", "event", "rubbish")
            self._routes("routes: [this is no file of routes\n")

        def mends() -> None:
            traffic.end()
            # Without the target of the GPU pool: nobody would probe it any more, and so its breaker would stay open.
            routes = yaml.safe_load(self._good_routes)
            del routes["targets"]["gpu"], routes["routes"]["gpu"]
            self._routes(yaml.safe_dump(routes))
            for model in ("sick", "refused", "missing"):
                traffic.begin(model, 1, "ok")
            traffic.begin("default", 3)

        self._good_routes = self._cluster.kubectl(
            "get", "configmap", f"{RELEASE}-llm-router-routes", "-o", r"jsonpath={.data.routes\.yaml}"
        )
        return Wave(
            "providers that fail, refuse, are slow or dear; broken routes; rubbish among the cost events",
            breaks,
            {
                "SpillwayAllTargetsFail": "the only target of a model answers 503",
                "SpillwayCredentialRefused": "a target answers 401",
                "SpillwayTargetModelMissing": "a target answers 404",
                "SpillwayBreakerOpen": "a target answers 503 for long",
                "SpillwayAvailabilityBurnsFast": "many requests fail",
                "SpillwayAvailabilityBurnsSlowly": "many requests fail",
                "SpillwayFirstContentBurnsFast": "most answers begin after 3 s",
                "SpillwayFirstContentBurnsSlowly": "most answers begin after 3 s",
                "SpillwayModelUnpriced": "a model that the price book does not have",
                "SpillwaySpendSpike": "a model that takes 100 USD a request",
                "SpillwayDeadLetters": "an event that is no event",
                "SpillwayRoutesStale": "a routes file that is no YAML",
                "SpillwayGpuPoolEmpty": "a vLLM target without an engine",
                "SpillwayGpuPoolQueueing": "the engine that the page then starts tells pretended figures",
            },
            mends,
            frozenset({"SpillwayGpuPoolQueueing"}),
            afterwards=[
                ("drain-a-target", None),
                ("rotate-a-provider-key", None),
                ("change-prices", None),
                ("SpillwayDeadLetters", ["Mitigation"]),
            ],
        )

    def _edge_killed(self) -> Wave:
        def breaks() -> None:
            self._traffic.ask_once("long", 8)
            self.until("sum(edge_open_streams) > 6")
            # As a node that vanishes: no SIGTERM, no draining.
            for pod in self._cluster.pods("edge"):
                self._cluster.kubectl("delete", pod, "--grace-period=0", "--force")

        return Wave(
            "an edge is killed in the middle of eight streams",
            breaks,
            {
                "SpillwayRequestsUnsettled": "eight requests without an end",
                "SpillwayHonestEndingsBurnsFast": "eight streams without a last frame",
                "SpillwayHonestEndingsBurnsSlowly": "eight streams without a last frame",
            },
            lambda: self._cluster.wait_ready(f"deploy/{RELEASE}-edge"),
        )

    def _redis_away(self) -> Wave:
        def breaks() -> None:
            # Their ends come when the spool is full, and are more than the room that is kept for ends.
            self._traffic.ask_once("longer", 40)
            self.until("sum(edge_open_streams) > 35")
            self._scale("sts", "valkey", 0)
            # Until the spool is full, which it has to be before those forty end.
            self._traffic.ask_once("default", 200)
            self._traffic.begin("default", 4)

        def mends() -> None:
            self._traffic.begin("default", 3)
            self._scale("sts", "valkey", 1)
            self._cluster.wait_ready(f"sts/{RELEASE}-valkey")

        return Wave(
            "Valkey is gone while the spools are small",
            breaks,
            {
                "SpillwaySpoolBacklog": "Valkey is gone",
                "SpillwayCacheUnavailable": "Valkey is gone",
                "SpillwayBreakersNotShared": "Valkey is gone",
                "SpillwayCostEventsUnread": "Valkey is gone",
                "SpillwayLedgerFreshnessBurnsFast": "Valkey is gone",
                "SpillwayLedgerFreshnessBurnsSlowly": "Valkey is gone",
                "SpillwaySpendUnrecordable": "a spool of 64 KiB is full",
                "SpillwayCostEventsLost": "forty streams end while the spool is full",
            },
            mends,
            procedures=[("replay-the-spool", ["Is there one?", "The pod has to go before Redis is back"])],
            afterwards=[("replay-the-spool", ["A spool without an edge", "Check"])],
        )

    def _postgres_away(self) -> Wave:
        def mends() -> None:
            self._scale("sts", "postgres", 1)
            self._cluster.wait_ready(f"sts/{RELEASE}-postgres")

        return Wave(
            "Postgres is gone",
            lambda: self._scale("sts", "postgres", 0),
            {"SpillwayPostgresUnavailable": "no Postgres"},
            mends,
        )

    def _tables_locked(self) -> Wave:
        def breaks() -> None:
            self._sql(
                "DO $$ DECLARE t text; BEGIN FOR t IN"
                " SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'"
                " AND relname ~ '_[0-9]{4}_[0-9]{2}$' AND to_date(right(relname, 7), 'YYYY_MM') > now()"
                " LOOP EXECUTE 'DROP TABLE ' || t; END LOOP; END $$"
            )
            lock = "BEGIN; LOCK TABLE requests, attempts IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(900)"
            command = ["kubectl", "-n", self._cluster.namespace, "exec", f"sts/{RELEASE}-postgres", "--"]
            self._locks.append(
                subprocess.Popen(
                    [*command, "psql", "-U", "spillway", "-d", "spillway", "-c", lock],
                    env=self._cluster.environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            # Its first look at the partitions comes at its start.
            self._cluster.kubectl("rollout", "restart", f"deploy/{RELEASE}-cost-ledger")

        def mends() -> None:
            self._sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(900)%'"
                      " AND pid <> pg_backend_pid()")  # fmt: skip
            for process in self._locks:
                process.terminate()

        return Wave(
            "somebody holds locks on the tables, and those of next month are gone",
            breaks,
            {
                "SpillwayLedgerBehind": "the tables are locked",
                "SpillwayPartitionsMissing": "the partitions of the next months are gone and cannot be made",
            },
            mends,
            afterwards=[("SpillwayPartitionsMissing", ["Mitigation"])],
        )

    def _ledger_away(self) -> Wave:
        return Wave(
            "no ledger",
            lambda: self._scale("deploy", "cost-ledger", 0),
            {
                "SpillwayLedgerUnreachable": "scaled to nothing",
                "SpillwayComponentAbsent": "scaled to nothing",
            },
            lambda: self._scale("deploy", "cost-ledger", 1),
            afterwards=[("restore-the-ledger", None)],
        )

    def _certificates(self) -> Wave:
        def breaks() -> None:
            self._certify(2)
            secrets = [f"tls.existingSecrets.{each}=gameday-tls" for each in ("edge", "llmRouter", "costLedger")]
            self._cluster.install(self._values, "tls.enabled=true", *secrets)
            self._cluster.wait_ready(*PARTS)
            self._cluster.kubectl(
                "patch", "secret", "gameday-tls", "-p", '{"stringData": {"tls.crt": "no certificate"}}'
            )
            self._touch("edge")

        def mends() -> None:
            self._certify(30)
            for component in ("edge", "llm-router", "cost-ledger"):
                self._touch(component)

        return Wave(
            "mutual TLS with a certificate that ends in two days, and one that is none",
            breaks,
            {
                "SpillwayCertificateExpires": "a certificate for two days",
                "SpillwayTlsFilesStale": "a file that is no certificate",
            },
            mends,
        )

    def _certify(self, days: int) -> None:
        """Put a certificate for so many days into the Secret, of one authority each time."""
        names = ",".join(f"DNS:{RELEASE}-{each}" for each in ("edge", "llm-router", "cost-ledger"))
        (self._folder / "names").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        commands = ["req -newkey rsa:2048 -nodes -keyout tls.key -out tls.csr -subj /CN=gameday"]
        if not (self._folder / "ca.crt").exists():
            commands.append(
                "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 365 -subj /CN=gameday-ca"
            )
        sign = "x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -out tls.crt -days"
        for command in (*commands, f"{sign} {days}"):
            subprocess.run(["openssl", *command.split()], cwd=self._folder, check=True, capture_output=True)
        data = {name: (self._folder / name).read_text() for name in ("tls.crt", "tls.key", "ca.crt")}
        metadata = {"name": "gameday-tls"}
        self._cluster.apply_object(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/tls",
                "metadata": metadata,
                "stringData": data,
            }
        )

    def _scale(self, kind: str, component: str, replicas: int) -> None:
        self._cluster.kubectl("scale", f"{kind}/{RELEASE}-{component}", f"--replicas={replicas}")

    def _routes(self, text: str) -> None:
        patch = json.dumps({"data": {"routes.yaml": text}})
        self._cluster.kubectl("patch", "configmap", f"{RELEASE}-llm-router-routes", "--type", "merge", "-p", patch)
        self._touch("llm-router")

    def _touch(self, component: str) -> None:
        """Have the kubelet look at the volumes of these pods at once."""
        label = f"app.kubernetes.io/component={component}"
        self._cluster.kubectl("annotate", "pods", "-l", label, "--overwrite", f"spillway/looked-at={time.time()}")

    def _valkey(self, *command: str) -> str:
        return self._cluster.kubectl("exec", f"sts/{RELEASE}-valkey", "--", "valkey-cli", *command)

    def _sql(self, statement: str) -> str:
        command = ["psql", "-U", "spillway", "-d", "spillway", "-c", statement]
        return self._cluster.kubectl("exec", f"sts/{RELEASE}-postgres", "--", *command)

    def until(self, expression: str, timeout_seconds: float = 60) -> None:
        """Wait until `expression` has a value; Failed when that takes longer."""
        deadline = time.monotonic() + timeout_seconds
        while self._prometheus.value(expression) is None:
            if time.monotonic() > deadline:
                raise Failed(f"not so after {timeout_seconds:.0f} s: {expression}")
            time.sleep(1)


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
        game = GameDay(cluster, prometheus, traffic, folder, values)
        game.until("sum(rate(cost_ledger_settled_events_total[20s])) > 0", 180)
        time.sleep(30)
        for wave in game.waves():
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
    parser.add_argument("--only", action="append", help="the waves with these alerts")
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


def _tell(game: GameDay, is_part: bool) -> bool:
    """Print a line for each alert; return whether all is well."""
    shipped = {
        rule["alert"]
        for file in ALERTS.glob("*.yaml")
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    say("--- verdict")
    missed = 0
    for name in sorted(shipped):
        verdict = game.verdicts.get(name)
        if verdict is None:
            if not is_part:
                say(f"{name}: not provoked here")
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
