"""Routes are replaced under running requests: nothing in use is closed, nothing stays open for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry

from llm_router.metrics import Metrics
from llm_router.providers.chat_body import ChatBody
from llm_router.providers.provider import AnswerStream, Provider
from llm_router.routes.file import Route, Routes
from llm_router.routes.fleet import Fleets
from llm_router.routes.load import load_routes
from llm_router.routes.sources import Sources
from llm_router.routes.watch import RoutesWatch
from llm_router.target import Target


class FakeProvider:
    """Has no connections; counts how often it is closed."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.closings = 0
        self.closed = asyncio.Event()

    @asynccontextmanager
    async def open(self, chat: ChatBody) -> AsyncIterator[AnswerStream]:
        """Answer nothing."""
        raise AssertionError(chat)
        yield

    async def close(self) -> None:
        """Count; a provider whose model is `bad` fails at it."""
        self.closings += 1
        self.closed.set()
        if self.target.model == "bad":
            raise OSError("cannot close")


class FakeFactory:
    """Creates providers and keeps them in the order of their creation."""

    def __init__(self) -> None:
        self.made: list[FakeProvider] = []

    def __call__(self, target: Target) -> Provider:
        """Create one."""
        provider = FakeProvider(target)
        self.made.append(provider)
        return provider

    def of(self, name: str, number: int = 0) -> FakeProvider:
        """Return the provider that was created for the target `name`, the `number`-th of several."""
        return [provider for provider in self.made if provider.target.name == name][number]


def target(name: str, model: str = "m") -> Target:
    """Return a target."""
    return Target(name=name, provider="vllm", model=model, base_url="http://127.0.0.1:1/v1")


def routes(*targets: Target) -> Routes:
    """Return one route to `targets`."""
    return {"model": Route(name="model", ranks=tuple((target,) for target in targets))}


async def settle() -> None:
    """Let every runnable task run."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture(name="factory")
def _factory() -> FakeFactory:
    return FakeFactory()


@pytest.fixture(name="fleets")
def _fleets(factory: FakeFactory) -> Fleets:
    return Fleets(factory)


async def test_an_equal_target_keeps_its_provider(fleets: Fleets, factory: FakeFactory) -> None:
    """Only a changed target gets a new provider, and the one it replaces is closed."""
    await fleets.replace(routes(target("a"), target("b")))
    await fleets.replace(routes(target("b"), target("a", "other"), target("c")))
    await asyncio.wait_for(factory.of("a").closed.wait(), 10)

    assert ["a", "b", "a", "c"] == [provider.target.name for provider in factory.made]
    assert factory.of("b") is fleets.current.providers[target("b")]
    assert factory.of("a", 1) is fleets.current.providers[target("a", "other")]
    assert [1, 0, 0, 0] == [provider.closings for provider in factory.made]
    await fleets.close()


async def test_a_borrowed_fleet_stays_open_until_its_last_request_ends(fleets: Fleets, factory: FakeFactory) -> None:
    """With two earlier requests the provider is closed once, when the second has ended."""
    await fleets.replace(routes(target("a")))
    with fleets.borrow() as first, fleets.borrow():
        with fleets.borrow() as second:
            await fleets.replace(routes(target("b")))
            await settle()
            assert first is second
            assert ["a"] == [target.name for target in second.providers]
            assert 0 == factory.of("a").closings
        await settle()
        assert 0 == factory.of("a").closings
    await asyncio.wait_for(factory.of("a").closed.wait(), 10)

    await fleets.close()
    assert [1, 1] == [provider.closings for provider in factory.made]


async def test_a_request_after_a_replacement_gets_the_new_routes(fleets: Fleets) -> None:
    """A request keeps the routes it began with; the next one has the new ones."""
    await fleets.replace(routes(target("a")))
    with fleets.borrow() as before:
        await fleets.replace(routes(target("b")))
        with fleets.borrow() as after:
            assert ["a"] == [target.name for target in before.routes["model"].targets]
            assert ["b"] == [target.name for target in after.routes["model"].targets]
    await fleets.close()


async def test_a_fleet_between_two_borrowed_ones_is_closed_at_once(fleets: Fleets, factory: FakeFactory) -> None:
    """Providers shared with the oldest or the newest stay open; those only the middle one had are closed."""
    await fleets.replace(routes(target("old"), target("shared")))
    with fleets.borrow():
        await fleets.replace(routes(target("shared"), target("middle"), target("kept")))
        await fleets.replace(routes(target("kept")))
        await asyncio.wait_for(factory.of("middle").closed.wait(), 10)
        await settle()
        assert ["middle"] == [provider.target.name for provider in factory.made if provider.closings]
    await asyncio.wait_for(factory.of("shared").closed.wait(), 10)
    await settle()

    assert ["old", "shared", "middle"] == [provider.target.name for provider in factory.made if provider.closings]
    await fleets.close()


async def test_close_closes_every_provider_once(fleets: Fleets, factory: FakeFactory) -> None:
    """Even one that a request still borrows while it unwinds, and even when another fails to close."""
    await fleets.replace(routes(target("a", "bad"), target("b")))
    with fleets.borrow():
        await fleets.replace(routes(target("c", "bad"), target("d")))
        with structlog.testing.capture_logs() as lines:
            await fleets.close()
    await settle()

    assert [1, 1, 1, 1] == [provider.closings for provider in factory.made]
    assert ["provider_close_failed"] * 2 == [line["event"] for line in lines]


async def test_a_replacement_that_is_cancelled_or_fails_changes_nothing() -> None:
    """The old routes stay in force and can be replaced later."""
    hold, entered = threading.Event(), threading.Event()
    factory = FakeFactory()

    def create(target: Target) -> Provider:
        if target.model == "slow":
            entered.set()
            hold.wait(30)
        if target.model == "impossible":
            raise ValueError("no such provider")
        return factory(target)

    fleets = Fleets(create)
    await fleets.replace(routes(target("a")))
    before = fleets.current
    replacement = asyncio.create_task(fleets.replace(routes(target("b", "slow"))))
    await asyncio.to_thread(entered.wait, 30)
    replacement.cancel()
    await asyncio.wait((replacement,))
    hold.set()
    with pytest.raises(ValueError, match="no such provider"):
        await fleets.replace(routes(target("c", "impossible")))

    assert replacement.cancelled()
    assert before is fleets.current
    assert 0 == factory.of("a").closings
    await fleets.replace(routes(target("d")))
    assert ["d"] == [target.name for target in fleets.current.providers]
    await fleets.close()
    assert 1 == factory.of("a").closings


def file_with(gap_seconds: float, *models: str, key: Path | None = None) -> str:
    """Return a routes file with one target for each of `models`, of the same name."""
    credential = f", credential_file: {key}" if key else ""
    targets = "".join(
        f"  {model}: {{provider: vllm, model: m, base_url: 'http://h/v1', timeouts: {{gap_seconds: {gap_seconds:g}}}"
        f"{credential}}}\n"
        for model in models
    )
    return f"targets:\n{targets}routes:\n" + "".join(f"  {model}: {{targets: [{model}]}}\n" for model in models)


class Watched:
    """A routes file, its watch, and what the watch did."""

    def __init__(self, path: Path, fleets: Fleets) -> None:
        self.path = path
        self.fleets = fleets
        self.registry = CollectorRegistry()
        self.sources = Sources()
        self.routes = load_routes(path, self.sources)
        self.watch = RoutesWatch(path, self.sources, fleets, Metrics(self.registry))

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of a metric."""
        return self.registry.get_sample_value(name, labels)

    @property
    def counters(self) -> tuple[float | None, float | None, float | None]:
        """Return the reloads that succeeded and that were refused, and whether the routes are stale."""
        reloads = "llm_router_routes_reloads_total"
        return (
            self.value(reloads, outcome="ok"),
            self.value(reloads, outcome="rejected"),
            self.value("llm_router_routes_stale"),
        )

    async def check(self) -> list[dict[str, Any]]:
        """Check once and return the log lines."""
        with structlog.testing.capture_logs() as lines:
            await self.watch.check()
        return [dict(line) for line in lines]


@pytest.fixture(name="watched")
async def _watched(tmp_path: Path, fleets: Fleets) -> AsyncIterator[Watched]:
    path = tmp_path / "routes.yaml"
    path.write_text(file_with(20, "a", "b"))
    watched = Watched(path, fleets)
    await fleets.replace(watched.routes)
    yield watched
    await fleets.close()


async def test_nothing_is_logged_while_nothing_changes(watched: Watched) -> None:
    """A check of unchanged files does nothing."""
    before = watched.fleets.current

    assert [] == await watched.check()
    assert before is watched.fleets.current
    assert (0, 0, 0) == watched.counters


async def test_a_reload_names_its_changes(watched: Watched) -> None:
    """Models and targets: added, removed, changed. Other settings of a target are no change of the model."""
    watched.path.write_text(file_with(20, "b", "c").replace("targets: [b]", "targets: [b, c]"))
    first = await watched.check()
    watched.path.write_text(file_with(21, "b", "c").replace("targets: [b]", "targets: [b, c]"))
    second = await watched.check()

    assert [
        {
            "event": "routes_reloaded",
            "log_level": "info",
            "models_added": ["c"],
            "models_removed": ["a"],
            "models_changed": ["b"],
            "targets_added": ["c"],
            "targets_removed": ["a"],
            "targets_changed": [],
        }
    ] == first
    assert ([], ["b", "c"]) == (second[0]["models_changed"], second[0]["targets_changed"])
    assert [] == await watched.check()
    assert (2, 0, 0) == watched.counters


async def test_a_refused_file_is_logged_once_and_kept_out(watched: Watched) -> None:
    """One line per fault and content, however often it is checked; a corrected file is loaded."""
    before = watched.fleets.current
    watched.path.write_text(file_with(0, "a", "b"))
    first, again = await watched.check(), await watched.check()
    refused = watched.counters
    watched.path.write_text(file_with(0, "a"))
    other = await watched.check()
    kept = watched.fleets.current
    watched.path.write_text(file_with(20, "a", "b"))
    mended = await watched.check()

    reason = "timeouts.gap_seconds: Input should be greater than 0"
    assert [
        ("error", "routes_refused", str(watched.path), 2, f"targets.a.{reason}"),
        ("error", "routes_refused", str(watched.path), 3, f"targets.b.{reason}"),
    ] == [(line["log_level"], line["event"], line["file"], line["line"], line["reason"]) for line in first]
    assert [] == again
    assert (0, 1, 1) == refused
    assert ["routes_refused"] == [line["event"] for line in other]
    assert before is kept
    assert ["routes_reloaded"] == [line["event"] for line in mended]
    assert (1, 2, 0) == watched.counters


async def test_a_credential_that_comes_back_makes_a_refused_file_valid(watched: Watched, tmp_path: Path) -> None:
    """The routes file is unchanged; the credential it lacked is there now."""
    key = tmp_path / "key"
    watched.path.write_text(file_with(20, "a", key=key))
    refused = await watched.check()
    key.write_text("sk-1")
    mended = await watched.check()
    key.write_text("sk-2")
    rotated = await watched.check()

    assert [f"targets.a.credential_file: {key}: No such file or directory"] == [line["reason"] for line in refused]
    assert ["routes_reloaded"] == [line["event"] for line in mended]
    assert ["a"] == rotated[0]["targets_changed"]
    assert "sk-2" == watched.fleets.current.routes["a"].targets[0].credential
    assert "sk-" not in str([*refused, *mended, *rotated])


async def test_a_deleted_file_keeps_the_routes(watched: Watched) -> None:
    """A deleted file is refused; the same file is loaded again when it is back."""
    text = watched.path.read_text()
    watched.path.unlink()
    gone = await watched.check()
    watched.path.write_text(text)
    back = await watched.check()

    assert [(None, "No such file or directory")] == [(line["line"], line["reason"]) for line in gone]
    assert ["a", "b"] == list(watched.fleets.current.routes)
    assert ["routes_reloaded"] == [line["event"] for line in back]


async def test_a_check_that_fails_is_repeated(tmp_path: Path, factory: FakeFactory) -> None:
    """A valid file whose providers could not be created is loaded by the next check."""
    failures = [OSError("no more files")]

    def create(target: Target) -> Provider:
        if target.name == "b" and failures:
            raise failures.pop()
        return factory(target)

    path = tmp_path / "routes.yaml"
    path.write_text(file_with(20, "a"))
    watched = Watched(path, Fleets(create))
    await watched.fleets.replace(watched.routes)
    path.write_text(file_with(20, "a", "b"))
    with pytest.raises(OSError, match="no more files"):
        await watched.check()
    assert ["a"] == list(watched.fleets.current.routes)

    await watched.check()

    assert ["a", "b"] == list(watched.fleets.current.routes)
    await watched.fleets.close()
