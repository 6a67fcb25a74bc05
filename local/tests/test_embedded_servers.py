"""The embedded PostgreSQL and Valkey: password, owner, restart, stop."""

from __future__ import annotations

import os
import pwd
import re
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

from spillway_local import processes
from spillway_local.postgres import running_postgres
from spillway_local.processes import Owner, StartFailed
from spillway_local.valkey import running_valkey

pytestmark = pytest.mark.integration

# The one capability by which PostgreSQL, started as root, reaches its files; containers often have only the second.
_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE = 1 << 2, 1 << 1
_root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a process as another user")


def _postmaster(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "cluster/postmaster.pid").read_text().split()[0]))


async def _execute(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_postgres_accepts_the_password(postgres_url: str) -> None:
    """The URL that tests get works as it is."""
    connection = await asyncpg.connect(postgres_url)
    try:
        version = await connection.fetchval("SHOW server_version_num")
    finally:
        await connection.close()

    assert "18" == version[:2]


async def test_postgres_has_pgvector(postgres_url: str) -> None:
    """Vectors are stored and compared without a further package."""
    connection = await asyncpg.connect(postgres_url)
    try:
        await connection.execute("CREATE EXTENSION vector")
        distance = await connection.fetchval("SELECT '[1,0]'::vector <=> '[0,1]'::vector")
        await connection.execute("DROP EXTENSION vector")
    finally:
        await connection.close()

    assert 1.0 == distance


async def test_postgres_rejects_a_wrong_password(postgres_url: str) -> None:
    """Another user of the machine cannot read the ledger over loopback."""
    url = urlsplit(postgres_url)

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(host=url.hostname, port=url.port, user="postgres", password="wrong", database="postgres")


def test_the_password_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """The password file beside the data has mode 0600."""
    with running_postgres(tmp_path) as url:
        password = urlsplit(url).password

    assert 0o600 == stat.S_IMODE((tmp_path / "password").stat().st_mode)
    assert (tmp_path / "password").read_text() == password


async def test_rows_survive_a_crash_of_postgres(tmp_path: Path) -> None:
    """A postmaster.pid left by SIGKILL does not prevent the next start, and committed rows are kept."""
    data_dir = tmp_path / "postgres"
    with running_postgres(data_dir) as url:
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        postmaster = _postmaster(data_dir)
        for process in (postmaster, *postmaster.children(recursive=True)):
            process.kill()
        connection.terminate()

    with running_postgres(data_dir) as url:
        assert 7 == await _execute(url, "SELECT number FROM kept")


def test_an_interrupted_creation_is_repeated(tmp_path: Path) -> None:
    """What a killed initdb left is deleted, not served."""
    half = tmp_path / "postgres/cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    with running_postgres(tmp_path / "postgres") as url:
        assert url.startswith("postgresql://postgres:")
    assert not half.exists()


@_root_only
def test_postgres_started_as_root_runs_unprivileged_and_changes_no_permissions(tmp_path: Path) -> None:
    """Below a folder that only root may enter: it reaches its files there by one capability, and has no other."""
    home = tmp_path / "closed"
    home.mkdir(mode=0o700)
    with running_postgres(home / "postgres"):
        postmaster = _postmaster(home / "postgres")
        users = set(postmaster.uids())
        effective = re.search(r"^CapEff:\s*(\w+)$", Path(f"/proc/{postmaster.pid}/status").read_text(), re.MULTILINE)

    assert {pwd.getpwnam("daemon").pw_uid} == users
    assert effective is not None
    assert int(effective[1], 16) in {_CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE}
    assert 0o700 == stat.S_IMODE(home.stat().st_mode)
    assert 0 == home.stat().st_uid


@_root_only
def test_a_process_started_as_another_user_reaches_files_in_closed_folders(tmp_path: Path) -> None:
    """By access(2) too, with which PostgreSQL looks for its programs."""
    (tmp_path / "closed").mkdir(mode=0o700)
    (tmp_path / "closed/file").touch(mode=0o644)
    program = "import os, sys; open(sys.argv[1]); sys.exit(not os.access(sys.argv[1], os.R_OK) or os.getuid() != 4242)"
    command = [sys.executable, "-I", "-S", "-c", program, str(tmp_path / "closed/file")]

    processes.run_to_end(command, tmp_path / "log", 10.0, owner=Owner(4242, 4242))


@_root_only
@pytest.mark.parametrize("uid", [0, 4242])
async def test_postgres_started_as_root_serves_files_of_any_owner(tmp_path: Path, uid: int) -> None:
    """A copy that root restored, and a home of another user, who keeps it."""
    with running_postgres(tmp_path) as url:
        await _execute(url, "CREATE TABLE kept AS SELECT 7 AS number")
    for path in (tmp_path / "cluster", *(tmp_path / "cluster").rglob("*")):
        os.chown(path, uid, uid)

    with running_postgres(tmp_path) as url:
        assert 7 == await _execute(url, "SELECT number FROM kept")
        assert (uid or pwd.getpwnam("daemon").pw_uid) == _postmaster(tmp_path).uids().effective


def test_keys_survive_a_restart_of_valkey(tmp_path: Path) -> None:
    """Data written before a clean stop is available after the next start."""
    with running_valkey(tmp_path) as url, redis.Redis.from_url(url) as client:
        client.set("kept", "7")

    with running_valkey(tmp_path) as url, redis.Redis.from_url(url) as client:
        kept = client.get("kept")

    assert b"7" == kept


def test_valkey_is_not_ready_while_it_loads_its_data(tmp_path: Path) -> None:
    """A server with a password asks for it at once, and says only to those who have it that it still loads."""
    with running_valkey(tmp_path) as url, redis.Redis.from_url(url) as client:
        for number in range(3000):
            client.incr(f"count-{number}")
    with (tmp_path / "valkey.conf").open("a") as configuration:
        configuration.write("key-load-delay 500\n")  # microseconds for each key: what a large file takes

    with running_valkey(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert "DB loaded from append only file" in (tmp_path / "valkey.log").read_text()
        assert b"1" == client.get("count-2999")


def test_nothing_outlives_a_parent_killed_with_sigkill(tmp_path: Path) -> None:
    """Both servers end when the process that started them is killed."""
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
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert b"ready\n" == parent.stdout.readline()
        children = psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(signal.SIGKILL)

    _gone, alive = psutil.wait_procs(children, timeout=20)

    assert len(children) > 2  # the two servers and PostgreSQL's own processes
    assert [] == alive


def test_a_server_that_cannot_start_is_reported_with_its_log(tmp_path: Path) -> None:
    """The error names the program, its status and the end of its log."""
    (tmp_path / "appendonlydir").write_text("a file where a directory must be")

    with pytest.raises(StartFailed, match=r"(?s)valkey-server ended with status 1.*append"), running_valkey(tmp_path):
        pass
