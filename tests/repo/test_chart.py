"""The chart agrees with the services and with its own schema; no cluster tool is needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

from cost_ledger.settings import Settings as LedgerSettings
from edge.guard.keys import load_keys
from edge.identity import Identity
from edge.settings import Settings as EdgeSettings
from llm_router.settings import Settings as RouterSettings
from local_model.settings import Settings as ModelSettings

CHART = Path(__file__).parents[2] / "charts/spillway"
SERVICES: tuple[type[BaseSettings], ...] = (EdgeSettings, RouterSettings, LedgerSettings, ModelSettings)
VARIABLE = re.compile(r"\b(?:EDGE|LLM_ROUTER|COST_LEDGER|LOCAL_MODEL)_[A-Z0-9_]+\b")


def variables_of(service: type[BaseSettings]) -> dict[str, bool]:
    """Return its settings as names of variables, and whether each is required."""
    prefix = service.model_config["env_prefix"]
    return {(prefix + name).upper(): field.is_required() for name, field in service.model_fields.items()}


def named_in(folder: str) -> dict[str, Path]:
    """Return the variables of our services in a folder of the chart, each with a file that names it."""
    return {
        name: file
        for file in sorted((CHART / folder).rglob("*"))
        if file.is_file()
        for name in VARIABLE.findall(file.read_text())
    }


@pytest.mark.parametrize("folder", ["templates", "ci"])
def test_every_variable_of_the_chart_is_a_setting(folder: str) -> None:
    """A service refuses to start with an unknown one."""
    known = {name for service in SERVICES for name in variables_of(service)}

    assert {} == {name: str(file) for name, file in named_in(folder).items() if name not in known}


def test_the_chart_sets_every_required_setting() -> None:
    """No service lacks a setting that has no default."""
    required = {name for service in SERVICES for name, must in variables_of(service).items() if must}

    assert required
    assert required <= named_in("templates").keys()


def schema() -> dict[str, Any]:
    """Return the schema of the values."""
    loaded: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return loaded


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference into `$defs`."""
    reference = node.get("$ref", "").rpartition("/")[2]
    return schema()["$defs"][reference] if reference else node


def objects(node: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every part of a schema that lists properties."""
    if isinstance(node, dict):
        if "properties" in node:
            yield path, node
        for name, child in node.items():
            yield from objects(child, f"{path}/{name}")
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from objects(child, f"{path}/{number}")


def test_a_typo_is_refused_everywhere() -> None:
    """Every object in the schema refuses other keys."""
    open_ones = [path for path, node in objects(schema()) if node.get("additionalProperties") is not False]

    assert [] == open_ones


def differences(values: dict[str, Any], node: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield keys that only the default values or only the schema have; an empty default matches any object."""
    properties = resolved(node).get("properties")
    if not values or properties is None:
        return
    for name in sorted(values.keys() ^ properties.keys()):
        yield f"{path}/{name}"
    for name in values.keys() & properties.keys():
        if isinstance(values[name], dict):
            yield from differences(values[name], properties[name], f"{path}/{name}")


def test_the_schema_and_the_default_values_have_the_same_names() -> None:
    """values.yaml lists every key, and none that the schema would refuse."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    assert {"/global"} == set(differences(values, schema()))


def test_the_edge_accepts_the_key_that_the_chart_generates(tmp_path: Path) -> None:
    """The templates compute the same hash as the edge; the example is pinned by the chart's own tests."""
    text = (CHART / "tests/secrets_test.yaml").read_text()
    [key] = re.findall(r"# (sk-spillway-\S+)", text)
    [file] = re.findall(r"value: \|-\n((?: {12}.*\n)+)", text)
    path = tmp_path / "keys.yaml"
    path.write_text(file)

    assert Identity("abcdefgh", "default", "admin", "standard") == load_keys(path).identify(key)
    assert None is load_keys(path).identify(key + "x")


START = 'event: start\nid: 1\ndata: {"model":"default"}\n\n'
DELTA = 'event: delta\nid: 2\ndata: {"text":"Paris"}\n\n'
DONE = (
    "event: done\nid: 3\n"
    'data: {"model":"m","provider":"vllm","cost_usd":"0.000000000","attempts":[{"attempt_number":1}]}\n\n'
)
ERROR = 'event: error\nid: 3\ndata: {"error":{"code":"all_targets_failed"}}\n\n'


@contextmanager
def front_door(status: int, body: str) -> Iterator[str]:
    """Answer every request with this."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answer."""
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the interface's
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("status", "body", "complaint"),
    [
        (200, START + DELTA + DONE, ""),
        (200, START + DELTA, "the stream ended with"),
        (200, START + DELTA + ERROR, "all_targets_failed"),
        (200, START + DONE, "no answer"),
        (200, START + DELTA + DONE.replace('{"attempt_number":1}', ""), "no attempt"),
        (200, START + DELTA + DONE.replace('"0.000000000"', "null"), "not priced: cost_usd is null"),
        (200, START + DELTA + DONE.replace('"0.000000000"', '"free"'), 'not priced: cost_usd is "free"'),
        (401, '{"error": {"code": "invalid_api_key"}}', "invalid_api_key"),
    ],
)
def test_helm_test_passes_only_for_a_complete_answer(status: int, body: str, complaint: str) -> None:
    """It fails with one line that gives the reason."""
    with front_door(status, body) as url:
        done = subprocess.run(
            [sys.executable, str(CHART / "files/stream_check.py")],
            # A proxy, such as extraEnv may bring, is not for what is in the cluster.
            env={"URL": url, "API_KEY": "sk-spillway-x", "HTTP_PROXY": "http://127.0.0.1:9"},
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert (0 if not complaint else 1) == done.returncode, done.stderr
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == (1 if complaint else 0)
