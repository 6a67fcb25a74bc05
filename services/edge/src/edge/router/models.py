"""Which models there are: the routes of the llm-router, asked now and then."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Sequence

import structlog

from edge.identity import Identity
from edge.problems import Problem
from edge.router.client import RouterClient
from spillway.router.v1 import router_pb2 as routerpb

log = structlog.get_logger()

_MAX_NAME_LENGTH = 100
_UNKNOWN_INTERVAL_SECONDS = 0.5


class ModelNames:
    """What the public models can be called: by the names of their routes, by aliases, and by wildcards of either.

    An exact name goes before a wildcard, and of two wildcards the one with more before its `*`. There are no two equal
    ones: a router refuses such a file.
    """

    def __init__(self, models: Iterable[routerpb.Model]) -> None:
        self.models = {model.route: model for model in models}
        self.exact: dict[str, str] = {}
        """Name -> route, in the order of the routes file, each route before its aliases: what there is to be listed."""
        wild: dict[str, str] = {}
        for model in self.models.values():
            for name in (model.route, *model.aliases):
                if name.endswith("*"):
                    wild[name.removesuffix("*")] = model.route
                else:
                    self.exact[name] = model.route
        self._wild = sorted(wild.items(), key=lambda each: -len(each[0]))

    def route_of(self, name: str) -> str | None:
        """Return the route that a name leads to; None: there is none. The text of a wildcard is one of its names."""
        if name in self.exact:
            return self.exact[name]
        return next((route for prefix, route in self._wild if name.startswith(prefix)), None)


class ModelList:
    """The public models as the router last reported them."""

    def __init__(self, router: RouterClient) -> None:
        self._router = router
        self._names = ModelNames(())
        self._asking = asyncio.Lock()
        self._asked = -math.inf
        self._problem: Problem | None = None

    async def refresh(self) -> None:
        """Ask the router anew; Problem when it does not answer."""
        self._names = ModelNames(await self._router.list_models())

    async def require(self, name: str, caller: Identity) -> str:
        """Return the route of a model that exists for the caller; Problem (404) when not, which names those that do.

        A name not seen yet makes the list be fetched anew.
        """
        if self._names.route_of(name) is None:
            await self._refresh_for_unknown()
        route = self._names.route_of(name)
        if route is None or not self._is_for(caller, name, route):
            known = ", ".join(sorted(self._listed(caller)))
            raise Problem(
                "model_not_found",
                f"model {name[:_MAX_NAME_LENGTH]!r} does not exist; there are: {known}",
                param="model",
            )
        return route

    def _is_for(self, caller: Identity, name: str, route: str) -> bool:
        """Tell whether a model is for the caller: by its route's name, or by the alias that the operator gave it.

        What a wildcard catches is not: else a key for `small-*` had whatever a route `*` leads to.
        """
        return caller.may_use(route) or (name in self._names.exact and caller.may_use(name))

    def _listed(self, caller: Identity) -> Sequence[str]:
        return [name for name, route in self._names.exact.items() if self._is_for(caller, name, route)]

    def economy_of(self, route: str) -> str:
        """Return the model to ask instead of this one when a budget is used up; empty: none."""
        model = self._names.models.get(route)
        return "" if model is None else model.economy

    def cache_mode_of(self, route: str) -> routerpb.CacheMode.ValueType:
        """Return which of its answers a route wants cached; unspecified: it does not say, or is not known."""
        model = self._names.models.get(route)
        return routerpb.CACHE_MODE_UNSPECIFIED if model is None else model.cache_mode

    def first_target_of(self, route: str) -> routerpb.ModelTarget | None:
        """Return the target that a model asks first; None when it is not known."""
        model = self._names.models.get(route)
        return model.targets[0] if model is not None and model.targets else None

    async def _refresh_for_unknown(self) -> None:
        """Ask anew unless somebody just did: names that do not exist must not keep the router busy."""
        async with self._asking:
            if time.monotonic() - self._asked >= _UNKNOWN_INTERVAL_SECONDS:
                self._problem = None
                try:
                    await self.refresh()
                except Problem as problem:
                    self._problem = problem
                self._asked = time.monotonic()
            if self._problem is not None:
                raise Problem(self._problem.code, self._problem.message)

    async def listed(self, caller: Identity) -> Sequence[str]:
        """Return the names that the caller may ask by, wildcards left out; fetched when none is known yet."""
        if not self._names.models:
            await self.refresh()
        return self._listed(caller)
