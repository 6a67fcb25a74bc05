"""Wires and runs the llm-router."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import random
import socket
import sys
import time
from contextlib import ExitStack
from functools import partial

import structlog

from llm_router.breaker.breakers import Breakers
from llm_router.breaker.shared import SharedBreakerState
from llm_router.capacity import Capacity
from llm_router.chain.attempts import ChainDependencies
from llm_router.metrics import Metrics
from llm_router.providers.catalogue import create_provider, forget_sdk_environment
from llm_router.providers.http.transport import Network
from llm_router.routes.fleet import Fleets
from llm_router.routes.load import RoutesError, load_routes
from llm_router.routes.sources import Sources
from llm_router.routes.watch import WATCH_INTERVAL_SECONDS, RoutesWatch
from llm_router.service import RouterService
from llm_router.settings import Settings
from llm_router.strategies.hedging import HedgeAllowances
from llm_router.strategies.latency import Latencies
from servicekit.addresses import join_address
from servicekit.health import Health
from servicekit.lifecycle import repeat, run, stop_requested
from servicekit.log_writer import LogWriter
from servicekit.logs import configure_logs
from servicekit.loop_lag import watch_loop_lag
from servicekit.metrics import create_registry, serve_metrics
from servicekit.proxies import Proxies, ProxyUnusable
from servicekit.rpc import RpcServer
from servicekit.rpc_token import RpcTokenUnusable, guard_calls
from servicekit.settings import load_settings
from servicekit.tls_files import TlsFilesUnusable
from servicekit.transport import open_transport
from spillway.router.v1 import router_pb2_grpc

log = structlog.get_logger()

SERVICE = "spillway.router.v1.RouterService"
# An edge takes bodies of 64 MiB at most. A body travels in its native form and as a chat body, in which each character
# of a tool call's arguments may need two.
_MAX_REQUEST_BYTES = 3 * 64 * 1024 * 1024 + 1024 * 1024


async def serve(settings: Settings, logs: LogWriter) -> None:
    """Serve until SIGTERM or SIGINT, then let running streams finish."""
    stop = stop_requested()
    health = Health(stop)
    registry = create_registry()
    metrics = Metrics(registry)
    logs.count_losses(metrics.log_lines_lost.inc)
    transport = open_transport(
        settings.tls_directory, "server", expires=metrics.tls_certificate_expires, stale=metrics.tls_files_stale
    )
    sources = Sources()
    routes = load_routes(settings.routes_file, sources)
    network = Network(settings.frame_interval_ms / 1000, Proxies.of_environment(os.environ), settings.ca_file)
    fleets = Fleets(partial(create_provider, network=network))
    await fleets.replace(routes)
    watch = RoutesWatch(settings.routes_file, sources, fleets, metrics)
    rng = random.Random()  # noqa: S311 - spreads requests and retries, guards nothing
    shared = None
    if settings.redis_url:
        shared = SharedBreakerState.connect(settings.redis_url, metrics, rng, settings.redis_access())
    dependencies = _chain_dependencies(settings, metrics, rng, shared)
    _keep_known(fleets, dependencies)
    service = RouterService(
        fleets,
        dependencies,
        Capacity(settings.max_concurrent_calls, settings.max_held_bytes, metrics),
        attempt_budget=settings.attempt_budget,
        request_timeout_seconds=settings.request_timeout_seconds,
    )
    server = RpcServer(
        join_address(settings.host, settings.port),
        [SERVICE],
        lambda server: router_pb2_grpc.add_RouterServiceServicer_to_server(service, server),
        credentials=transport.server_credentials(),
        guard=guard_calls(settings.rpc_token_file, metrics.calls_refused),
        max_request_bytes=_MAX_REQUEST_BYTES,
        reflects=settings.reflection,
    )
    with ExitStack() as stack:
        stack.enter_context(serve_metrics(registry, health, settings.host, settings.metrics_port))
        await server.start()
        health.is_serving = True
        background = [
            asyncio.create_task(watch_loop_lag(metrics.loop_lag)),
            asyncio.create_task(
                repeat("watch_routes", WATCH_INTERVAL_SECONDS, lambda: _check_routes(watch, fleets, dependencies))
            ),
            asyncio.create_task(dependencies.breakers.keep_shared()),
            asyncio.create_task(transport.watch()),
        ]
        targets = sorted({target.name for route in routes.values() for target in route.targets})
        log.info("started", address=join_address(settings.host, settings.port), models=list(routes), targets=targets)
        await stop.wait()
        log.info("draining")
        await server.stop(settings.drain_timeout_seconds)
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        await fleets.close()
        if shared is not None:
            await shared.close()
    log.info("stopped")


def _chain_dependencies(
    settings: Settings, metrics: Metrics, rng: random.Random, shared: SharedBreakerState | None
) -> ChainDependencies:
    return ChainDependencies(
        breakers=Breakers(
            metrics,
            clock=time.monotonic,
            rng=rng,
            shared=shared,
            lease_timeout_seconds=settings.breaker_lease_timeout_seconds,
        ),
        latencies=Latencies(time.monotonic),
        allowances=HedgeAllowances(),
        metrics=metrics,
        rng=rng,
        router_address=_own_address(settings.host, settings.port),
    )


async def _check_routes(watch: RoutesWatch, fleets: Fleets, dependencies: ChainDependencies) -> None:
    before = fleets.current
    await watch.check()
    if fleets.current is not before:
        _keep_known(fleets, dependencies)


def _own_address(host: str, port: int) -> str:
    """Return the address at which others reach this process, in a pod the pod's; empty when it is not known."""
    try:
        if ipaddress.ip_address(host).is_unspecified:
            host = str(socket.getaddrinfo(socket.gethostname(), port, type=socket.SOCK_STREAM)[0][4][0])
    except socket.gaierror:
        return ""
    except ValueError:
        pass  # a name
    return join_address(host, port)


def _keep_known(fleets: Fleets, dependencies: ChainDependencies) -> None:
    """Forget what was learned of targets that are in no route any more, and count for those that are."""
    dependencies.metrics.export_zeros(fleets.current.routes, fleets.current.providers)
    targets = {target.name: target.fingerprint for target in fleets.current.providers}
    dependencies.breakers.keep(targets)
    dependencies.latencies.keep(targets.keys())


def main() -> None:
    """Run the service; exit with 1 and one line per fault when it cannot start."""
    settings = load_settings(Settings)
    logs = configure_logs("llm-router", settings.log_level)
    forget_sdk_environment()
    try:
        run(lambda: serve(settings, logs))
    except (RoutesError, TlsFilesUnusable, RpcTokenUnusable, ProxyUnusable, OSError, RuntimeError) as error:
        for fault in str(error).splitlines():
            log.error("start_failed", reason=fault)  # noqa: TRY400 - one line a fault, for a person
        sys.exit(1)


if __name__ == "__main__":
    main()
