"""What can be set about the llm-router: environment variables with the prefix LLM_ROUTER_."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis.asyncio.connection import parse_url


def _checked_redis_url(url: str) -> str:
    parse_url(url)  # ValueError that says what is wrong
    return url


_RedisUrl = Annotated[str, AfterValidator(_checked_redis_url)]


class Settings(BaseSettings):
    """Read once by `__main__`; nothing else looks at the environment."""

    model_config = SettingsConfigDict(env_prefix="LLM_ROUTER_", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(default=50051, ge=1, le=65535)
    metrics_port: int = Field(default=9101, ge=1, le=65535)
    tls_directory: Path | None = None
    """A folder with `tls.crt`, `tls.key` and `ca.crt`, read again when they change. With it only clients that show a
    certificate of that authority are served; without it calls are in plain text. The metrics port never has TLS."""
    routes_file: Path = Path("routes.yaml")
    """The targets and routes; see `routes.py`."""
    attempt_budget: PositiveInt = 6
    """At most this many attempts a request, over all its targets; a caller may ask for fewer."""
    request_timeout_seconds: PositiveFloat = 120.0
    """The deadline of a call that brings none of its own."""
    frame_interval_ms: float = Field(default=10.0, ge=0)
    """After the first content a stream is read, and its content sent on, once in this time; 0: as it comes."""
    redis_url: _RedisUrl | None = None
    """Where the routers share their breakers; without it each has its own."""
    breaker_lease_timeout_seconds: PositiveFloat = 0.05
    """How long a request waits for Redis to say whether it may probe; the exchange beside it takes five times as long.
    A Redis that is slower is passed by."""
    drain_timeout_seconds: PositiveFloat = 130.0
    """How long running streams may take to finish after SIGTERM; longer than the longest stream."""
    reflection: bool = False
    """Lets grpcurl and the like ask for the contract; for development."""
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
