"""Where the front-door tests are sent."""

from __future__ import annotations

import pytest

from kit.front_door.given_system import Incomplete, given_system

NEEDED = {
    "E2E_URL": "http://edge.test:8080/",
    "E2E_API_KEY": "sk-spillway-1-blue",
    "E2E_OTHER_API_KEY": "sk-spillway-2-red",
    "E2E_FAULT_PROVIDER_URL": "http://provider.test:9000",
}


def test_a_system_is_given_by_its_address_its_keys_and_its_provider() -> None:
    """The stores may be out of reach; with nothing said, no system is given."""
    found = given_system(NEEDED)

    assert found is not None
    assert ("http://edge.test:8080", {"blue": "sk-spillway-1-blue", "red": "sk-spillway-2-red"}, "") == (
        found.url,
        found.keys,
        found.postgres_url,
    )
    assert given_system({"SPILLWAY_URL": "http://production.test"}) is None


@pytest.mark.parametrize("left_out", NEEDED)
def test_a_system_that_is_given_by_half_is_refused(left_out: str) -> None:
    """Nobody tests a local stack who meant another one."""
    half = {name: value for name, value in NEEDED.items() if name != left_out}

    with pytest.raises(Incomplete, match=left_out):
        given_system(half)
