"""`/admin/v1/captures`: captured texts for operators; every look is on record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from edge.admin.account_json import Json
from edge.admin.operation import PREFIX, PageQuery, actor_of, answer, described
from edge.capture.keys import CaptureKeys
from edge.guard.identify import Caller, Identify, requires
from edge.ledger.accounts import AccountsClient
from spillway.captures.v1 import captures_pb2 as capturespb

_Tenant = Annotated[str, Field(min_length=1, max_length=200, description="Whose; of any other there is nothing.")]


class CaptureQuery(BaseModel):
    """Of which tenant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: _Tenant


class CapturesQuery(PageQuery):
    """Of which tenant, and of which of its users."""

    tenant: _Tenant
    user: str = ""


@dataclass(frozen=True, slots=True)
class CaptureEndpoints:
    """Each needs the permission `admin`, and names the tenant."""

    identify: Identify
    ledger: AccountsClient
    keys: CaptureKeys

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(prefix=PREFIX, tags=["admin"], dependencies=[Depends(self.identify), requires("admin")])
        router.add_api_route("/captures", self.list, methods=["GET"], **described("list_captures"))
        shown = described("show_capture", None, ("request_id",), also=["capture_unreadable"])
        router.add_api_route("/captures/{request_id}", self.show, methods=["GET"], **shown)
        return router

    async def list(self, caller: Caller, query: Annotated[CapturesQuery, Query()]) -> Response:
        """List what was captured of a tenant, without the texts, the newest first."""
        asked = capturespb.ListCapturesRequest(
            actor=actor_of(caller),
            tenant=query.tenant,
            user=query.user,
            page_size=query.limit,
            page_token=query.cursor,
        )
        page = await self.ledger.call("ListCaptures", asked, changes=False)
        data = [_about_one(each) for each in page.captures]
        return answer({"object": "list", "data": data, "next_cursor": page.next_page_token or None})

    async def show(self, request: Request, caller: Caller, query: Annotated[CaptureQuery, Query()]) -> Response:
        """Show the texts of one request."""
        asked = capturespb.GetCaptureRequest(
            actor=actor_of(caller), tenant=query.tenant, request_id=request.path_params["request_id"]
        )
        capture = (await self.ledger.call("GetCapture", asked, changes=False)).capture
        texts = self.keys.open(capture)
        shown = {field.name: getattr(texts, field.name) for field in texts.DESCRIPTOR.fields}
        return answer({**_about_one(capture), **shown, "finish_reason": texts.finish_reason or None})


def _about_one(capture: capturespb.Capture) -> Json:
    return {
        "request_id": capture.request_id,
        "tenant": capture.tenant,
        "user": capture.user,
        "asked_at": capture.asked_at.ToJsonString(),
        "expires_at": capture.expires_at.ToJsonString(),
        "key_id": capture.texts.key_id,
    }
