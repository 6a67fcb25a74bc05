"""Secrets and texts are planted everywhere that a request or an operator puts them, and looked for everywhere else.

Through successes, refusals, errors that quote, aborted streams, a Redis that is away, and `kill -9`; with all logs at
level DEBUG. Whatever is found where the table `ALLOWED` does not have it is a leak.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import httpx2
import jwt
import orjson
import pytest
import yaml

from edge.guard.keys import add_key
from kit.front_door.edge_client import Behind, Provider
from kit.front_door.local_system import started_local_system, stores_of
from spillway_local import processes
from spillway_local.ports import free_port

from .places import Finding, find, find_in_command_lines, find_in_files, find_in_metrics, find_in_stores

Json = dict[str, Any]

_PATIENCE_SECONDS = 60.0

# Canary -> the places that may hold it, and do here but for those in `_SOMETIMES`; docs/threat-model.md says why.
ALLOWED: Mapping[str, Collection[str]] = {
    # secrets
    "pepper": ["file key-pepper"],
    "provider key": ["file provider-key"],
    "key in the key file": ["console", "file development-key"],
    "key of the ledger": [],
    "restricted key": [],
    "wrong key": [],
    "foreign credential": [],
    "key of an operator": [],
    "key made over HTTP": ["making it"],
    "key that took its place": ["making it"],
    "imported key": [],
    "token secret": ["file token-secret"],
    "token": [],
    "claim of a token": [],
    "user of a token": [
        *("file postgres/", "file valkey/", "postgres captured_texts.user_id", "postgres requests.user_id"),
        *("postgres spend_daily.user_id", "redis spillway:cost-events", "redis spillway:limits"),
    ],
    "forged token": [],
    "capture key": ["file capture-keys"],
    "rpc token": ["file rpc-token"],
    "rpc token of the second start": ["file rpc-token"],
    "postgres password": ["file postgres/password"],
    "redis password": ["file run.json", "file valkey/valkey.conf"],
    # what is asked, and answered
    "prompt": ["provider"],
    "email in a prompt": ["provider"],
    "system prompt": ["provider"],
    "tool arguments": ["provider"],
    "tool result": ["provider"],
    "tool description": ["provider"],
    "embeddings input": ["provider"],
    "end user": ["provider"],
    "metadata": ["provider"],
    "prompt of a stored response": ["file valkey/", "provider", "redis spillway:response"],
    "answer": ["answers", "file valkey/", "redis spillway:cache", "redis spillway:idempotency"],
    # what comes beside it
    "client request id": [
        *("answers", "console", "file logs/", "file postgres/", "file spool/", "file valkey/"),
        *("postgres requests.client_request_id", "redis spillway:cost-events"),
    ],
    "header": [],
    "cookie": [],
    "query string": [],
    "path": ["errors"],
    "unknown field": ["errors"],
    "unknown model": ["errors"],
    "model by a wildcard": ["console", "file logs/"],
    "wrong value": [],
    "broken body": [],
    "long body": [],
    "name of an account": [
        *("admin answers", "file postgres/", "postgres api_keys.name", "postgres audit_log.after"),
        *("postgres audit_log.before", "postgres tenants.name", "postgres users.name"),
    ],
}
# The console shows the last log lines of a process that has died; an event is gone once the ledger has it.
_SOMETIMES = {
    ("client request id", "console"),
    ("model by a wildcard", "console"),
    ("client request id", "redis spillway:cost-events"),
    ("user of a token", "redis spillway:cost-events"),
}
_THREATS = Path(__file__).parents[2] / "docs/threat-model.md"

_MAX_BODY_BYTES = 20_000
_SETTINGS = {
    **{f"{service}_LOG_LEVEL": "DEBUG" for service in ("EDGE", "LLM_ROUTER", "COST_LEDGER", "LOCAL_MODEL")},
    "EDGE_MAX_BODY_BYTES": str(_MAX_BODY_BYTES),
}
_ISSUER = "https://login.example.com/"
_LIMITS = {"limits": [{"name": "narrow", "user": "narrow", "requests_per_minute": 1}]}
ROUTES: Mapping[str, Sequence[tuple[str, str]]] = {
    "default": [("openai", "ok?test=canary")],
    "wild-*": [("openai", "ok?test=canary-wild")],
    "claude": [("anthropic", "ok?test=canary-claude")],
    "script": [("openai", "script?test=canary-script")],
    "vectors": [("openai", "ok?test=canary-vectors")],
    "quotes": [("openai", "ok?accepts=nobody&test=canary-quotes")],
    "quotes-claude": [("anthropic", "ok?accepts=nobody&test=canary-quotes-claude")],
    "refuses": [("openai", "status-400?test=canary-refuses")],
    "limited": [("openai", "status-429?retry_after=30&test=canary-limited")],
    "down": [("openai", "status-500?test=canary-down"), ("anthropic", "reset?test=canary-reset")],
    "cut": [("openai", "cut?after=3&test=canary-cut")],
    "malformed": [("openai", "malformed?after=3&test=canary-malformed")],
    "error-frame": [("openai", "error-frame?after=3&test=canary-error-frame")],
    "slow": [("openai", "ok?chunks=600&interval_ms=50&test=canary-slow")],
}


def _canary(name: str) -> str:
    return f"cnry{name.replace(' ', '')}{secrets.token_hex(12)}"


class Planted:
    """The canaries of one run by name, and what clients were answered."""

    def __init__(self) -> None:
        names = (
            *(
                "pepper",
                "provider key",
                "wrong key",
                "foreign credential",
                "prompt",
                "prompt of a stored response",
                "system prompt",
                "tool arguments",
                "tool result",
            ),
            *(
                "tool description",
                "embeddings input",
                "answer",
                "header",
                "cookie",
                "query string",
                "path",
                "unknown field",
            ),
            *("wrong value", "broken body", "long body", "end user", "metadata", "unknown model", "client request id"),
            "model by a wildcard",
            *("token secret", "claim of a token", "user of a token", "name of an account"),
        )
        self.values = {name: _canary(name) for name in names}
        self.values["email in a prompt"] = f"{_canary('email')}@example.org"
        self.values["capture key"] = base64.b64encode(secrets.token_bytes(32)).decode()
        self.found: set[Finding] = set()

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def look(self, place: str, content: bytes) -> None:
        """Look for all of them."""
        self.found |= find(self.values, place, content)


class Client:
    """Sends requests with canaries in headers, and looks at everything that comes back."""

    def __init__(self, url: str, planted: Planted, answers: str = "answers") -> None:
        """`answers` is what their place is called."""
        self._http = httpx2.AsyncClient(base_url=url, timeout=_PATIENCE_SECONDS)
        self._planted = planted
        self._answers = answers

    async def send(self, method: str, path: str, key: str | None, content: bytes | None = None, **headers: str) -> int:
        """Send a request; return the status."""
        return (await self.exchange(method, path, key, content, **headers)).status_code

    async def exchange(
        self, method: str, path: str, key: str | None, content: bytes | None = None, **headers: str
    ) -> httpx2.Response:
        """Send a request; return the response."""
        planted = self._planted
        own = {
            "content-type": "application/json",
            "x-canary": planted["header"],
            "user-agent": planted["header"],
            "cookie": f"session={planted['cookie']}",
            "referer": f"http://x/{planted['header']}",
            **({"authorization": f"Bearer {key}"} if key is not None else {}),
            **headers,
        }
        response = await self._http.request(method, path, content=content, headers=own)
        planted.look(
            self._answers if response.is_success else "errors", repr(response.headers.raw).encode() + response.content
        )
        return response

    async def ask(self, path: str, key: str | None, body: Json, **headers: str) -> int:
        """Post a body."""
        return await self.send("POST", path, key, orjson.dumps(body), **headers)

    async def leave(self, path: str, key: str, body: Json) -> None:
        """Begin to read a stream, and go."""
        async with self._http.stream(
            "POST", path, content=orjson.dumps(body), headers={"authorization": f"Bearer {key}"}
        ) as response:
            async for _ in response.aiter_bytes():
                return

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _chat(planted: Planted, model: str, **fields: Any) -> Json:
    query = f"{planted['prompt']} from {planted['email in a prompt']}"
    return {"query": query, "system_prompt": planted["system prompt"], "model": model, **fields}


def _completion(planted: Planted, model: str, **fields: Any) -> Json:
    call = {"name": "look", "arguments": orjson.dumps({"at": planted["tool arguments"]}).decode()}
    parameters = {"type": "object", "properties": {"at": {"type": "string"}}}
    tool = {"name": "look", "description": planted["tool description"], "parameters": parameters}
    messages = [
        {"role": "system", "content": planted["system prompt"]},
        {"role": "user", "content": planted["prompt"]},
        {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "call_1", "content": planted["tool result"]},
    ]
    tools = [{"type": "function", "function": tool}]
    return {"model": model, "messages": messages, "tools": tools, "user": planted["end user"], **fields}


def _message(planted: Planted, model: str, **fields: Any) -> Json:
    messages = [
        {"role": "user", "content": planted["prompt"]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"at": planted["tool arguments"]}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": planted["tool result"]}]},
    ]
    tools = [{"name": "look", "description": planted["tool description"], "input_schema": {"type": "object"}}]
    own = {"system": planted["system prompt"], "metadata": {"user_id": planted["metadata"]}}
    return {"model": model, "max_tokens": 50, "messages": messages, "tools": tools, **own, **fields}


def _response(planted: Planted, prompt: str, **fields: Any) -> Json:
    asked = [
        {"role": "user", "content": [{"type": "input_text", "text": prompt}]},
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "look",
            "arguments": f'{{"at": "{planted["tool arguments"]}"}}',
        },
        {"type": "function_call_output", "call_id": "c1", "output": planted["tool result"]},
    ]
    return {"model": "default", "input": asked if "store" in fields else prompt, **fields}


def _script(planted: Planted) -> Json:
    """Return a request whose answer is a canary that the request itself does not hold as it is."""
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    hidden = planted["answer"].replace("cnry", "\\u0063nry")
    frames = [
        {
            **chunk,
            "choices": [{"index": 0, "delta": {"role": "assistant", "content": "ANSWER"}, "finish_reason": None}],
        },
        {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        "[DONE]",
    ]
    text = orjson.dumps(frames).decode().replace("ANSWER", hidden)
    return {"model": "script", "stream": True, "messages": [{"role": "user", "content": text}]}


async def _answered(client: Client, planted: Planted, key: str) -> None:
    """Ask for answers of every kind."""
    for stream in (True, False):
        assert 200 == await client.ask("/chat", key, _chat(planted, "default", stream=stream))
        assert 200 == await client.ask("/v1/chat/completions", key, _completion(planted, "default", stream=stream))
        assert 200 == await client.ask("/v1/chat/completions", key, _completion(planted, "claude", stream=stream))
        assert 200 == await client.ask("/v1/messages", key, _message(planted, "claude", stream=stream))
        assert 200 == await client.ask("/v1/messages", key, _message(planted, "default", stream=stream))
        unstored = _response(planted, planted["prompt"], stream=stream, store=False)
        assert 200 == await client.ask("/v1/responses", key, unstored)
        stored = _response(planted, planted["prompt of a stored response"], stream=stream)
        assert 200 == await client.ask("/v1/responses", key, stored)
    once = {"idempotency-key": "once"}
    assert 200 == await client.ask("/v1/chat/completions", key, _script(planted), **once)
    for _ in range(2):  # the second one comes from the cache
        assert 200 == await client.ask("/v1/chat/completions", key, _script(planted))
    assert 200 == await client.ask("/v1/embeddings", key, {"model": "vectors", "input": planted["embeddings input"]})
    assert 200 == await client.ask("/chat", key, _chat(planted, f"wild-{planted['model by a wildcard']}"))
    foreign = planted["foreign credential"]
    shown = {"x-api-key": f"sk-ant-{foreign}", "authorization": f"Bearer {foreign}", "api-key": foreign}
    for header in shown:
        own = {**shown, header: f"Bearer {key}" if header == "authorization" else key}
        assert 200 == await client.ask("/v1/messages", None, _message(planted, "claude"), **own)
        assert 200 == await client.ask("/chat", None, _chat(planted, "default"), **own)
    own_id = {"x-request-id": planted["client request id"]}
    assert 200 == await client.ask("/chat", key, _chat(planted, "default"), **own_id)


async def _refused(client: Client, planted: Planted, key: str, narrow: str, restricted: str) -> None:
    """Ask for what is refused, with what was asked in the reason for it."""
    question = _chat(planted, "default")
    wrong = f"sk-spillway-00000000-{planted['wrong key']}"
    tried = ({"authorization": f"Bearer {wrong}"}, {"x-api-key": wrong}, {"api-key": wrong}, {"authorization": wrong})
    for headers in tried:
        assert 401 == await client.ask("/v1/messages", None, _message(planted, "claude"), **headers)
    assert 401 == await client.send("GET", f"/v1/costs?api_key={planted['query string']}", wrong)
    assert 403 == await client.ask("/chat", restricted, question)
    assert 404 == await client.send("GET", f"/v1/{planted['path']}", key)
    assert 404 == await client.send("GET", f"/v1/models/{planted['path']}", key)
    assert 404 == await client.send("GET", f"/v1/requests/{planted['path']}", key)
    assert 404 == await client.ask("/chat", key, _chat(planted, planted["unknown model"]))
    assert 405 == await client.send("PUT", f"/chat?x={planted['query string']}", key)
    assert 413 == await client.ask("/chat", key, {"query": planted["long body"] * 1000})
    assert 400 == await client.send("GET", f"/v1/costs?from={planted['query string']}", key)
    for body in (
        {**question, planted["unknown field"]: planted["wrong value"]},
        {**question, "temperature": planted["wrong value"]},
        {**question, "stream": planted["wrong value"]},
        {**question, "tools": [planted["wrong value"]]},
        {**question, "continuation": planted["wrong value"]},
    ):
        assert 400 == await client.ask(f"/chat?x={planted['query string']}", key, body)
    for path, body in (
        ("/v1/chat/completions", _completion(planted, "default", n=planted["wrong value"])),
        ("/v1/chat/completions", _completion(planted, "claude", response_format={"type": planted["wrong value"]})),
        ("/v1/messages", _message(planted, "claude", max_tokens=planted["wrong value"])),
        ("/v1/embeddings", {"model": "vectors", "input": {"x": planted["wrong value"]}}),
    ):
        assert 400 == await client.ask(path, key, body)
    for path in ("/chat", "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"):
        assert 400 == await client.send("POST", path, key, f'{{"query": "{planted["broken body"]}"'.encode())
    assert [200, 429] == [await client.ask("/chat", narrow, question) for _ in range(2)]


async def _failed(client: Client, planted: Planted, key: str) -> None:
    """Ask providers that refuse, quote our credential, break off and say nonsense; and leave in the middle."""
    for model in ("quotes", "quotes-claude", "refuses", "limited", "down"):
        for stream in (True, False):
            assert 400 <= await client.ask("/v1/chat/completions", key, _completion(planted, model, stream=stream))
        await client.ask("/chat", key, _chat(planted, model))
        await client.ask("/v1/messages", key, _message(planted, model))
    for model in ("cut", "malformed", "error-frame"):
        assert 200 == await client.ask("/chat", key, _chat(planted, model))
        await client.ask("/v1/chat/completions", key, _completion(planted, model, stream=False))
    await client.leave("/chat", key, _chat(planted, "slow"))


async def _kept_accounts(admin: Client, planted: Planted, operator: str, others: Sequence[str], home: Path) -> str:
    """Keep accounts over HTTP, and try what is refused; return a key that was made and works."""

    async def change(path: str, body: Json, method: str = "POST") -> Json:
        response = await admin.exchange(method, f"/admin/v1{path}", operator, orjson.dumps(body))
        assert response.is_success, response.text
        return cast("Json", response.json())

    named = {"name": planted["name of an account"]}
    await change("/tenants", {"tenant": "http", **named})
    await change("/tenants/http/users", {"user": "ada", **named})
    made = (await change("/keys", {"tenant": "http", "user": "ada", **named}))["secret_key"]
    planted.values["key made over HTTP"] = made.split("-", 3)[3]
    planted.look("making it", made.encode())
    rotated = await change(f"/keys/{made.split('-')[2]}/rotate", {"grace_seconds": 600})
    planted.values["key that took its place"] = rotated["secret_key"].split("-", 3)[3]
    planted.look("making it", rotated["secret_key"].encode())
    imported = add_key(home / "other-keys.yaml", "http", "ada", "free")
    planted.values["imported key"] = imported.split("-", 3)[3]
    await change("/keys/import", yaml.safe_load((home / "other-keys.yaml").read_text()))
    for path in ("/tenants", "/tenants/http/users", "/keys", "/audit", "/budgets"):
        assert 200 == await admin.send("GET", f"/admin/v1{path}", operator)
    for body in ({planted["unknown field"]: 1}, {"tenant": {"x": planted["wrong value"]}}):
        assert 400 == await admin.ask("/admin/v1/tenants", operator, body)
    assert 400 == await admin.send("POST", "/admin/v1/keys", operator, f'{{"{planted["broken body"]}"'.encode())
    assert 413 == await admin.ask("/admin/v1/keys", operator, {"name": planted["long body"] * 100_000})
    assert 404 == await admin.send("GET", f"/admin/v1/keys/{planted['path']}", operator)
    assert 400 == await admin.send("GET", f"/admin/v1/keys?limit={planted['query string']}", operator)
    for other in others:
        assert await admin.ask("/admin/v1/tenants", other, {"tenant": "x", **named}) in {401, 403}
    return str(rotated["secret_key"])


def _token(planted: Planted, name: str, secret: str) -> str:
    """Return a token; its signature becomes a canary."""
    about = {"sub": planted["user of a token"], "note": planted["claim of a token"], "exp": int(time.time()) + 3600}
    token = jwt.encode({"iss": _ISSUER, "aud": "spillway", **about}, secret, "HS256")
    planted.values[name] = token.rpartition(".")[2]
    return token


def _spillway(behind: Behind, *arguments: str) -> str:
    """Run a command of `spillway` on the system; return what it prints."""
    command = [sys.executable, "-m", "spillway_local", *arguments]
    environment = {**os.environ, "SPILLWAY_HOME": str(behind.home)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _made_key(planted: Planted, behind: Behind, name: str, *arguments: str) -> str:
    """Make a key that the ledger keeps; its secret becomes a canary."""
    printed = _spillway(behind, "keys", "create", "--tenant", "acme", *arguments)
    key = next(word for word in printed.split() if word.startswith("sk-spillway-"))
    planted.values[name] = key.split("-", 3)[3]
    return key


async def _captured(client: Client, planted: Planted, key: str, behind: Behind) -> None:
    """Look at what was captured: the prompt without who is in it, of tenants that want it and of no other."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while len(of_blue := _captures_of(behind, "blue")) < 3:
            await client.ask("/chat", key, _chat(planted, "default"))
    texts = [_spillway_show(behind, "blue", request_id) for request_id in of_blue[:5]]
    assert any(planted["prompt"] in text and "[EMAIL]" in text for text in texts)
    assert not any(planted["email in a prompt"] in text for text in texts)
    assert _captures_of(behind, "acme")
    assert [] == _captures_of(behind, "http")


def _captures_of(behind: Behind, tenant: str) -> list[str]:
    lines = _spillway(behind, "captures", "list", "--tenant", tenant).splitlines()
    return [line.split()[0] for line in lines[1:]]


def _spillway_show(behind: Behind, tenant: str, request_id: str) -> str:
    key_file = str(behind.home / "capture-keys")
    return _spillway(behind, "captures", "show", request_id, "--tenant", tenant, "--key-file", key_file)


def _own_secrets(planted: Planted, behind: Behind) -> None:
    """Take what the system has made for itself into the canaries."""
    home, run = behind.home, behind.run
    planted.values["rpc token"] = (home / "rpc-token").read_text().strip()
    planted.values["postgres password"] = Path(run["postgres_password_file"]).read_text().strip()
    planted.values["redis password"] = run["redis_url"].split("@")[0].rpartition(":")[2]


async def _look_everywhere(planted: Planted, behind: Behind, pid: int) -> None:
    planted.found |= await find_in_stores(planted.values, stores_of(behind))
    planted.found |= await find_in_metrics(planted.values, behind)
    planted.found |= find_in_command_lines(planted.values, [pid])
    planted.found |= await asyncio.to_thread(find_in_files, planted.values, behind.home)


@pytest.fixture
def home() -> Iterator[Path]:
    """Yield the folder of the system; not below pytest's own, which other users may not enter."""
    with tempfile.TemporaryDirectory(prefix="spillway-canaries-") as folder:
        yield Path(folder)


@pytest.mark.integration
async def test_nothing_is_where_it_does_not_belong(home: Path, fault_provider_url: str) -> None:
    """What is found is what the table allows, and all of it: a row that nothing fills would hide a leak one day."""
    planted = Planted()
    key = add_key(home / "keys.yaml", "blue", "wide", "test")
    narrow = add_key(home / "keys.yaml", "blue", "narrow", "test")
    (home / "development-key").write_text(key)
    (home / "key-pepper").write_text(planted["pepper"] + "x" * 32)
    planted.values["key in the key file"] = key.split("-", 3)[3]
    limits = home / "limits.yaml"
    limits.write_text(yaml.safe_dump(_LIMITS))
    (home / "token-secret").write_text(planted["token secret"])
    issuer = {"name": "own", "issuer": _ISSUER, "audience": ["spillway"], "algorithms": ["HS256"]}
    issuer |= {"secret_file": str(home / "token-secret"), "tenant": "blue", "roles": ["user"]}
    (home / "issuers.yaml").write_text(yaml.safe_dump({"issuers": [issuer]}))
    token = _token(planted, "token", planted["token secret"])
    forged = _token(planted, "forged token", "x" * 40)
    admin_port = free_port()
    start = {
        **_SETTINGS,
        "EDGE_LIMITS_FILE": str(limits),
        "EDGE_JWT_ISSUERS": str(home / "issuers.yaml"),
        "EDGE_ADMIN_PORT": str(admin_port),
        "EDGE_CAPTURE_KEY_FILE": str(home / "capture-keys"),
    }
    (home / "capture-keys").write_text(f"one: {planted['capture key']}\n")
    provider_key = f"sk-{planted['provider key']}"

    with started_local_system(home, fault_provider_url, ROUTES, provider_key, **start) as (process, behind):
        _own_secrets(planted, behind)
        for tenant in ("acme", "blue"):  # one has its keys in the ledger, one in the key file
            _spillway(behind, "tenants", "create", tenant, "--capture-days", "7")
        _spillway(behind, "users", "create", "acme", "ada")
        made = _made_key(planted, behind, "key of the ledger", "--user", "ada")
        restricted = _made_key(planted, behind, "restricted key", "--user", "ada", "--endpoint", "/v1/embeddings")
        operator = _made_key(planted, behind, "key of an operator", "--user", "ada", "--role", "operator")
        client = Client(behind.run["url"], planted)
        await _until_known(client, operator)
        await _until_known(client, made)
        await _until_known(client, restricted)
        await _answered(client, planted, key)
        await _answered(client, planted, made)
        await _answered(client, planted, token)
        assert 401 == await client.ask("/chat", forged, _chat(planted, "default"))
        admin = Client(f"http://127.0.0.1:{admin_port}", planted, "admin answers")
        over_http = await _kept_accounts(admin, planted, operator, (made, key, token, forged), home)
        await admin.close()
        await _until_known(client, over_http)
        await _answered(client, planted, over_http)
        await _captured(client, planted, key, behind)
        await _refused(client, planted, key, narrow, restricted)
        await _failed(client, planted, key)
        await _look_everywhere(planted, behind, process.pid)
        own_id = {"x-request-id": planted["client request id"]}
        # Redis is away: cost events go to the spool; then the edge is killed in the middle of a stream.
        os.kill(behind.pid("valkey"), signal.SIGSTOP)
        try:
            for _ in range(3):
                await client.ask("/chat", key, _chat(planted, "default"), **own_id)
            await client.leave("/chat", key, _chat(planted, "slow"))
            os.kill(behind.pid("edge"), signal.SIGKILL)
        finally:
            os.kill(behind.pid("valkey"), signal.SIGCONT)
        await asyncio.to_thread(process.wait, _PATIENCE_SECONDS)
        await client.close()
    planted.found |= find_in_files(planted.values, home)
    (home / "up.log").replace(home / "up-1.log")

    with started_local_system(home, fault_provider_url, ROUTES, provider_key, **start) as (process, behind):
        planted.values["rpc token of the second start"] = (home / "rpc-token").read_text().strip()
        client = Client(behind.run["url"], planted)
        await _answered(client, planted, key)
        await client.close()
        await _look_everywhere(planted, behind, process.pid)
        assert 0 == await asyncio.to_thread(processes.stop, process, signal.SIGINT, _PATIENCE_SECONDS)
    planted.found |= find_in_files(planted.values, home)

    provider = Provider(fault_provider_url)
    for test in {model.rpartition("test=")[2] for targets in ROUTES.values() for _, model in targets}:
        planted.look("provider", orjson.dumps(await provider.attempts(test)))
    await provider.close()
    allowed = {(name, place) for name, places in ALLOWED.items() for place in places}
    assert planted.values.keys() == ALLOWED.keys()
    assert set() == planted.found - allowed
    assert set() == allowed - planted.found - _SOMETIMES


def test_the_table_is_that_of_the_documentation() -> None:
    """Whoever wants to know where a text or a secret may be need not read a test."""
    lines = _THREATS.read_text().splitlines()

    for name, places in ALLOWED.items():
        assert any(line.startswith(f"| {name} | {', '.join(sorted(places)) or 'nowhere'} |") for line in lines), name


async def _until_known(client: Client, key: str) -> None:
    """Wait until the edge follows the ledger's new key."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while await client.send("GET", "/v1/models", key) == 401:
            await asyncio.sleep(0.1)
