"""What strangers and browsers meet first: which host they name, where they come from, which page asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.http.surface.cors import Cors
from edge.http.surface.proxies import TrustedProxies
from edge.http.surface.security_headers import DATA_POLICY, STRICT_TRANSPORT_SECURITY
from edge.problems import Problem

# Asked by kubelets and load balancers, which name an address.
_FOR_ANY_HOST = frozenset({"/health/live", "/health/ready"})


@dataclass(frozen=True, slots=True)
class SurfaceRules:
    """What the operator has set; the edge's settings explain each."""

    cors_origins: Sequence[str] = ()
    trusted_hosts: Sequence[str] = ()
    proxies: TrustedProxies = field(default_factory=TrustedProxies)


class Surface:
    """ASGI middleware between `Accept`, which adds `state["headers"]` to the answer, and the doorway.

    The doorway refuses what has `state["refusal"]`, at the pace of strangers.
    """

    def __init__(self, app: ASGIApp, rules: SurfaceRules) -> None:
        self._app = app
        self._cors = Cors(rules.cors_origins)
        self._hosts = frozenset(host for host in rules.trusted_hosts if not host.startswith("*."))
        self._domains = tuple(host[1:] for host in rules.trusted_hosts if host.startswith("*."))
        self._proxies = rules.proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or pass the request on as that of the client that sent it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if client := scope.get("client"):
            origin = self._proxies.origin(client[0], scope["scheme"], headers)
            scope["client"], scope["scheme"] = (origin.address, client[1]), origin.scheme
        page = headers.get("origin")
        tls = STRICT_TRANSPORT_SECURITY if scope["scheme"] == "https" else {}
        scope["state"]["headers"] = DATA_POLICY | tls | self._cors.headers(page)
        if not self._is_ours(headers.get("host", "")) and scope["path"] not in _FOR_ANY_HOST:
            scope["state"]["refusal"] = Problem("misdirected_request", "this host is not served here")
        elif page is not None and scope["method"] == "OPTIONS":
            allowed = self._cors.preflight(page, headers.get("access-control-request-headers", ""))
            if allowed is not None:
                await Response(status_code=204, headers=allowed)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        if not self._hosts and not self._domains:
            return True
        name = host.lower()
        name = name.partition("]")[0] + "]" if name.startswith("[") else name.partition(":")[0]
        return name in self._hosts or name.endswith(self._domains)
