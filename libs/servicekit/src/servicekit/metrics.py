"""A registry per process, and the HTTP port that a kubelet and Prometheus ask."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import orjson
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from servicekit.health import Health

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# Whoever connects and says nothing holds a thread for this long.
_REQUEST_TIMEOUT_SECONDS = 2.0


def create_registry() -> CollectorRegistry:
    """Return a registry that holds what is known of any process: CPU, memory, open files, garbage collection."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


@contextmanager
def serve_metrics(registry: CollectorRegistry, health: Health, host: str, port: int) -> Iterator[None]:
    """Answer `GET /metrics`, `/health/live` and `/health/ready` on `host:port` from a thread while the block runs.

    OSError when the port is taken. From a thread, so that an event loop that hangs can be told.
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
        """Say nothing: a client that left or sent nothing is no fault of ours."""


class _SilentHandler(WSGIRequestHandler):
    timeout = _REQUEST_TIMEOUT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the interface
        """Log nothing: probes come every few seconds."""
