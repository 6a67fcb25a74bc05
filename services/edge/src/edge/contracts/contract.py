"""What a contract is: how one vendor's clients ask, and how answers and errors are written for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel

from edge.answer import Answer
from edge.cache.policy import CacheMode
from edge.contracts.validation import JsonBody
from edge.conversation import Content
from edge.exchange.exchange import Exchange
from edge.exchange.settlement import Receipt
from edge.identity import Permission
from edge.problems import Problem
from spillway.router.v1 import router_pb2 as routerpb

Json = dict[str, Any]


class Frames(Protocol):
    """Writes one answer as a stream of SSE frames."""

    @property
    def keep_alive(self) -> bytes:
        """What a silent stream gets, for proxies and clients that give up on silence; it may come before any frame."""

    def head(self) -> bytes:
        """Return the frames before any content; empty: the status may wait for the first content."""

    def content(self, chunks: list[str | bytes]) -> bytes:
        """Return the frames for these chunks."""

    def continued(self, continued: routerpb.Continued) -> bytes:
        """Return what says that another target wrote the content that follows."""

    def end(self, receipt: Receipt) -> bytes:
        """Return the last frames: exactly one terminal one, of success or of failure."""


@dataclass(frozen=True, slots=True)
class Documentation:
    """What the OpenAPI document says of a contract's endpoint."""

    tag: str
    summary: str
    description: str
    body: type[BaseModel]
    whole: Json
    """An example of an answer in one piece."""
    stream: str
    """An example of a stream; empty: the contract has none."""
    errors: Sequence[str]
    """The codes of its errors."""
    events: Sequence[str] = ()
    """The names of a stream's events; empty: they have none."""
    error_schema_name: str = "Error"
    """What the document calls the shape of its errors."""
    error_schema: Json | None = None
    """The JSON schema of that shape; None: OpenAI's."""


class Contract(Protocol):
    """One endpoint, under one or more paths."""

    @property
    def paths(self) -> Sequence[str]:
        """Where clients ask."""

    @property
    def cache_mode(self) -> CacheMode:
        """Which of its answers the response cache keeps, where neither request nor route says."""

    @property
    def permission(self) -> Permission:
        """What its clients need to be allowed."""

    @property
    def documentation(self) -> Documentation:
        """What the OpenAPI document says."""

    def read(self, path: str, body: JsonBody, headers: Mapping[str, str]) -> Content:
        """Turn a request into what the gateway understands; Problem (400) that names the field at fault."""

    def headers(self, request_id: str) -> dict[str, str]:
        """Return the headers that this contract's responses have besides the gateway's own."""

    def frames(self, exchange: Exchange) -> Frames:
        """Return the writer of a stream."""

    async def whole(self, exchange: Exchange, receipt: Receipt) -> bytes:
        """Write a good answer in one piece, as JSON."""

    def check(self, answer: Answer) -> None:
        """Raise MalformedChunk when a whole answer that was kept cannot be written in this contract."""

    def error(self, problem: Problem, request_id: str) -> Json:
        """Write an error."""


def logged_param(param: str | None, contract: Contract | None) -> str | None:
    """Return what a log line says of `param`, the place of a fault: the field of the request that it is in, or below.

    None for one that the client made up, and what it is called below: that is the client's text.
    """
    if param is None or contract is None:
        return param
    field = param.partition(".")[0]
    return field if field in contract.documentation.body.model_fields else None
