"""The edge as the commands see it: its address, the key, its errors in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from spillway_local.home import Home, Refusal

# Longer than any stream may be silent: the edge sends a comment every 15 s.
_TIMEOUT = httpx2.Timeout(10.0, read=60.0)


@dataclass(frozen=True)
class Door:
    """Where to ask, and as whom."""

    url: str
    key: str

    @contextmanager
    def opened(self) -> Iterator[httpx2.Client]:
        """Yield a client; Refusal, in one line, for what may go wrong on the way."""
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            with httpx2.Client(base_url=self.url, headers=headers, timeout=_TIMEOUT) as client:
                yield client
        except httpx2.ConnectError as error:
            raise Refusal(f"nothing answers at {self.url}; `make up` starts the system") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise Refusal(f"{self.url}: {type(error).__name__}: {error}") from error


def find_door(home: Home, environment: Mapping[str, str], url: str | None, key: str | None) -> Door:
    """Take the address and key from the options, else the environment, else what runs on `home`.

    The development key of `home` goes nowhere but to the edge of `home`. Refusal when nothing runs there.
    """
    key = key or environment.get("SPILLWAY_API_KEY")
    url = url or environment.get("SPILLWAY_URL")
    if url:
        return Door(url, key or "")
    run = home.read_run()
    if run is None:
        raise Refusal(f"nothing runs on {home.path}; `make up` starts the system")
    return Door(run["url"], key or home.development_key_file.read_text().strip())


def explain(response: httpx2.Response) -> str:
    """Return what an error response says, in one line."""
    try:
        error: Any = response.json()["error"]
        return f"{response.status_code} {error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.reason_phrase}"
