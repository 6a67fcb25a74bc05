"""Whether the response cache may answer a request, and keep its answer: what request, route and contract say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

from edge.problems import Problem
from spillway.router.v1 import router_pb2 as routerpb

CacheMode: TypeAlias = Literal["always", "deterministic", "never"]
"""Which requests the cache answers: all, those without a draw of chance, none."""
MODE_HEADER = "x-spillway-cache"

MODES: Sequence[CacheMode] = get_args(CacheMode)
"""All of them."""
_OF_ROUTES: Mapping[routerpb.CacheMode.ValueType, CacheMode] = {
    routerpb.CACHE_MODE_ALWAYS: "always",
    routerpb.CACHE_MODE_DETERMINISTIC: "deterministic",
    routerpb.CACHE_MODE_NEVER: "never",
}


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """What the cache may do for one request, and why not if it may not."""

    may_read: bool
    may_write: bool
    bypass_reason: str
    """One of a closed set: a label of a metric. Empty: it may be read."""


@dataclass(frozen=True, slots=True)
class CacheWish:
    """What a request itself says."""

    control: CachePolicy
    """By its `Cache-Control`."""
    default: CacheMode
    """That of its contract."""
    mode: CacheMode | None = None
    """By its `x-spillway-cache`; None: it does not say."""

    def policy(self, route: routerpb.CacheMode.ValueType, *, is_drawn: bool) -> CachePolicy:
        """Decide for a request to a route with this mode; `is_drawn`: its answer is a draw of chance.

        `no-store` goes before all, then `never` of the route; then the request decides, the route, the contract.
        """
        of_route = _OF_ROUTES.get(route)
        if not self.control.may_write:
            return self.control
        if of_route == "never":
            return _bypass("route_never")
        mode = self.mode or of_route or self.default
        if mode == "never":
            return _bypass("client_never" if self.mode else "not_cacheable")
        if mode == "deterministic" and is_drawn:
            return _bypass("temperature")
        return self.control


def read_wish(cache_control: Sequence[str], modes: Sequence[str], default: CacheMode) -> CacheWish:
    """Read the values of both headers; Problem (400) for a mode that there is not."""
    control = read_cache_control(",".join(cache_control))
    if not modes:
        return CacheWish(control, default)
    mode = modes[0].strip().lower()
    if len(modes) > 1 or mode not in MODES:
        raise Problem("invalid_request", f"{MODE_HEADER}: must be one of {', '.join(MODES)}", param=MODE_HEADER)
    return CacheWish(control, default, cast("CacheMode", mode))


def read_cache_control(header: str | None) -> CachePolicy:
    """Obey `no-store` (neither read nor write) and `no-cache` (do not read, but write)."""
    directives = {directive.strip().lower() for directive in (header or "").split(",")}
    if "no-store" in directives:
        return _bypass("client_no_store")
    if "no-cache" in directives:
        return CachePolicy(may_read=False, may_write=True, bypass_reason="client_no_cache")
    return CachePolicy(may_read=True, may_write=True, bypass_reason="")


def _bypass(reason: str) -> CachePolicy:
    return CachePolicy(may_read=False, may_write=False, bypass_reason=reason)
