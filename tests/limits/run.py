"""`make limits-proof`: three edges, 200 callers, and what was let through against each limit and a budget.

The callers ask as fast as they are answered, so every limit is reached. The last line is the verdict: nothing over a
limit in any minute, at most one percent under it, and the budget overshot by one request at most.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import cycle
from pathlib import Path

import httpx2
import orjson
import psutil
import yaml

from edge.guard.keys import add_key
from spillway_local import processes
from spillway_local.ports import free_port

from .provider import INPUT_TOKENS, OUTPUT_TOKENS

EDGES, CALLERS = 3, 200
_MINUTE = 60.0
_MOST_UNDER = 0.01
_PROGRESS_SECONDS = 10.0
_REFUSALS = ("rate_limit_exceeded", "spend_limit_reached")
_TOKENS = INPUT_TOKENS + OUTPUT_TOKENS


def say(line: str) -> None:
    """Print a line and flush."""
    print(line, flush=True)  # noqa: T201 - the program's output


@dataclass
class Proof:
    """One limit, and when what counts against it was let through."""

    name: str
    users: Sequence[str]
    """Who counts against it."""
    amount: int
    tokens: int = 1
    """Of each request."""
    seen: list[tuple[float, float]] = field(default_factory=list)
    """When each request that was let through was sent, and when it was answered."""

    def most_in_a_minute(self) -> int:
        """Return the most that was certainly let through within one minute: sent and answered in it."""
        sent = sorted(self.seen)
        return self.tokens * max(
            (sum(answered - begin < _MINUTE for _, answered in sent[index:]) for index, (begin, _) in enumerate(sent)),
            default=0,
        )


USERS = [f"user-{number}" for number in range(6)]
SPENDER = USERS[5]
# What each request costs, and a budget for so many of them and a half, at which requests are refused.
_COST_USD = Decimal(_TOKENS) / 10**6
_PAID_REQUESTS = 300
_BUDGET_USD = _COST_USD * _PAID_REQUESTS + _COST_USD / 2
PROOFS = [
    Proof("requests a minute of user-0", USERS[:1], 100),
    Proof("requests a minute of user-1", USERS[1:2], 500),
    Proof("requests a minute of the tenant of both teams", USERS[2:4], 600),
    # A request is reserved with about 500, and what it did not use is free again when it has ended.
    Proof("tokens a minute of user-4", USERS[4:], 60_000, _TOKENS),
]
LIMITS = [
    {"name": "few", "user": "user-0", "each": ["user"], "requests_per_minute": 100},
    {"name": "many", "user": "user-1", "each": ["user"], "requests_per_minute": 500},
    {"name": "both", "tenant": "shared", "each": ["tenant"], "requests_per_minute": 600},
    {"name": "tokens", "user": "user-4", "each": ["user"], "tokens_per_minute": 60_000},
]
_RATES = {"input": "1", "output": "1"}
_PRICE = {"provider": "openai", "target_model": "good", "effective_from": "2026-01-01", "rates": _RATES}
_PRICES = {"prices": [{**_PRICE, "source": "made up", "source_date": "2026-01-01"}]}


@contextmanager
def _running(command: Sequence[str], log: Path, sign: str, environment: Mapping[str, str]) -> Iterator[None]:
    process = processes.start(list(command), log, environment=environment)
    try:
        processes.wait_until_ready(process, lambda: sign in log.read_text(), log, 120.0)
        yield
    finally:
        processes.stop(process, signal.SIGTERM, 60.0)


@contextmanager
def running_edges(home: Path) -> Iterator[tuple[list[str], dict[str, str]]]:
    """Run the system on `home` with three edges; yield their addresses, and a key of each user."""
    with ExitStack() as stack:
        vendor = home / "vendor.log"
        command = [sys.executable, "-m", "tests.limits.provider"]
        stack.enter_context(_running(command, vendor, "\n", os.environ))
        credential, routes, limits = home / "provider-key", home / "routes.yaml", home / "limits.yaml"
        credential.write_text("sk-limits")
        target = {
            "provider": "openai",
            "model": "good",
            "base_url": f"{vendor.read_text().strip()}/v1",
            "credential_file": str(credential),
        }
        routes.write_text(yaml.safe_dump({"targets": {"good": target}, "routes": {"good": {"targets": ["good"]}}}))
        limits.write_text(yaml.safe_dump({"limits": LIMITS}))
        prices = home / "prices.yaml"
        prices.write_text(yaml.safe_dump(_PRICES))
        own = {
            "SPILLWAY_HOME": str(home),
            "SPILLWAY_PORT": str(free_port()),
            "SPILLWAY_ROUTES": str(routes),
            "EDGE_LIMITS_FILE": str(limits),
            "COST_LEDGER_PRICE_BOOK_FILE": str(prices),
        }
        up = [sys.executable, "-m", "spillway_local", "up"]
        stack.enter_context(_running(up, home / "up.log", "is up after", {**os.environ, **own}))
        run = orjson.loads((home / "run.json").read_bytes())
        first = psutil.Process(next(each["pid"] for each in run["processes"] if each["name"] == "edge"))
        urls = [run["url"]]
        for number in range(1, EDGES):
            port = free_port()
            environment = {
                **first.environ(),
                "EDGE_PORT": str(port),
                "EDGE_METRICS_PORT": str(free_port()),
                "EDGE_SPOOL_FILE": str(home / f"spool-{number}.sqlite"),
            }
            log = home / f"edge-{number}.log"
            stack.enter_context(_running([sys.executable, "-m", "edge"], log, '"started"', environment))
            urls.append(f"http://127.0.0.1:{port}")
        amount = str(_BUDGET_USD)
        budget = ["budgets", "set", "spender", "--each=user", f"--user={SPENDER}", "--per=total", "--over=warn"]
        command = [sys.executable, "-m", "spillway_local", *budget, f"--usd={amount}", f"--stop-usd={amount}"]
        subprocess.run(command, env={**os.environ, "SPILLWAY_HOME": str(home)}, check=True)
        tenants = dict.fromkeys(USERS[2:4], "shared")
        keys = {user: add_key(home / "keys.yaml", tenants.get(user, user), user, "test") for user in USERS}
        yield urls, keys


class Callers:
    """All of them."""

    def __init__(self, urls: Sequence[str], keys: Mapping[str, str]) -> None:
        self._urls = urls
        self._keys = keys
        self._proofs = {user: proof for proof in PROOFS for user in proof.users}
        self.refused = self.paid = 0
        self.faults: dict[str, int] = {}

    async def run(self, seconds: float) -> None:
        """Ask for so long."""
        loop = asyncio.get_running_loop()
        await self._wait_for_keys()
        until = loop.time() + seconds
        limits = httpx2.Limits(max_connections=CALLERS)
        async with (
            httpx2.AsyncClient(timeout=60, trust_env=False, limits=limits) as client,
            asyncio.TaskGroup() as all_,
        ):
            telling = all_.create_task(self._tell(loop.time()))
            callers = [
                all_.create_task(self._call(client, user, number, until))
                for number, user in zip(range(CALLERS), cycle(USERS), strict=False)
            ]
            await asyncio.wait(callers)
            telling.cancel()

    async def _wait_for_keys(self) -> None:
        async with httpx2.AsyncClient(timeout=60, trust_env=False) as client:
            for url in self._urls:
                for key in self._keys.values():
                    owner = {"authorization": f"Bearer {key}"}
                    while (await client.get(f"{url}/v1/models", headers=owner)).status_code != 200:
                        await asyncio.sleep(0.2)

    async def _call(self, client: httpx2.AsyncClient, user: str, number: int, until: float) -> None:
        loop, asked = asyncio.get_running_loop(), 0
        headers = {"authorization": f"Bearer {self._keys[user]}"}
        while loop.time() < until:
            asked += 1
            body = {"model": "good", "messages": [{"role": "user", "content": f"{number} {asked}"}]}
            url = self._urls[(number + asked) % len(self._urls)]
            at = time.monotonic()
            response = await client.post(f"{url}/v1/chat/completions", json=body, headers=headers)
            if response.status_code == 200 and user == SPENDER:
                self.paid += 1
            elif response.status_code == 200:
                self._proofs[user].seen.append((at, time.monotonic()))
            elif response.status_code == 429 and response.json()["error"]["code"] in _REFUSALS:
                self.refused += 1
                await asyncio.sleep(0.2)
            elif response.status_code == 503:  # the machine has too much to do; nothing was counted
                await asyncio.sleep(0.1)
            else:
                fault = f"{response.status_code} {response.text[:100]}"
                self.faults[fault] = self.faults.get(fault, 0) + 1
                await asyncio.sleep(0.5)

    async def spent(self) -> Decimal:
        """Return what the spender has spent by the books, once they have all of it."""
        owner = {"authorization": f"Bearer {self._keys[SPENDER]}"}
        async with httpx2.AsyncClient(timeout=60, trust_env=False) as client, asyncio.timeout(60):
            while True:
                total = (await client.get(f"{self._urls[0]}/v1/costs", headers=owner)).json()["total"]
                if total["requests"] >= self.paid:
                    return Decimal(total["cost_usd"])
                await asyncio.sleep(0.2)

    async def _tell(self, started: float) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            through = sum(len(proof.seen) for proof in PROOFS)
            passed = asyncio.get_running_loop().time() - started
            say(f"{passed:4.0f} s: {through} let through, {self.refused} refused")


def main() -> None:
    """Run; status 0 when no limit was exceeded in any minute, and each was used to its end."""
    parser = argparse.ArgumentParser(prog="limits-proof", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="spillway-limits-") as folder, running_edges(Path(folder)) as (urls, keys):
        callers = Callers(urls, keys)
        asyncio.run(callers.run(seconds))
        spent = asyncio.run(callers.spent())
    over = under = 0
    for proof in PROOFS:
        most, wanted = proof.most_in_a_minute(), proof.amount * max(1, int(seconds // _MINUTE))
        missing = max(0.0, 1 - len(proof.seen) * proof.tokens / wanted)
        over += most > proof.amount
        under += missing > _MOST_UNDER
        say(f"limits-proof: {proof.name}: {most} in a minute of {proof.amount}, {missing:.1%} under")
    beyond = (spent - _BUDGET_USD) / _COST_USD
    over += beyond > 1
    under += spent < _BUDGET_USD - _COST_USD
    overshoot = f"overshoot {max(beyond, Decimal(0)):.2f} requests"
    say(f"limits-proof: budget of {SPENDER}: {spent} USD of {_BUDGET_USD}, {overshoot}")
    for fault, count in callers.faults.items():
        say(f"limits-proof: fault: {count} x {fault}")
    say(f"limits-proof: {over} over, {under} under, {callers.refused} refused, {len(callers.faults)} faults")
    sys.exit(1 if over or under or callers.faults else 0)


if __name__ == "__main__":
    main()
