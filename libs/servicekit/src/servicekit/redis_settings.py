"""What can be set about Redis, by the same names in every service that uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import field_validator, model_validator
from pydantic_settings import BaseSettings

from servicekit.redis_client import RedisAccess, read_address


class RedisSettings(BaseSettings):
    """The address and what is not part of it; a service adds its own settings and the prefix."""

    redis_url: str | None = None
    """One server, Sentinels or a Cluster: `servicekit/redis_client.py` has the three forms."""
    redis_username: str | None = None
    """The user of an ACL; without it the default user, or the URL's."""
    redis_password_file: Path | None = None
    """A file with the password; read at the start."""
    redis_tls_directory: Path | None = None
    """A folder with `ca.crt`, the authority of the servers' certificates, instead of the system's authorities; and with
    `tls.crt` and `tls.key` when the servers ask for a certificate. Needs a URL of `rediss`."""
    redis_sentinel_username: str | None = None
    redis_sentinel_password_file: Path | None = None
    """For the Sentinels, which have users and passwords of their own."""

    @field_validator("redis_url")
    @classmethod
    def _is_address(cls, url: str | None) -> str | None:
        if url is not None:
            read_address(url)
        return url

    @model_validator(mode="after")
    def _uses_its_authority(self) -> Self:
        if self.redis_url and self.redis_tls_directory is not None and not read_address(self.redis_url).has_tls:
            raise ValueError("redis_tls_directory needs a redis_url that begins with rediss")
        return self

    def redis_access(self) -> RedisAccess:
        """Read the files; OSError when one cannot be read."""
        return RedisAccess(
            username=self.redis_username,
            password=_read(self.redis_password_file),
            tls_directory=self.redis_tls_directory,
            sentinel_username=self.redis_sentinel_username,
            sentinel_password=_read(self.redis_sentinel_password_file),
        )


def _read(file: Path | None) -> str | None:
    return None if file is None else file.read_text(encoding="utf-8").strip()
