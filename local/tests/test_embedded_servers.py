"""The embedded PostgreSQL and Valkey: password, restart, nothing left behind."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
import redis

from spillway_local.postgres import running_postgres
from spillway_local.processes import StartFailed
from spillway_local.valkey import running_valkey

pytestmark = pytest.mark.integration


async def test_postgres_answers_queries_to_who_knows_the_password(postgres_url: str) -> None:
    """The URL that tests get works as it is."""
    connection = await asyncpg.connect(postgres_url)
    try:
        version = await connection.fetchval("SHOW server_version_num")
    finally:
        await connection.close()

    assert "18" == version[:2]


async def test_postgres_refuses_who_does_not_know_the_password(postgres_url: str) -> None:
    """Another user of the machine cannot read the ledger over loopback."""
    url = urlsplit(postgres_url)

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(host=url.hostname, port=url.port, user="postgres", password="wrong", database="postgres")


def test_the_password_is_readable_by_its_owner_only(server_dir: Path) -> None:
    """The password file beside the data has mode 0600."""
    with running_postgres(server_dir) as url:
        password = urlsplit(url).password

    assert 0o600 == stat.S_IMODE((server_dir / "password").stat().st_mode)
    assert (server_dir / "password").read_text() == password


async def test_rows_survive_a_crash_of_postgres(server_dir: Path) -> None:
    """A postmaster.pid left by SIGKILL does not stop the next start, and committed rows are there."""
    data_dir = server_dir / "postgres"
    with running_postgres(data_dir) as url:
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        postmaster = psutil.Process(int((data_dir / "cluster/postmaster.pid").read_text().split()[0]))
        for process in (postmaster, *postmaster.children(recursive=True)):
            process.kill()
        connection.terminate()

    with running_postgres(data_dir) as url:
        connection = await asyncpg.connect(url)
        number = await connection.fetchval("SELECT number FROM kept")
        await connection.close()

    assert 7 == number


def test_a_creation_cut_short_is_begun_anew(server_dir: Path) -> None:
    """Half a cluster from a killed initdb is thrown away, not served."""
    half = server_dir / "postgres/cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    with running_postgres(server_dir / "postgres") as url:
        assert url.startswith("postgresql://postgres:")
    assert not half.exists()


def test_keys_survive_a_restart_of_valkey(tmp_path: Path) -> None:
    """What was written before a clean stop is there after the next start."""
    with running_valkey(tmp_path) as url, redis.Redis.from_url(url) as client:
        client.set("kept", "7")

    with running_valkey(tmp_path) as url, redis.Redis.from_url(url) as client:
        kept = client.get("kept")

    assert b"7" == kept


def test_nothing_outlives_a_parent_killed_with_sigkill(server_dir: Path) -> None:
    """Both servers end when the process that started them is killed and cannot clean up."""
    program = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from spillway_local.postgres import running_postgres
        from spillway_local.valkey import running_valkey
        home = Path(sys.argv[1])
        with running_postgres(home / "postgres"), running_valkey(home / "valkey"):
            print("ready", flush=True)
            time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", program, str(server_dir)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert b"ready\n" == parent.stdout.readline()
        children = psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(signal.SIGKILL)

    _gone, alive = psutil.wait_procs(children, timeout=20)

    assert len(children) > 2  # the two servers and PostgreSQL's own processes
    assert [] == alive


def test_a_server_that_cannot_start_is_reported_with_its_log(tmp_path: Path) -> None:
    """The error names the program, its status and what it last said."""
    (tmp_path / "appendonlydir").write_text("a file where a directory must be")

    with pytest.raises(StartFailed, match=r"(?s)valkey-server ended with status 1.*append"), running_valkey(tmp_path):
        pass
