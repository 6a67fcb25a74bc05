"""The faults of a game day: which are caused together, which alerts have to fire, and how they are repaired."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from .cluster import PARTS, RELEASE, Cluster, Prometheus
from .traffic import Traffic

_STREAM = "spillway:cost-events"
# Behind a policy whose only rule is the one for this webhook's kind.
_AWAY = "\nwebhooks: [{name: reviewer, url: 'http://127.0.0.1:9/', on_failure: open}]\n"


@dataclass(slots=True)
class Wave:
    """Faults that are caused together, the alerts that have to fire, and the repair."""

    name: str
    breaks: Callable[[], None]
    alerts: dict[str, str]
    """The cause of each alert, by its name."""
    mends: Callable[[], None]
    by_pages: frozenset[str] = frozenset()
    """Alerts that fire because of commands on the pages of the others."""
    procedures: Sequence[tuple[str, Sequence[str] | None]] = ()
    """Pages, and their sections, whose commands run during the fault."""
    afterwards: Sequence[tuple[str, Sequence[str] | None]] = ()
    """Those whose commands run after the repair."""


class Waves:
    """Cause the fault of every alert in a cluster."""

    def __init__(
        self, cluster: Cluster, prometheus: Prometheus, traffic: Traffic, folder: Path, values: Sequence[Path]
    ) -> None:
        """`folder` is for certificates; `values` are the values files of the installed chart."""
        self._cluster = cluster
        self._prometheus = prometheus
        self._traffic = traffic
        self._folder = folder
        self._values = values
        self._locks: list[subprocess.Popen[bytes]] = []

    def all(self) -> list[Wave]:
        """Return all waves in their order."""
        makers = (self._providers, self._edge_killed, self._redis_away, self._postgres_away, self._tables_locked)
        return [*(make() for make in makers), self._ledger_away(), self._nobody_tells_of_keys(), self._certificates()]

    def _providers(self) -> Wave:
        traffic = self._traffic

        def breaks() -> None:
            traffic.end()
            for model, does in (("sick", "status-503"), ("refused", "status-401"), ("missing", "status-404")):
                traffic.begin(model, 0.7, does)
            traffic.begin("slow", 3.5)
            for model in ("unpriced", "gpu"):
                traffic.begin(model, 0.4)
            traffic.ask_once("dear", 3)
            self._prometheus.until("sum(cost_ledger_cost_usd_total) > 290")
            self._ledger("budgets", "set", "tenant", "--each=tenant", "--per=day", "--usd=1", "--over=warn")
            self._ledger("budgets", "set", "nearly", "--each=all", "--per=day", "--usd=350", "--over=warn")
            self._valkey("xadd", _STREAM, "*", "event", "rubbish")
            self._routes("routes: [this is no file of routes\n")
            self._limits("limits: [this is no file of limits\n")
            self._guardrails(f"{self._good_guardrails}{_AWAY}")
            self._ledger("tenants", "create", "default", "--capture-days=1")
            self._issuers(self._good_issuers.replace("/etc/spillway/keys/keys.yaml", "/etc/spillway/nowhere"))

        def mends() -> None:
            traffic.end()
            # Without the target of the GPU pool: without requests it is not probed, and its breaker would stay open.
            routes = yaml.safe_load(self._good_routes)
            del routes["targets"]["gpu"], routes["routes"]["gpu"]
            self._routes(yaml.safe_dump(routes))
            self._limits("limits: [{name: wide, each: [tenant], requests_per_minute: 1000000}]\n")
            self._issuers(self._good_issuers)
            self._guardrails(self._good_guardrails)
            self._ledger("tenants", "update", "default", "--capture-days=0")
            for budget in ("tenant", "nearly"):
                self._ledger("budgets", "remove", budget)
            for model in ("sick", "refused", "missing"):
                traffic.begin(model, 1, "ok")
            traffic.begin("default", 3)

        self._good_routes = self._cluster.kubectl(
            "get", "configmap", f"{RELEASE}-llm-router-routes", "-o", r"jsonpath={.data.routes\.yaml}"
        )
        self._good_issuers = self._cluster.kubectl(
            "get", "configmap", f"{RELEASE}-edge-jwt-issuers", "-o", r"jsonpath={.data.issuers\.yaml}"
        )
        self._good_guardrails = self._cluster.kubectl(
            "get", "configmap", f"{RELEASE}-edge-guardrails", "-o", r"jsonpath={.data.guardrails\.yaml}"
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
                "SpillwaySpendSpike": "three requests of 100 USD each",
                "SpillwayEmergencyMode": "one of them is the budget of the day",
                "SpillwayBudgetExhausted": "a tenant's budget of a dollar",
                "SpillwayBudgetNearlyExhausted": "a budget of 350 USD after these three",
                "SpillwayDeadLetters": "an event that is no event",
                "SpillwayRoutesStale": "a routes file that is no YAML",
                "SpillwayEdgeFilesStale": "a limits file that is no YAML",
                "SpillwayTokenKeysUnread": "an issuer of tokens whose file is not there",
                "SpillwayGuardrailWebhookFails": "a webhook of the guardrails at whose address nobody listens",
                "SpillwayCapturesDropped": "a tenant whose texts are to be captured, and no key for that",
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
            self._prometheus.until("sum(edge_open_streams) > 6")
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
            self._prometheus.until("sum(edge_open_streams) > 35")
            self._cluster.scale("sts", "valkey", 0)
            # Until the spool is full, which it has to be before those forty end.
            self._traffic.ask_once("default", 200)
            self._traffic.begin("default", 4)

        def mends() -> None:
            self._traffic.begin("default", 3)
            self._cluster.scale("sts", "valkey", 1)
            self._cluster.wait_ready(f"sts/{RELEASE}-valkey")

        return Wave(
            "Valkey is gone while the spools are small",
            breaks,
            {
                "SpillwaySpoolBacklog": "Valkey is gone",
                "SpillwayCacheUnavailable": "Valkey is gone",
                "SpillwayLimitsNotShared": "Valkey is gone",
                "SpillwayBreakersNotShared": "Valkey is gone",
                "SpillwayCostEventsUnread": "Valkey is gone",
                "SpillwayLedgerFreshnessBurnsFast": "Valkey is gone",
                "SpillwayLedgerFreshnessBurnsSlowly": "Valkey is gone",
                "SpillwaySpendUnrecordable": "a spool of 64 KiB is full",
                "SpillwayCostEventsLost": "forty streams end while the spool is full",
            },
            mends,
            procedures=[("replay-the-spool", ["Is there one?", "The pod must go before Redis is back"])],
            afterwards=[("replay-the-spool", ["A spool without an edge", "Check"])],
        )

    def _postgres_away(self) -> Wave:
        def mends() -> None:
            self._cluster.scale("sts", "postgres", 1)
            self._cluster.wait_ready(f"sts/{RELEASE}-postgres")

        return Wave(
            "Postgres is gone",
            lambda: self._cluster.scale("sts", "postgres", 0),
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
            lambda: self._cluster.scale("deploy", "cost-ledger", 0),
            {
                "SpillwayLedgerUnreachable": "scaled to nothing",
                "SpillwayComponentAbsent": "scaled to nothing",
            },
            lambda: self._cluster.scale("deploy", "cost-ledger", 1),
            afterwards=[("restore-the-ledger", None)],
        )

    def _nobody_tells_of_keys(self) -> Wave:
        stores = (("deploy", "cost-ledger"), ("sts", "valkey"))

        def scale(replicas: int) -> None:
            for kind, name in stores:
                self._cluster.scale(kind, name, replicas)

        def mends() -> None:
            scale(1)
            for kind, name in stores:
                self._cluster.wait_ready(f"{kind}/{RELEASE}-{name}")

        return Wave(
            "neither a ledger nor Valkey",
            lambda: scale(0),
            {"SpillwayKeysOutdated": "nobody tells of changes of keys"},
            mends,
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

    def _routes(self, text: str) -> None:
        patch = json.dumps({"data": {"routes.yaml": text}})
        self._cluster.kubectl("patch", "configmap", f"{RELEASE}-llm-router-routes", "--type", "merge", "-p", patch)
        self._touch("llm-router")

    def _limits(self, text: str) -> None:
        self._change_file("limits", "limits.yaml", text)

    def _issuers(self, text: str) -> None:
        self._change_file("jwt-issuers", "issuers.yaml", text)

    def _guardrails(self, text: str) -> None:
        self._change_file("guardrails", "guardrails.yaml", text)

    def _change_file(self, name: str, key: str, text: str) -> None:
        patch = json.dumps({"data": {key: text}})
        self._cluster.kubectl("patch", "configmap", f"{RELEASE}-edge-{name}", "--type", "merge", "-p", patch)
        self._touch("edge")

    def _touch(self, component: str) -> None:
        """Have the kubelet look at the volumes of these pods at once."""
        label = f"app.kubernetes.io/component={component}"
        self._cluster.kubectl("annotate", "pods", "-l", label, "--overwrite", f"spillway/looked-at={time.time()}")

    def _valkey(self, *command: str) -> str:
        return self._cluster.kubectl("exec", f"sts/{RELEASE}-valkey", "--", "valkey-cli", *command)

    def _ledger(self, *command: str) -> str:
        where = ("exec", f"deploy/{RELEASE}-cost-ledger", "-c", "cost-ledger", "--")
        return self._cluster.kubectl(*where, "python", "-m", "cost_ledger", *command)

    def _sql(self, statement: str) -> str:
        command = ["psql", "-U", "spillway", "-d", "spillway", "-c", statement]
        return self._cluster.kubectl("exec", f"sts/{RELEASE}-postgres", "--", *command)
