"""Tokens in the place of API keys: who is taken for whom, and what no forger, flood or lame server of keys achieves."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from starlette.requests import Request

from edge.fetch import Fetcher
from edge.guard.identify import Identify
from edge.guard.keys import add_key, load_keys
from edge.identity import Identity
from edge.metrics import Metrics
from edge.problems import Problem
from edge.tokens.issuers import IssuersError, TokenRefused, parse_issuers
from edge.tokens.key_source import KeySource
from edge.tokens.tokens import Tokens
from kit.front_door.lone_edge import running_lone_edge

pytestmark = pytest.mark.integration  # keys come from a server

ISS = "https://login.example.com/"
_RSA = rsa.generate_private_key(65537, 2048)
_OTHER_RSA = rsa.generate_private_key(65537, 2048)
_SMALL_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
_EC = ec.generate_private_key(ec.SECP256R1())
_ED = ed25519.Ed25519PrivateKey.generate()
_SECRET = b"a secret of at least thirty-two bytes"


def jwk(key: Any, kid: str, **more: str) -> dict[str, Any]:
    """Return the public part of a key as a JWKS has it."""
    kinds: dict[type[Any], Any] = {
        rsa.RSAPrivateKey: RSAAlgorithm,
        ec.EllipticCurvePrivateKey: ECAlgorithm,
        ed25519.Ed25519PrivateKey: OKPAlgorithm,
    }
    kind = next(kind for private, kind in kinds.items() if isinstance(key, private))
    return {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", **more}


@dataclass
class Keys:
    """A server of keys, and what it does."""

    url: str = ""
    asked: int = 0
    document: Any = field(default_factory=lambda: {"keys": [jwk(_RSA, "one"), jwk(_EC, "two"), jwk(_ED, "three")]})
    answer: Callable[[BaseHTTPRequestHandler], None] | None = None

    def write(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        self.asked += 1
        if self.answer is not None:
            self.answer(handler)
            return
        body = json.dumps(self.document).encode()
        handler.send_response(200)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@contextmanager
def serving_keys() -> Iterator[Keys]:
    """Serve keys while the block runs."""
    keys = Keys()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(OSError):  # the edge may have left
                keys.write(self)

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    keys.url = f"http://127.0.0.1:{server.server_port}/jwks"
    try:
        yield keys
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(name="keys")
def _keys() -> Iterator[Keys]:
    with serving_keys() as keys:
        yield keys


def issuer(**fields: Any) -> dict[str, Any]:
    """Return an issuer as the file has it."""
    own = {"name": "corporate", "issuer": ISS, "audience": ["spillway"], "algorithms": ["RS256", "ES256", "EdDSA"]}
    return {**own, "tenant": "acme", **fields}


def parsed(*issuers: dict[str, Any]) -> Any:
    """Read issuers as from a file."""
    return parse_issuers(Path("issuers.yaml"), yaml.safe_dump({"issuers": list(issuers)}).encode())


def claims(**fields: Any) -> dict[str, Any]:
    """Return what a good token says; None: it does not say so."""
    now = int(time.time())
    said = {"iss": ISS, "aud": "spillway", "sub": "ada", "exp": now + 600, "nbf": now - 10, "iat": now - 10, **fields}
    return {name: value for name, value in said.items() if value is not None}


def token(key: Any = _RSA, algorithm: str = "RS256", kid: str | None = "one", **fields: Any) -> str:
    """Sign a token."""
    return jwt.encode(claims(**fields), key, algorithm, headers={} if kid is None else {"kid": kid})


def raw_token(header: dict[str, Any], payload: Any, sign: Callable[[bytes], bytes] = lambda _: b"") -> str:
    """Write a token as no library would."""
    parts = [json.dumps(each).encode() if not isinstance(each, bytes) else each for each in (header, payload)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (signed + b"." + base64.urlsafe_b64encode(sign(signed)).rstrip(b"=")).decode()


@pytest.fixture(name="tokens")
async def _tokens(keys: Keys, metrics: Metrics) -> AsyncIterator[Tokens]:
    tokens = Tokens(parsed(issuer(jwks_url=keys.url)), Fetcher(), metrics)
    await tokens.prepare()
    yield tokens
    await tokens.close()


async def code_of(tokens: Tokens, shown: str) -> str:
    """Return why a token is not taken; empty: it is."""
    try:
        await tokens.identify(shown)
    except TokenRefused as refused:
        return tokens.count(refused).message.rpartition(": ")[2]
    except Problem as problem:
        return problem.code
    return ""


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(_RSA, "RS256", "one"), (_EC, "ES256", "two"), (_ED, "EdDSA", "three")]
)
async def test_a_token_of_each_algorithm_is_taken(tokens: Tokens, key: Any, algorithm: str, kid: str) -> None:
    """And its user is on record under the name of the issuer."""
    found = await tokens.identify(token(key, algorithm, kid))

    assert Identity("jwt:corporate", "acme", "ada", "free", rights=found.rights) == found
    assert {"chat", "embeddings", "usage:read"} == found.rights.permissions


async def test_a_secret_that_both_know_is_read_from_a_file(tmp_path: Path, metrics: Metrics) -> None:
    """HS256, with and without a `kid`."""
    (tmp_path / "secret").write_bytes(_SECRET + b"\n")
    shared = issuer(algorithms=["HS256"], secret_file=str(tmp_path / "secret"))
    tokens = Tokens(parsed(shared), Fetcher(), metrics)
    await tokens.prepare()

    assert ["", ""] == [await code_of(tokens, token(_SECRET, "HS256", kid)) for kid in (None, "any")]
    assert "signature" == await code_of(tokens, token(b"another one of thirty-two bytes.." * 2, "HS256", None))
    assert "algorithm" == await code_of(tokens, token())


_PUBLIC = _RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _with_public_key(signed: bytes) -> bytes:
    return hmac.new(_PUBLIC, signed, hashlib.sha256).digest()


_OWN_KEY = {"kid": "one", "jwk": jwk(_OTHER_RSA, "one"), "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"}


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        (lambda: raw_token({"alg": "none"}, claims()), "algorithm"),
        (lambda: raw_token({"alg": "None", "kid": "one"}, claims()), "algorithm"),
        (lambda: raw_token({"alg": "HS256", "kid": "one"}, claims(), _with_public_key), "algorithm"),
        (lambda: raw_token({"alg": "ES256", "kid": "one"}, claims(), lambda _: b"0" * 64), "algorithm"),
        (lambda: raw_token({"kid": "one"}, claims()), "algorithm"),
        (lambda: raw_token({"alg": ["RS256"], "kid": "one"}, claims()), "algorithm"),
        (lambda: raw_token({"alg": "RS256", "kid": {"a": 1}}, claims()), "malformed"),
        (lambda: raw_token({"alg": "RS256", "kid": "one", "crit": ["b64"], "b64": False}, claims()), "malformed"),
        (lambda: token(_OTHER_RSA), "signature"),
        (lambda: token()[:-4] + "AAAA", "signature"),
        (lambda: token(kid="../../etc/passwd"), "key"),
        (lambda: token(kid="' OR 1=1"), "key"),
        (lambda: token(kid=None), "key"),
        (lambda: jwt.encode(claims(), _OTHER_RSA, "RS256", headers=_OWN_KEY), "signature"),
        (lambda: token(iss="https://evil.example/"), "issuer"),
        (lambda: token(iss=None), "issuer"),
        (lambda: raw_token({"alg": "RS256"}, claims(iss=[ISS])), "issuer"),
        (lambda: token(aud="another"), "audience"),
        (lambda: token(aud=None), "claims"),
        (lambda: token(aud=["another", "third"]), "audience"),
        (lambda: token(exp=int(time.time()) - 60), "expired"),
        (lambda: token(exp=None), "claims"),
        (lambda: token(exp="never"), "claims"),
        (lambda: token(exp=float("inf")), "claims"),
        (lambda: token(nbf=int(time.time()) + 600), "not_yet"),
        (lambda: token(sub=None), "claims"),
        (lambda: token(sub="a\nb"), "claims"),
        (lambda: token(sub="a" * 300), "claims"),
        (lambda: token(sub=""), "claims"),
        (lambda: token(more="x" * 10_000), "too_long"),
        (lambda: raw_token({"alg": "RS256"}, b"[" * 5000), "malformed"),
        (lambda: raw_token({"alg": "RS256"}, [claims()]), "malformed"),
        (lambda: "eyJ", "malformed"),
        (lambda: "eyJ.eyJ.", "malformed"),
        (lambda: token() + ".more", "malformed"),
        (lambda: "eyJ\u00e9.\u2603.x", "malformed"),
    ],
)  # fmt: skip
async def test_no_forged_token_is_taken(
    tokens: Tokens, counted: Callable[..., float], forged: Callable[[], str], reason: str
) -> None:
    """Algorithms are the issuer's, keys are those that were fetched, and claims are required."""
    assert reason == await code_of(tokens, forged())
    assert 1 == counted("edge_tokens_refused_total", reason=reason)


async def test_clocks_may_differ_a_little(tokens: Tokens) -> None:
    """By what the issuer's entry says."""
    now = int(time.time())
    assert "" == await code_of(tokens, token(exp=now - 10, nbf=now + 10, iat=now + 10))


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_keys_that_are_weak_or_for_something_else_are_none(keys: Keys, metrics: Metrics) -> None:
    """A secret in a JWKS would be known to everybody."""
    secret = {"kty": "oct", "k": base64.urlsafe_b64encode(_SECRET).decode(), "kid": "secret", "alg": "HS256"}
    wrong = [jwk(_SMALL_RSA, "small"), jwk(_OTHER_RSA, "enc", use="enc"), jwk(_EC, "es", alg="ES384"), secret, 7]
    keys.document = {"keys": [*wrong, jwk(_RSA, "one")]}
    tokens = Tokens(parsed(issuer(jwks_url=keys.url)), Fetcher(), metrics)
    await tokens.prepare()

    assert "" == await code_of(tokens, token())
    for key, algorithm, kid in ((_SMALL_RSA, "RS256", "small"), (_OTHER_RSA, "RS256", "enc"), (_EC, "ES256", "es")):
        assert "key" == await code_of(tokens, token(key, algorithm, kid))
    assert "algorithm" == await code_of(tokens, token(_SECRET, "HS256", "secret"))


async def test_claims_say_who_it_is_as_the_file_has_it(keys: Keys, metrics: Metrics) -> None:
    """Tenant, team, tier and roles; what a claim may not say is refused or gives nothing."""
    own = issuer(
        jwks_url=keys.url,
        claims={"tenant": "org", "user": "email", "team": "team", "tier": "plan", "roles": "realm_access.roles"},
        tenants=["acme", "acme-*"],
        role_names={"boss": "team_lead", "staff": "user"},
    )
    del own["tenant"]
    tokens = Tokens(parsed(own), Fetcher(), metrics)
    await tokens.prepare()
    who: dict[str, Any] = {"email": "ada@acme.example", "team": "blue", "plan": "premium", "org": "acme-eu"}
    found = await tokens.identify(token(**who, realm_access={"roles": ["boss", "admin", 7]}))
    nobody = await tokens.identify(token(**who, realm_access={"roles": ["admin"]}))

    assert ("acme-eu", "ada@acme.example", "blue", "premium") == (found.tenant, found.user, found.team, found.tier)
    assert "usage:read:team" in found.rights.permissions
    assert "usage:read:tenant" not in found.rights.permissions
    assert not nobody.rights.permissions
    for org in ("other", "evil-acme", None, ["acme"]):
        assert "claims" == await code_of(tokens, token(**(who | {"org": org})))


async def test_unknown_keys_are_asked_for_once_in_a_while(
    tokens: Tokens, keys: Keys, counted: Callable[..., float]
) -> None:
    """However many tokens name one, at once or one after the other."""
    asked = keys.asked
    shown = [token(kid=f"unknown {number}") for number in range(100)]
    reasons = await asyncio.gather(*(code_of(tokens, each) for each in shown))

    assert ["key"] * 100 == reasons
    assert asked == keys.asked
    assert 100 == counted("edge_tokens_refused_total", reason="key")


async def test_a_rotated_key_is_found_by_who_asks_first(keys: Keys, metrics: Metrics) -> None:
    """All who wait for it wait for one answer; the one before it is dead."""
    [only] = parsed(issuer(jwks_url=keys.url))
    tokens = Tokens([only], Fetcher(), metrics)
    source = tokens._known[ISS].source
    source._retry_seconds = 0.0  # some time has passed since it was read
    await tokens.prepare()
    keys.document = {"keys": [jwk(_OTHER_RSA, "next")]}
    keys.answer = None
    asked = keys.asked
    reasons = await asyncio.gather(*(code_of(tokens, token(_OTHER_RSA, kid="next")) for _ in range(50)))

    assert [""] * 50 == reasons
    assert asked + 1 == keys.asked
    assert "key" == await code_of(tokens, token(kid="one"))


def _redirect(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("location", "/jwks")
    handler.end_headers()


def _huge(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b" " * 65536)


def _endless_head(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for _ in range(100_000):
        handler.wfile.write(b"x: " + b"y" * 1000 + b"\r\n")


def _nonsense(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-nothing\r\n")


def _error(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(500)
    handler.end_headers()


def _no_keys(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "11")
    handler.end_headers()
    handler.wfile.write(b'{"keys": []}'[:11])


@pytest.mark.parametrize("fault", [_redirect, _huge, _endless_head, _nonsense, _error, _no_keys])
async def test_a_lame_server_of_keys_changes_nothing(
    keys: Keys, metrics: Metrics, counted: Callable[..., float], fault: Callable[[BaseHTTPRequestHandler], None]
) -> None:
    """The last known keys stay; who has none is told to come again, and no redirect is followed."""
    [only] = parsed(issuer(jwks_url=keys.url))
    known, new = Tokens([only], Fetcher(), metrics), Tokens([only], Fetcher(), metrics)
    known._known[ISS].source._retry_seconds = 0.0
    await known.prepare()
    keys.answer, keys.asked = fault, 0
    await new.prepare()

    assert 1 == keys.asked
    assert "keys_unavailable" == await code_of(new, token())
    assert "key" == await code_of(known, token(kid="unknown"))
    assert "" == await code_of(known, token())
    assert 2 == counted("edge_jwks_failures_total", issuer="corporate")


async def test_a_server_that_says_nothing_is_waited_for_so_long(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a deadline, however slowly it drips."""
    monkeypatch.setattr("edge.tokens.key_source.FETCH_TIMEOUT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = KeySource(
            parsed(issuer(jwks_url=f"http://127.0.0.1:{silent.getsockname()[1]}/"))[0], Fetcher(), metrics
        )
        async with asyncio.timeout(30):
            await source.refresh_for_unknown()

    assert not source.keys


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"algorithms": ["HS256"], "jwks_url": "https://a.example/"}, "HS256 goes with a secret_file"),
        ({"algorithms": ["RS256", "HS256"], "secret_file": "s"}, "HS256 goes with a secret_file"),
        ({"algorithms": ["none"], "jwks_url": "https://a.example/"}, "algorithms.0"),
        ({"jwks_url": "http://a.example/"}, "over https"),
        ({"jwks_url": "https://user@a.example/"}, "over https"),
        ({"jwks_url": "https://a.example/\r\nx: y"}, "characters that no address has"),
        ({}, "give one of jwks_url"),
        ({"jwks_url": "https://a.example/", "audience": []}, "audience"),
        ({"jwks_url": "https://a.example/", "tenant": None}, "give one of tenant"),
        ({"jwks_url": "https://a.example/", "tenant": None, "claims": {"tenant": "org"}}, "tenants goes with"),
        ({"jwks_url": "https://a.example/", "audiense": "x"}, "audiense"),
        ({"jwks_url": "https://a.example/", "name": "a b"}, "name"),
    ],
)
def test_a_file_that_would_be_dangerous_is_refused(fields: dict[str, Any], reason: str) -> None:
    """With the place and the reason."""
    with pytest.raises(IssuersError, match=reason):
        parsed(issuer(**fields))


async def test_a_token_is_taken_from_any_header(tokens: Tokens, counted: Callable[..., float], tmp_path: Path) -> None:
    """A foreign one beside a good one is counted nowhere; one that may be good in a moment is waited for."""
    key = add_key(tmp_path / "keys.yaml", "acme", "ada", "gold")
    bobs = add_key(tmp_path / "keys.yaml", "acme", "bob", "gold")
    identify = Identify(load_keys(tmp_path / "keys.yaml"), tokens)

    async def user_of(**headers: str) -> str:
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "POST", "path": "/chat", "headers": named}
        try:
            return (await identify.identify(Request(scope))).key_id
        except Problem as problem:
            return problem.code

    foreign = raw_token({"alg": "RS256"}, claims(iss="https://auth.vendor.example"))
    for header in ("x_api_key", "api_key"):
        assert "jwt:corporate" == await user_of(**{header: token(), "authorization": f"Bearer {foreign}"})
        assert "jwt:corporate" == await user_of(**{header: "sk-ant-x", "authorization": f"Bearer {token()}"})
        assert key.split("-")[2] == await user_of(**{header: key, "authorization": f"Bearer {foreign}"})
        assert "invalid_request" == await user_of(**{header: bobs, "authorization": f"Bearer {token()}"})
    assert key.split("-")[2] == await user_of(x_api_key=key, authorization=f"Bearer {token()}")
    assert 0 == counted("edge_tokens_refused_total", reason="issuer")
    assert "invalid_api_key" == await user_of(x_api_key="sk-ant-x", authorization=f"Bearer {foreign}")
    assert "invalid_api_key" == await user_of(api_key=foreign)
    assert 1 == counted("edge_tokens_refused_total", reason="issuer")


def test_no_two_issuers_are_one() -> None:
    """Neither by name nor by what their tokens say."""
    for one in ({"name": "b"}, {"issuer": "https://b.example/"}):
        with pytest.raises(IssuersError, match="two issuers have the same"):
            parsed(issuer(jwks_file="a"), issuer(jwks_file="a", **one))


def test_an_edge_takes_keys_and_tokens_and_follows_both_files(tmp_path: Path, keys: Keys) -> None:
    """Side by side; an issuer that is removed from the file, or a key from the JWKS file, is dead within seconds."""
    jwks, issuers = tmp_path / "jwks.json", tmp_path / "issuers.yaml"
    jwks.write_text(json.dumps(keys.document))
    own = issuer(jwks_file=str(jwks))
    remote = issuer(name="remote", issuer="https://remote.example/", jwks_url=keys.url)
    issuers.write_text(yaml.safe_dump({"issuers": [own, remote]}))
    shown, other = token(), token(iss="https://remote.example/")

    def until(status: int, key: str) -> None:
        deadline = time.monotonic() + 60
        while edge.status_of(key) != status:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    with running_lone_edge(tmp_path, EDGE_JWT_ISSUERS=str(issuers)) as edge:
        # Whoever is known learns that the router is away.
        assert [503, 503, 503] == [edge.status_of(key) for key in (edge.key, shown, other)]
        assert 401 == edge.status_of(shown[:-4] + "AAAA")
        refused = httpx2.post(f"{edge.url}/v1/messages", headers={"x-api-key": token(aud="x")}, timeout=30)
        assert ("authentication_error", 401) == (refused.json()["error"]["type"], refused.status_code)
        jwks.write_text(json.dumps({"keys": [jwk(_OTHER_RSA, "one")]}))
        until(401, shown)
        until(503, token(_OTHER_RSA))
        issuers.write_text(yaml.safe_dump({"issuers": [own]}))
        until(401, other)
        issuers.write_text("issuers: 7")
        edge.wait_for_lines("jwt_issuers_refused", timeout_seconds=60)
        assert [503, 503] == [edge.status_of(key) for key in (edge.key, token(_OTHER_RSA))]
        assert 1 == edge.metric("edge_jwt_issuers_stale")
        assert edge.metric('edge_tokens_refused_total{reason="issuer"}') >= 1
    log = edge.log_file.read_text()
    assert shown not in log
    assert shown.rpartition(".")[2] not in log
