"""Wires and runs the llm-router."""

from __future__ import annotations

import sys
from contextlib import ExitStack

import httpx2
import structlog

from llm_router.metrics import Metrics
from llm_router.providers.catalogue import create_provider
from llm_router.routes import RoutesError, load_routes
from llm_router.service import RouterService
from llm_router.settings import Settings
from servicekit.lifecycle import run, stop_requested
from servicekit.logs import configure_logs
from servicekit.metrics import create_registry, serve_metrics
from servicekit.rpc import RpcServer
from servicekit.settings import load_settings
from spillway.router.v1 import router_pb2_grpc

log = structlog.get_logger()

SERVICE = "spillway.router.v1.RouterService"


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then let running streams finish."""
    stop = stop_requested()
    routes = load_routes(settings.routes_file)
    targets = {target.name: target for route in routes.values() for target in route}
    ssl_context = httpx2.create_ssl_context()
    providers = {name: create_provider(target, ssl_context) for name, target in targets.items()}
    registry = create_registry()
    service = RouterService(
        routes,
        providers,
        Metrics(registry),
        attempt_budget=settings.attempt_budget,
        request_timeout_seconds=settings.request_timeout_seconds,
        frame_interval_seconds=settings.frame_interval_ms / 1000,
    )
    server = RpcServer(
        f"{settings.host}:{settings.port}",
        [SERVICE],
        lambda server: router_pb2_grpc.add_RouterServiceServicer_to_server(service, server),
    )
    with ExitStack() as stack:
        stack.enter_context(serve_metrics(registry, settings.host, settings.metrics_port))
        await server.start()
        log.info("started", address=f"{settings.host}:{settings.port}", models=list(routes), targets=list(targets))
        await stop.wait()
        log.info("draining")
        await server.stop(settings.drain_timeout_seconds)
        for provider in providers.values():
            await provider.close()
    log.info("stopped")


def main() -> None:
    """Run the service; exit with 1 and one line per fault when it cannot start."""
    settings = load_settings(Settings)
    configure_logs("llm-router", settings.log_level)
    try:
        run(lambda: serve(settings))
    except (RoutesError, OSError, RuntimeError) as error:
        for fault in str(error).splitlines():
            log.error("start_failed", reason=fault)  # noqa: TRY400 - one line a fault, for a person
        sys.exit(1)


if __name__ == "__main__":
    main()
