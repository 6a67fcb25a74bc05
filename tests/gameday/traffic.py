"""Clients of the edge: each kind asks its model at its own pace, in threads."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from .cluster import Forward

_TIMEOUT_SECONDS = 90.0


class Traffic:
    """Asks until it is closed."""

    def __init__(self, edge: Forward, api_key: str) -> None:
        self._edge = edge
        self._api_key = api_key
        self._pool = ThreadPoolExecutor(60, thread_name_prefix="client")
        self._kinds: dict[tuple[str, str], float] = {}
        self._numbers = itertools.count()
        self._refused = 0
        self._is_closed = threading.Event()
        self.ends: Counter[str] = Counter()
        """The ends of requests: a status, or `none` without a response."""
        threading.Thread(target=self._drive, daemon=True).start()

    def begin(self, model: str, per_second: float, does: str = "") -> None:
        """Send requests to `model` at this rate; `does` selects the fault where the target lets a request do so."""
        self._kinds[model, does] = per_second

    def end(self, model: str | None = None) -> None:
        """Stop requests to `model`, to all models without it."""
        self._kinds = {kind: rate for kind, rate in self._kinds.items() if model is not None and kind[0] != model}

    def ask_once(self, model: str, times: int = 1, does: str = "") -> None:
        """Send requests to `model` now."""
        for _ in range(times):
            self._pool.submit(self._ask, model, does)

    def close(self) -> None:
        """Stop all requests."""
        self._is_closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _drive(self) -> None:
        due: dict[tuple[str, str], float] = {}
        while not self._is_closed.wait(0.05):
            now = time.monotonic()
            for kind, rate in list(self._kinds.items()):
                if due.get(kind, 0.0) <= now:
                    due[kind] = now + 1 / rate
                    self._pool.submit(self._ask, *kind)

    def _ask(self, model: str, does: str) -> None:
        # Different each time, or the response cache would answer.
        query = f"question {next(self._numbers)} {'{{0: ' + does + '}}' if does else ''}"
        headers = {"authorization": f"Bearer {self._api_key}", "content-type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self._edge.port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("POST", "/chat", json.dumps({"query": query, "model": model}), headers)
            reply = connection.getresponse()
            reply.read()
            self.ends[str(reply.status)] += 1
            self._refused = 0
        except (OSError, http.client.HTTPException):
            self.ends["none"] += 1
            self._refused += 1
            if self._refused % 10 == 0:
                self._edge.renew()
        finally:
            connection.close()
