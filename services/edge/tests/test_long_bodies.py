"""A long body holds up no other request, and takes no more memory than a few times its length, whatever is in it."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from edge.settings import Settings
from kit.front_door.lone_edge import LoneEdge, running_lone_edge

pytestmark = pytest.mark.integration

MEBIBYTE = 1024 * 1024
LONGEST = Settings().max_body_bytes
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
COMPLETIONS, MESSAGES, EMBEDDINGS = "/v1/chat/completions", "/v1/messages", "/v1/embeddings"


def filled(start: bytes, unit: bytes, end: bytes, size: int = LONGEST) -> bytes:
    """Return a body of nearly `size` bytes."""
    return start + unit * ((size - len(start) - len(end)) // len(unit)) + end


ASK = b'{"model":"default","messages":[{"role":"user","content":"'
NATIVE = b'{"model":"default","max_tokens":5,"messages":[{"role":"user","content":'
# Each with the status that shows how far it came: nothing is behind this edge, so what is good is a 503.
BODIES = {
    "a picture": (COMPLETIONS, filled(ASK, b"QUJD", b'"}]}'), 503),
    "line ends": (COMPLETIONS, filled(ASK, b"\\n", b'"}]}'), 503),
    "letters of two bytes": (COMPLETIONS, filled(ASK, "é".encode(), b'"}]}'), 503),
    "a text of JSON": (COMPLETIONS, filled(ASK, b'{\\"a\\":[1,2]},', b'"}]}'), 503),
    "a text without an end": (COMPLETIONS, filled(ASK, b'\\"{[', b""), 400),
    "empty messages": (COMPLETIONS, filled(b'{"model":"default","messages":[', b"{},", b"{}]}"), 400),
    "lists in a list": (COMPLETIONS, filled(b'{"model":"default","messages":[', b"[],", b"[]]}"), 400),
    "numbers in an unknown field": (COMPLETIONS, filled(b'{"model":"default","odd":[', b"1e9,", b"1]}"), 400),
    "fields": (COMPLETIONS, b'{"a":1' + b"".join(b',"f%07d":1' % number for number in range(2_000_000)) + b"}", 400),
    "a picture in Anthropic's contract": (MESSAGES, filled(NATIVE + b'"', b"QUJD", b'"}]}'), 503),
    "blocks": (MESSAGES, filled(NATIVE + b"[", b'{"type":"text","text":"x"},', b"{}]}]}"), 400),
    "tokens": (EMBEDDINGS, filled(b'{"model":"default","input":[', b"123456,", b"1]}"), 400),
    # Short enough in parts to be parsed, and wrong in each.
    "four megabytes of empty messages": (
        COMPLETIONS,
        filled(b'{"model":"default","messages":[', b"{ }" + b" " * 50 + b",", b"{}]}", 4 * MEBIBYTE),
        400,
    ),
}


@pytest.fixture(name="lone", scope="module")
def _lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneEdge]:
    """Yield an edge that takes bodies as long as it does by default."""
    with running_lone_edge(tmp_path_factory.mktemp("lone")) as edge:
        yield edge


def post(edge: LoneEdge, path: str, body: bytes) -> tuple[int, bytes]:
    """Send a body; return status and content."""
    headers = {"authorization": f"Bearer {edge.key}", "content-type": "application/json"}
    with closing(http.client.HTTPConnection(edge.url.removeprefix("http://"), timeout=120)) as connection:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, its threads included and its children not."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_SECONDS


def memory_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES


def children(pid: int) -> list[int]:
    """Return the processes that a process has forked."""
    lists = [(task / "children").read_text().split() for task in Path(f"/proc/{pid}/task").iterdir()]
    return [int(child) for pids in lists for child in pids]


class Watched:
    """What an edge was seen to do while something was sent to it."""

    longest_work_seconds = 0.0
    """CPU time that the edge used between two answers to a client that asks all the time."""
    additional_bytes = 0


@contextmanager
def watched(edge: LoneEdge) -> Iterator[Watched]:
    """Ask the edge all the time for something cheap.

    A silence counts by the CPU time that the edge used in it: a machine that is busy with other things is no fault of
    ours, and a loop that is held up works.
    """
    seen, stop, pid = Watched(), threading.Event(), edge.process.pid

    def ask() -> None:
        with closing(http.client.HTTPConnection(edge.url.removeprefix("http://"), timeout=120)) as connection:
            while not stop.is_set():
                before = cpu_seconds(pid)
                connection.request("GET", "/health/live")
                connection.getresponse().read()
                seen.longest_work_seconds = max(seen.longest_work_seconds, cpu_seconds(pid) - before)
                seen.additional_bytes = max(seen.additional_bytes, memory_bytes(pid) - memory)
                time.sleep(0.002)

    memory = memory_bytes(pid)
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield seen
    finally:
        stop.set()
        asking.join()


def test_bodies_of_32_mb_are_taken_by_default() -> None:
    """As Anthropic does: documents and pictures of a long conversation."""
    assert 32 * MEBIBYTE == LONGEST


@pytest.mark.parametrize("name", BODIES)
def test_no_body_holds_up_another_request_or_fills_memory(lone: LoneEdge, name: str) -> None:
    """At most a tenth of a second of work in one go, and five times its length in memory."""
    path, body, expected = BODIES[name]
    with watched(lone) as seen:
        status, content = post(lone, path, body)

    assert expected == status, content[:300]
    assert seen.longest_work_seconds <= 0.1
    assert seen.additional_bytes <= 5 * LONGEST


def test_a_long_body_is_refused_in_the_words_for_a_short_one(lone: LoneEdge) -> None:
    """The process that reads it says what is wrong as the edge would."""
    wrong = b'{"model":"default","messages":[{"role":"king","content":"x"}]%b}'
    short, long = post(lone, COMPLETIONS, wrong % b""), post(lone, COMPLETIONS, wrong % (b" " * MEBIBYTE))

    assert 400 == short[0]
    assert short == long


def test_a_reader_that_is_killed_costs_its_own_request_only(lone: LoneEdge) -> None:
    """The kernel may do so when memory is short: the client learns that its body was too much, and the next is read."""
    assert 503 == post(lone, COMPLETIONS, filled(ASK, b"QUJD", b'"}]}', MEBIBYTE))[0]
    (mother,) = children(lone.process.pid)
    answers: list[tuple[int, bytes]] = []
    asking = threading.Thread(target=lambda: answers.append(post(lone, *BODIES["line ends"][:2])))
    asking.start()
    deadline = time.monotonic() + 60
    while asking.is_alive() and not answers:
        assert time.monotonic() < deadline
        for reader in children(mother):
            with suppress(OSError):  # it has ended by itself
                if cpu_seconds(reader) > 0.05:
                    os.kill(reader, signal.SIGKILL)
    asking.join()

    assert 400 == answers[0][0]
    assert b"takes too long, or too much memory, to read" in answers[0][1]
    assert 503 == post(lone, COMPLETIONS, filled(ASK, b"QUJD", b'"}]}', MEBIBYTE))[0]


def test_without_the_process_that_forks_readers_the_edge_reads_by_itself(tmp_path: Path) -> None:
    """Slower for the others, which is counted; and nothing is left of it when the edge ends."""
    with running_lone_edge(tmp_path) as edge:
        (mother,) = children(edge.process.pid)
        os.kill(mother, signal.SIGKILL)
        body = filled(ASK, b"QUJD", b'"}]}', MEBIBYTE)
        assert [503, 503] == [post(edge, COMPLETIONS, body)[0] for _ in range(2)]
        assert 2 == edge.metric("edge_bodies_read_here_total")


def test_an_edge_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    """Mother and readers end with it."""
    with running_lone_edge(tmp_path) as edge:
        post(edge, COMPLETIONS, filled(ASK, b"QUJD", b'"}]}', MEBIBYTE))
        (mother,) = children(edge.process.pid)
        left = [mother, *children(mother)]
        assert 2 == len(left)
        edge.process.kill()
        edge.process.wait()
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{pid}").exists() for pid in left):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_long_bodies_that_come_all_at_once_are_read_or_refused(lone: LoneEdge) -> None:
    """Those that would wait long are told to come again."""
    answers: list[int] = []
    body = filled(ASK, b"\\n", b'"}]}', 2 * MEBIBYTE)
    asking = [threading.Thread(target=lambda: answers.append(post(lone, COMPLETIONS, body)[0])) for _ in range(60)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()

    assert [503] * 60 == answers
    assert lone.refusals("overloaded") > 0
    assert lone.refusals("router_unavailable") >= 18
