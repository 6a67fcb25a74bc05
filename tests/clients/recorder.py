"""A provider on loopback that writes down what clients send, and answers so that they go on to their second turn.

The first folder of a request's path is the name of the case; what follows is the vendor's own path, on either wire.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from spillway_local.ports import free_port

from .scripted_answer import ScriptedAnswer

Json = dict[str, Any]

_START_SECONDS = 10.0
_CHAT, _MESSAGES = "/chat/completions", "/messages"
# On this Anthropic's SDK goes on without threads, as it does at most gateways.
_NO_THREADS: Json = {
    "type": "error",
    "error": {
        "type": "invalid_request_error",
        "message": "no threads here",
        "details": {"error_code": "thread_unsupported_request"},
    },
}
FORMED = {"city": "Paris", "celsius": 20}
"""What is answered where an object is wanted."""


@dataclass(frozen=True)
class Recorded:
    """One request as it came."""

    case: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Json | None


@dataclass
class Recorder:
    """What came, in order; and which tool is called in a case, with which arguments."""

    url: str
    calls: dict[str, tuple[str, Json]] = field(default_factory=dict)
    default_call: tuple[str, Json] = ("", {})
    requests: list[Recorded] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        """Write a request down and answer it."""
        case, path = request.path_params["case"], "/" + request.path_params["path"]
        content = await request.body()
        body = orjson.loads(content) if content else None
        self.requests.append(
            Recorded(case, request.method, path, request.url.query, dict(request.headers), body),
        )
        if path.endswith("/models"):
            return JSONResponse({"object": "list", "data": [], "has_more": False})
        if body is None or not path.endswith((_CHAT, _MESSAGES)):
            return JSONResponse({"error": {"type": "not_found_error", "message": "not recorded here"}}, 404)
        if body.get("thread"):
            return JSONResponse(_NO_THREADS, 400)
        answer, model = self._answer(case, body), body["model"]
        if path.endswith(_CHAT):
            return _reply(body, answer.chat_chunks(model), answer.chat_completion(model))
        return _reply(body, answer.message_events(model), answer.message(model))

    def _answer(self, case: str, body: Json) -> ScriptedAnswer:
        names = [tool.get("name") or tool.get("function", {}).get("name") for tool in body.get("tools") or []]
        thought = "The weather decides." if body.get("thinking", {}).get("type") in ("enabled", "adaptive") else ""
        thought = thought or ("The weather decides." if body.get("reasoning_effort") else "")
        forced = _forced_tool(body, names)
        tool, arguments = self.calls.get(case, self.default_call)
        if forced and forced != tool:
            return ScriptedAnswer(tool=forced, arguments=orjson.dumps(FORMED))
        if tool in names and not _has_result(body["messages"]):
            return ScriptedAnswer(tool=tool, arguments=orjson.dumps(arguments), thought=thought)
        wants_object = body.get("response_format") or (body.get("output_config") or {}).get("format")
        return ScriptedAnswer(orjson.dumps(FORMED).decode() if wants_object else "It is sunny.", thought=thought)


def _forced_tool(body: Json, names: list[str]) -> str:
    choice = body.get("tool_choice")
    if not isinstance(choice, dict):
        return names[0] if choice == "required" and names else ""
    if choice.get("type") == "any":
        return names[0]
    return str(choice.get("name") or choice.get("function", {}).get("name") or "")


def _has_result(messages: list[Json]) -> bool:
    """Tell whether a tool has been called before."""
    for message in messages:
        content = message.get("content")
        blocks = content if isinstance(content, list) else []
        if message["role"] == "tool" or any(block.get("type") == "tool_result" for block in blocks):
            return True
    return False


def _reply(body: Json, events: Iterator[bytes], whole: Json) -> Response:
    if body.get("stream"):
        return StreamingResponse(events, media_type="text/event-stream")
    return JSONResponse(whole)


@contextmanager
def running_recorder() -> Iterator[Recorder]:
    """Serve on a free port of loopback, in a thread."""
    port = free_port()
    recorder = Recorder(f"http://127.0.0.1:{port}")
    methods = ["GET", "HEAD", "POST"]
    app = Starlette(routes=[Route("/{case}/{path:path}", recorder.answer, methods=methods)])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + _START_SECONDS
    while not server.started:
        if time.monotonic() > deadline:
            raise TimeoutError("the recorder does not start")
        time.sleep(0.05)
    try:
        yield recorder
    finally:
        server.should_exit = True
        thread.join()
