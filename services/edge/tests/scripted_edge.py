"""The edge's own parts, put together as `__main__` does, in front of a router with a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import redis.asyncio as redis
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from edge.budgets.check import Budgets
from edge.cache.cache import NoCache
from edge.cache.exact import ExactCache
from edge.contracts.chat.contract import ChatContract
from edge.contracts.completions.contract import CompletionsContract
from edge.contracts.contract import Contract
from edge.contracts.embeddings.contract import EmbeddingsContract
from edge.contracts.messages.contract import MessagesContract
from edge.contracts.responses.contract import ResponsesContract
from edge.conversation import Conversation, Counts
from edge.events.emitter import Emitter
from edge.events.redis import COST_EVENTS, RedisStore
from edge.events.spool import Spool
from edge.exchange.exchange import ExchangeDependencies
from edge.exchange.output_stage import OutputStage, PassOn
from edge.exchange.settlement import Settlement
from edge.expectation import Expectation
from edge.fetch import Fetcher
from edge.guard.admission import Admission
from edge.guard.capacity import Capacity
from edge.guard.check import Check
from edge.guard.guard import Guard
from edge.guard.identify import Identify
from edge.guard.keys import add_key, load_keys
from edge.guard.size import CountsLimit, PromptLimit
from edge.guardrails.guardrails import Guardrails
from edge.guardrails.policy_watch import PolicyWatch
from edge.http.app import create_app
from edge.http.endpoints import ContractEndpoint
from edge.http.readers import BodyReaders
from edge.http.stored_responses import StoredResponseEndpoints
from edge.idempotency.idempotency import Idempotency
from edge.ledger.client import LedgerClient
from edge.ledger.quotes import Quotes
from edge.limits.check import Limits
from edge.limits.leases import Leases
from edge.limits.rules import Rules
from edge.limits.sizes import Sizes
from edge.metrics import Metrics
from edge.reports.endpoints import ReportEndpoints
from edge.router.client import RouterClient
from edge.router.models import ModelList
from edge.settings import Settings
from edge.stored.responses import StoredResponses
from servicekit.rpc import create_channel
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

from .scripted_redis import redis_client
from .scripted_router import FakeRouter, Visit

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@dataclass(slots=True)
class Edge:
    """An edge that runs, its router, and what it has recorded."""

    router: FakeRouter
    identify: Identify
    guard: Guard
    emitter: Emitter
    exchanges: ExchangeDependencies
    metrics: Metrics
    redis: redis.Redis
    key: str
    models: ModelList
    ledger: LedgerClient
    budgets: Budgets
    idempotency: Idempotency
    store: RedisStore
    settings: dict[str, Any] = field(
        default_factory=lambda: {
            "keepalive_seconds": 60.0,
            "status_hold_seconds": 60.0,
            "client_gone_grace_seconds": 0.01,
        }
    )

    def app(self) -> ASGIApp:
        """Put the application together with the settings as they are now."""
        settings = Settings(**self.settings)
        contracts: list[Contract] = [
            ChatContract(),
            CompletionsContract(),
            ResponsesContract(),
            MessagesContract(),
            EmbeddingsContract(),
        ]
        caches = [
            NoCache("not_cacheable") if contract.cache_mode == "never" else ExactCache(contract.check)
            for contract in contracts
        ]
        capacity = Capacity(
            settings.max_concurrent_requests,
            settings.max_concurrent_requests_per_key,
            settings.max_held_bytes,
            settings.max_held_bytes_per_key,
        )
        readers = BodyReaders(None, self.metrics)
        stored = StoredResponses(self.store, settings.responses_ttl_seconds, readers.complete)
        endpoints = [
            ContractEndpoint(
                contract,
                settings,
                self.identify,
                capacity,
                readers,
                self.guard,
                cache,
                self.exchanges,
                self.idempotency,
                stored if isinstance(contract, ResponsesContract) else None,
            )
            for contract, cache in zip(contracts, caches, strict=True)
        ]
        reports = ReportEndpoints(self.identify, self.models, self.ledger)
        responses = StoredResponseEndpoints(self.identify, stored)
        routers = [*(endpoint.router() for endpoint in endpoints), reports.router(), responses.router()]
        return create_app(routers, contracts, self.metrics, self.identify, capacity)

    def visit(
        self,
        path: str,
        body: object,
        headers: Sequence[tuple[str, str]] = (),
        app: ASGIApp | None = None,
        method: str = "POST",
    ) -> Visit:
        """Send a request, to an application of its own unless told otherwise."""
        own = [("authorization", f"Bearer {self.key}"), ("content-type", "application/json")]
        return Visit(app or self.app(), path, body, [*own, *headers], method)

    def chat(self, query: str = "Who?", *, headers: Sequence[tuple[str, str]] = (), **fields: object) -> Visit:
        """Ask at `/chat`."""
        return self.visit("/chat", {"query": query, **fields}, headers)

    def complete(self, *, headers: Sequence[tuple[str, str]] = (), **fields: object) -> Visit:
        """Ask at `/v1/chat/completions` for a stream, unless told otherwise."""
        body = {"model": "default", "messages": QUESTION, "stream": True, **fields}
        return self.visit("/v1/chat/completions", body, headers)

    def respond(self, asked: object = "Who?", *, headers: Sequence[tuple[str, str]] = (), **fields: object) -> Visit:
        """Ask at `/v1/responses` for a stream, unless told otherwise."""
        body = {"model": "default", "input": asked, "stream": True, **fields}
        return self.visit("/v1/responses", body, headers)

    def embed(
        self, embedded: object = ("one", "two"), *, headers: Sequence[tuple[str, str]] = (), **f: object
    ) -> Visit:
        """Ask at `/v1/embeddings`."""
        return self.visit("/v1/embeddings", {"model": "default", "input": embedded, **f}, headers)

    async def settled(self) -> list[ledgerpb.Settled]:
        """Return the settled events so far, once all that is under way is recorded."""
        await self.emitter.close()
        entries: Any = await self.redis.xrange(COST_EVENTS)
        events = [ledgerpb.CostEvent.FromString(fields[b"event"]) for _, fields in entries]
        return [event.settled for event in events if event.HasField("settled")]

    async def stored(self) -> list[bytes]:
        """Return the keys in the response cache."""
        keys: list[bytes] = [key async for key in self.redis.scan_iter("spillway:cache:*")]
        return keys


@asynccontextmanager
async def running_edge(
    folder: Path,
    redis_url: str,
    spool: Spool,
    registry: CollectorRegistry,
    look_up_timeout_seconds: float = 5.0,
    expected_usd: Decimal | None = None,
    open_output_stage: Callable[[Conversation], OutputStage] = lambda _: PassOn(),
    rules: Rules | None = None,
    edges: int = 1,
    policy: str = "",
    max_prompt_tokens: int = 1000,
    counts: Counts = Counts(100, 20, 5),  # noqa: B008 - frozen
) -> AsyncIterator[Edge]:
    """Run the parts while the block runs; the answers are not priced.

    So many edges share the limits of the `rules`; `expected_usd` is what each request is expected to cost; `policy` is
    the YAML of the guardrails.
    """
    policy_file = folder / "guardrails.yaml" if policy else None
    if policy_file is not None:
        policy_file.write_text(policy, encoding="utf-8")
    key = add_key(folder / "keys.yaml", "acme", "ada", "gold")
    metrics, router = Metrics(registry), FakeRouter()
    async with redis_client(redis_url) as client, router.serving() as address:
        router_channel, ledger_channel = create_channel(address), create_channel("127.0.0.1:1")
        # A machine so busy that connecting takes more than gRPC's two seconds is not what the tests are about.
        await asyncio.wait_for(router_channel.channel_ready(), 60)
        router_client = RouterClient(router_channel, attempt_budget=3, request_timeout_seconds=30.0)
        store = RedisStore(client, look_up_timeout_seconds)
        emitter = Emitter(store, spool, metrics)
        ledger, models = LedgerClient(ledger_channel), ModelList(router_client)
        quotes = Quotes(ledger, metrics)
        leases, expectation = Leases(store), Expectation(lambda _model, _usage: expected_usd)
        budgets = Budgets(store, leases, expectation, metrics)
        limits = [] if rules is None else [Limits(rules, leases, lambda: edges, expectation, metrics)]
        admission = Admission(store, emitter, [budgets, *limits], metrics)
        guardrails = Guardrails(
            PolicyWatch(policy_file, metrics), BodyReaders(None, metrics).inspect, Fetcher(), metrics
        )
        sizes = [] if rules is None else [Sizes(rules, BodyReaders(None, metrics).shorten, metrics)]
        checks: list[Check] = [PromptLimit(max_prompt_tokens), CountsLimit(counts), *sizes]
        guard = Guard(models, "default", checks, admission, guardrails, sizes)
        identify = Identify(load_keys(folder / "keys.yaml"))
        exchanges = ExchangeDependencies(
            router=router_client,
            settlement=Settlement(emitter, quotes, expectation, metrics),
            metrics=metrics,
            open_output_stage=open_output_stage,
        )
        try:
            yield Edge(
                router,
                identify,
                guard,
                emitter,
                exchanges,
                metrics,
                client,
                key,
                models,
                ledger,
                budgets,
                Idempotency(store, metrics),
                store,
            )
        finally:
            await emitter.close()
            await router_channel.close()
            await ledger_channel.close()
