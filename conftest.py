"""What tests of several parts share: the tiers, and a real PostgreSQL, Valkey and fault provider for each worker."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from spillway_local import processes
from spillway_local.postgres import running_postgres
from spillway_local.valkey import running_valkey

# `make nightly` chooses the other one. A busy machine is slow, which says nothing of the code: there is no deadline.
settings.register_profile(
    "fast", max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "nightly", max_examples=1000, print_blob=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fast")

# What structlog does unless it is configured, but for tracebacks with the values of all variables: 4 s for each one.
_PLAIN = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _PLAIN])

# A test that needs none of these is a unit test, unless it is marked `integration`: it starts processes by itself.
_SERVER_FIXTURES = frozenset({"fault_provider_url", "given", "postgres_url", "redis_server", "redis_url"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its tier."""
    for item in items:
        needs_server = not _SERVER_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        is_integration = needs_server or item.get_closest_marker("integration")
        item.add_marker(pytest.mark.integration if is_integration else pytest.mark.unit)


class _FilesAndFrontDoor(LoadFileScheduling):  # type: ignore[misc] # xdist has no types
    """Keeps the tests of a file on one worker, and all front-door tests, which share one system."""

    def _split_scope(self, nodeid: str) -> str:
        return "tests/e2e" if nodeid.startswith("tests/e2e/") else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Schedule `--dist loadfile`; other ways of distribution are xdist's own."""
    return _FilesAndFrontDoor(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL, with password, of the database `postgres` of a fresh PostgreSQL 18, as its superuser."""
    with running_postgres(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a fresh, empty Valkey 9; whoever writes to it cleans up, it is shared."""
    with running_valkey(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture(scope="session")
def fault_provider_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of tests/fault-provider; tell one test's attempts from another's by the parameter `test`."""
    log_file = tmp_path_factory.mktemp("fault-provider") / "fault-provider.log"
    process = processes.start([sys.executable, "-m", "fault_provider"], log_file)
    try:
        processes.wait_until_ready(process, lambda: "\n" in log_file.read_text(), log_file, 30.0)
        yield log_file.read_text().splitlines()[0]
    finally:
        processes.stop(process, signal.SIGTERM, 10.0)
