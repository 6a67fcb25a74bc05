"""What strangers, browsers and proxies meet at the public port of a real edge, before any endpoint."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network

import httpx2
import pytest
from starlette.datastructures import Headers

from edge.http.surface.cors import Cors
from edge.http.surface.proxies import TrustedProxies
from kit.front_door.lone_edge import LoneEdge, running_lone_edge

from .server_process import RawClient, get

PAGE = "https://app.example.com"
ASKED = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


@pytest.fixture(name="closed", scope="module")
def _closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneEdge]:
    with running_lone_edge(tmp_path_factory.mktemp("closed")) as edge:
        yield edge


@pytest.fixture(name="opened", scope="module")
def _opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneEdge]:
    with running_lone_edge(
        tmp_path_factory.mktemp("opened"),
        EDGE_EXPOSE="docs,health,metrics",
        EDGE_CORS_ORIGINS=f"{PAGE}, http://localhost:3000",
        EDGE_TRUSTED_HOSTS="127.0.0.1,api.example.com,*.example.org",
        EDGE_TRUSTED_PROXIES="127.0.0.2/32",
        EDGE_MAX_CONNECTIONS_PER_ADDRESS="8",
    ) as edge:
        yield edge


def ask(edge: LoneEdge, path: str, method: str = "GET", **headers: str) -> httpx2.Response:
    """Send a request; `_` in the names of headers is `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.request(method, f"{edge.url}{path}", headers=named, timeout=30)


@pytest.mark.integration
@pytest.mark.parametrize("path", ["/metrics", "/health", "/docs", "/openapi.json", "/static-offline-docs/favicon.png"])
def test_only_the_api_is_on_the_public_port(closed: LoneEdge, path: str) -> None:
    """What operators ask is on a port of its own; the probes are on both."""
    assert 404 == ask(closed, path).status_code
    assert 200 == ask(closed, "/health/live").status_code


@pytest.mark.integration
def test_operators_ask_at_a_port_of_their_own(closed: LoneEdge) -> None:
    """Metrics, each dependency, and the probes."""
    health = httpx2.get(f"{closed.metrics_url}/health", timeout=30)

    assert (503, "unavailable") == (health.status_code, health.json()["status"])
    assert {"llm-router", "cost-ledger", "redis"} == set(health.json()["dependencies"])
    assert "edge_open_connections" in httpx2.get(f"{closed.metrics_url}/metrics", timeout=30).text
    assert 200 == httpx2.get(f"{closed.metrics_url}/health/live", timeout=30).status_code
    assert 404 == httpx2.get(f"{closed.metrics_url}/docs", timeout=30).status_code


@pytest.mark.integration
@pytest.mark.parametrize("path", ["/metrics", "/health", "/docs", "/openapi.json", "/static-offline-docs/favicon.png"])
def test_what_is_exposed_is_there(opened: LoneEdge, path: str) -> None:
    """By setting; nobody behind this edge answers, so its health is none."""
    assert (503 if path == "/health" else 200) == ask(opened, path).status_code


@pytest.mark.integration
@pytest.mark.parametrize("path", ["/v1/models", "/nothing", "/health/live"])
def test_every_answer_tells_browsers_to_do_nothing_with_it(closed: LoneEdge, path: str) -> None:
    """No guess at its type, no frame, no referrer, nothing loaded; and no word about what serves it."""
    headers = ask(closed, path).headers

    assert ("nosniff", "no-referrer", "DENY") == tuple(
        headers[name] for name in ("x-content-type-options", "referrer-policy", "x-frame-options")
    )
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert not {"server", "x-powered-by", "strict-transport-security", "access-control-allow-origin"} & set(headers)


@pytest.mark.integration
def test_what_was_no_request_is_answered_with_the_same_headers(closed: LoneEdge) -> None:
    """Also by the part that never sees a request."""
    with socket.create_connection(("127.0.0.1", httpx2.URL(closed.url).port or 0), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nbad header\r\n\r\n")
        answer = RawClient(connection).rest().lower()

    assert answer.startswith(b"http/1.1 400")
    assert b"x-content-type-options: nosniff" in answer
    assert b"\r\nserver:" not in answer


@pytest.mark.integration
def test_the_documentation_runs_its_own_scripts_only(opened: LoneEdge) -> None:
    """All that the page has is allowed by its policy, and comes from here."""
    page = ask(opened, "/docs")
    policy = page.headers["content-security-policy"]
    scripts = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    loaded = re.findall(r"(?:src|href)=\"([^\"]+)\"", page.text)

    assert scripts
    for script in scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert "script-src 'self' 'sha256-" in policy
    assert "unsafe-inline'; img-src" in policy.replace("style-src 'self' '", "")
    assert loaded
    assert [200] * len(loaded) == [ask(opened, path).status_code for path in loaded]


@pytest.mark.integration
def test_no_page_may_ask_unless_its_origin_is_named(closed: LoneEdge, opened: LoneEdge) -> None:
    """A preflight of another one gets no permission: that is what the browser then says."""
    for edge, origin in ((closed, PAGE), (opened, "https://evil.example"), (opened, "null"), (opened, f"{PAGE}.evil")):
        answer = httpx2.options(f"{edge.url}/chat", headers={"origin": origin, **ASKED}, timeout=30)
        assert (204, "OPTIONS, POST") == (answer.status_code, answer.headers["allow"])
        assert "access-control-allow-origin" not in answer.headers
        assert "access-control-allow-methods" not in answer.headers
        assert "access-control-allow-origin" not in ask(edge, "/v1/models", origin=origin).headers


@pytest.mark.integration
def test_a_page_that_is_named_may_ask_without_credentials(opened: LoneEdge) -> None:
    """The preflight has no key and is answered before anything else; answers, errors too, can be read."""
    preflight = httpx2.options(f"{opened.url}/chat", headers={"origin": PAGE, **ASKED}, timeout=30)
    answer = ask(opened, "/v1/models", origin=PAGE)
    other = ask(opened, "/v1/models")

    assert (204, b"") == (preflight.status_code, preflight.content)
    allowed = set(preflight.headers["access-control-allow-headers"].split(", "))
    assert {"authorization", "x-api-key", "api-key", "content-type", "x-spillway-cache"} <= allowed
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert (401, PAGE) == (answer.status_code, answer.headers["access-control-allow-origin"])
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
    assert ["origin"] * 3 == [each.headers["vary"] for each in (preflight, answer, other)]
    for each in (preflight, answer):
        assert "access-control-allow-credentials" not in each.headers


@pytest.mark.unit
def test_all_origins_are_allowed_without_naming_any() -> None:
    """`*`, and never the page's own origin, which would be as good as credentials for some."""
    told = Cors(["*"]).headers(PAGE)

    assert "*" == told["access-control-allow-origin"]
    assert not {"vary", "access-control-allow-credentials"} & set(told)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("api.example.com", 401),
        ("API.example.com:443", 401),
        ("a.b.example.org", 401),
        ("example.org", 421),
        ("evil.example", 421),
        ("api.example.com.evil.example", 421),
        ("evilexample.org", 421),
        ("", 421),
        ("[::1]:80", 421),
    ],
)
def test_only_hosts_that_are_named_are_served(opened: LoneEdge, host: str, status: int) -> None:
    """Each other one is refused before its key is looked at; but not the probes, which name addresses."""
    assert status == ask(opened, "/v1/models", host=host).status_code
    assert 200 == ask(opened, "/health/live", host=host).status_code


@pytest.mark.integration
def test_only_trusted_proxies_say_where_a_request_comes_from(opened: LoneEdge) -> None:
    """HSTS shows whose word is believed."""
    forwarded = b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-forwarded-proto: https\r\nconnection: close\r\n\r\n"
    answers = {}
    for source in ("127.0.0.1", "127.0.0.2"):
        with _connect(opened, source) as connection:
            connection.sendall(forwarded)
            answers[source] = RawClient(connection).rest()

    assert b"strict-transport-security: max-age=31536000" in answers["127.0.0.2"]
    assert b"strict-transport-security" not in answers["127.0.0.1"]


@pytest.mark.integration
def test_a_stranger_behind_a_proxy_does_not_slow_down_its_neighbours(opened: LoneEdge) -> None:
    """Each address that a trusted proxy names has its own pace; a header of anybody else changes nothing."""

    def flood(source: str, forwarded: str) -> None:
        with RawClient(_connect(opened, source)) as client:
            for number in range(60):
                client.send(get("/x", f"x-forwarded-for: {forwarded.format(number)}", host="host: api.example.com"))
                assert 404 == client.answer().status

    def flood_from_all(source: str, forwarded: str) -> float:
        began = time.monotonic()
        list(pool.map(flood, [source] * 8, [forwarded] * 8))
        return time.monotonic() - began

    with ThreadPoolExecutor(9) as pool:  # 480 refusals: 200 are free, and 100 a second after them
        flooding = pool.submit(flood_from_all, "127.0.0.2", "192.0.2.{}, 203.0.113.7, 127.0.0.2")
        time.sleep(1.0)
        with RawClient(_connect(opened, "127.0.0.2")) as neighbour:
            neighbour.send(get("/x", "x-forwarded-for: 203.0.113.8", host="host: api.example.com"))
            assert 404 == neighbour.answer().status
        assert not flooding.done()
        assert flooding.result() > 2.5
        assert flood_from_all("127.0.0.3", "203.0.113.{}") > 2.5


@pytest.mark.integration
def test_a_trusted_proxy_may_have_any_number_of_connections(opened: LoneEdge) -> None:
    """It brings everybody's; another address has its limit."""
    for source, expected in (("127.0.0.2", 20), ("127.0.0.4", 8)):
        connections = [_connect(opened, source) for _ in range(20)]
        try:
            for connection in connections:
                connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
            served = sum(connection.recv(65_536).startswith(b"HTTP/1.1 200") for connection in connections)
        finally:
            for connection in connections:
                connection.close()
        assert expected == served, source


@pytest.mark.unit
@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", "203.0.113.7", "192.0.2.1"),  # a stranger says so
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),  # the first is made up
        ("10.0.0.1", "203.0.113.7, 10.0.0.9", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "[2001:db8::7]:4711, 10.0.0.9", "2001:db8::7"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7, unknown, 10.0.0.9", "10.0.0.9"),
        ("10.0.0.1", "203.0.113.7," * 1000 + "10.0.0.9", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.2"),
        ("fd00::1", "203.0.113.7", "203.0.113.7"),
    ],
)
def test_the_client_is_the_last_that_no_trusted_proxy_is(peer: str, forwarded: str, address: str) -> None:
    """What stands before it may be made up."""
    proxies = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])

    assert address == proxies.origin(peer, "http", Headers({"x-forwarded-for": forwarded})).address


def _connect(edge: LoneEdge, source: str) -> socket.socket:
    port = httpx2.URL(edge.url).port or 0
    return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))


@pytest.mark.integration
def test_who_asks_whether_there_is_a_way_here_is_told(closed: LoneEdge) -> None:
    """Before it shows a key: Claude Code sends `HEAD` to `/` and `/api/hello`; it is no fault in any log."""
    rejected = closed.log_file.read_text().count("request_rejected")
    for path in ("/", "/api/hello", "/health/live", "/health/ready/"):
        head, got = ask(closed, path, "HEAD"), ask(closed, path)
        assert (got.status_code, b"") == (head.status_code, head.content)
        assert got.headers["content-length"] == head.headers["content-length"]
    assert {"status": "ok"} == ask(closed, "/").json()
    assert rejected == closed.log_file.read_text().count("request_rejected")


@pytest.mark.integration
@pytest.mark.parametrize("proto", ["http", "https"])
def test_no_path_is_redirected_whatever_the_scheme(opened: LoneEdge, proto: str) -> None:
    """Behind TLS it would lead to plain text, and clients do not repeat a POST on it."""
    for path in ("/chat/", "/v1/messages/", "/v1/models/", "/docs/", "/health/live/", "//chat", "/v1/v1/messages"):
        for method in ("GET", "POST", "HEAD"):
            with _connect(opened, "127.0.0.2") as connection:
                head = f"{method} {path} HTTP/1.1\r\nhost: api.example.com\r\nx-forwarded-proto: {proto}\r\n"
                connection.sendall(f"{head}content-length: 0\r\nconnection: close\r\n\r\n".encode())
                answer = RawClient(connection).rest().lower()
            assert answer.split()[1] in (b"200", b"401", b"405", b"503"), (method, path, answer)
            assert b"\r\nlocation:" not in answer
