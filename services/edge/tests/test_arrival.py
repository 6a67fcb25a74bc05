"""The id of a request: the client's own where the ledger can go by it."""

from __future__ import annotations

import time
import uuid

import pytest
import uuid_utils.compat

from edge.http.accept import new_request_id, take_request_id


def uuid7_at(seconds: float) -> uuid.UUID:
    """Make a UUIDv7 of a moment."""
    now = uuid_utils.compat.uuid7()
    return uuid.UUID(int=(int(seconds * 1000) << 80) | (now.int & ((1 << 80) - 1)))


def test_an_id_of_now_is_taken() -> None:
    """Whoever calls may number requests, and find them again by that number."""
    offered = str(uuid_utils.compat.uuid7())

    assert offered == take_request_id(offered)


@pytest.mark.parametrize(
    "write", [str.upper, lambda text: text.replace("-", ""), "{{{}}}".format, "urn:uuid:{}".format]
)
def test_an_id_is_kept_in_its_canonical_form(write: object) -> None:
    """Upper case and the other spellings of a UUID are the same id, so they must not become two in the ledger."""
    offered = str(uuid_utils.compat.uuid7())
    assert callable(write)

    assert offered == take_request_id(write(offered))


@pytest.mark.parametrize(
    "offered",
    [
        "",
        "garbage",
        "7",
        "é" * 36,
        "1" * 100_000,
        str(uuid.uuid4()),
        str(uuid.uuid1()),
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
    ],
)
def test_what_is_no_uuid_of_version_7_is_not_taken(offered: str) -> None:
    """The ledger orders its rows by the time inside the id."""
    assert take_request_id(offered) is None


@pytest.mark.parametrize("shift", [-301, 301, -86_400, 10 * 365 * 86_400])
def test_an_id_of_another_time_is_not_taken(shift: float) -> None:
    """A wrong clock, or an old id sent again, would put the row where nobody looks."""
    offered = str(uuid7_at(time.time() + shift))

    assert take_request_id(offered) is None


@pytest.mark.parametrize("shift", [-240, 240])
def test_a_clock_that_is_a_little_off_is_no_reason(shift: float) -> None:
    """Clocks differ by minutes."""
    offered = str(uuid7_at(time.time() + shift))

    assert offered == take_request_id(offered)


@pytest.mark.parametrize("version", [1, 4, 8])
def test_an_id_of_another_version_is_not_taken_though_its_first_bits_read_as_now(version: int) -> None:
    """Those bits are no time."""
    offered = str(uuid_utils.compat.uuid7())

    assert take_request_id(f"{offered[:14]}{version}{offered[15:]}") is None


def test_without_an_id_each_request_gets_its_own() -> None:
    """A new one, canonical, of now; two requests never share one."""
    assert take_request_id(None) is None

    first, second = new_request_id(), new_request_id()
    assert first != second


def test_an_id_that_an_edge_gave_out_is_not_taken_back() -> None:
    """A client that repeats it would make a second request look like the first one told twice."""
    minted = [new_request_id() for _ in range(1000)]

    assert 1000 == len(set(minted))
    assert {7} == {uuid.UUID(each).version for each in minted}
    assert minted == sorted(minted)
    assert {None} == {take_request_id(each) for each in minted}
