"""Which models there are: the routes of the llm-router, asked now and then."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping

import structlog

from edge.identity import Identity
from edge.problems import Problem
from edge.router.client import RouterClient
from spillway.router.v1 import router_pb2 as routerpb

log = structlog.get_logger()

_MAX_NAME_LENGTH = 100
_UNKNOWN_INTERVAL_SECONDS = 0.5


class ModelList:
    """The public models as the router last reported them."""

    def __init__(self, router: RouterClient) -> None:
        self._router = router
        self._models: dict[str, routerpb.Model] = {}
        self._asking = asyncio.Lock()
        self._asked = -math.inf
        self._problem: Problem | None = None

    async def refresh(self) -> None:
        """Ask the router anew; Problem when it does not answer."""
        self._models = {model.route: model for model in await self._router.list_models()}

    async def require(self, name: str, caller: Identity) -> None:
        """Return if the model exists for the caller; Problem (404) when not, which names those that do.

        A name not seen yet makes the list be fetched anew.
        """
        if name not in self._models:
            await self._refresh_for_unknown()
        if name not in self._models or not caller.may_use(name):
            known = ", ".join(sorted(filter(caller.may_use, self._models)))
            raise Problem(
                "model_not_found",
                f"model {name[:_MAX_NAME_LENGTH]!r} does not exist; there are: {known}",
                param="model",
            )

    def economy_of(self, name: str) -> str:
        """Return the model to ask instead of this one when a budget is used up; empty: none."""
        model = self._models.get(name)
        return "" if model is None else model.economy

    def first_target_of(self, name: str) -> routerpb.ModelTarget | None:
        """Return the target that a model asks first; None when it is not known."""
        model = self._models.get(name)
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

    async def known(self) -> Mapping[str, routerpb.Model]:
        """Return the models by name, fetched when none is known yet."""
        if not self._models:
            await self.refresh()
        return self._models
