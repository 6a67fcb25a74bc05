"""compose.yaml fits the services; that it runs is seen where there is docker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cost_ledger.settings import Settings as LedgerSettings
from edge.guard.keys import load_keys
from edge.settings import Settings as EdgeSettings
from llm_router.routes.load import load_routes
from llm_router.routes.sources import Sources
from llm_router.settings import Settings as RouterSettings
from local_model.settings import Settings as ModelSettings
from servicekit.pepper import read_pepper
from servicekit.rpc_token import read_rpc_tokens

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("spillway/")}
KNOWN = {
    setting.upper()
    for settings in (EdgeSettings, RouterSettings, LedgerSettings, ModelSettings)
    for setting in (settings.model_config.get("env_prefix", "") + name for name in settings.model_fields)
}


def test_each_image_of_ours_is_built_once_from_its_dockerfile() -> None:
    """`up --build` makes everything that has no public image."""
    built = {service["image"]: service["build"]["dockerfile"] for service in OURS.values() if "build" in service}
    builds = [service for service in OURS.values() if "build" in service]

    assert {service["image"] for service in OURS.values()} == built.keys()
    assert len(built) == len(builds)
    for image, dockerfile in built.items():
        assert (ROOT / dockerfile).is_file()
        assert f"spillway/{Path(dockerfile).parent.name}:compose" == image


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_given_settings_that_it_knows(name: str) -> None:
    """An unknown one would be refused at the start."""
    given = OURS[name].get("environment", {})
    settings = {name for name in given if re.match("EDGE_|LLM_ROUTER_|COST_LEDGER_|LOCAL_MODEL_", name)}

    assert settings <= KNOWN


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_runs_with_no_more_than_it_needs(name: str) -> None:
    """What holds in a cluster holds for every container: nothing is written but volumes, and no right is gained."""
    service = SERVICES[name]
    is_setup = name == "setup"

    assert service["read_only"]
    assert "/tmp" in service["tmpfs"]  # noqa: S108 - of the container
    assert ["ALL"] == service["cap_drop"]
    assert (["CHOWN", "DAC_OVERRIDE", "FOWNER"] if is_setup else []) == service.get("cap_add", [])
    assert ["no-new-privileges:true"] == service["security_opt"]
    # Root hands new volumes over, once, without a network.
    assert ("0:0" if is_setup else "10001:10001" if name in OURS else "999:999") == service["user"]
    assert ("none" if is_setup else None) == service.get("network_mode")
    assert service["mem_limit"] in {"512m", "1g"}
    assert 0 < service["pids_limit"] <= 256
    assert {"driver": "local", "options": {"max-size": "10m", "max-file": "3"}} == service["logging"]
    assert {"privileged", "devices", "pid", "ipc", "userns_mode"}.isdisjoint(service)
    assert not any("docker.sock" in volume for volume in service.get("volumes", []))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_goes_on_says_whether_it_is_well(name: str) -> None:
    """Those that end are waited for until they have."""
    assert ("healthcheck" in SERVICES[name]) is (SERVICES[name]["restart"] == "unless-stopped")


def test_no_password_is_in_the_file() -> None:
    """Secrets are files, made at the first start and mounted where they are read."""
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET|KEY", variable):
                assert variable.endswith("_FILE") or f"${{{variable}:-}}" == value, name
        assert not re.search(r"(requirepass|password)\s+(?!\$\$\(cat )", str(service.get("command", ""))), name
    readers = {"valkey", "edge", "llm-router", "cost-ledger"}
    assert readers == {
        name for name, service in SERVICES.items() if "valkey-password:/etc/spillway-valkey:ro" in volumes(service)
    }
    assert {"edge", "llm-router", "cost-ledger"} == {
        name for name, service in SERVICES.items() if "rpc-token:/etc/spillway-rpc:ro" in volumes(service)
    }
    assert {"edge", "cost-ledger"} == {
        name for name, service in SERVICES.items() if "key-pepper:/etc/spillway-pepper:ro" in volumes(service)
    }


def volumes(service: dict[str, Any]) -> list[str]:
    """Return what a service mounts."""
    return [str(volume) for volume in service.get("volumes", [])]


def test_images_that_are_not_ours_can_be_named_by_digest() -> None:
    """Each is a variable, as is the base of ours; `make pin-images` writes a file with all of them."""
    foreign = {service["image"] for name, service in SERVICES.items() if name not in OURS}

    assert {"${POSTGRES_IMAGE:-postgres:18}", "${VALKEY_IMAGE:-valkey/valkey:9}"} == foreign
    assert "${BASE_IMAGE:-python:3.13-slim}" == COMPOSE["x-build"]["args"]["BASE_IMAGE"]


FAKE_DOCKER = """#!/bin/sh
# buildx imagetools inspect IMAGE --format ...
case "$4" in
*%s*) echo "no such manifest" >&2; exit 1;;
*) printf 'sha256:%%s\\n' "$(printf %%s "$4" | sha256sum | cut -d' ' -f1)";;
esac
"""


def pin_images(folder: Path, missing: str) -> subprocess.CompletedProcess[str]:
    """Run the script with a docker that knows all images but `missing`."""
    (folder / "bin").mkdir()
    docker = folder / "bin/docker"
    docker.write_text(FAKE_DOCKER % missing)
    docker.chmod(0o755)
    command = [sys.executable, str(ROOT / "scripts/pin_images.py"), str(folder)]
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.integration
def test_digests_are_written_for_compose_and_for_the_chart(tmp_path: Path) -> None:
    """The tag stays beside the digest for people; the chart's values take digests as they are."""
    assert (0, "") == ((pinned := pin_images(tmp_path, "nothing")).returncode, pinned.stderr)
    lines = dict(line.split("=", 1) for line in (tmp_path / "images.env").read_text().splitlines())
    values = yaml.safe_load((tmp_path / "images-values.yaml").read_text())

    assert {"BASE_IMAGE", "POSTGRES_IMAGE", "VALKEY_IMAGE"} == lines.keys()
    assert re.fullmatch(r"postgres:18@sha256:[0-9a-f]{64}", lines["POSTGRES_IMAGE"])
    assert {"postgres", "valkey", "vllm"} == values.keys()
    assert lines["POSTGRES_IMAGE"].partition("@")[2] == values["postgres"]["image"]["digest"]


@pytest.mark.integration
def test_no_digest_is_invented(tmp_path: Path) -> None:
    """One that cannot be looked up ends the script with the image and the reason; nothing is written."""
    failed = pin_images(tmp_path, "valkey")

    assert (1, "pin_images: valkey/valkey:9: no such manifest\n") == (failed.returncode, failed.stderr)
    assert [tmp_path / "bin"] == list(tmp_path.iterdir())


def test_only_the_front_door_is_open_and_only_to_this_machine() -> None:
    """No store and no gRPC port can be reached from outside."""
    open_ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert {"edge": ["127.0.0.1:${SPILLWAY_PORT:-8080}:8080"]} == open_ports


def test_services_share_a_network_exactly_where_the_map_has_an_arrow() -> None:
    """The edge cannot reach PostgreSQL, and the model reaches nothing but the router."""
    arrows = {
        frozenset(pair)
        for pair in (
            ("edge", "llm-router"),
            ("edge", "cost-ledger"),
            ("edge", "valkey"),
            ("llm-router", "valkey"),
            ("llm-router", "local-model"),
            ("cost-ledger", "valkey"),
            ("cost-ledger", "postgres"),
            ("migrate", "postgres"),
        )
    }
    # What follows from one network for calls, and from two processes of the ledger.
    harmless = {frozenset(("llm-router", "cost-ledger")), frozenset(("migrate", "cost-ledger"))}
    networks = {name: set(service.get("networks", [])) for name, service in SERVICES.items()}
    shared = {
        frozenset((one, other))
        for one in networks
        for other in networks
        if one < other and networks[one] & networks[other]
    }

    assert arrows | harmless == shared
    assert {"front", "outside"} == {name for name, network in COMPOSE["networks"].items() if not network}


def test_whatever_a_service_waits_for_can_come(tmp_path: Path) -> None:
    """A service that is waited for until it is healthy says when it is."""
    for name, service in SERVICES.items():
        for other, wait in service.get("depends_on", {}).items():
            if wait["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], (name, other)
            else:
                assert SERVICES[other].get("restart", "no") == "no", (name, other)


OURS_UID, STORES_UID = 10001, 999
MOUNTED = [volume.partition(":/volumes/")[2] for volume in SERVICES["setup"]["volumes"] if ":/volumes/" in volume]


def setup(folder: Path, **environment: str) -> list[Path]:
    """Run what makes the keys; return three of its folders. Only root could give them to anybody else."""
    for mounted in MOUNTED:
        (folder / mounted).mkdir(exist_ok=True)
    uids = [str(uid) if os.geteuid() == 0 else str(os.getuid()) for uid in (OURS_UID, STORES_UID)]
    command = [sys.executable, str(ROOT / "scripts/compose_setup.py"), str(folder), *uids]
    subprocess.run(command, check=True, env={"PATH": os.environ["PATH"], **environment})
    return [folder / name for name in ("edge", "router", "postgres")]


@pytest.mark.integration
def test_the_setup_gives_each_service_what_it_reads(tmp_path: Path) -> None:
    """The key opens the edge, the routes lead to the small model, and only the owner can read secrets."""
    edge, router, postgres = setup(tmp_path)

    key = (edge / "development-key").read_text()
    identity = load_keys(edge / "keys.yaml").identify(key)
    assert identity is not None
    assert "developer" == identity.user
    routes = load_routes(router / "routes.yaml", Sources())
    assert ["vllm"] == [target.provider for target in routes["default"].targets]
    assert 32 <= len((postgres / "password").read_text())
    assert 0o600 == (edge / "development-key").stat().st_mode & 0o777
    assert read_rpc_tokens(tmp_path / "rpc/token")
    assert read_pepper(tmp_path / "pepper/pepper")
    readable = {
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_mode & 0o77
    }
    assert {"postgres/password", "valkey/password"} == readable
    if os.geteuid() == 0:
        others = {"postgres": 0, "valkey": 0, "postgres-data": STORES_UID, "valkey-data": STORES_UID}
        for name in MOUNTED:
            uid = others.get(name, OURS_UID)
            assert {uid} == {path.stat().st_uid for path in (tmp_path / name, *(tmp_path / name).rglob("*"))}, name


def secrets_in(folder: Path) -> list[str]:
    """Return token, pepper and passwords."""
    files = ("rpc/token", "pepper/pepper", "postgres/password", "valkey/password")
    return [(folder / file).read_text() for file in files]


@pytest.mark.integration
def test_keys_of_providers_come_and_go_while_ours_stays(tmp_path: Path) -> None:
    """The next start follows the environment; the API key and the password are those of the first one."""
    edge, router, _ = setup(tmp_path, OPENAI_API_KEY="sk-open")
    before = (edge / "development-key").read_text(), *secrets_in(tmp_path)
    routes = load_routes(router / "routes.yaml", Sources())

    assert ["openai", "vllm"] == [target.provider for target in routes["default"].targets]
    assert "sk-open" == (router / "credentials/openai").read_text()

    setup(tmp_path)

    assert before == ((edge / "development-key").read_text(), *secrets_in(tmp_path))
    after = load_routes(router / "routes.yaml", Sources())
    assert ["vllm"] == [target.provider for target in after["default"].targets]
