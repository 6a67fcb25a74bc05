"""Puts the routes on disk in force when they change, and refuses broken ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import structlog

from llm_router.metrics import Metrics
from llm_router.routes.file import Route, Routes
from llm_router.routes.fleet import Fleets
from llm_router.routes.load import RoutesError, load_routes
from llm_router.routes.sources import Sources
from llm_router.target import Target

log = structlog.get_logger()

WATCH_INTERVAL_SECONDS = 1.0


class RoutesWatch:
    """Compares the files that the routes were read from with those on disk."""

    def __init__(self, path: Path, sources: Sources, fleets: Fleets, metrics: Metrics) -> None:
        """`sources` has the contents that the routes in force were read from: the file `path` and the credentials."""
        self._path = path
        self._sources = sources
        self._known = self._credentials_in(sources)
        self._fleets = fleets
        self._metrics = metrics

    async def check(self) -> None:
        """Put changed files in force if they are valid; if not, log their faults once and keep the routes in force.

        Files are read in a thread, for a disk may be slow. When this is cancelled or fails, the next check repeats it.
        """
        if not await asyncio.to_thread(self._sources.have_changed):
            return
        sources = Sources()
        try:
            routes = await asyncio.to_thread(load_routes, self._path, sources)
        except RoutesError as error:
            self._refuse(error)
            await self._follow_the_rest()
            self._sources = sources
            return
        await self._put_in_force(routes)
        self._sources = sources
        self._known = self._credentials_in(sources)
        self._metrics.routes_stale.set(0)

    async def _follow_the_rest(self) -> None:
        """Follow what is good where the only fault is a credential that is missing or empty: its last one stays.

        So one file that was lost does not keep the other keys from being replaced.
        """
        sources = Sources(self._known)
        try:
            routes = await asyncio.to_thread(load_routes, self._path, sources)
        except RoutesError:
            return
        self._known = self._credentials_in(sources)
        if routes != self._fleets.current.routes:
            await self._put_in_force(routes)

    def _credentials_in(self, sources: Sources) -> Mapping[Path, bytes]:
        return {path: content for path, content in sources.contents().items() if path != self._path}

    async def _put_in_force(self, routes: Routes) -> None:
        before = self._fleets.current.routes
        await self._fleets.replace(routes)
        self._metrics.routes_reloads.labels("ok").inc()
        log.info(
            "routes_reloaded",
            **_differences("models", _models(before), _models(routes)),
            **_differences("targets", _targets(before), _targets(routes)),
        )

    def _refuse(self, error: RoutesError) -> None:
        self._metrics.routes_reloads.labels("rejected").inc()
        self._metrics.routes_stale.set(1)
        for fault in error.faults:
            log.error("routes_refused", file=str(fault.file), line=fault.line, reason=fault.reason)


def _models(routes: Routes) -> dict[str, object]:
    """Return what identifies each route; a target with other settings counts as a change of the target only."""
    return {name: _without_settings_of_targets(route) for name, route in routes.items()}


def _without_settings_of_targets(route: Route) -> object:
    names = tuple(tuple(target.name for target in rank) for rank in route.ranks)
    return names, route.model_dump(exclude={"name", "ranks"})


def _targets(routes: Routes) -> dict[str, Target]:
    return {target.name: target for route in routes.values() for target in route.targets}


def _differences(kind: str, before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the log fields with the names that were added, removed and changed."""
    return {
        f"{kind}_added": sorted(after.keys() - before.keys()),
        f"{kind}_removed": sorted(before.keys() - after.keys()),
        f"{kind}_changed": sorted(name for name in before.keys() & after.keys() if before[name] != after[name]),
    }
