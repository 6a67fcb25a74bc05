"""Responses that are kept: `GET` and `DELETE /v1/responses/{id}`, their input items, and `cancel`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query

from edge.contracts.responses.examples import DELETED, INPUT_ITEMS, RESPONSE
from edge.guard.identify import Caller, Identify, requires
from edge.http.openapi import API_KEY, errors, json_answer
from edge.problems import Problem
from edge.stored.responses import StoredResponses

Json = dict[str, Any]
Answers = dict[int | str, Json]

_PATH = "/v1/responses/{response_id}"
ResponseId = Annotated[str, Path(description="The `id` of a response of the caller's tenant that was stored.")]
_ERRORS = errors("invalid_api_key", "permission_denied", "previous_response_not_found", "responses_unavailable")


@dataclass(frozen=True, slots=True)
class StoredResponseEndpoints:
    """Whoever may ask may see and delete what its tenant has had stored, by its id."""

    identify: Identify
    stored: StoredResponses

    def router(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(tags=["responses"], dependencies=[Depends(self.identify), requires("chat")])
        refused = errors("invalid_request")

        def add(
            path: str, endpoint: Callable[..., Awaitable[Json]], method: str, summary: str, answers: Answers
        ) -> None:
            own: Json = {
                "summary": summary,
                "responses": {**_ERRORS, **answers},
                "openapi_extra": {"security": API_KEY},
            }
            router.add_api_route(path, endpoint, methods=[method], **own)

        add(_PATH, self.show, "GET", "Response", {200: json_answer("The response.", RESPONSE)})
        add(_PATH, self.delete, "DELETE", "Delete a response", {200: json_answer("It is gone.", DELETED)})
        page: Answers = {200: json_answer("A page of its input.", INPUT_ITEMS), **refused}
        add(f"{_PATH}/input_items", self.input_items, "GET", "Input items", page)
        ended: Answers = {
            200: json_answer("One that was made in the background; there are none here.", RESPONSE),
            **refused,
        }
        add(f"{_PATH}/cancel", self.cancel, "POST", "Cancel a response", ended)
        return router

    async def show(self, caller: Caller, response_id: ResponseId) -> Json:
        """Return a response as its client got it."""
        return (await self.stored.get(caller.tenant, response_id)).response

    async def delete(self, caller: Caller, response_id: ResponseId) -> Json:
        """Forget a response; no later request can go on from it."""
        await self.stored.delete(caller.tenant, response_id)
        return {"id": response_id, "object": "response", "deleted": True}

    async def input_items(
        self,
        caller: Caller,
        response_id: ResponseId,
        order: Literal["asc", "desc"] = "desc",
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        after: Annotated[str | None, Query(description="The id of the last item of the page before.")] = None,
    ) -> Json:
        """List the input items of a response's own request; those of the responses before it are theirs."""
        found = await self.stored.get(caller.tenant, response_id)
        suffix = response_id.removeprefix("resp_")
        items = [_told(item, f"{suffix}_in{number}") for number, item in enumerate(found.input)]
        if order == "desc":
            items.reverse()
        if after is not None:
            places = [number for number, item in enumerate(items) if item["id"] == after]
            if not places:
                raise Problem("invalid_request", f"after: there is no item {after[:50]!r}", param="after")
            items = items[places[0] + 1 :]
        page = items[:limit]
        return {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(items) > limit,
        }

    async def cancel(self, caller: Caller, response_id: ResponseId) -> Json:
        """Refuse: only responses that are made in the background could be cancelled, and there are none here."""
        await self.stored.get(caller.tenant, response_id)
        raise Problem("invalid_request", "this response is not made in the background, and has ended")


def _told(item: Json, suffix: str) -> Json:
    """Return an item with its id, and a message with its parts."""
    kind = item.get("type", "message")
    told = {**item, "type": kind, "id": item.get("id") or f"{'msg' if kind == 'message' else 'item'}_{suffix}"}
    if kind == "message" and isinstance(item.get("content"), str):
        part = "output_text" if item.get("role") == "assistant" else "input_text"
        told["content"] = [{"type": part, "text": item["content"]}]
    return told
