"""An edge answers whatever becomes of its log lines, and counts those that are lost."""

from __future__ import annotations

import fcntl
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import orjson
import pytest

from kit.front_door.lone_edge import LoneEdge, running_lone_edge

pytestmark = pytest.mark.integration

# Each leaves a line or two; a pipe of one page has room for the lines of seven.
REQUESTS = 100
_ONE_PAGE = 4096


def ask_often(edge: LoneEdge) -> set[int]:
    """Ask for answers, which there are none of; return the statuses. None may take as long as a stuck write would."""
    headers = {"authorization": f"Bearer {edge.key}"}
    with httpx2.Client(base_url=edge.url, headers=headers, timeout=60) as client:
        return {client.post("/chat", json={"query": "who?"}).status_code for _ in range(REQUESTS)}


@contextmanager
def pipe(size_bytes: int) -> Iterator[tuple[int, int]]:
    """Yield both ends of a pipe with so much room; the reading end is closed with the block, if it is still open."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, size_bytes)
    with os.fdopen(writer, "wb"), os.fdopen(reader, "rb"):
        yield reader, writer


def test_a_full_disk_keeps_no_answer(tmp_path: Path) -> None:
    """ENOSPC at each line."""
    with Path("/dev/full").open("wb") as full, running_lone_edge(tmp_path, full) as edge:
        assert {503} == ask_often(edge)
        assert REQUESTS < edge.metric("edge_log_lines_lost_total")


def test_a_closed_pipe_keeps_no_answer(tmp_path: Path) -> None:
    """EPIPE at each line: who read them has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb"), running_lone_edge(tmp_path, writer) as edge:
        assert {503} == ask_often(edge)
        assert REQUESTS < edge.metric("edge_log_lines_lost_total")


def test_a_limit_of_the_file_keeps_no_answer(tmp_path: Path) -> None:
    """EFBIG instead of the end by SIGXFSZ; once there is room again, a line says how many are missing."""
    limit, unlimited = 1024 * 1024, resource.RLIM_INFINITY
    with (tmp_path / "log").open("ab") as log:
        log.truncate(limit - 2000)
        with running_lone_edge(tmp_path, log) as edge:
            resource.prlimit(edge.process.pid, resource.RLIMIT_FSIZE, (limit, unlimited))
            assert {503} == ask_often(edge)
            lost = edge.metric("edge_log_lines_lost_total")
            assert 0 < lost
            resource.prlimit(edge.process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
            assert {503} == ask_often(edge)

    lines = (tmp_path / "log").read_bytes()[limit:].splitlines()
    reports = [line for line in map(orjson.loads, lines[1:]) if line["event"] == "log_lines_lost"]
    assert lost <= sum(report["lines"] for report in reports)


def test_a_reader_that_sleeps_keeps_no_answer(tmp_path: Path) -> None:
    """A write that waits would stop every stream of the edge."""
    with pipe(_ONE_PAGE) as (_, writer), running_lone_edge(tmp_path, writer) as edge:
        assert {503} == ask_often(edge)
        assert 0 == edge.metric("edge_log_lines_lost_total")  # they wait for the reader, in order and bounded
