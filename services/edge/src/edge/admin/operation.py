"""What the operations of `/admin/v1` share: who acts, how an answer goes out, what the OpenAPI document says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from edge.admin.account_json import Json
from edge.http.openapi import API_KEY, errors, json_answer
from edge.http.responses import json_response
from edge.identity import Identity

PREFIX = "/admin/v1"
_MAX_ACTOR = 200
_OF_BODIES = ("conflict", "body_too_large", "unsupported_encoding")
_ERRORS = ("invalid_json", "invalid_request", "unknown_field", "invalid_api_key", "permission_denied", "not_found")


class PageQuery(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    cursor: str = ""


def actor_of(caller: Identity) -> str:
    """Return how the log of changes names a caller."""
    return f"key:{caller.key_id}"[:_MAX_ACTOR]


def answer(body: Json, status: int = 200) -> Response:
    """Return a JSON answer."""
    # A new key must not stay anywhere on its way.
    return json_response(body, status, {"cache-control": "no-store"})


def described(
    name: str,
    body: type[BaseModel] | None = None,
    ids: Sequence[str] = (),
    *,
    created: bool = False,
    also: Sequence[str] = (),
) -> Json:
    """Return what the OpenAPI document says of an endpoint whose body and path are read by hand.

    `also` are codes of errors besides those of all.
    """
    extra: Json = {"security": API_KEY}
    extra["parameters"] = [{"name": each, "in": "path", "required": True, "schema": {"type": "string"}} for each in ids]
    if body is not None:
        schema = body.model_json_schema()
        extra["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    codes = (*_ERRORS, "ledger_unavailable", *(_OF_BODIES if body is not None else ()), *also)
    return {
        "operation_id": f"admin_{name}",
        "summary": name.replace("_", " ").capitalize(),
        "status_code": 201 if created else 200,
        "responses": {201 if created else 200: json_answer("Done.", {}), **errors(*codes)},
        "openapi_extra": extra,
    }
