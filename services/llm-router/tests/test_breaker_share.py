"""Breakers that several routers share, over a real Valkey: each `Pod` stands for a process."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from prometheus_client import CollectorRegistry
from pydantic import ValidationError
from structlog.testing import capture_logs

from breaker_pods import DOWN, Pod
from llm_router.breaker import Breaker
from llm_router.breaker_share import LEASE_SECONDS, Ask, State, Told
from llm_router.breaker_window import NOTHING, Totals
from llm_router.breakers import Permit
from llm_router.errors import ProviderTimeout
from llm_router.metrics import Metrics
from llm_router.settings import Settings
from spillway_local import processes, valkey
from spillway_local.ports import free_port

# The machine may be busy; what has to happen happens within a fraction of it.
PATIENCE_SECONDS = 20.0
FAILURES = "llm_router_breaker_share_failures_total"
Pods = Callable[..., Pod]


class Valkey:
    """A server that can be stopped and started again on its data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._port = free_port()
        self.url = valkey.url(self._port, valkey.ensure_password(self._folder))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        log_file = self._folder / "valkey.log"
        self._process = processes.start(
            valkey.command(self._folder, self._port), log_file, death_signal=valkey.STOP_SIGNAL
        )
        processes.wait_until_ready(self._process, lambda: valkey.answers_ping(self._port), log_file, 30.0)

    def stop(self) -> None:
        """Stop, and wait until it is gone."""
        if self._process is not None:
            processes.stop(self._process, valkey.STOP_SIGNAL, 10.0)
            self._process = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let it accept and say nothing while the block runs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """Yield a running Valkey of this module's own, for it is stopped and paused."""
    server = Valkey(tmp_path_factory.mktemp("breakers") / "valkey")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def store(server: Valkey) -> AsyncIterator[redis.Redis]:
    """Yield a client of the empty server."""
    client = redis.Redis.from_url(server.url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def pods(server: Valkey, store: redis.Redis) -> AsyncIterator[Pods]:
    """Yield a function that makes another pod."""
    async with AsyncExitStack() as stack:
        made: list[Pod] = []

        def make(targets: tuple[str, ...] = ("t",), *, is_patient: bool = True) -> Pod:
            pod = Pod(server.url, targets=targets, is_patient=is_patient)
            made.append(pod)
            assert pod.share is not None
            stack.push_async_callback(pod.share.close)
            return pod

        yield make


@asynccontextmanager
async def shared(*pods: Pod) -> AsyncIterator[None]:
    """Let the pods exchange in the background, as a process does."""
    tasks = [asyncio.create_task(pod.breakers.keep_shared()) for pod in pods]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def exchange(*pods: Pod) -> None:
    """Let each pod tell and learn once, in this order."""
    for pod in pods:
        await pod.breakers.exchange()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def probe_of(pod: Pod) -> Permit:
    """Wait until a probe is permitted."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (permit := await pod.breakers.admit("t")) is None:
            await asyncio.sleep(0.01)
    assert permit.is_probe
    return permit


async def until_probes_are_due() -> None:
    """Let the rest after a first opening pass: a second and a fifth of jitter."""
    await asyncio.sleep(1.25)


async def next_probe(pod: Pod) -> float:
    """Wait until a probe is permitted and abandon it; return how long it took."""
    started = time.monotonic()
    (await probe_of(pod)).abandoned()
    return time.monotonic() - started


def opening_of(pod: Pod) -> float:
    """Let the pod's attempts fail; return the seconds until the probe, as they are logged."""
    with capture_logs() as lines:
        for _ in range(5):
            pod.breakers.insist("t").failed(DOWN)
    (seconds,) = [line["probe_in_seconds"] for line in lines if line["event"] == "breaker_opened"]
    return float(seconds)


async def questions_to(store: redis.Redis) -> int:
    """Return how many exchanges Redis has answered."""
    return int((await store.info("commandstats"))["cmdstat_evalsha"]["calls"])


def shows_open(pod: Pod) -> bool:
    """Tell what the gauge says."""
    return pod.counted("llm_router_breaker_open", target="t") == 1


def transitions(lines: Iterable[MutableMapping[str, Any]]) -> list[tuple[str, bool]]:
    """Return event and origin of the lines that tell of a state."""
    return [(line["event"], line["learned"]) for line in lines if "learned" in line]


async def test_the_others_learn_of_an_opening_and_of_a_closing(pods: Pods) -> None:
    """One pod meets the failures and makes the probe; the other refuses and admits without an attempt of its own."""
    first, second = pods(), pods()
    async with shared(first, second):
        with capture_logs() as lines:
            await first.fails(5)
            await until(lambda: shows_open(second))
        assert await second.breakers.admit("t") is None
        assert [("breaker_opened", False), ("breaker_opened", True)] == transitions(lines)
        assert None is second.counted("llm_router_breaker_openings_total", target="t", reason="failure_ratio")

        probe = await probe_of(first)
        with capture_logs() as lines:
            probe.first_content()
            await until(lambda: not shows_open(second))
        assert not (await second.admitted()).is_probe
        assert [("breaker_closed", False), ("breaker_closed", True)] == transitions(lines)


async def test_news_travel_within_a_fraction_of_a_second(pods: Pods) -> None:
    """The fastest of five openings is known to the other pod in 250 ms."""
    first, second = pods(targets=("t", *"abcde")), pods(targets=("t", *"abcde"))
    took = []
    async with shared(first, second):
        await exchange(first, second)
        for target in "abcde":
            await first.fails(5, target=target)
            started = time.monotonic()
            await until(lambda name=target: second.counted("llm_router_breaker_open", target=name) == 1)  # type: ignore[misc]
            took.append(time.monotonic() - started)

    assert min(took) < 0.25


async def test_the_outcomes_of_all_make_one_window(pods: Pods) -> None:
    """Three failures here and two there open; the pod that only looks on learns as well."""
    first, second, third = pods(), pods(), pods()
    await exchange(first, second, third)
    await first.fails(3)
    await exchange(first)
    await second.fails(2)
    await exchange(second, third, first)

    assert [True] * 3 == [shows_open(pod) for pod in (first, second, third)]


async def test_successes_elsewhere_count_against_failures_here(pods: Pods) -> None:
    """Five failures of this pod are not half of all."""
    first, second = pods(), pods()
    await second.succeeds(6)
    await exchange(second, first)
    await first.fails(5)
    await exchange(first, second)
    assert [False, False] == [shows_open(pod) for pod in (first, second)]
    await first.fails(1)

    assert shows_open(first)


async def test_pods_that_open_at_once_agree_on_one_opening(pods: Pods, store: redis.Redis) -> None:
    """The first to tell wins; all have the same probe time, and the share has one transition."""
    several = [pods() for _ in range(4)]
    for pod in several:
        await pod.fails(5)
    await exchange(*several, *several)

    assert b"1" == await store.hget("spillway:breaker:state:t", "epoch")


async def test_one_pod_holds_the_lease_of_the_probe(pods: Pods) -> None:
    """Six pods ask at the same moment, often: one gets it; when it gives it back, another one."""
    several = [pods() for _ in range(6)]
    await several[0].fails(5)
    await exchange(*several)
    await next_probe(several[0])
    await exchange(several[0])
    await asyncio.sleep(0.3)  # all clocks agree by now that the probe is due

    permits = [permit for permit in await asyncio.gather(*(pod.breakers.admit("t") for pod in several)) if permit]
    assert [True] == [permit.is_probe for permit in permits]
    assert [None] * 6 == await asyncio.gather(*(pod.breakers.admit("t") for pod in several))
    permits[0].abandoned()
    await exchange(*several)
    assert await next_probe(several[5]) < PATIENCE_SECONDS


async def test_a_failed_probe_is_known_before_its_lease_is_free(pods: Pods, store: redis.Redis) -> None:
    """A pod that has not heard of the failure asks for the lease and learns that the next probe is not due."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await until_probes_are_due()
    probe = await probe_of(first)
    assert await second.breakers.admit("t") is None
    probe.failed(DOWN)
    await asyncio.sleep(0.25)
    assert await second.breakers.admit("t") is None
    await exchange(first)
    async with asyncio.timeout(PATIENCE_SECONDS):
        before = after = await questions_to(store)
        while after == before:
            assert await second.breakers.admit("t") is None
            after = await questions_to(store)
    assert await next_probe(second) > 1.4
    assert await questions_to(store) - after <= 2  # one more at most than the one that was granted


async def test_who_only_asked_for_the_lease_does_not_take_it_by_renewing(pods: Pods, store: redis.Redis) -> None:
    """An exchange while the lease is asked for, and refused, leaves the lease free."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await until_probes_are_due()
    (await probe_of(first)).failed(DOWN)
    await exchange(first)
    permit, _ = await asyncio.gather(second.breakers.admit("t"), second.breakers.exchange())

    assert permit is None
    assert 0 == await store.exists("spillway:breaker:probe:t")


@pytest.fixture
def breaker() -> Breaker:
    """Return a breaker whose exchanges the test plays itself."""
    return Breaker(
        "t",
        Metrics(CollectorRegistry()),
        clock=time.monotonic,
        jitter=random.Random(7),
        changed=lambda: None,
    )


async def test_a_late_answer_of_redis_changes_nothing(breaker: Breaker) -> None:
    """What was asked before the last answer was known is older than it."""
    late, early = breaker.ask(), breaker.ask()
    opened = Told(3, State(True, "failure_ratio", 1.0, 1.0), NOTHING, accepted=False, leased=False)
    breaker.learn(early, opened)
    breaker.learn(late, Told(0, State(False, "", 0.0, 0.0), NOTHING, accepted=False, leased=False))
    assert breaker.is_open
    following = breaker.ask()

    assert (3, None) == (following.epoch, following.offer)


async def test_what_changes_while_redis_is_told_is_told_next(breaker: Breaker) -> None:
    """A breaker that closes while its opening is on the way tells of its closing; older outcomes are not mixed in."""
    for _ in range(5):
        breaker.count(DOWN)
    ask = breaker.ask()
    breaker.close()
    state = State(True, "failure_ratio", 1.0, 1.0)
    breaker.learn(ask, Told(1, state, Totals(9, 9), accepted=True, leased=False))
    assert not breaker.is_open
    following = breaker.ask()

    assert following.offer is not None
    assert (1, False) == (following.epoch, following.offer.is_open)


async def test_a_target_that_is_down_for_days_stays_within_a_minute(breaker: Breaker) -> None:
    """What is shared does not grow with the number of failed probes."""
    for _ in range(5):
        breaker.count(DOWN)
    for _ in range(1100):
        breaker.stay_open(DOWN)
    offer = breaker.ask().offer

    assert offer is not None
    assert 60 == offer.distance_seconds


async def test_a_closing_is_known_to_who_asks_for_the_lease(pods: Pods) -> None:
    """The pod that comes late with its probe is told that the breaker is closed: its attempt is an ordinary one."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await until_probes_are_due()
    (await probe_of(first)).succeeded()
    await exchange(first)

    assert shows_open(second)
    assert not (await second.admitted()).is_probe
    assert not shows_open(second)
    assert 1.9 < opening_of(second) < 2.5  # its past is known, too


async def test_a_refused_pod_does_not_ask_for_the_lease_at_every_request(pods: Pods, store: redis.Redis) -> None:
    """While another pod probes, a hundred requests cost Redis a question or two."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await until_probes_are_due()
    await probe_of(first)
    before = await questions_to(store)
    for _ in range(100):
        assert await second.breakers.admit("t") is None

    assert 1 <= await questions_to(store) - before <= 20


async def test_the_lease_of_a_dead_pod_is_soon_free(pods: Pods, store: redis.Redis) -> None:
    """A pod that probes and is heard of no more keeps the others away for five seconds, not longer."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await until_probes_are_due()
    await probe_of(first)
    left = await store.pttl("spillway:breaker:probe:t")
    assert 0 < left <= LEASE_SECONDS * 1000

    assert left / 1000 - 1.0 < await next_probe(second) < PATIENCE_SECONDS


async def test_a_probe_keeps_its_lease_while_it_runs(pods: Pods, store: redis.Redis) -> None:
    """Each exchange renews it; an exchange of a pod without the lease does not, and nobody takes it by renewing."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await until_probes_are_due()
    probe = await probe_of(first)
    await store.pexpire("spillway:breaker:probe:t", 2000)
    assert await second.breakers.admit("t") is None
    await exchange(second)
    assert await store.pttl("spillway:breaker:probe:t") <= 2000
    await exchange(first)
    assert await store.pttl("spillway:breaker:probe:t") > 2000
    probe.abandoned()
    await exchange(first)

    assert 0 == await store.exists("spillway:breaker:probe:t")


async def test_of_two_probes_that_failed_one_counts(pods: Pods, store: redis.Redis) -> None:
    """A probe whose lease was lost to another pod says nothing new when it fails after that one's."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await until_probes_are_due()
    probe = await probe_of(first)
    await store.delete("spillway:breaker:probe:t")
    (await probe_of(second)).failed(DOWN)
    await exchange(second, first)
    with capture_logs() as lines:
        probe.failed(DOWN)

    assert [] == transitions(lines)


async def test_redis_is_asked_a_few_times_a_second(pods: Pods, store: redis.Redis) -> None:
    """News are told once; a pod that has told them waits for the next round like any other."""
    first = pods()
    async with shared(first):
        await first.fails(5)
        before = await questions_to(store)
        await asyncio.sleep(1.0)

        assert 1 <= await questions_to(store) - before <= 10


async def test_late_news_from_before_the_closing_do_not_count(pods: Pods) -> None:
    """Failures that another pod saw before the breaker closed, and tells afterwards, are no part of the new window."""
    first, second = pods(), pods()
    await exchange(first, second)
    await second.fails(4)
    await first.fails(5)
    await exchange(first)
    (await probe_of(first)).first_content()
    await exchange(first, second, first)
    await first.fails(4)
    await exchange(first, second)
    assert [False, False] == [shows_open(pod) for pod in (first, second)]
    await second.fails(1)

    assert shows_open(second)


@pytest.mark.parametrize("told", ["after the opening", "before it", "at every step"])
async def test_the_window_begins_anew_with_a_closing(pods: Pods, told: str) -> None:
    """Failures that opened the breaker do not open it again, wherever they were counted."""
    first = pods()
    await exchange(first)
    await first.fails(4)
    if told != "after the opening":
        await exchange(first)
    await first.fails(1)
    assert shows_open(first)
    if told == "at every step":
        await exchange(first)
    first.breakers.insist("t").first_content()
    if told == "at every step":
        await exchange(first)
    await first.fails(4)
    assert not shows_open(first)
    await exchange(first)
    assert not shows_open(first)
    await first.fails(1)

    assert shows_open(first)


async def test_a_new_pod_knows_what_the_others_know(pods: Pods) -> None:
    """A pod that starts while a breaker is open refuses before its own first attempt."""
    first = pods()
    await first.fails(5)
    await exchange(first)
    second = pods()
    await exchange(second)

    assert await second.breakers.admit("t") is None


async def test_flapping_is_known_to_all(pods: Pods) -> None:
    """The pod that opens the breaker again goes on with the distance that another one closed it with."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first)
    (await probe_of(first)).succeeded()
    await exchange(first, second)

    assert 1.9 < opening_of(second) < 2.5


async def test_nothing_stays_for_ever(pods: Pods, store: redis.Redis) -> None:
    """Every key has a time to live."""
    first = pods(targets=("t", "counted"))
    await first.fails(2, target="counted")
    await first.fails(5)
    await exchange(first)
    await probe_of(first)
    keys = [key async for key in store.scan_iter("*")]

    assert {b"state:t", b"probe:t", b"outcomes:counted"} == {key.removeprefix(b"spillway:breaker:") for key in keys}
    assert all([0 < await store.ttl(key) <= 700 for key in keys])


async def test_without_redis_each_pod_goes_by_what_it_sees(server: Valkey, pods: Pods) -> None:
    """While Valkey is stopped a pod opens and probes by itself, counts and logs it once; back again, it tells."""
    first, second = pods(), pods()
    async with shared(first, second):
        await first.succeeds(20)
        await exchange(first)
        with capture_logs() as lines:
            server.stop()
            await until(lambda: (first.counted(FAILURES) or 0) >= 2 and (second.counted(FAILURES) or 0) >= 2)
            await first.fails(20)
            assert shows_open(first)
            await next_probe(first)
            assert not shows_open(second)
            server.start()
            await until(lambda: shows_open(second))

    lost = [line["event"] for line in lines if line["event"].startswith("breaker_share")]
    assert ["breaker_share_lost"] * 2 + ["breaker_share_restored"] * 2 == sorted(lost)
    assert (first.counted(FAILURES) or 0) < PATIENCE_SECONDS


async def test_outcomes_that_redis_did_not_take_count_here(pods: Pods, server: Valkey) -> None:
    """While Redis hangs, failures before and after an exchange that failed make one window."""
    first = pods(is_patient=False)
    await first.succeeds(1)
    await exchange(first)
    with server.hanging():
        await first.fails(3)
        await exchange(first)
        assert not shows_open(first)
        await first.fails(1)

    assert shows_open(first)
    assert 1 == first.counted(FAILURES)


async def test_nobody_renews_the_lease_of_another(pods: Pods, store: redis.Redis) -> None:
    """A probe that went out while Redis was away takes a free lease, and leaves another's as it is."""
    share = pods().share
    assert share is not None
    await store.set("spillway:breaker:probe:t", "first", px=2000)
    await share.exchange([Ask("t", 0, 0, renew="second", release=["third"])], 5.0)
    assert 0 < await store.pttl("spillway:breaker:probe:t") <= 2000
    await share.exchange([Ask("t", 0, 0, release=["first"])], 5.0)
    await share.exchange([Ask("t", 0, 0, renew="second")], 5.0)

    assert b"second" == await store.get("spillway:breaker:probe:t")


async def test_what_redis_lost_is_told_again(pods: Pods, store: redis.Redis) -> None:
    """An emptied Redis neither closes an open breaker nor keeps a closed one from opening."""
    first, second, third = pods(targets=("t", "u")), pods(targets=("t", "u")), pods(targets=("t", "u"))
    await first.fails(5)
    await first.fails(5, target="u")
    await exchange(first, second)
    await next_probe(first)
    (await first.admitted("u")).succeeded()
    await exchange(first, second)
    await store.flushall()
    await exchange(second, first, second, third)
    assert [True] * 3 == [shows_open(pod) for pod in (first, second, third)]
    await third.fails(5, target="u")
    await exchange(third, first)

    assert 1 == first.counted("llm_router_breaker_open", target="u")


async def test_a_slow_redis_holds_nobody_up(pods: Pods, server: Valkey) -> None:
    """A due probe goes out without its lease after 50 ms, what follows does not even ask, and it is counted once."""
    first = pods(is_patient=False)
    await first.fails(5)
    await exchange(first)
    await asyncio.sleep(1.25)
    with server.hanging():
        started = time.monotonic()
        probe = await first.admitted()
        probe.abandoned()
        asked = time.monotonic() - started
        started = time.monotonic()
        (await first.admitted()).succeeded()
        for _ in range(1000):
            (await first.admitted()).succeeded()
        not_asked = time.monotonic() - started

    assert probe.is_probe
    assert 0.04 < asked < 2.0
    assert not_asked < 2.0
    assert 1 == first.counted(FAILURES)


async def test_who_is_cancelled_while_it_waits_for_the_lease_leaves_nothing_behind(pods: Pods, server: Valkey) -> None:
    """The next request may probe, here and elsewhere."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first, second)
    await asyncio.sleep(1.25)
    with server.hanging():
        waiting = asyncio.create_task(first.breakers.admit("t"))
        for _ in range(10):
            await asyncio.sleep(0)  # the question is out
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        assert waiting.cancelled()
    await exchange(first)

    assert await next_probe(first) < PATIENCE_SECONDS
    await exchange(first)
    assert await next_probe(second) < PATIENCE_SECONDS


async def test_the_exchange_ends_whenever_it_is_cancelled(pods: Pods) -> None:
    """At whichever step of connecting, writing and reading it is told to stop, it stops."""
    for steps in range(40):
        pod = pods()
        for _ in range(2):  # with a new connection, and with one that is there
            task = asyncio.create_task(pod.breakers.keep_shared())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=PATIENCE_SECONDS)
            assert done
            pod.breakers.keep(["t"])


async def test_a_redis_whose_clock_went_back_does_not_keep_a_breaker_open(pods: Pods, store: redis.Redis) -> None:
    """A rest that is longer than any rest is taken as over."""
    first, second = pods(), pods()
    await first.fails(5)
    await exchange(first)
    await store.hincrby("spillway:breaker:state:t", "until_ms", 3_600_000)
    await exchange(second)

    assert await next_probe(second) < 5.0


async def test_outcomes_of_long_ago_leave_the_shared_window(pods: Pods, store: redis.Redis) -> None:
    """A bucket that is older than the window is neither counted nor kept."""
    first = pods()
    seconds, _ = await store.time()
    bucket = int(seconds) // 3
    await store.hset("spillway:breaker:outcomes:t", mapping={f"a{bucket - 11}": 50, f"f{bucket - 11}": 50})
    await first.fails(4)
    await exchange(first)

    assert not shows_open(first)
    kept = {key[:1] for key in await store.hkeys("spillway:breaker:outcomes:t")}
    assert ({b"a", b"f"}, 2) == (kept, await store.hlen("spillway:breaker:outcomes:t"))


async def test_garbage_in_redis_is_as_good_as_no_redis(pods: Pods, store: redis.Redis) -> None:
    """A key of another kind makes the exchange fail, counted; the pod goes on by itself."""
    first = pods()
    await store.set("spillway:breaker:state:t", b"\xff garbage")
    await exchange(first)
    await first.fails(5, ProviderTimeout("x"))

    assert shows_open(first)
    assert 1 == first.counted(FAILURES)


@pytest.mark.parametrize("address", ["", "somewhere", "http://127.0.0.1/0", "redis://127.0.0.1:port/0"])
def test_an_address_that_is_none_is_refused_at_the_start(address: str) -> None:
    """The process does not start with a share that can never work."""
    with pytest.raises(ValidationError, match="redis_url"):
        Settings(redis_url=address)


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_all_agree_in_the_end(pods: Pods, store: redis.Redis, seed: int) -> None:
    """Four pods fail, succeed, probe, close and exchange in any order, and Redis forgets; then all say the same."""
    several = [pods() for _ in range(4)]
    chance = random.Random(seed)
    for _ in range(150):
        pod = chance.choice(several)
        match chance.choices(["fail", "succeed", "close", "exchange", "race", "forget"], [12, 3, 2, 6, 2, 0.3])[0]:
            case "fail":
                pod.breakers.insist("t").failed(DOWN)
            case "succeed":
                with suppress(AssertionError):
                    (await pod.admitted()).succeeded()
            case "close":
                pod.breakers.insist("t").first_content()
            case "exchange":
                await exchange(pod)
            case "race":
                exchanges = [asyncio.create_task(exchange(other)) for other in several]
                await asyncio.sleep(0)
                pod.breakers.insist("t").first_content()
                await asyncio.gather(*exchanges)
            case _:
                await store.flushall()
    await exchange(*several, *several, *several)

    said = {shows_open(pod) for pod in several}
    shared_state = await store.hget("spillway:breaker:state:t", "is_open") or b"0"
    assert {shared_state == b"1"} == said
