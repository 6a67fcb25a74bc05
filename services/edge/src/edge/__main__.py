"""Wires and runs the edge."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from starlette.types import ASGIApp

from edge.admin.captures import CaptureEndpoints
from edge.admin.endpoints import AdminEndpoints
from edge.budgets.check import FOLLOW_INTERVAL_SECONDS as BUDGETS_INTERVAL_SECONDS
from edge.budgets.check import Budgets
from edge.cache.cache import NoCache
from edge.cache.exact import ExactCache
from edge.capture.captures import SEND_INTERVAL_SECONDS, Captures
from edge.capture.keys import CAPTURE_KEYS_INTERVAL_SECONDS, CaptureKeys
from edge.capture.tenants import FOLLOW_INTERVAL_SECONDS as CAPTURING_INTERVAL_SECONDS
from edge.capture.tenants import CapturingTenants
from edge.contracts.chat.contract import ChatContract
from edge.contracts.completions.contract import CompletionsContract
from edge.contracts.contract import Contract
from edge.contracts.embeddings.contract import EmbeddingsContract
from edge.contracts.messages.contract import MessagesContract
from edge.contracts.responses.contract import ResponsesContract
from edge.conversation import Counts
from edge.events.emitter import REPLAY_INTERVAL_SECONDS, Emitter
from edge.events.redis import RedisStore
from edge.events.spool import Spool, SpoolInUse
from edge.exchange.exchange import ExchangeDependencies
from edge.exchange.output_stage import PassOn, SizeLimit
from edge.exchange.settlement import Settlement
from edge.expectation import Expectation
from edge.fetch import Fetcher
from edge.guard.admission import Admission
from edge.guard.capacity import Capacity
from edge.guard.check import Check
from edge.guard.follow_keys import FOLLOW_INTERVAL_SECONDS, KeyFollower
from edge.guard.guard import Guard
from edge.guard.identify import Identify
from edge.guard.key_watch import KEYS_INTERVAL_SECONDS, KeyWatch
from edge.guard.keys import KeysError
from edge.guard.recorded_keys import RecordedKeys
from edge.guard.size import CountsLimit, PromptLimit
from edge.guardrails.guardrails import Guardrails
from edge.guardrails.policy import PolicyError
from edge.guardrails.policy_watch import POLICY_INTERVAL_SECONDS, PolicyWatch
from edge.http.app import create_app
from edge.http.connection.connections import ConnectionLimits
from edge.http.endpoints import ContractEndpoint
from edge.http.health import EdgeHealth, HealthEndpoints
from edge.http.readers import BodyReaders, Mother
from edge.http.server import HttpServer, max_connections, open_listeners
from edge.http.stored_responses import StoredResponseEndpoints
from edge.http.surface.proxies import TrustedProxies
from edge.http.surface.surface import SurfaceRules
from edge.idempotency.idempotency import Idempotency
from edge.ledger.accounts import AccountsClient
from edge.ledger.captures import LedgerCaptures
from edge.ledger.client import LedgerClient
from edge.ledger.key_changes import LedgerKeyChanges, RedisKeyChanges
from edge.ledger.quotes import Quotes
from edge.limits.check import Limits
from edge.limits.edges import PRESENCE_INTERVAL_SECONDS, Edges
from edge.limits.leases import RENEW_INTERVAL_SECONDS, Leases
from edge.limits.rules import DEFAULT_RULES, LimitsError, Rule, Rules, parse_limits
from edge.limits.sizes import Sizes
from edge.metrics import Metrics
from edge.problems import Problem
from edge.reports.endpoints import ReportEndpoints
from edge.router.client import RouterClient
from edge.router.models import ModelList
from edge.settings import Settings
from edge.stored.responses import StoredResponses
from edge.tokens.issuers import ISSUERS_INTERVAL_SECONDS, Issuer, IssuersError, parse_issuers
from pricing.usage import Usage
from servicekit.addresses import join_address
from servicekit.followed_file import FollowedFile
from servicekit.lifecycle import repeat, run, stop_requested
from servicekit.log_writer import LogWriter
from servicekit.logs import configure_logs
from servicekit.loop_lag import watch_loop_lag
from servicekit.metrics import create_registry, serve_metrics
from servicekit.pepper import PepperUnusable, read_pepper
from servicekit.proxies import Proxies, ProxyUnusable
from servicekit.redis_client import open_redis
from servicekit.rpc import host_of
from servicekit.rpc_token import RpcTokenUnusable, read_rpc_tokens, refusal_in
from servicekit.sealing import SealingKeysUnusable
from servicekit.settings import load_settings
from servicekit.tls_files import TlsFilesUnusable
from servicekit.transport import open_transport
from spillway.accounts.v1 import accounts_pb2_grpc
from spillway.captures.v1 import captures_pb2_grpc

if TYPE_CHECKING:
    from edge.tokens.tokens import Tokens

log = structlog.get_logger()

_MODELS_INTERVAL_SECONDS = 5.0
_LIMITS_INTERVAL_SECONDS = 1.0
_REDIS_CONNECTIONS = 64
_UNUSABLE = (
    *(KeysError, LimitsError, IssuersError, PolicyError, TlsFilesUnusable, RpcTokenUnusable, PepperUnusable),
    *(SealingKeysUnusable, ProxyUnusable),
)


async def serve(settings: Settings, mother: Mother, logs: LogWriter) -> None:
    """Serve until SIGTERM or SIGINT, then let running streams finish and every cost event be recorded."""
    stop = stop_requested()
    registry = create_registry()
    metrics = Metrics(registry)
    logs.count_losses(metrics.log_lines_lost.inc)
    transport = open_transport(
        settings.tls_directory,
        "client",
        expires=metrics.tls_certificate_expires,
        stale=metrics.tls_files_stale,
        tokens=read_rpc_tokens(settings.rpc_token_file),
    )
    recorded_keys = RecordedKeys(read_pepper(settings.key_pepper_file), metrics)
    keys = KeyWatch(settings.keys_file, metrics, recorded_keys)
    policy = PolicyWatch(settings.guardrails, metrics)
    capture_keys = CaptureKeys(settings.capture_key_file, metrics)
    fetcher = Fetcher(Proxies.of_environment(os.environ), settings.ca_file)
    spool = Spool(settings.spool_file, settings.spool_max_bytes)
    redis_client = open_redis(settings.redis_url, settings.redis_access(), max_connections=_REDIS_CONNECTIONS)
    store = RedisStore(redis_client, settings.look_up_timeout_seconds)
    emitter = Emitter(store, spool, metrics)
    router_channel = transport.open_channel(settings.router_address)
    ledger_channel = transport.open_channel(settings.ledger_address)
    router = RouterClient(
        router_channel,
        attempt_budget=settings.attempt_budget,
        request_timeout_seconds=settings.request_timeout_seconds,
        open_one=partial(transport.open_brief_channel, server_name=host_of(settings.router_address)),
    )
    ledger = LedgerClient(ledger_channel)
    account_keys = KeyFollower(LedgerKeyChanges(ledger_channel), RedisKeyChanges(redis_client), recorded_keys, metrics)
    models, quotes = ModelList(router), Quotes(ledger, metrics)
    expectation = Expectation(partial(_quote, models, quotes))
    rules = Rules(DEFAULT_RULES)
    limits_file = _follow_limits(settings.limits_file, rules, metrics)
    leases, edges = Leases(store), Edges(store)
    limits = Limits(rules, leases, edges.count, expectation, metrics)
    budgets = Budgets(store, leases, expectation, metrics)
    admission = Admission(store, emitter, [budgets, limits], metrics)
    # Captures have readers of their own: no request waits for one of theirs.
    readers, capture_readers = BodyReaders(mother, metrics), BodyReaders(mother, metrics)
    ledger_captures = LedgerCaptures(ledger_channel)
    capturing = CapturingTenants(ledger_captures, metrics)
    captures = Captures(capturing, capture_keys, capture_readers.read_texts, ledger_captures, metrics)
    guardrails = Guardrails(policy, readers.inspect, fetcher, metrics)
    sizes = Sizes(rules, readers.shorten, metrics)
    counts = Counts(settings.max_messages, settings.max_tools, settings.max_images)
    prompt = [] if settings.max_prompt_tokens is None else [PromptLimit(settings.max_prompt_tokens)]
    checks: list[Check] = [*prompt, CountsLimit(counts), sizes]
    guard = Guard(models, settings.default_model, checks, admission, guardrails, [sizes])
    exchanges = ExchangeDependencies(
        router=router,
        settlement=Settlement(emitter, quotes, expectation, metrics),
        metrics=metrics,
        open_output_stage=lambda conversation: (
            PassOn() if conversation.is_streaming else SizeLimit(settings.max_answer_bytes)
        ),
        fits_elsewhere=readers.check_format,
        captures=captures,
    )
    issuers = _follow_issuers(settings.jwt_issuers, fetcher, metrics)
    identify = Identify(keys.ring, None if issuers is None else issuers[0])
    contracts = mother.contracts
    capacity = Capacity(
        settings.max_concurrent_requests,
        settings.max_concurrent_requests_per_key,
        settings.max_held_bytes,
        settings.max_held_bytes_per_key,
    )
    idempotency = Idempotency(store, metrics)
    stored = StoredResponses(store, settings.responses_ttl_seconds, readers.complete)
    endpoints = [
        ContractEndpoint(
            contract,
            settings,
            identify,
            capacity,
            readers,
            guard,
            NoCache("not_cacheable") if contract.cache_mode == "never" else ExactCache(contract.check),
            exchanges,
            idempotency,
            stored if isinstance(contract, ResponsesContract) else None,
        )
        for contract in contracts
    ]
    state = EdgeHealth(stop, quotes)
    health = HealthEndpoints(router, ledger, store, spool, state, registry)
    reports = ReportEndpoints(identify, models, ledger)
    responses = StoredResponseEndpoints(identify, stored)
    own = [reports.router(), responses.router(), health.router(settings.expose)]
    routers = [*(each.router() for each in endpoints), *own]
    proxies = TrustedProxies(settings.trusted_proxies)
    surface = SurfaceRules(settings.cors_origins, settings.trusted_hosts, proxies)
    app = create_app(routers, contracts, metrics, identify, capacity, surface, has_docs="docs" in settings.expose)
    apps = [(app, settings.port)]
    if settings.admin_port is not None:
        # Keys only: an issuer of tokens for one tenant must not make operators of all tenants.
        operators = Identify(keys.ring)
        admin = AdminEndpoints(operators, AccountsClient(accounts_pb2_grpc.AccountsServiceStub(ledger_channel)))
        captured = AccountsClient(captures_pb2_grpc.CaptureServiceStub(ledger_channel))
        texts = CaptureEndpoints(operators, captured, capture_keys)
        apps.append((create_app([admin.router(), texts.router()], [], metrics, operators), settings.admin_port))
    report = partial(health.report_from_thread, asyncio.get_running_loop())
    # Before the port opens: a key that is known must not be refused by an edge that has just started, and a budget that
    # is used up must not be spent from.
    prepared = [issuers[0].prepare()] if issuers else []
    await asyncio.gather(account_keys.turn(), budgets.follow(), capturing.turn(), *prepared)
    sending = asyncio.create_task(repeat("send_captures", SEND_INTERVAL_SECONDS, captures.turn))
    background = [
        asyncio.create_task(repeat("refresh_models", _MODELS_INTERVAL_SECONDS, lambda: _refresh(models))),
        asyncio.create_task(quotes.keep_fresh()),
        asyncio.create_task(repeat("replay_spool", REPLAY_INTERVAL_SECONDS, emitter.replay)),
        asyncio.create_task(transport.watch()),
        asyncio.create_task(repeat("follow_keys", FOLLOW_INTERVAL_SECONDS, account_keys.turn)),
        asyncio.create_task(repeat("watch_keys", KEYS_INTERVAL_SECONDS, keys.check)),
        asyncio.create_task(repeat("watch_guardrails", POLICY_INTERVAL_SECONDS, policy.check)),
        asyncio.create_task(repeat("follow_capturing", CAPTURING_INTERVAL_SECONDS, capturing.turn)),
        asyncio.create_task(repeat("watch_capture_keys", CAPTURE_KEYS_INTERVAL_SECONDS, capture_keys.check)),
        asyncio.create_task(repeat("renew_leases", RENEW_INTERVAL_SECONDS, leases.renew)),
        asyncio.create_task(repeat("follow_budgets", BUDGETS_INTERVAL_SECONDS, budgets.follow)),
        asyncio.create_task(repeat("be_present", PRESENCE_INTERVAL_SECONDS, edges.be_present)),
        asyncio.create_task(watch_loop_lag(metrics.loop_lag)),
    ]
    if limits_file is not None:
        background.append(asyncio.create_task(repeat("watch_limits", _LIMITS_INTERVAL_SECONDS, limits_file.check)))
    if issuers is not None:
        tokens, issuers_file = issuers
        background += [
            asyncio.create_task(repeat("watch_issuers", ISSUERS_INTERVAL_SECONDS, issuers_file.check)),
            asyncio.create_task(repeat("read_token_keys", ISSUERS_INTERVAL_SECONDS, tokens.turn)),
        ]
    log.info("started", address=join_address(settings.host, settings.port))
    try:
        with serve_metrics(registry, state, settings.host, settings.metrics_port, report):
            await _serve_http(apps, settings, stop, proxies, metrics)
    finally:
        await emitter.close()
        await captures.close(sending)
        capture_readers.close()
        readers.close()
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        if issuers is not None:
            await issuers[0].close()
        await edges.leave()
        await spool.close()
        await redis_client.aclose()
        await router_channel.close()
        await ledger_channel.close()
    log.info("stopped")


def _quote(models: ModelList, quotes: Quotes, model: str, usage: Usage) -> Decimal | None:
    """Price usage of a public model by its first target."""
    target = models.first_target_of(model)
    return None if target is None else quotes.saved_cost(target.provider, target.target_model, usage)


def _follow_limits(path: Path | None, rules: Rules, metrics: Metrics) -> FollowedFile[Sequence[Rule]] | None:
    """Put the limits of a file in force; None when there is no file."""
    if path is None:
        return None

    def put_in_force(found: Sequence[Rule]) -> dict[str, int]:
        rules.replace(found)
        return {"limits": len(found)}

    followed = FollowedFile(path, parse_limits, LimitsError, put_in_force, metrics.limits_stale, "limits")
    rules.replace(followed.first)
    return followed


def _follow_issuers(
    path: Path | None, fetcher: Fetcher, metrics: Metrics
) -> tuple[Tokens, FollowedFile[Sequence[Issuer]]] | None:
    """Take the tokens of the issuers in a file; None when there is no file."""
    if path is None:
        return None
    from edge.tokens.tokens import Tokens  # here: 9 MB that only who has issuers needs

    def put_in_force(found: Sequence[Issuer]) -> dict[str, int]:
        tokens.replace(found)
        return {"issuers": len(found)}

    followed = FollowedFile(path, parse_issuers, IssuersError, put_in_force, metrics.issuers_stale, "jwt_issuers")
    tokens = Tokens(followed.first, fetcher, metrics)
    return tokens, followed


async def _serve_http(
    apps: Sequence[tuple[ASGIApp, int]],
    settings: Settings,
    stop: asyncio.Event,
    proxies: TrustedProxies,
    metrics: Metrics,
) -> None:
    limits = ConnectionLimits(
        max_connections=max_connections(settings.max_connections),
        max_connections_per_address=settings.max_connections_per_address,
        head_timeout_seconds=settings.head_timeout_seconds,
        body_timeout_seconds=settings.body_timeout_seconds,
        idle_timeout_seconds=settings.idle_timeout_seconds,
        stall_timeout_seconds=settings.client_stall_timeout_seconds,
        is_proxy=proxies.has,
    )
    if limits.max_connections < settings.max_connections:
        log.warning("connections_limited", max_connections=limits.max_connections, reason="limit of open files")
    servers = []
    for app, port in apps:
        listeners = open_listeners(settings.host, port, settings.client_stall_timeout_seconds)
        servers.append(HttpServer(app, listeners, settings.drain_timeout_seconds, limits, metrics))
    serving = [asyncio.create_task(server.serve()) for server in servers]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((*serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    log.info("draining")
    stopping.cancel()
    await asyncio.gather(*(server.drain() for server in servers))
    await asyncio.gather(*serving)


async def _refresh(models: ModelList) -> None:
    try:
        await models.refresh()
    except Problem as problem:
        log.warning("model_list_refresh_failed", reason=refusal_in(problem.__cause__) or problem.code)


def main() -> None:
    """Run the service; exit with 1 and one line when it cannot start."""
    settings = load_settings(Settings)
    contracts: list[Contract] = [
        ChatContract(),
        CompletionsContract(),
        ResponsesContract(),
        MessagesContract(),
        EmbeddingsContract(),
    ]
    mother = Mother(contracts)  # before anything is opened
    logs = configure_logs("edge", settings.log_level)
    try:
        run(lambda: serve(settings, mother, logs))
    except (*_UNUSABLE, OSError, SpoolInUse, sqlite3.Error) as error:
        log.error("start_failed", reason=str(error))  # noqa: TRY400 - one line, for a person
        sys.exit(1)


if __name__ == "__main__":
    main()
