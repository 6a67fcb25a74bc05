"""The edge as the commands use it: its address, the API key, its errors in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from spillway_local.home import CommandError, Home

# Longer than a stream is ever silent: the edge sends a comment every 15 s.
_TIMEOUT = httpx2.Timeout(10.0, read=60.0)
# A proxy of the environment knows nothing of this machine.
_DIRECT = {"all://127.0.0.1": None, "all://localhost": None}


@dataclass(frozen=True)
class EdgeClient:
    """The address of an edge and the API key to send."""

    url: str
    key: str

    @contextmanager
    def connect(self) -> Iterator[httpx2.Client]:
        """Yield an HTTP client; connection and protocol errors become a CommandError of one line."""
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            with httpx2.Client(base_url=self.url, headers=headers, timeout=_TIMEOUT, mounts=_DIRECT) as client:
                yield client
        except httpx2.ConnectError as error:
            raise CommandError(f"nothing answers at {self.url}; start the system with `make up`") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise CommandError(f"{self.url}: {type(error).__name__}: {error}") from error


def find_edge(home: Home, environment: Mapping[str, str], url: str | None, key: str | None) -> EdgeClient:
    """Take the address and key from the options, else the environment, else the system running on `home`.

    The development key of `home` is sent only to the edge of `home`. CommandError when nothing runs there.
    """
    key = key or environment.get("SPILLWAY_API_KEY")
    url = url or environment.get("SPILLWAY_URL")
    if url:
        return EdgeClient(url, key or "")
    run = home.read_run()
    if run is None:
        raise CommandError(home.not_running)
    return EdgeClient(run["url"], key or home.development_key_file.read_text().strip())


def describe_error(response: httpx2.Response) -> str:
    """Return the error in `response` as one line."""
    try:
        error: Any = response.json()["error"]
        return f"{response.status_code} {error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.reason_phrase}"
