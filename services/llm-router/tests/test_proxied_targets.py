"""Targets behind a proxy, and those whose certificates a company signs: a real router, a real proxy."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme

from kit.forward_proxy import RunningProxy, running_proxy
from kit.router.hostile import DONE, Asked, HostileProvider, Script, chunk, head
from kit.router.process import Router, running_llm_router
from servicekit.rpc import create_channel
from spillway.router.v1 import router_pb2 as routerpb

pytestmark = pytest.mark.integration

USER, PASSWORD = "ada", "s3cr3t-p4ssw0rd-of-the-proxy"
QUESTION = {"messages": [{"role": "user", "content": "q"}]}
VECTORS = {"model": "m", "data": [{"index": 0, "embedding": [0.5, 0.25]}], "usage": {"prompt_tokens": 1}}


def answers(asked: Asked) -> Iterator[bytes]:
    """Say who asked for what, or give vectors."""
    if asked.path.endswith("/embeddings"):
        content = orjson.dumps(VECTORS)
        yield head(content_type="application/json", content_length=str(len(content))) + content
    else:
        yield head() + chunk("Paris") + chunk(None, "stop") + DONE


class Setting:
    """A provider at `https://provider.test`, one at `http://provider.test`, and one without a proxy before it."""

    def __init__(self, folder: Path, encrypted: HostileProvider, plain: HostileProvider) -> None:
        self.folder = folder
        self.encrypted = encrypted
        self.plain = plain
        self.ca_file = folder / "ca.crt"

    @contextmanager
    def proxy(self, *options: str, encrypted: bool = True) -> Iterator[RunningProxy]:
        """Run a proxy before the one or the other."""
        provider = self.encrypted if encrypted else self.plain
        log = self.folder / f"proxy-{time.monotonic_ns()}.log"
        with running_proxy(log, int(provider.url.rpartition(":")[2]), *options) as proxy:
            yield proxy

    @asynccontextmanager
    async def router(self, environment: Mapping[str, str], *, trusts: bool = True) -> AsyncIterator[Router]:
        """Run a router with these variables; `log` is what it has written."""
        own = {"LLM_ROUTER_CA_FILE": str(self.ca_file)} if trusts else {}
        log = self.folder / f"router-{time.monotonic_ns()}.log"
        target: dict[str, Any] = {
            "provider": "openai",
            "model": "m",
            "credential_file": str(self.folder / "key"),
            "timeouts": {"connect_seconds": 1.0},
        }
        urls = {
            "tunnelled": "https://provider.test/v/v1",
            "forwarded": "http://provider.test/v/v1",
            "direct": f"{self.plain.url}/v/v1",
        }
        routes = {name: [name] for name in (*urls, "own")} | {"saved": ["tunnelled", "direct"]}
        own_authority = {**target, "base_url": urls["tunnelled"], "ca_file": str(self.ca_file)}
        document = {
            "targets": {"own": own_authority, **{name: {**target, "base_url": url} for name, url in urls.items()}},
            "routes": {name: {"targets": targets} for name, targets in routes.items()},
        }
        async with running_llm_router(self.folder, document, log, {**own, **environment}) as process:
            router = Router(create_channel(f"127.0.0.1:{process.port}"))
            yield router
            await router.channel.close()
        written = log.read_text()
        assert PASSWORD not in written
        assert "Basic" not in written
        self.log = written


@pytest.fixture(name="setting")
async def _setting(tmp_path: Path) -> AsyncIterator[Setting]:
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("provider.test").configure_cert(tls)
    (tmp_path / "key").write_text("sk-proxied")
    script: Script = answers
    encrypted, plain = HostileProvider({"v": script}), HostileProvider({"v": script})
    async with encrypted.serving(tls), plain.serving():
        setting = Setting(tmp_path, encrypted, plain)
        authority.cert_pem.write_to_path(str(setting.ca_file))
        yield setting


async def embedded(router: Router, route: str) -> routerpb.EmbedResponse:
    """Ask for a vector."""
    request = routerpb.EmbedRequest(route=route, body=b'{"input": "x"}')
    answer: routerpb.EmbedResponse = await router.stub.Embed(request, timeout=20.0)
    return answer


@pytest.mark.parametrize("user", ["", f"{USER}:{PASSWORD}"], ids=["open", "with a password"])
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
async def test_an_encrypted_target_is_reached_through_a_tunnel(setting: Setting, name: str, user: str) -> None:
    """Answers and vectors; the proxy sees the name of the server, and the server nothing of the proxy."""
    options = ["--user", user] if user else []
    with setting.proxy(*options) as proxy:
        async with setting.router({name: proxy.url(user)}) as router:
            stream = await router.complete("tunnelled", QUESTION)
            vectors = await embedded(router, "tunnelled")
        asked = proxy.asked

    assert "Paris" == "".join(stream.texts)
    assert 1 == len(vectors.vectors)
    assert {"CONNECT provider.test:443 known"} == set(asked)
    assert all(not name.startswith("proxy") for each in setting.encrypted.asked["v"] for name in each.headers)
    assert {"Bearer sk-proxied"} == {each.headers["authorization"] for each in setting.encrypted.asked["v"]}


async def test_a_target_in_plain_text_is_asked_of_the_proxy(setting: Setting) -> None:
    """With its whole address, as proxies expect; answers and vectors."""
    user = f"{USER}:{PASSWORD}"
    with setting.proxy("--user", user, encrypted=False) as proxy:
        async with setting.router({"http_proxy": proxy.url(user)}) as router:
            stream = await router.complete("forwarded", QUESTION)
            vectors = await embedded(router, "forwarded")
        asked = proxy.asked

    assert "Paris" == "".join(stream.texts)
    assert 1 == len(vectors.vectors)
    assert {
        "POST http://provider.test/v/v1/chat/completions known",
        "POST http://provider.test/v/v1/embeddings known",
    } == set(asked)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--user", f"{USER}:other"], "407"),
        (["--answer", "403"], "403"),
        (["--answer", "502"], "502"),
        (["--hang"], "ConnectTimeout"),
    ],
)
async def test_a_proxy_that_refuses_is_a_failure_like_others(setting: Setting, options: list[str], said: str) -> None:
    """Counted, told in the log without the password; the next target, which needs no proxy, answers in time."""
    with setting.proxy(*options) as proxy:
        async with setting.router({"HTTPS_PROXY": proxy.url(f"{USER}:{PASSWORD}")}) as router:
            begun = time.monotonic()
            stream = await router.complete("saved", QUESTION)
            seconds = time.monotonic() - begun

    assert "Paris" == "".join(stream.texts)
    assert [("tunnelled", "target_unreachable")] * 2 + [("direct", "")] == [
        (attempt.target, attempt.error_code) for attempt in stream.attempts
    ]
    assert seconds < 5
    assert said in setting.log
    assert "target_unreachable" in setting.log


async def test_a_request_that_the_proxy_refuses_is_not_the_targets_answer(setting: Setting) -> None:
    """407 to a request in plain text is the proxy's word, not a fault of the caller."""
    with setting.proxy("--user", f"{USER}:other", encrypted=False) as proxy:
        async with setting.router({"HTTP_PROXY": proxy.url(f"{USER}:{PASSWORD}")}) as router:
            stream = await router.complete("forwarded", QUESTION)

    assert {"target_unreachable"} == {attempt.error_code for attempt in stream.attempts}
    assert "407" in setting.log


@pytest.mark.parametrize("exceptions", ["provider.test", ".test", "*"])
async def test_an_exception_is_reached_directly(setting: Setting, exceptions: str) -> None:
    """The proxy hears nothing of it; nobody answers there by that name."""
    with setting.proxy() as proxy:
        async with setting.router({"HTTPS_PROXY": proxy.url(), "NO_PROXY": exceptions}) as router:
            stream = await router.complete("saved", QUESTION)
        assert [] == proxy.asked

    assert "Paris" == "".join(stream.texts)
    assert "target_unreachable" == stream.attempts[0].error_code


async def test_a_certificate_of_nobody_known_is_refused(setting: Setting) -> None:
    """Behind a proxy as anywhere, unless its authority is in the file."""
    with setting.proxy() as proxy:
        async with setting.router({"HTTPS_PROXY": proxy.url()}, trusts=False) as router:
            stream = await router.complete("tunnelled", QUESTION)
        assert {"CONNECT provider.test:443 known"} == set(proxy.asked)

    assert {"target_unreachable"} == {attempt.error_code for attempt in stream.attempts}
    assert not setting.encrypted.asked


async def test_a_target_has_authorities_of_its_own(setting: Setting) -> None:
    """Its certificate is good there and nowhere else."""
    with setting.proxy() as proxy:
        async with setting.router({"HTTPS_PROXY": proxy.url()}, trusts=False) as router:
            own, other = await router.complete("own", QUESTION), await router.complete("tunnelled", QUESTION)

    assert ("Paris", "") == ("".join(own.texts), "".join(other.texts))
    assert {"target_unreachable"} == {attempt.error_code for attempt in other.attempts}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"HTTPS_PROXY": f"https://{USER}:{PASSWORD}@proxy.test"}, "HTTPS_PROXY: only proxies with an http:// URL"),
        ({"LLM_ROUTER_CA_FILE": "/nowhere/ca.crt"}, "/nowhere/ca.crt: No such file"),
        ({"LLM_ROUTER_CA_FILE": __file__}, "no certificate in PEM"),
    ],
)
async def test_what_cannot_be_used_is_told_at_the_start(
    setting: Setting, environment: Mapping[str, str], said: str
) -> None:
    """In one line that names it, and without the password."""
    with pytest.raises(Exception, match="start_failed") as caught:
        async with setting.router(environment):
            await asyncio.sleep(0)

    assert said in str(caught.value)
    assert PASSWORD not in str(caught.value)
