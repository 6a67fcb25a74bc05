"""The routes of the local system, for each combination of keys."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml

from spillway_local.home import CommandError, Home
from spillway_local.routes import collect_vendors, render_routes, write_routes

URL = "http://127.0.0.1:20001/v1"
BOTH = {"OPENAI_API_KEY": "sk-open", "ANTHROPIC_API_KEY": "sk-ant", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_without_keys_every_route_leads_to_the_local_model(home: Home) -> None:
    """Without a key there is no vendor in the file."""
    routes = render_routes(collect_vendors(home, {}), URL)

    assert {"local-smollm2"} == set(routes["targets"])
    assert {"default", "smollm2-135m-instruct"} == set(routes["routes"])
    assert URL == routes["targets"]["local-smollm2"]["base_url"]


def test_with_both_keys_the_vendors_come_first_and_are_each_others_fallback(home: Home) -> None:
    """Each model's route: itself, the other vendor's counterpart, the local model."""
    routes = render_routes(collect_vendors(home, BOTH), URL)

    luna, haiku = "openai-gpt-6-luna", "anthropic-claude-haiku-5-5"
    assert [luna, haiku, "local-smollm2"] == routes["routes"]["default"]["targets"]
    assert [luna, haiku, "local-smollm2"] == routes["routes"]["gpt-6-luna"]["targets"]
    assert [haiku, luna, "local-smollm2"] == routes["routes"]["claude-haiku-5-5"]["targets"]
    assert "anthropic-claude-sonnet-5-5" == routes["routes"]["gpt-6-sol"]["targets"][1]
    assert "http://127.0.0.1:1/v1" == routes["targets"][luna]["base_url"]
    assert "base_url" not in routes["targets"][haiku]


def test_with_openais_key_there_are_embeddings_of_one_model(home: Home) -> None:
    """They have no fallback, since another model has other vectors; without the key there is no such route."""
    routes = render_routes(collect_vendors(home, {"OPENAI_API_KEY": "sk-open"}), URL)
    without = render_routes(collect_vendors(home, {"ANTHROPIC_API_KEY": "sk-ant"}), URL)

    assert ["openai-text-embedding-3-small"] == routes["routes"]["text-embedding-3-small"]["targets"]
    assert "text-embedding-3-small" == routes["targets"]["openai-text-embedding-3-small"]["model"]
    assert "text-embedding-3-small" not in without["routes"]


def test_keys_are_written_to_their_own_files_and_deleted_when_no_longer_set(home: Home) -> None:
    """The files have mode 0600, and no key is in the routes."""
    vendors = collect_vendors(home, BOTH)
    text = write_routes(home, vendors, URL, None).read_text()
    files = [vendor.credential_file for vendor in vendors]

    assert ["sk-open", "sk-ant"] == [file.read_text() for file in files]
    assert {0o600} == {stat.S_IMODE(file.stat().st_mode) for file in files}
    assert "sk-" not in text
    assert [] == collect_vendors(home, {"OPENAI_API_KEY": "  "})
    assert [False, False] == [file.exists() for file in files]


def test_a_custom_routes_file_gets_the_address_of_the_local_model(home: Home, tmp_path: Path) -> None:
    """Only ${LOCAL_MODEL_URL} is replaced; other variables are kept."""
    own = tmp_path / "own.yaml"
    own.write_text("targets: {a: {base_url: '${LOCAL_MODEL_URL}', model: 'x$y ${z}'}}\n")

    written = yaml.safe_load(write_routes(home, [], URL, own).read_text())

    assert {"base_url": URL, "model": "x$y ${z}"} == written["targets"]["a"]


def test_a_routes_file_that_cannot_be_read_is_reported(home: Home, tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(CommandError, match="nowhere"):
        write_routes(home, [], URL, tmp_path / "nowhere.yaml")
