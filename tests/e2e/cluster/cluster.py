"""The cluster that Spillway was installed on: what runs there, and what can be done to it.

Reading, deleting and evicting go through the API; `exec`, port-forwarding and rollouts through kubectl, which has to be
on the PATH.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote

import asyncpg
import orjson
import redis.asyncio as redis
from kubernetes.aio.client import (
    ApiClient,
    AppsV1Api,
    CoreV1Api,
    PolicyV1Api,
    V1Eviction,
    V1ObjectMeta,
    V1Pod,
)
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config import new_client_from_config

PATIENCE_SECONDS = 300.0
_POLL_SECONDS = 0.5
_FORWARDING = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+)")


class CommandFailed(Exception):
    """A program ended with another status than 0; the text says which, and what it wrote."""


@dataclass(frozen=True)
class Place:
    """Which installation on which cluster."""

    context: str
    """Of the kubeconfig."""
    namespace: str
    release: str
    """Its name holds `spillway`, so that its resources are named after it."""


async def run(*command: str, stdin: bytes = b"", within_seconds: float = PATIENCE_SECONDS) -> str:
    """Run a program to its end and return what it wrote; CommandFailed, or TimeoutError when it takes too long."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(within_seconds):
            output, errors = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise CommandFailed(
            f"{' '.join(command[:6])} ... ended with {process.returncode}: {(errors or output).decode()[-2000:]}"
        )
    return output.decode()


async def until(is_so: Callable[[], Awaitable[object]], what: str, within_seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until an awaitable gives something true; TimeoutError that says what did not come."""
    deadline = time.monotonic() + within_seconds
    while not await is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {within_seconds:.0f} s")
        await asyncio.sleep(_POLL_SECONDS)


def is_ready(pod: V1Pod) -> bool:
    """Whether the pod takes requests and is not about to end."""
    conditions = (pod.status and pod.status.conditions) or []
    is_going = pod.metadata is not None and pod.metadata.deletion_timestamp is not None
    return not is_going and any(each.type == "Ready" and each.status == "True" for each in conditions)


def name_of(pod: V1Pod) -> str:
    """Return the pod's name."""
    assert pod.metadata is not None
    assert pod.metadata.name is not None
    return pod.metadata.name


def uid_of(pod: V1Pod) -> str:
    """Return what tells the pod from another one of the same name."""
    assert pod.metadata is not None
    return pod.metadata.uid or ""


def node_of(pod: V1Pod) -> str:
    """Return the name of the node it was put on; empty when it waits for one."""
    assert pod.spec is not None
    return pod.spec.node_name or ""


class Cluster:
    """One installation; made by `connected`."""

    def __init__(self, api: ApiClient, place: Place) -> None:
        self.place = place
        self.core = CoreV1Api(api)
        self.apps = AppsV1Api(api)
        self.policy = PolicyV1Api(api)

    def named(self, component: str) -> str:
        """Return the name of a component's resources."""
        return f"{self.place.release}-{component}"

    async def kubectl(self, *arguments: str, stdin: bytes = b"", within_seconds: float = PATIENCE_SECONDS) -> str:
        """Run kubectl in the namespace."""
        where = ("--context", self.place.context, "--namespace", self.place.namespace)
        return await run("kubectl", *where, *arguments, stdin=stdin, within_seconds=within_seconds)

    async def pods(self, component: str) -> list[V1Pod]:
        """Return the pods of a component, oldest first, also those that start or end."""
        selector = f"app.kubernetes.io/instance={self.place.release},app.kubernetes.io/component={component}"
        found = await self.core.list_namespaced_pod(self.place.namespace, label_selector=selector)
        return sorted(found.items, key=lambda pod: str(pod.metadata and pod.metadata.creation_timestamp))

    async def ready_pods(self, component: str) -> list[str]:
        """Return the names of the pods of a component that take requests."""
        return [name_of(pod) for pod in await self.pods(component) if is_ready(pod)]

    async def until_ready(self, component: str, count: int) -> list[str]:
        """Wait until so many pods of a component, and no more, are there and take requests; return their names."""

        async def are_ready() -> bool:
            return count == len(await self.ready_pods(component)) == len(await self.pods(component))

        await until(are_ready, f"{count} ready pods of {component}")
        return await self.ready_pods(component)

    async def delete(self, pod: str, *, grace_seconds: int | None = None) -> None:
        """Delete a pod; 0: it is killed, with no time for farewells."""
        await self.core.delete_namespaced_pod(pod, self.place.namespace, grace_period_seconds=grace_seconds)

    async def until_replaced(self, component: str, gone: str) -> str:
        """Wait until a pod is gone and another one takes requests; return its name, which may be the same."""
        before = uid_of(await self.core.read_namespaced_pod(gone, self.place.namespace))

        async def is_replaced() -> bool:
            pods = await self.pods(component)
            return bool(pods) and all(is_ready(pod) and uid_of(pod) != before for pod in pods)

        await self.delete(gone)
        await until(is_replaced, f"another pod than {gone}")
        return (await self.ready_pods(component))[0]

    async def restart(self, *components: str) -> None:
        """Replace all pods of Deployments, all at the same time, and wait until that is done."""
        names = [f"deployment/{self.named(component)}" for component in components]
        await self.kubectl("rollout", "restart", *names)
        for component in components:
            await self.rolled_out(component)

    async def rolled_out(self, component: str, kind: str = "deployment") -> None:
        """Wait until a rollout is done and no pod of the old revision is left, also none that ends."""
        status = ("rollout", "status", f"{kind}/{self.named(component)}", f"--timeout={PATIENCE_SECONDS:.0f}s")
        await self.kubectl(*status, within_seconds=PATIENCE_SECONDS + 10)

        async def is_settled() -> bool:
            return all(is_ready(pod) for pod in await self.pods(component))

        await until(is_settled, f"the old pods of {component} gone")

    async def scale(self, component: str, replicas: int) -> list[str]:
        """Set the number of pods of a Deployment, wait until they take requests, and return their names."""
        await self.kubectl("scale", f"deployment/{self.named(component)}", f"--replicas={replicas}")
        return await self.until_ready(component, replicas)

    async def log(self, pod: str) -> str:
        """Return what a pod has logged."""
        return str(await self.core.read_namespaced_pod_log(pod, self.place.namespace))

    async def python(self, pod: str, program: str, *arguments: str) -> str:
        """Run a Python program in a pod, and return what it wrote."""
        return await self.kubectl("exec", pod, "--", "python", "-c", program, *arguments)

    async def evict(self, pod: str) -> bool:
        """Ask for a pod's eviction, as a drain does; False when its disruption budget does not allow it now."""
        body = V1Eviction(metadata=V1ObjectMeta(name=pod, namespace=self.place.namespace))
        try:
            await self.core.create_namespaced_pod_eviction(pod, self.place.namespace, body)
        except ApiException as error:
            if error.status == 429:
                return False
            raise
        return True

    async def secret(self, name: str) -> Mapping[str, str]:
        """Return the values of a Secret."""
        found = await self.core.read_namespaced_secret(name, self.place.namespace)
        # The client gives them as text, still encoded.
        return {key: base64.b64decode(value).decode() for key, value in (found.data or {}).items()}

    @asynccontextmanager
    async def idle_pod(
        self, name: str, labels: Mapping[str, str] | None = None, namespace: str = "", **spec: object
    ) -> AsyncIterator[str]:
        """Yield a pod that has Python, asks for no privilege and does nothing; it may be waiting for a node still."""
        (provider,) = (
            await self.core.list_namespaced_pod(
                self.place.namespace, label_selector="app.kubernetes.io/name=fault-provider"
            )
        ).items
        assert provider.spec is not None
        document = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": dict(labels or {})},
            "spec": {**_harmless(provider.spec.containers[0].image or ""), **spec},
        }
        where = ("--context", self.place.context, "--namespace", namespace or self.place.namespace)
        await run("kubectl", *where, "create", "-f", "-", stdin=orjson.dumps(document))
        try:
            yield name
        finally:
            await run("kubectl", *where, "delete", "pod", name, "--grace-period=0", "--force", "--wait=false")

    @asynccontextmanager
    async def forwarded(self, pod: str, port: int) -> AsyncIterator[int]:
        """Yield a port of 127.0.0.1 that leads to a pod's, past every NetworkPolicy."""
        process = await asyncio.create_subprocess_exec(
            *("kubectl", "--context", self.place.context, "--namespace", self.place.namespace),
            *("port-forward", "--address", "127.0.0.1", f"pod/{pod}", f":{port}"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(60):
                line = await process.stdout.readline()
            reported = _FORWARDING.search(line)
            if reported is None:
                raise CommandFailed(f"kubectl port-forward to {pod}: {line.decode().strip()}")
            yield int(reported[1])
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    @asynccontextmanager
    async def postgres_url(self) -> AsyncIterator[str]:
        """Yield the URL of the ledger's database, as its user."""
        password = (await self.secret(self.named("postgres")))["password"]
        async with self.forwarded(self.named("postgres") + "-0", 5432) as port:
            yield f"postgresql://spillway:{quote(password, safe='')}@127.0.0.1:{port}/spillway"

    @asynccontextmanager
    async def redis_url(self) -> AsyncIterator[str]:
        """Yield the URL of Valkey."""
        password = (await self.secret(self.named("valkey")))["password"]
        async with self.forwarded(self.named("valkey") + "-0", 6379) as port:
            yield f"redis://:{quote(password, safe='')}@127.0.0.1:{port}/0"

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """Yield a connection to the ledger's database."""
        async with self.postgres_url() as url:
            connection = await asyncpg.connect(url)
            try:
                yield connection
            finally:
                await connection.close()

    @asynccontextmanager
    async def redis(self) -> AsyncIterator[redis.Redis]:
        """Yield a client of Valkey."""
        async with self.redis_url() as url, redis.Redis.from_url(url) as client:
            yield client


def _harmless(image: str) -> dict[str, object]:
    """Return what a pod of an image with Python needs to do nothing, under the strictest standard."""
    restricted = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    command = ["python", "-c", "import time; time.sleep(3600)"]
    container = {"name": "idle", "image": image, "command": command, "securityContext": restricted}
    return {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 1, "containers": [container]}


@asynccontextmanager
async def connected(place: Place) -> AsyncIterator[Cluster]:
    """Yield the cluster of a kubeconfig's context."""
    api: ApiClient = await new_client_from_config(context=place.context)  # type: ignore[no-untyped-call]
    async with api:
        yield Cluster(api, place)
