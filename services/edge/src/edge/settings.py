"""What can be set about the edge: environment variables with the prefix EDGE_."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, StringConstraints
from pydantic_settings import NoDecode, SettingsConfigDict

from servicekit.redis_settings import RedisSettings


def _split(value: object) -> object:
    return [each.strip() for each in value.split(",") if each.strip()] if isinstance(value, str) else value


Origin: TypeAlias = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z][a-z0-9+.-]*://[^/\s*]+)$")]
Host: TypeAlias = Annotated[str, StringConstraints(pattern=r"^(\*\.)?[^/\s*:]+$|^\[[0-9a-fA-F:.]+\]$", to_lower=True)]


class Settings(RedisSettings):
    """Read once by `__main__`; nothing else looks at the environment."""

    model_config = SettingsConfigDict(env_prefix="EDGE_", frozen=True)

    host: str = "127.0.0.1"
    """`::` is every address, of IPv4 as well."""
    port: int = Field(default=8080, ge=1, le=65535)
    router_address: str = "127.0.0.1:50051"
    """A gRPC name; several addresses behind it share the calls."""
    ledger_address: str = "127.0.0.1:50052"
    tls_directory: Path | None = None
    """A folder with `tls.crt`, `tls.key` and `ca.crt`, read again when they change. With it the calls to router and
    ledger go over TLS, and each side verifies the other's certificate; without it they are in plain text."""
    rpc_token_file: Path | None = None
    """A file with the token that calls to router and ledger show, the same for all three; followed. With several, one
    a line, the first is shown and each is accepted: so one is replaced without a pause."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    keys_file: Path = Path("keys.yaml")
    """The API keys, as salted hashes; see `keys.py`. Followed while the edge runs: added keys work and removed ones are
    dead within five seconds; a malformed file is refused (`edge_keys_stale`)."""
    guardrails: Path | None = None
    """What is looked for in requests, and what is done about it: a YAML file, see docs/guardrails.md. Followed while
    the edge runs, in force within five seconds; a malformed file is refused (`edge_guardrails_stale`). Unset: nothing
    is looked for."""
    key_pepper_file: Path | None = None
    """A file with the pepper of the ledger's API keys, the same as `COST_LEDGER_KEY_PEPPER_FILE`; read at the start.
    Keys that were imported from a key file need none."""
    capture_key_file: Path | None = None
    """The keys that seal texts of tenants that have them captured, see docs/capture.md. Followed like the keys
    (`edge_capture_keys_stale`). Unset: no text is captured, which is counted when a tenant wants it."""
    jwt_issuers: Path | None = None
    """Whose tokens (JWT) are taken in the place of API keys: a YAML file, see docs/identity.md. Followed like the keys
    (`edge_jwt_issuers_stale`). Unset: nobody's."""
    limits_file: Path | None = None
    """Limits of requests, tokens and streams; see `limits/rules.py`. Followed like the keys (`edge_limits_stale`).
    Unset: each user of the tiers free, premium and enterprise has 10, 50 and 500 requests a minute."""
    spool_file: Path = Path("cost-events.sqlite")
    """Where cost events wait while Redis is away; each edge needs a file of its own."""
    spool_max_bytes: int = Field(default=2**30, ge=2**16)
    """Largest size of that file. When the room ends new requests are refused, and the last sixteenth is for the ends of
    running ones."""
    default_model: str = "default"
    """The model of a `/chat` request that names none."""
    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1, le=64 * 1024 * 1024)
    """Longest request body, checked before anything is parsed. 32 MB are Anthropic's own limit; a router takes what
    64 MB may become on the way to it."""
    max_concurrent_requests: PositiveInt = 1000
    """As many chat and embedding requests this process answers at once; one more is refused at once, with 503."""
    max_concurrent_requests_per_key: PositiveInt = 500
    """As many of them may have the same API key; one more is refused at once, with 429."""
    max_held_bytes: PositiveInt = 256 * 1024 * 1024
    """The bodies of all of them together; one more is refused with 503 meanwhile. Each is in memory twice."""
    max_held_bytes_per_key: PositiveInt = 128 * 1024 * 1024
    """Those with the same API key; one more is refused with 429 meanwhile. Less than all, so that a client that sends
    long bodies slowly keeps out itself alone."""
    max_prompt_tokens: PositiveInt | None = None
    """Longest prompt, by estimate, checked after parsing. Unset: as long as the context of the target that answers."""
    max_messages: PositiveInt = 10_000
    """Most messages of a request, checked after parsing. What a tier may have: `max_input_tokens` in the limits."""
    max_tools: PositiveInt = 1000
    """Most tools."""
    max_images: PositiveInt = 500
    """Most images, wherever they are in it: as many as OpenAI takes; Anthropic takes 100 or 600, by the model."""
    max_answer_bytes: PositiveInt = 16 * 1024 * 1024
    """Longest answer in one piece; a longer one is stopped with an error. Streams have no such limit."""
    request_timeout_seconds: float = Field(default=1800.0, gt=0, le=3600)
    """The deadline of a request over all its attempts. Models that think may take half an hour. Where it is raised, the
    routers' drain timeout, the ledger's `COST_LEDGER_UNSETTLED_AFTER_SECONDS` and the timeouts of proxies follow."""
    responses_ttl_seconds: int = Field(default=24 * 60 * 60, ge=0)
    """How long a response of `/v1/responses` is kept for requests that go on from it, unless it is used again; 0: none
    is kept. They are in Redis, with the texts of requests and answers."""
    attempt_budget: PositiveInt = 6
    """At most this many attempts a request."""
    look_up_timeout_seconds: PositiveFloat = 0.05
    """A Redis that takes longer than this before the call is passed by."""
    metrics_port: int = Field(default=9103, ge=1, le=65535)
    """Where Prometheus and operators ask: `/metrics`, `/health` with each dependency, `/health/live`, `/health/ready`.
    Of these only the last two are on the public port as well, for kubelets and load balancers."""
    admin_port: int | None = Field(default=None, ge=1, le=65535)
    """Where operators keep tenants, teams, users and keys: `/admin/v1`, with `/docs`. Unset: there is no such port."""
    expose: Annotated[tuple[Literal["docs", "health", "metrics"], ...], NoDecode, BeforeValidator(_split)] = ()
    """What else is on the public port: `docs` (`/docs` and `/openapi.json`), `health`, `metrics`; separated by commas,
    like the next three."""
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(_split)] = ()
    """Origins of web pages that may read answers, like `https://app.example.com`; `*`: those of all. Cookies and the
    like are allowed to none: a page needs an API key. Unset: no page may."""
    trusted_hosts: Annotated[tuple[Host, ...], NoDecode, BeforeValidator(_split)] = ()
    """Hosts that clients may name, like `api.example.com` or `*.example.com`; another one is refused with 421. Unset:
    any."""
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_split)] = ()
    """Networks of proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed: strangers have their pace by
    the address behind the proxy, who came over TLS is told to stay there, and the proxy may open as many connections
    as it likes."""
    max_connections: PositiveInt = 4096
    """Open connections, busy and idle; what is beyond is answered 503 at once. Fewer when the process may not open so
    many files."""
    max_connections_per_address: PositiveInt = 1024
    """Those of one address (of IPv6: one /64 network) that is no trusted proxy. Behind an ingress or a load balancer
    all clients come from few addresses, therefore the default is high; set 50 or so where clients connect directly."""
    head_timeout_seconds: PositiveFloat = 30.0
    """How long a client may take for request line and headers, on a new connection also to begin with them."""
    body_timeout_seconds: PositiveFloat = 600.0
    """How long a client may take for a body: 32 MB at half a megabit a second."""
    idle_timeout_seconds: PositiveFloat = 620.0
    """How long a connection may be idle between two requests. Longer than any proxy in front keeps it (nginx and AWS 60
    s unless set otherwise, Google 600 s): closed by this side first, it may close on the next request, a 502."""
    client_stall_timeout_seconds: PositiveFloat = 60.0
    """A client that takes nothing of what is sent for this long is gone, whether its connection still stands or not; so
    is one that takes less than 8 kB a second while output waits, or sends nothing of a body that it has begun."""
    keepalive_seconds: PositiveFloat = 15.0
    """A stream that is silent for this long gets a comment, or the `ping` of its contract: for the proxies in between,
    and for clients that give up on silence."""
    status_hold_seconds: PositiveFloat = 5.0
    """How long `/v1/chat/completions` waits for the first content before it commits to status 200."""
    client_gone_grace_seconds: float = Field(default=2.0, ge=0, le=60)
    """How long an answer goes on after its client has gone: a short one then comes to its end and is cached."""
    drain_timeout_seconds: PositiveFloat = 1810.0
    """How long running streams may take to finish after SIGTERM; longer than the longest stream. Those that run when it
    ends end with an error, and are settled."""
    ca_file: Path | None = None
    """Certificates of authorities that are trusted besides those of the system, in PEM, by calls to issuers of tokens
    and to webhooks; read at the start. Proxies for these calls: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`."""
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
