"""The llm-router's settings: environment variables with the prefix LLM_ROUTER_."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import SettingsConfigDict

from servicekit.redis_settings import RedisSettings


class Settings(RedisSettings):
    """Read once by `__main__`; nothing else reads the environment."""

    model_config = SettingsConfigDict(env_prefix="LLM_ROUTER_", frozen=True)

    host: str = "127.0.0.1"
    """`::` is every address, of IPv4 as well."""
    port: int = Field(default=50051, ge=1, le=65535)
    metrics_port: int = Field(default=9101, ge=1, le=65535)
    tls_directory: Path | None = None
    """A folder with `tls.crt`, `tls.key` and `ca.crt`, read again when they change. With it, clients must present a
    certificate of that authority; without it, calls are in plain text. The metrics port never has TLS."""
    rpc_token_file: Path | None = None
    """A file with the token that callers must show (`servicekit/rpc_token.py`), or several; followed. Without it
    anybody who reaches the port may call, unless `tls_directory` is set."""
    routes_file: Path = Path("routes.yaml")
    """Targets and routes; `routes/file.py` declares what it may contain."""
    attempt_budget: PositiveInt = 6
    """The maximum of attempts per request, over all its targets; a caller may ask for fewer."""
    request_timeout_seconds: PositiveFloat = 1800.0
    """The timeout of a call that has no deadline."""
    max_concurrent_calls: PositiveInt = 1000
    """The maximum of calls that run at once; any more is refused at once, and the edge asks another router."""
    max_held_bytes: PositiveInt = 160 * 1024 * 1024
    """The maximum of bytes that the bodies of all running calls may have together; a body needs up to five times its
    size while its call runs. Two of 32 MB in both their forms have room."""
    frame_interval_ms: float = Field(default=10.0, ge=0)
    """After its first content a stream is read, and its content sent on, once per interval, all streams together; 0: as
    chunks arrive."""
    redis_url: str | None = None
    """The Redis over which routers share their breakers; without it each has its own."""
    breaker_lease_timeout_seconds: PositiveFloat = 0.05
    """How long a request that would probe waits for Redis to grant the lease; the exchange in the background may take
    five times as long. When Redis is slower, this process decides by itself."""
    ca_file: Path | None = None
    """Certificates of authorities that are trusted besides the public ones, in PEM, by calls to providers; read at the
    start. Proxies for these calls: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`."""
    drain_timeout_seconds: PositiveFloat = 1810.0
    """How long running streams may take to finish after SIGTERM; it must exceed the longest stream."""
    reflection: bool = False
    """Serves the contract to tools such as grpcurl; for development."""
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
