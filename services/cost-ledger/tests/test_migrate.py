"""`python -m cost_ledger migrate` ends with a database that is up to date, or with one line that says why not."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import orjson
import pytest

from cost_ledger.recording.price import price_settled
from cost_ledger.schema.migrate import check, migrate, revisions, sql_between
from cost_ledger.schema.partitions import ensure_partitions
from cost_ledger.settings import PACKAGED_PRICE_BOOK, Settings
from kit.ledger.cost_events import read_settled, request, settled
from kit.ledger.process import PRICE_BOOK, database, environment, parts_on, reason_of, run_migrate, until
from spillway_local.ports import free_port

pytestmark = pytest.mark.integration

ROWS = ("requests", "attempts", "spend_daily")
TABLES = {
    *("alembic_version", "attempts", "corrections", "prices", "requests", "spend_daily"),
    *("api_keys", "audit_log", "budgets", "captured_texts", "key_revision", "teams", "tenants", "users"),
}


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect during the block."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def tables(url: str) -> set[str]:
    """Return the tables of a database, partitions aside."""
    async with connected(url) as connection:
        rows = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
            "AND relnamespace = 'public'::regnamespace"
        )
    return {row["relname"] for row in rows}


def events(result: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the events that a successful command logged."""
    assert 0 == result.returncode, result.stdout + result.stderr
    assert "" == result.stderr
    return [orjson.loads(line)["event"] for line in result.stdout.splitlines()]


@pytest.mark.parametrize("name", ['it\'s "quoted"; 100%', "sla/sh?query#part", "läger"])
async def test_the_database_is_made_whatever_its_name(postgres_url: str, redis_url: str, name: str) -> None:
    """Names are quoted for SQL and for the URL: the database has this name and all tables."""
    name = f"{name}-{uuid.uuid4().hex[:8]}"
    url = database(postgres_url, name)
    logged = events(run_migrate(environment(url, redis_url)))

    assert "database_created" == logged[0]
    assert TABLES == await tables(url)
    async with connected(postgres_url) as connection:
        assert 1 == await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name)


async def test_a_second_migration_finds_nothing_to_do(postgres_url: str, redis_url: str) -> None:
    """It succeeds, and neither tables nor prices nor partitions change."""
    url = database(postgres_url, f"twice-{uuid.uuid4()}")
    run_migrate(environment(url, redis_url))
    second = run_migrate(environment(url, redis_url))

    assert ["database_migrated", "price_book_imported"] == events(second)
    lines = [orjson.loads(line) for line in second.stdout.splitlines()]
    assert (HEAD, False, 0) == (lines[0]["from_revision"], lines[0]["changed"], lines[1]["changed"])


async def test_migrations_at_the_same_time_all_succeed(postgres_url: str, redis_url: str) -> None:
    """Several start on a server without the database: it is made once, migrated once, priced once."""
    url = database(postgres_url, f"together-{uuid.uuid4()}")
    settings = Settings(postgres_url=url, redis_url=redis_url, price_book_file=PRICE_BOOK)
    await asyncio.gather(*(migrate(settings) for _ in range(6)))

    assert TABLES == await tables(url)
    async with connected(url) as connection:
        assert 4 == await connection.fetchval("SELECT count(*) FROM prices")


async def test_the_packaged_price_book_is_imported_by_default(postgres_url: str, redis_url: str) -> None:
    """Without a file of its own the ledger prices by the list that it comes with."""
    url = database(postgres_url, f"packaged-{uuid.uuid4()}")
    run_migrate(environment(url, redis_url, PRICE_BOOK_FILE=PACKAGED_PRICE_BOOK))

    async with connected(url) as connection:
        assert {"anthropic", "gemini", "groq", "mistral", "openai", "vllm", "xai"} <= {
            row["provider"] for row in await connection.fetch("SELECT DISTINCT provider FROM prices")
        }


def test_a_wrong_password_is_one_line(postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """It says what PostgreSQL said, exits with 1, and does not show the password."""
    secret = tmp_path / "password"
    secret.write_text("not-the-password\n")
    parts = urlsplit(postgres_url)
    url = urlunsplit(parts._replace(netloc=f"postgres@{parts.hostname}:{parts.port}"))
    result = run_migrate(environment(url, redis_url, POSTGRES_PASSWORD_FILE=secret))

    assert "password authentication failed" in reason_of(result)
    assert "not-the-password" not in result.stdout


async def test_the_password_may_be_in_a_file(postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """With a line end after it, as editors leave one."""
    parts = urlsplit(database(postgres_url, f"secret-{uuid.uuid4()}"))
    secret = tmp_path / "password"
    secret.write_text(f"{parts.password}\n")
    url = urlunsplit(parts._replace(netloc=f"postgres@{parts.hostname}:{parts.port}"))

    assert "database_created" in events(run_migrate(environment(url, redis_url, POSTGRES_PASSWORD_FILE=secret)))


def test_a_server_that_is_away_is_one_line(redis_url: str) -> None:
    """No server listens on the port."""
    reason = reason_of(run_migrate(environment("postgresql://postgres@127.0.0.1:9/spillway", redis_url)))

    assert reason.startswith("the database cannot be brought up to date: ")


def test_a_missing_password_file_is_one_line(postgres_url: str, redis_url: str) -> None:
    """It names the file."""
    result = run_migrate(environment(postgres_url, redis_url, POSTGRES_PASSWORD_FILE="/nowhere/password"))

    assert "/nowhere/password" in reason_of(result)


def test_a_url_without_a_database_is_one_line(postgres_url: str, redis_url: str) -> None:
    """The setting is named."""
    reason = reason_of(run_migrate(environment(database(postgres_url, ""), redis_url)))

    assert "COST_LEDGER_POSTGRES_URL names no database" == reason


@pytest.mark.parametrize(
    "url", ["mysql://root@127.0.0.1/x", "postgresql://postgres@127.0.0.1:door/x", "postgresql://a@b:99999/x"]
)
def test_an_invalid_url_is_refused_before_anything_else(redis_url: str, url: str) -> None:
    """Another scheme, invalid ports: the setting is named, and no connection is tried."""
    result = run_migrate(environment(url, redis_url))

    assert 2 == result.returncode
    assert result.stderr.startswith("settings: COST_LEDGER_POSTGRES_URL: ")
    assert 1 == len(result.stderr.splitlines())


async def test_a_changed_price_is_refused_in_one_line(postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """Costs were computed with the old figures: the command fails and says what to do instead."""
    url = database(postgres_url, f"changed-{uuid.uuid4()}")
    run_migrate(environment(url, redis_url, PRICE_BOOK_FILE=PACKAGED_PRICE_BOOK))
    changed = tmp_path / "book.yaml"
    changed.write_text(PACKAGED_PRICE_BOOK.read_text().replace("input: 4.00", "input: 4.01"))
    reason = reason_of(run_migrate(environment(url, redis_url, PRICE_BOOK_FILE=changed)))

    assert (
        "openai/gpt-6-sol@2026-09-22 is recorded with other figures; a price change is a new entry with a later "
        "effective_from"
    ) == reason


async def test_a_newer_database_is_left_as_it_is(postgres_url: str, redis_url: str) -> None:
    """After a roll back old code meets a newer schema, which it can work on; it changes nothing there."""
    url = database(postgres_url, f"newer-{uuid.uuid4()}")
    run_migrate(environment(url, redis_url))
    async with connected(url) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert ["database_newer"] == events(run_migrate(environment(url, redis_url)))
    async with connected(url) as connection:
        assert "9999" == await connection.fetchval("SELECT version_num FROM alembic_version")


async def test_tables_that_are_ready_pass_the_check(postgres_url: str, redis_url: str) -> None:
    """As new as the ledger, or newer after a roll back: the ledger may serve, and nothing was changed."""
    url = database(postgres_url, f"ready-{uuid.uuid4()}")
    run_migrate(environment(url, redis_url))

    assert ["database_ready"] == events(run_migrate(environment(url, redis_url), "--check"))
    async with connected(url) as connection:
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    assert ["database_newer"] == events(run_migrate(environment(url, redis_url), "--check"))


async def test_tables_that_are_not_ready_fail_the_check(postgres_url: str, redis_url: str) -> None:
    """No database, no tables, older tables: one line that says so and what to do, and nothing was changed."""
    url = database(postgres_url, f"unready-{uuid.uuid4()}")
    remedy = "run `python -m cost_ledger migrate`"
    assert f"there is no database yet: {remedy}" == reason_of(run_migrate(environment(url, redis_url), "--check"))
    async with connected(postgres_url) as connection:
        await connection.execute(f'CREATE DATABASE "{urlsplit(url).path[1:]}"')
    for current in ("None", "0001"):
        reason = reason_of(run_migrate(environment(url, redis_url), "--check"))
        assert f"the database is at revision {current} and this ledger needs {HEAD}: {remedy}" == reason
        assert (TABLES & await tables(url)) == (set() if current == "None" else await tables(url))
        async with connected(url) as connection:
            if current == "None":
                await connection.execute(sql_between(None, "0001"))
            else:
                assert current == await connection.fetchval("SELECT version_num FROM alembic_version")


async def test_a_check_waits_for_the_migration(postgres_url: str, redis_url: str) -> None:
    """A new ledger in a rollout begins to serve as soon as the tables are there."""
    url = database(postgres_url, f"awaited-{uuid.uuid4()}")
    settings = Settings(postgres_url=url, redis_url=redis_url, price_book_file=PRICE_BOOK)
    waiting = asyncio.create_task(check(settings, wait_seconds=60))
    await asyncio.sleep(0)
    assert not waiting.done()
    await migrate(settings)
    await asyncio.wait_for(waiting, 30)


async def test_a_migration_waits_for_a_server_that_starts(postgres_url: str, redis_url: str) -> None:
    """On a new cluster Postgres comes up beside the migration: it is tried again until it answers."""
    parts = urlsplit(database(postgres_url, f"late-{uuid.uuid4()}"))
    port = free_port()
    url = urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{port}")))
    settings = Settings(postgres_url=url, redis_url=redis_url, price_book_file=PRICE_BOOK)
    migration = asyncio.create_task(migrate(settings, wait_seconds=60))
    await asyncio.sleep(0)

    async def forward(client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        server_in, server_out = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(_pump(client_in, server_out), _pump(server_in, client_out))

    async with await asyncio.start_server(forward, "127.0.0.1", port):
        await asyncio.wait_for(migration, 60)
    assert TABLES == await tables(urlunsplit(parts))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


@pytest.mark.parametrize("argument", ["--wait=-1", "--wait=soon", "--chek"])
def test_invalid_arguments_of_a_migration_are_refused(argument: str) -> None:
    """Nothing connects: status 2 and what is wrong."""
    result = run_migrate({}, argument)

    assert 2 == result.returncode
    assert argument.partition("=")[0] in result.stderr


HEAD = "0011"
EARLIER = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010")
# The statements of the code of revision 0001, verbatim but for the values.
OLD_ROWS = """
INSERT INTO requests (request_id, tenant, user_id, key_id, tier, endpoint, requested_model, is_streaming, admitted_at,
    state, outcome, finish_reason, error_code, cache_status, cache_bypass_reason, settled_at, duration,
    time_to_first_token, cost_usd, saved_provider, saved_target_model, saved_input_tokens, saved_output_tokens,
    saved_provider_cache_read_input_tokens, saved_provider_cache_write_input_tokens, saved_reasoning_output_tokens,
    saved_cost_usd, saved_price_version)
VALUES ('01a1fd55-7a80-708e-9fee-975deb05dfcb', 'acme', 'ada', 'key-1', 'gold', '/chat', 'fast', true,
    '2026-11-21 09:00:00+00', 'settled', 'ok', 'stop', '', 'miss', '', '2026-11-21 09:00:02+00', '2 s', '0.3 s', 0.25,
    '', '', NULL, NULL, NULL, NULL, NULL, NULL, '')
ON CONFLICT (request_id) DO UPDATE SET state = 'settled', outcome = excluded.outcome, cost_usd = excluded.cost_usd
    WHERE requests.state <> 'settled' AND excluded.state = 'settled';
INSERT INTO attempts (request_id, attempt_number, event_id, target, provider, target_model, response_model, outcome,
    error_code, usage_source, started_at, duration, time_to_first_chunk, http_status, provider_request_id,
    finish_reason, has_usage, input_tokens, output_tokens, provider_cache_read_input_tokens,
    provider_cache_write_input_tokens, reasoning_output_tokens, cost_usd, price_version)
VALUES ('01a1fd55-7a80-708e-9fee-975deb05dfcb', 1, '5d9b24be-7c18-5c0f-9c44-0d5b1e64b1a7', 'main', 'openai',
    'gpt-test', 'gpt-test', 'ok', '', 'reported',
    '2026-11-21 09:00:00+00', '2 s', '0.3 s', 200, '', 'stop', true, 10, 5, NULL, NULL, NULL, 0.25, 'p@1')
ON CONFLICT (request_id, attempt_number) DO NOTHING;
"""
OLD_STATEMENTS = (
    OLD_ROWS
    + """
INSERT INTO spend_daily (tenant, day, user_id, key_id, requested_model, provider, target_model, requests, attempts,
    input_tokens, output_tokens, cost_usd, unpriced_attempts, cache_hits, cache_misses, cache_bypasses, saved_cost_usd)
VALUES ('acme', '2026-11-21', 'ada', 'key-1', 'fast', 'openai', 'gpt-test', 1, 1, 10, 5, 0.25, 0, 0, 1, 0, 0)
ON CONFLICT (tenant, day, user_id, key_id, requested_model, provider, target_model) DO UPDATE
    SET requests = spend_daily.requests + excluded.requests, cost_usd = spend_daily.cost_usd + excluded.cost_usd;
"""
)
# Since revision 0002 code sums by template; since 0009 there is no place for sums without it.
STATEMENTS = OLD_STATEMENTS.replace("target_model, requests, ", "target_model, template, requests, ")
STATEMENTS = STATEMENTS.replace("'gpt-test', 1, 1, 10", "'gpt-test', '', 1, 1, 10").replace(
    "provider, target_model) DO UPDATE", "provider, target_model, template) DO UPDATE"
)
WITHOUT_TEMPLATES = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")


async def upgraded(url: str, redis_url: str) -> None:
    """Bring it up to date in this process."""
    await migrate(Settings(postgres_url=url, redis_url=redis_url, price_book_file=PRICE_BOOK))


async def made_at(postgres_url: str, revision: str) -> str:
    """Make a database as it was at `revision`, with its partitions; return its URL."""
    url = database(postgres_url, f"at-{revision}-{uuid.uuid4()}")
    async with connected(postgres_url) as connection:
        await connection.execute(f'CREATE DATABASE "{urlsplit(url).path[1:]}"')
    async with connected(url) as connection:
        await connection.execute(sql_between(None, revision))
        await ensure_partitions(connection, datetime.now(UTC).date())
    return url


def test_every_revision_is_upgraded_from() -> None:
    """The list of these tests is complete."""
    assert [*EARLIER, HEAD] == revisions()


@pytest.mark.parametrize("revision", EARLIER)
async def test_what_is_recorded_survives_every_upgrade(postgres_url: str, redis_url: str, revision: str) -> None:
    """From any earlier revision with rows in it: none is lost or changed, and new events are recorded beside them."""
    url = await made_at(postgres_url, revision)
    async with connected(url) as connection:
        await connection.execute(OLD_STATEMENTS if revision in WITHOUT_TEMPLATES else STATEMENTS)
        before = {table: dict((await connection.fetch(f"SELECT * FROM {table}"))[0]) for table in ROWS}  # noqa: S608
    await upgraded(url, redis_url)

    async with connected(url) as connection:
        assert HEAD == await connection.fetchval("SELECT version_num FROM alembic_version")
        for table, row in before.items():
            after = dict((await connection.fetch(f"SELECT * FROM {table}"))[0])  # noqa: S608
            assert row == {column: after[column] for column in row}
    async with parts_on(url, redis_url) as parts:
        asked = request(user="ada")
        await parts.store.record([], [price_settled(read_settled(settled(asked)), await parts.prices.book())])
        # The same key as the old row's: its sums grow.
        assert [(2, 2, Decimal("0.250650880"), "")] == await parts.rows(
            "spend_daily", "requests, attempts, cost_usd, template"
        )
        await parts.pool.execute("DELETE FROM requests; DELETE FROM attempts; DELETE FROM spend_daily")


@pytest.mark.parametrize("revision", [*EARLIER, HEAD])
async def test_old_code_works_on_the_new_schema(postgres_url: str, redis_url: str, revision: str) -> None:
    """Its statements succeed on every schema that has a place for them: once, and again as a duplicate."""
    statements = OLD_STATEMENTS if revision in WITHOUT_TEMPLATES else STATEMENTS
    url = await made_at(postgres_url, revision)
    async with connected(url) as connection:
        for _ in range(2):
            await connection.execute(statements)
        assert 1 == await connection.fetchval("SELECT count(*) FROM requests WHERE state = 'settled'")
        assert 1 == await connection.fetchval("SELECT count(*) FROM attempts")
        assert 2 == await connection.fetchval("SELECT requests FROM spend_daily")


async def test_an_upgrade_waits_for_a_long_reader_without_keeping_others(postgres_url: str, redis_url: str) -> None:
    """It gives way and tries again: the old code goes on meanwhile, and in the end the schema is the new one."""
    url = await made_at(postgres_url, "0001")
    async with connected(url) as reader, connected(url) as writer:
        transaction = reader.transaction()
        await transaction.start()
        await reader.fetch("SELECT 1 FROM requests")
        upgrade = asyncio.create_task(upgraded(url, redis_url))
        await until(lambda: _waits_for_a_lock(writer))
        await asyncio.wait_for(writer.execute(OLD_STATEMENTS), 15.0)
        assert "0001" == await writer.fetchval("SELECT version_num FROM alembic_version")
        await transaction.rollback()
        await asyncio.wait_for(upgrade, 60.0)
        assert HEAD == await writer.fetchval("SELECT version_num FROM alembic_version")


async def _waits_for_a_lock(connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation IS NOT NULL"))
