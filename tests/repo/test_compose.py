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


@pytest.mark.parametrize("name", OURS)
def test_a_service_runs_with_no_more_than_it_needs(name: str) -> None:
    """What holds in a cluster holds here: nothing is written but volumes, and there is no way to more rights."""
    assert OURS[name]["read_only"]
    assert ["ALL"] == OURS[name]["cap_drop"]
    assert ["no-new-privileges:true"] == OURS[name]["security_opt"]


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


def setup(folder: Path, **environment: str) -> list[Path]:
    """Run what makes the keys, and return its three folders."""
    folders = [folder / name for name in ("edge", "router", "postgres")]
    for made in folders:
        made.mkdir(exist_ok=True)
    command = [sys.executable, str(ROOT / "scripts/compose_setup.py"), str(os.getuid()), *map(str, folders)]
    subprocess.run(command, check=True, env={"PATH": os.environ["PATH"], **environment})
    return folders


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


@pytest.mark.integration
def test_keys_of_providers_come_and_go_while_ours_stays(tmp_path: Path) -> None:
    """The next start follows the environment; the API key and the password are those of the first one."""
    edge, router, postgres = setup(tmp_path, OPENAI_API_KEY="sk-open")
    before = (edge / "development-key").read_text(), (postgres / "password").read_text()
    routes = load_routes(router / "routes.yaml", Sources())

    assert ["openai", "vllm"] == [target.provider for target in routes["default"].targets]
    assert "sk-open" == (router / "credentials/openai").read_text()

    setup(tmp_path)

    assert before == ((edge / "development-key").read_text(), (postgres / "password").read_text())
    after = load_routes(router / "routes.yaml", Sources())
    assert ["vllm"] == [target.provider for target in after["default"].targets]
