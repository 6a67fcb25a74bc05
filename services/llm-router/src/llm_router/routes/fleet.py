"""The routes in force and the providers that call their targets; both can be replaced while requests run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from llm_router.providers.provider import Provider
from llm_router.routes.file import Routes
from llm_router.target import Target

log = structlog.get_logger()


@dataclass(frozen=True, eq=False)
class Fleet:
    """Routes and the providers of their targets, as they are at one moment."""

    routes: Routes
    providers: Mapping[Target, Provider]
    """One for each target of a route."""


class Fleets:
    """The current fleet, and earlier ones that a request still uses. Bound to one event loop."""

    def __init__(self, create_provider: Callable[[Target], Provider]) -> None:
        """Start without any routes. `create_provider` is called in a thread: it may import an SDK, which takes long."""
        self._create_provider = create_provider
        self._current = Fleet({}, {})
        self._borrowers = {self._current: 0}
        """Reference count per fleet; the current fleet is never closed."""
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> Fleet:
        """The current fleet. Its providers may be closed at the next await: `borrow` it to call them."""
        return self._current

    @contextmanager
    def borrow(self) -> Iterator[Fleet]:
        """Lend the current fleet; its providers stay open until the block is left, even when the fleet is replaced."""
        fleet = self._current
        self._borrowers[fleet] += 1
        try:
            yield fleet
        finally:
            self._borrowers[fleet] -= 1
            self._retire(fleet)

    async def replace(self, routes: Routes) -> None:
        """Put `routes` in force for every later `borrow`; one call at a time.

        An unchanged target keeps its provider, and so its connections. When this is cancelled, or a provider cannot be
        created, nothing has changed.
        """
        targets = dict.fromkeys(target for route in routes.values() for target in route.targets)
        kept = self._current.providers
        made = await asyncio.to_thread(self._create_providers, [target for target in targets if target not in kept])
        old = self._current
        self._current = Fleet(routes, {target: kept[target] if target in kept else made[target] for target in targets})
        self._borrowers[self._current] = 0
        self._retire(old)

    async def close(self) -> None:
        """Close every provider. Call it when nothing is borrowed any more and no `replace` follows."""
        for fleet in self._borrowers:
            self._borrowers[fleet] += 1  # never released, so that a late borrower closes nothing a second time
        living = {id(provider): provider for fleet in self._borrowers for provider in fleet.providers.values()}
        await _close(living.values())
        if self._closing:
            await asyncio.wait(self._closing)

    def _create_providers(self, targets: Iterable[Target]) -> dict[Target, Provider]:
        return {target: self._create_provider(target) for target in targets}

    def _retire(self, fleet: Fleet) -> None:
        """Close the providers that only `fleet` has, if it is neither current nor borrowed."""
        if fleet is self._current or self._borrowers[fleet]:
            return
        del self._borrowers[fleet]
        in_use = {id(provider) for living in self._borrowers for provider in living.providers.values()}
        idle = [provider for provider in fleet.providers.values() if id(provider) not in in_use]
        if idle:
            closing = asyncio.create_task(_close(idle))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


async def _close(providers: Iterable[Provider]) -> None:
    for provider in providers:
        try:
            await provider.close()
        except Exception:
            log.exception("provider_close_failed")
