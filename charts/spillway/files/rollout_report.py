"""The hook after install, upgrade and rollback: waits until the release is rolled out, and prints what prevents it."""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 2
# The first report comes after the usual start of a pod.
SECONDS_BETWEEN_REPORTS = 10


def main() -> None:
    """Return once every workload is rolled out; until then print what is in the way: helm shows it if it gives up."""
    started = reported = time.monotonic()
    last = []
    while True:
        try:
            unfinished = [each for each in workloads() if not is_rolled_out(each)]
            if not unfinished:
                return
            lines = report(unfinished, resources("api/v1", "pods"))
        except urllib.error.HTTPError as error:
            sys.exit(f"the API server answered {error.code}: {error.read().decode(errors='replace')}")
        except OSError as error:
            lines = [f"the API server cannot be reached: {error}"]
        if lines != last and time.monotonic() - reported >= SECONDS_BETWEEN_REPORTS:
            last, reported = lines, time.monotonic()
            print(f"after {reported - started:.0f} s:", *lines, sep="\n  ", flush=True)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def workloads():
    """Return the Deployments and StatefulSets of the release."""
    return [*resources("apis/apps/v1", "deployments"), *resources("apis/apps/v1", "statefulsets")]


def resources(group, name):
    """Return the release's resources of a kind."""
    api, account = os.environ["KUBERNETES_API"], Path(os.environ["SERVICE_ACCOUNT"])
    query = urllib.parse.urlencode({"labelSelector": os.environ["SELECTOR"]})
    request = urllib.request.Request(  # noqa: S310 - the address is the chart's
        f"{api}/{group}/namespaces/{os.environ['NAMESPACE']}/{name}?{query}",
        headers={"Authorization": f"Bearer {(account / 'token').read_text()}"},
    )
    trusted = ssl.create_default_context(cafile=account / "ca.crt") if api.startswith("https:") else None
    # A proxy of the environment is for what is beyond the cluster.
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted)
    with urllib.request.build_opener(*handlers).open(request, timeout=10) as response:
        return json.load(response)["items"]


def is_rolled_out(workload):
    """Tell whether all pods are of the newest revision and ready."""
    status, wanted = workload["status"], workload["spec"]["replicas"]
    if status.get("observedGeneration") != workload["metadata"]["generation"]:
        return False
    counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "readyReplicas")}
    return counts == {wanted}


def report(unfinished, pods):
    """Return a line for each pod that is not ready and for each workload whose pods cannot be created."""
    lines = [f"{pod['metadata']['name']}: {obstacle(pod)}" for pod in pods if obstacle(pod)]
    lines += [
        f"{workload['metadata']['name']}: {condition['message']}"
        for workload in unfinished
        for condition in workload["status"].get("conditions", [])
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True"
    ]
    names = ", ".join(workload["metadata"]["name"] for workload in unfinished)
    return sorted(lines) or [f"not rolled out yet: {names}"]


def obstacle(pod):
    """Return what keeps a pod from serving, as the scheduler or the kubelet says it; an empty text if nothing does."""
    status = pod["status"]
    conditions = {each["type"]: each for each in status.get("conditions", [])}
    if pod["metadata"].get("deletionTimestamp") or status["phase"] == "Succeeded":
        return ""
    if conditions.get("Ready", {}).get("status") == "True":
        return ""
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return f"{status['phase']}: {scheduled.get('message', scheduled.get('reason'))}"
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = container.get("state", {}).get("waiting")
        if waiting and waiting["reason"] != "PodInitializing":
            return ": ".join([container["name"], waiting["reason"], *filter(None, [waiting.get("message")])])
    return f"{status['phase']}, not ready"


if __name__ == "__main__":
    main()
