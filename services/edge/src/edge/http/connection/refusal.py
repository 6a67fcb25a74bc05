"""The last answer of a connection: an error for what never became a request, as bytes."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

import orjson

from edge.problems import Problem
from edge.request_id import new_request_id


def refusal(code: str, message: str, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write the whole response; it ends the connection."""
    problem = Problem(code, message)
    body = orjson.dumps(problem.body())
    status = HTTPStatus(problem.kind.status)
    headers = {
        **problem.headers(),
        "x-request-id": new_request_id(),
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
    }
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
    lines += [name + b": " + value for name, value in default_headers]
    lines += [f"{name}: {value}".encode() for name, value in headers.items()]
    return b"\r\n".join([*lines, b"", body])
