"""The system under test on a cluster: a namespace, keys, the fault provider, and the chart with the tests' values."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import yaml

from edge.guard.keys import add_key
from kit.front_door.given_system import PRICE_BOOK, SETTINGS
from kit.front_door.scenarios import ROUTES, routes_file

from .cluster import CommandFailed, Place, run
from .load_clients import STREAM_ROUTES

Json = dict[str, Any]

REPOSITORY = Path(__file__).parents[3]
CHART = REPOSITORY / "charts" / "spillway"
KEYS_SECRET = "spillway-e2e-keys"
PROVIDER_URL = "http://fault-provider:9000"
_E2E = REPOSITORY / "tests" / "e2e"
_VALUES = (_E2E / "values.yaml", _E2E / "values" / "gpu-pool.yaml")
# A key each for the front-door tests' two tenants, and for each test that compares its own books.
TENANTS = ("blue", "red")
LOAD_CLIENTS = ("router", "away", "roll", "valkey", "postgres", "drain", "scale", "upgrade", "pool")
# Image -> where the chart's values have it.
IMAGES: Mapping[str, Sequence[str]] = {
    "spillway/edge": ("edge",),
    "spillway/llm-router": ("llmRouter",),
    "spillway/cost-ledger": ("costLedger",),
    "spillway/local-model": ("localModel", "vllm"),
}
# On a machine that has everything to do at once, a provider that is slow is no finding.
_PATIENT = {"connect_seconds": 20, "first_content_seconds": 30, "gap_seconds": 30}
_INSTALL_SECONDS = 900


class Installation:
    """What is put on the cluster, and taken away again."""

    def __init__(self, place: Place, more_values: Sequence[Path], images: Mapping[str, str]) -> None:
        """`images`: name of the image -> its reference; those that are not named are as the values have them."""
        self.place = place
        self._more_values = more_values
        self._images = images

    async def install(self) -> Mapping[str, str]:
        """Put everything there, or bring it up to date; return the API keys by the names of their users."""
        await self._kubectl("apply", "-f", "-", stdin=_namespace(self.place.namespace))
        keys = await self._keys()
        await self._kubectl("apply", "-f", "-", stdin=self._provider())
        await self._kubectl("apply", "-f", str(Path(__file__).with_name("fault-provider-nodeport.yaml")))
        await self.upgrade()
        await self._kubectl("rollout", "status", "deployment/fault-provider", "--timeout=120s")
        return keys

    async def upgrade(self, *arguments: str, values: Json | None = None) -> None:
        """Bring the release to the tests' values with those of `values` on top; return when all of it is ready."""
        with tempfile.NamedTemporaryFile("wb", suffix=".yaml") as made:
            made.write(orjson.dumps(_merged(self._made_values(), values or {})))
            made.flush()
            # The later one wins.
            files = [f"--values={file}" for file in (*_VALUES, made.name, *self._more_values)]
            await self.helm(
                *("upgrade", "--install", self.place.release, str(CHART), *files, *arguments),
                *("--wait", "--timeout", f"{_INSTALL_SECONDS}s"),
            )

    async def rollback(self) -> None:
        """Go back to the revision before; return when all of it is ready."""
        await self.helm("rollback", self.place.release, "--wait", "--timeout", f"{_INSTALL_SECONDS}s")

    async def helm(self, *arguments: str) -> str:
        """Run helm in the namespace."""
        where = ("--kube-context", self.place.context, "--namespace", self.place.namespace)
        return await run("helm", *where, *arguments, within_seconds=_INSTALL_SECONDS + 60)

    async def remove(self) -> None:
        """Take the namespace away, and everything in it."""
        await self._kubectl("delete", "namespace", self.place.namespace, "--wait=true", "--timeout=300s")

    async def _kubectl(self, *arguments: str, stdin: bytes = b"") -> str:
        where = ("--context", self.place.context, "--namespace", self.place.namespace)
        return await run("kubectl", *where, *arguments, stdin=stdin)

    async def _keys(self) -> Mapping[str, str]:
        """Return the keys of the installation that is there; of a new one, make them."""
        try:
            found = orjson.loads(await self._kubectl("get", "secret", KEYS_SECRET, "-o", "json"))
        except CommandFailed:
            keys, secret = _new_keys()
            await self._kubectl("create", "-f", "-", stdin=secret)
            return keys
        return keys_of(found["data"])

    def _provider(self) -> bytes:
        documents = list(yaml.safe_load_all((REPOSITORY / "tests" / "fault-provider" / "k8s.yaml").read_text()))
        image = self._images.get("spillway/fault-provider")
        for document in documents:
            if document["kind"] == "Deployment" and image:
                document["spec"]["template"]["spec"]["containers"][0]["image"] = image
        return yaml.safe_dump_all(documents).encode()

    def _made_values(self) -> Json:
        routes: Any = routes_file(
            {**ROUTES, **STREAM_ROUTES},
            PROVIDER_URL,
            "/etc/spillway/credentials/openai",
            f"http://{self.place.release}-vllm:8000/v1",
        )
        for name, target in routes["targets"].items():
            if name.startswith("streams") and target["base_url"].startswith(PROVIDER_URL):
                target["timeouts"] = _PATIENT
        values: Json = {
            "edge": {"extraEnv": [{"name": name, "value": value} for name, value in SETTINGS.items()]},
            "costLedger": {"priceBook": PRICE_BOOK.read_text()},
            "keys": {"existingSecret": KEYS_SECRET},
            "routes": routes,
        }
        for name, reference in self._images.items():
            repository, _, tag = reference.rpartition(":")
            for section in IMAGES.get(name, ()):
                values = _merged(values, {section: {"image": {"repository": repository, "tag": tag}}})
        return values


def keys_of(data: Mapping[str, str]) -> Mapping[str, str]:
    """Return the API keys by user from the data of the keys' Secret."""
    keys: Mapping[str, str] = orjson.loads(base64.b64decode(data["api-keys.json"]))
    return keys


def _namespace(name: str) -> bytes:
    """Return a namespace that takes only pods which ask for no privilege."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    return orjson.dumps(document)


def _new_keys() -> tuple[Mapping[str, str], bytes]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys.yaml"
        keys = {tenant: add_key(file, tenant, f"{tenant}-user", "test") for tenant in TENANTS}
        keys |= {name: add_key(file, "load", name, "test") for name in LOAD_CLIENTS}
        data = {
            "keys.yaml": file.read_text(),
            "api-key": keys["blue"],
            "api-keys.json": orjson.dumps(keys).decode(),
        }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": KEYS_SECRET}, "stringData": data}
    return keys, orjson.dumps(secret)


def _merged(below: Json, above: Json) -> Json:
    """Return both, as helm merges values: a list or a plain value replaces the one below it."""
    merged = dict(below)
    for name, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merged(merged[name], value) if both else value
    return merged
