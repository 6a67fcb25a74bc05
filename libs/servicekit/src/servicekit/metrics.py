"""The collectors of a service as a table, a registry per process, and the HTTP port for kubelets and Prometheus."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from wsgiref.simple_server import WSGIRequestHandler, make_server

import orjson
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    make_wsgi_app,
)
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.metrics import MetricWrapperBase

from servicekit.health import Health

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# A client that connects and sends nothing holds a thread for this long.
_REQUEST_TIMEOUT_SECONDS = 2.0

CollectorT = TypeVar("CollectorT", bound=MetricWrapperBase)
Present = Sequence[str | tuple[str, ...]]
"""Label values to export from the start, at 0: a string for a collector with one label, a tuple for one with several.

Prometheus sees no increase in a series that begins with 1, so an alert on it would miss the first event.
"""


class Declared(Generic[CollectorT]):
    """One collector in a `MetricTable`; made by `counter`, `gauge` or `histogram`."""

    def __init__(self, create: Callable[[CollectorRegistry], CollectorT], present: Present) -> None:
        self._create = create
        self._present = present

    def __get__(self, table: MetricTable | None, owner: type[MetricTable]) -> CollectorT:
        # A table keeps each collector in its own __dict__, which is looked up before this.
        raise AttributeError(f"collectors belong to an instance of {owner.__name__}")

    def register(self, registry: CollectorRegistry) -> CollectorT:
        """Return the collector, registered and with its `present` series exported."""
        collector = self._create(registry)
        for values in self._present:
            collector.labels(*((values,) if isinstance(values, str) else values))
        return collector


class MetricTable:
    """Base of a service's table of collectors: `requests = counter("edge_requests_total", "Requests.", "outcome")`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register every collector that the class declares on `registry`."""
        for name, declared in vars(type(self)).items():
            if isinstance(declared, Declared):
                vars(self)[name] = declared.register(registry)


def counter(name: str, help_text: str, *labels: str, present: Present = ()) -> Declared[Counter]:
    """Declare a counter."""
    return Declared(lambda registry: Counter(name, help_text, labels, registry=registry), present)


def gauge(name: str, help_text: str, *labels: str, present: Present = ()) -> Declared[Gauge]:
    """Declare a gauge."""
    return Declared(lambda registry: Gauge(name, help_text, labels, registry=registry), present)


def histogram(
    name: str, help_text: str, *labels: str, buckets: Sequence[float], present: Present = ()
) -> Declared[Histogram]:
    """Declare a histogram."""
    return Declared(lambda registry: Histogram(name, help_text, labels, registry=registry, buckets=buckets), present)


def create_registry() -> CollectorRegistry:
    """Return a registry with the collectors of every process: CPU, memory, open files, garbage collection."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


@contextmanager
def serve_metrics(registry: CollectorRegistry, health: Health, host: str, port: int) -> Iterator[None]:
    """Answer `GET /metrics`, `/health/live` and `/health/ready` on `host:port` from a thread while the block runs.

    OSError when the port is taken. From a thread, so that a hung event loop can be reported.
    """
    server = make_server(host, port, _application(registry, health), _Server, _SilentHandler)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        with health.beating():
            yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _application(registry: CollectorRegistry, health: Health) -> WSGIApplication:
    metrics: WSGIApplication = make_wsgi_app(registry)
    probes = {"/health/live": health.liveness, "/health/ready": health.readiness}

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start_response)
        if path not in probes:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"here are /metrics, /health/live and /health/ready\n"]
        state = probes[path]()
        status = "200 OK" if state == "ok" else "503 Service Unavailable"
        start_response(status, [("Content-Type", "application/json")])
        return [orjson.dumps({"status": state})]

    return answer


class _Server(ThreadingWSGIServer):
    """A thread for each request, so that a slow scrape keeps no probe waiting."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: a client that left or sent nothing is not our error."""


class _SilentHandler(WSGIRequestHandler):
    timeout = _REQUEST_TIMEOUT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the interface
        """Log nothing: probes come every few seconds."""
