"""`/admin/v1`: what `spillway tenants|teams|users|keys|budgets|audit` do, over HTTP, on a port of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from pydantic import BaseModel

from edge.admin import account_json
from edge.admin.account_json import Json, fill, read_body, to_json
from edge.admin.operation import PREFIX, PageQuery, actor_of, answer, described
from edge.guard.identify import Caller, Identify, requires
from edge.http.body import read_bytes
from edge.identity import Identity
from edge.ledger.accounts import AccountsClient
from edge.problems import Problem
from spillway.accounts.v1 import accounts_pb2 as accountspb

# A thousand keys of an import take half of it.
_MAX_BODY_BYTES = 1024 * 1024


class KeysQuery(PageQuery):
    """Which keys."""

    tenant: str = ""
    user: str = ""


class AuditQuery(PageQuery):
    """Which changes; an id is one of a kind."""

    tenant: str = ""
    kind: Literal["", "tenant", "team", "user", "key", "budget", "capture"] = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    path: str
    """Of the list; that of one has the id after it."""
    ids: Sequence[str]
    """What identifies one."""
    new: type[BaseModel]
    changes: type[BaseModel]
    query: type[PageQuery] = PageQuery

    @property
    def path_of_one(self) -> str:
        return f"{self.path}/{{{self.ids[-1]}}}"


_KINDS = (
    _Kind("tenant", "/tenants", ("tenant",), account_json.NewTenant, account_json.TenantChanges),
    _Kind("team", "/tenants/{tenant}/teams", ("tenant", "team"), account_json.NewTeam, account_json.TeamChanges),
    _Kind("user", "/tenants/{tenant}/users", ("tenant", "user"), account_json.NewUser, account_json.UserChanges),
    _Kind("key", "/keys", ("key_id",), account_json.NewKey, account_json.KeyChanges, KeysQuery),
)


@dataclass(frozen=True, slots=True)
class AdminEndpoints:
    """Each needs the permission `admin`, which operators have: of all tenants."""

    identify: Identify
    accounts: AccountsClient

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix=PREFIX, tags=["admin"], dependencies=[Depends(self.identify), requires("admin")])
        # Before the key of any id.
        router.add_api_route(
            "/keys/import", self.import_keys, methods=["POST"], **described("import_keys", account_json.Import)
        )
        for kind in _KINDS:
            self._add(router, kind)
        router.add_api_route(
            "/keys/{key_id}/rotate",
            self.rotate,
            methods=["POST"],
            **described("rotate_key", account_json.Rotation, ("key_id",)),
        )
        router.add_api_route("/budgets", self.budgets, methods=["GET"], **described("list_budgets"))
        put = described("put_budget", account_json.NewBudget, ("name",))
        router.add_api_route("/budgets/{name}", self.put_budget, methods=["PUT"], **put)
        remove = described("remove_budget", None, ("name",))
        router.add_api_route("/budgets/{name}", self.remove_budget, methods=["DELETE"], **remove)
        router.add_api_route("/audit", self.audit, methods=["GET"], **described("list_audit"))
        return router

    def _add(self, router: APIRouter, kind: _Kind) -> None:
        name, owners = kind.name, kind.ids[:-1]

        async def listed(request: Request, query: Annotated[Any, Query()]) -> Response:
            filters = query.model_dump(exclude={"limit", "cursor"}) | _path_ids(request, owners)
            return await self._page(f"List{name.title()}s", f"{name}s", query, filters)

        # FastAPI reads the parameters' types here.
        listed.__annotations__["query"] = Annotated[kind.query, Query()]

        async def create(request: Request, caller: Caller) -> Response:
            return await self._create(request, caller, kind)

        async def show(request: Request) -> Response:
            asked = _request("Get", name, **_path_ids(request, kind.ids))
            return _one(await self.accounts.call(f"Get{name.title()}", asked, changes=False), name)

        async def update(request: Request, caller: Caller) -> Response:
            return await self._update(request, caller, kind)

        def switch(*, enable: bool) -> Callable[[Request, Identity], Awaitable[Response]]:
            async def switched(request: Request, caller: Caller) -> Response:
                ids = _path_ids(request, kind.ids)
                asked = _request("Disable", name, actor=actor_of(caller), enable=enable, **ids)
                return _one(await self.accounts.call(f"Disable{name.title()}", asked, changes=True), name)

            return switched

        for path, work, method, about in (
            (kind.path, listed, "GET", described(f"list_{name}s", None, owners)),
            (kind.path, create, "POST", described(f"create_{name}", kind.new, owners, created=True)),
            (kind.path_of_one, show, "GET", described(f"show_{name}", None, kind.ids)),
            (kind.path_of_one, update, "PATCH", described(f"update_{name}", kind.changes, kind.ids)),
            (f"{kind.path_of_one}/disable", switch(enable=False), "POST", described(f"disable_{name}", None, kind.ids)),
            (f"{kind.path_of_one}/enable", switch(enable=True), "POST", described(f"enable_{name}", None, kind.ids)),
        ):
            router.add_api_route(path, work, methods=[method], **about)

    async def _create(self, request: Request, caller: Identity, kind: _Kind) -> Response:
        body = read_body(await _content(request), kind.new)
        asked = _request("Create", kind.name, actor=actor_of(caller))
        fill(getattr(asked, kind.name), body.model_dump(exclude_unset=True) | _path_ids(request, kind.ids[:-1]))
        made = await self.accounts.call(f"Create{kind.name.title()}", asked, changes=True)
        return _one(made, kind.name, 201)

    async def _update(self, request: Request, caller: Identity, kind: _Kind) -> Response:
        values = read_body(await _content(request), kind.changes).model_dump(exclude_unset=True)
        if not values:
            raise Problem("invalid_request", "nothing to change: name at least one field")
        asked = _request("Update", kind.name, actor=actor_of(caller), mask=FieldMask(paths=[*values]))
        fill(getattr(asked, kind.name), values | _path_ids(request, kind.ids))
        return _one(await self.accounts.call(f"Update{kind.name.title()}", asked, changes=True), kind.name)

    async def rotate(self, request: Request, caller: Caller) -> Response:
        """Make a key like this one, which ends at once or after a grace."""
        body = read_body(await _content(request), account_json.Rotation)
        asked = accountspb.RotateKeyRequest(
            actor=actor_of(caller), grace=Duration(seconds=body.grace_seconds), **_path_ids(request, ("key_id",))
        )
        done = await self.accounts.call("RotateKey", asked, changes=True)
        made = {"key": to_json(done.key), "secret_key": done.secret_key, "replaced": to_json(done.replaced)}
        return answer(made, 201)

    async def import_keys(self, request: Request, caller: Caller) -> Response:
        """Take over keys of a key file; all or none."""
        body = read_body(await _content(request), account_json.Import)
        records = [account_json.imported(entry) for entry in body.keys]
        asked = accountspb.ImportKeysRequest(actor=actor_of(caller), records=records)
        done = await self.accounts.call("ImportKeys", asked, changes=True)
        return answer({"imported": done.imported, "known": done.known, "differing": [*done.differing]})

    async def budgets(self) -> Response:
        """List all budgets."""
        found = await self.accounts.call("ListBudgets", accountspb.ListBudgetsRequest(), changes=False)
        return answer({"object": "list", "data": [to_json(each) for each in found.budgets]})

    async def put_budget(self, request: Request, caller: Caller) -> Response:
        """Create a budget, or replace the one of this name."""
        body = read_body(await _content(request), account_json.NewBudget)
        asked = accountspb.PutBudgetRequest(actor=actor_of(caller))
        fill(asked.budget, {**body.model_dump(), **_path_ids(request, ("name",))})
        return _one(await self.accounts.call("PutBudget", asked, changes=True), "budget")

    async def remove_budget(self, request: Request, caller: Caller) -> Response:
        """Remove a budget; the log of changes keeps it."""
        asked = accountspb.RemoveBudgetRequest(actor=actor_of(caller), **_path_ids(request, ("name",)))
        await self.accounts.call("RemoveBudget", asked, changes=True)
        return answer({"name": asked.name, "removed": True})

    async def audit(self, query: Annotated[AuditQuery, Query()]) -> Response:
        """List the changes, the newest first."""
        filters = query.model_dump(exclude={"limit", "cursor"})
        return await self._page("ListAudit", "entries", query, filters)

    async def _page(self, method: str, field: str, query: PageQuery, filters: Json) -> Response:
        request = getattr(accountspb, f"{method}Request")(page_size=query.limit, page_token=query.cursor, **filters)
        page = await self.accounts.call(method, request, changes=False)
        data = [to_json(each) for each in getattr(page, field)]
        return answer({"object": "list", "data": data, "next_cursor": page.next_page_token or None})


def _request(verb: str, name: str, **fields: Any) -> Any:
    return getattr(accountspb, f"{verb}{name.title()}Request")(**fields)


def _path_ids(request: Request, names: Sequence[str]) -> dict[str, str]:
    return {name: request.path_params[name] for name in names}


async def _content(request: Request) -> bytes:
    return await read_bytes(request, _MAX_BODY_BYTES, lambda _: None)


def _one(reply: Any, name: str, status: int = 200) -> Response:
    shown = to_json(getattr(reply, name))
    return answer({"key": shown, "secret_key": reply.secret_key} if hasattr(reply, "secret_key") else shown, status)
