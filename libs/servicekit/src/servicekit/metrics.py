"""The collectors of a service as a table, a registry per process, and the HTTP port for kubelets and Prometheus."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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

from servicekit.addresses import host_of_both
from servicekit.health import Health

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# What a client of the port for kubelets and Prometheus may take; a scrape takes milliseconds.
_REQUEST_TIMEOUT_SECONDS = 5.0
_MAX_REQUEST_BYTES = 16 * 1024
_MAX_CONNECTIONS = 32
_ACCEPT_PAUSE_SECONDS = 0.1

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
def serve_metrics(
    registry: CollectorRegistry,
    health: Health,
    host: str,
    port: int,
    report: Callable[[], Mapping[str, Any]] | None = None,
) -> Iterator[None]:
    """Answer `GET /metrics`, `/health/live` and `/health/ready` on `host:port` from a thread while the block runs.

    `report`, called in a thread, is what `GET /health` answers. OSError when the port is taken. From a thread, so that
    a hung event loop can be reported.
    """
    own = _Server if ":" not in host_of_both(host) else _DualStackServer
    server = make_server(host_of_both(host), port, _application(registry, health, report), own, _SilentHandler)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        with health.beating():
            yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _application(
    registry: CollectorRegistry, health: Health, report: Callable[[], Mapping[str, Any]] | None
) -> WSGIApplication:
    metrics: WSGIApplication = make_wsgi_app(registry)
    probes = {"/health/live": health.liveness, "/health/ready": health.readiness}

    def say(start_response: StartResponse, content: Mapping[str, Any], *, is_well: bool) -> Iterable[bytes]:
        status = "200 OK" if is_well else "503 Service Unavailable"
        start_response(status, [("Content-Type", "application/json")])
        return [orjson.dumps(content)]

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start_response)
        if path == "/health" and report is not None:
            try:
                content = report()
            except TimeoutError:
                content = {"status": "unavailable"}
            return say(start_response, content, is_well=content["status"] != "unavailable")
        if path not in probes:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"here are /metrics, /health/live and /health/ready\n"]
        state = probes[path]()
        return say(start_response, {"status": state}, is_well=state == "ok")

    return answer


class _Server(ThreadingWSGIServer):
    """A thread for each request, so that a slow scrape keeps no probe waiting; not more than a few threads.

    When there are too many, the oldest connection ends: a kubelet that gets no answer would end the process.
    """

    request_queue_size = 128  # the default, 5, would let few slow clients keep all others waiting

    def __init__(self, *arguments: Any) -> None:
        self._deadlines: dict[socket.socket, float] = {}  # oldest first
        self._lock = threading.Lock()
        super().__init__(*arguments)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; with no file free for it, wait a moment instead of trying at full speed."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_ACCEPT_PAUSE_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread."""
        with self._lock:
            if len(self._deadlines) >= _MAX_CONNECTIONS:
                oldest = next(iter(self._deadlines))
                del self._deadlines[oldest]
                _hang_up(oldest)
            self._deadlines[request] = time.monotonic() + _REQUEST_TIMEOUT_SECONDS
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection; after each request."""
        with self._lock:
            self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End what takes too long; called several times a second."""
        now = time.monotonic()
        with self._lock:
            for request in [request for request, deadline in self._deadlines.items() if deadline < now]:
                del self._deadlines[request]
                _hang_up(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: a client that left or sent nothing is not our error."""


class _DualStackServer(_Server):
    """Takes IPv4 as well."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        """Bind for both families, whatever the system's default is."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):  # its client was faster
        connection.shutdown(socket.SHUT_RDWR)  # and its thread wakes up


class _SilentHandler(WSGIRequestHandler):
    def setup(self) -> None:
        """Read so much of a request and no more."""
        super().setup()
        self.rfile = io.BufferedReader(_FirstBytes(self.connection, _MAX_REQUEST_BYTES))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the interface
        """Log nothing: probes come every few seconds."""


class _FirstBytes(io.RawIOBase):
    """What comes first on a connection; then it is as if its client had closed it."""

    def __init__(self, connection: socket.socket, count: int) -> None:
        self._connection = connection
        self._left = count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._connection.recv_into(buffer, min(len(buffer), self._left)) if self._left else 0
        self._left -= count
        return count
