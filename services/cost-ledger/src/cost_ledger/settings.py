"""What an operator can set: environment variables that start with COST_LEDGER_."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from cost_ledger.primary import server_urls
from servicekit.redis_settings import RedisSettings

PACKAGED_PRICE_BOOK = Path(__file__).with_name("price_book.yaml")
# All mean the same here: the server that takes writes.
_WRITABLE = ("read-write", "primary", "any")


class Settings(RedisSettings):
    """All settings of the cost-ledger; all but the two addresses have a safe default."""

    model_config = SettingsConfigDict(env_prefix="COST_LEDGER_")

    # `::` is every address, of IPv4 as well.
    host: str = "127.0.0.1"
    port: int = Field(default=50052, ge=1, le=65535)
    metrics_port: int = Field(default=9102, ge=1, le=65535)
    # A folder with tls.crt, tls.key and ca.crt, which are reloaded when they change. With it only clients with a
    # certificate of that authority are served; without it calls are in plain text. The metrics port never has TLS.
    tls_directory: Path | None = None
    # A file with the token that callers must show (servicekit/rpc_token.py), or several; followed. Without it whoever
    # reaches the port may call, unless tls_directory is set.
    rpc_token_file: Path | None = None
    # A file with the pepper of API keys' hashes, the same as the edges have (servicekit/pepper.py); read at the start.
    # Without it keys can be imported, disabled and told to the edges, but none can be made.
    key_pepper_file: Path | None = None
    # Where people reach the edges: in the first call that a new key is shown with.
    edge_url: str = "http://127.0.0.1:8080"
    # postgresql://user@host:port/database, or several servers: user@host:port,host:port. The one that takes writes is
    # used, whichever of them that is.
    postgres_url: str
    postgres_password_file: Path | None = None
    redis_url: str
    # This process's name in the consumer group; two processes must not share one.
    consumer: str = Field(default_factory=socket.gethostname, min_length=1)
    # Counted from when the request was recorded; must exceed the longest stream, or running requests are given up.
    unsettled_after_seconds: float = Field(default=1920, gt=0)
    claim_after_seconds: float = Field(default=30, gt=0)
    # Connections to PostgreSQL for recording, and for answering: neither waits for the other.
    pool_size: int = Field(default=8, ge=2, le=100)
    read_pool_size: int = Field(default=4, ge=1, le=100)
    # Whole months of receipts before the current one; older ones are dropped, while figures by day are kept. 25: any
    # month can be compared with the same one of the two years before. 0: keep all.
    retention_months: int = Field(default=25, ge=0, le=1200)
    price_book_file: Path = PACKAGED_PRICE_BOOK
    # Lets tools such as grpcurl read the contract; for development.
    reflection: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    drain_timeout_seconds: float = Field(default=10, gt=0)

    @field_validator("postgres_url")
    @classmethod
    def _is_postgres(cls, url: str) -> str:
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("must look like postgresql://user@host:port/database")
        try:
            for server in server_urls(url):
                urlsplit(server).port  # noqa: B018 - reading it is the check
        except ValueError as error:
            raise ValueError("the port must be a number up to 65535") from error
        if parse_qs(urlsplit(server_urls(url)[0]).query).get("target_session_attrs", ["any"])[-1] not in _WRITABLE:
            raise ValueError("target_session_attrs must be read-write, primary or any: the ledger writes")
        return url

    def postgres_password(self) -> str | None:
        """Read the password from its file; None when there is none. OSError when the file cannot be read."""
        if self.postgres_password_file is None:
            return None
        return self.postgres_password_file.read_text(encoding="utf-8").strip()
