"""Costs by any dimension, lists of requests and their files, through the front door."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from kit.front_door.edge_client import EdgeClient, Stores

Json = dict[str, Any]
NAMES = {
    "user": "user_id", "key": "key_id", "model": "requested_model", "route": "requested_model",
    "provider": "provider", "target_model": "target_model", "template": "template", "day": "day",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
async def asked(edge: EdgeClient, other_edge: EdgeClient) -> list[str]:
    """Return the ids of some requests of the tenant `blue`, oldest first; `red` has one as well."""
    ids = []
    for number, model in enumerate(("happy", "happy", "other", "cached", "cached")):
        headers = {"x-request-id": f"reports-{number}"}
        chat = await edge.chat(f"reports {number if model != 'cached' else 'twice'}", headers, model=model)
        await edge.receipt(chat.request_id)
        ids.append(chat.request_id)
    await other_edge.receipt((await other_edge.chat("reports", model="happy")).request_id)
    return ids


def table(answer: httpx2.Response) -> list[Json]:
    """Read a CSV file whose every row has a cell for each column."""
    assert 200 == answer.status_code, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment; filename=" in answer.headers["content-disposition"]
    header, *rows = csv.reader(io.StringIO(answer.content.decode(), newline=""), strict=True)
    assert answer.content.endswith(b"\r\n")
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.parametrize("name", NAMES)
async def test_costs_are_grouped_by_each_dimension(edge: EdgeClient, stores: Stores, name: str) -> None:
    """Each dimension agrees with the ledger's own table, and the groups with the total."""
    costs = (await edge.get("/v1/costs", params={"group_by": name})).json()
    rows = await stores.rows(
        f"SELECT {NAMES[name]}::text AS name, sum(cost_usd) AS cost, sum(requests) AS requests"  # noqa: S608
        " FROM spend_daily WHERE tenant = 'blue' GROUP BY 1"
    )

    assert [name] == costs["group_by"]
    assert {row["name"]: (f"{row['cost']:.9f}", int(row["requests"])) for row in rows} == {
        group[name]: (group["cost_usd"], group["requests"]) for group in costs["groups"]
    }
    assert Decimal(costs["total"]["cost_usd"]) == sum(Decimal(group["cost_usd"]) for group in costs["groups"])
    assert costs["truncated"] is False
    assert "by_user" not in costs


async def test_dimensions_are_separated_by_commas_or_repeated(edge: EdgeClient) -> None:
    """The same groups either way, with a key for each dimension; by day in the order of the days when that is first."""
    with_commas = (await edge.get("/v1/costs?group_by=day,model,provider")).json()
    one_by_one = (await edge.get("/v1/costs?group_by=day&group_by=model&group_by=provider")).json()

    assert with_commas["groups"] == one_by_one["groups"]
    assert ["day", "model", "provider"] == list(with_commas["groups"][0])[:3]
    days = [group["day"] for group in with_commas["groups"]]
    assert sorted(days) == days


async def test_costs_are_available_as_csv(edge: EdgeClient) -> None:
    """The same figures by parameter and by header; by day when no grouping is given."""
    groups = (await edge.get("/v1/costs?group_by=model,user")).json()["groups"]
    by_parameter = await edge.get("/v1/costs?group_by=model,user&format=csv")
    by_header = await edge.get("/v1/costs?group_by=model,user", headers={"accept": "text/csv, application/json;q=0.5"})

    expected = [{name: str(value) for name, value in group.items()} for group in groups]
    assert expected == table(by_parameter) == table(by_header)
    assert "day" == next(iter(table(await edge.get("/v1/costs?format=csv"))[0]))
    assert "total" in (await edge.get("/v1/costs", headers={"accept": "application/json, text/csv"})).json()
    assert "total" in (await edge.get("/v1/costs?format=json", headers={"accept": "text/csv"})).json()


async def all_records(edge: EdgeClient, **params: Any) -> list[Json]:
    """Return a whole list, page by page."""
    found: list[Json] = []
    cursor: Json = {}
    while True:
        answer = await edge.get("/v1/requests", params={**params, **cursor})
        assert 200 == answer.status_code, answer.text
        page = answer.json()
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


async def all_ids(edge: EdgeClient, **params: Any) -> list[str]:
    """Return the ids of a whole list."""
    return [record["request_id"] for record in await all_records(edge, **params)]


async def test_requests_are_listed_newest_first(edge: EdgeClient, stores: Stores, asked: list[str]) -> None:
    """Page by page, each once, those of the caller's tenant and no other."""
    rows = await stores.rows("SELECT request_id FROM requests WHERE tenant = 'blue' ORDER BY request_id DESC")

    assert [str(row["request_id"]) for row in rows] == await all_ids(edge, limit=7)
    newest = (await edge.get("/v1/requests", params={"limit": 2})).json()["data"]
    assert asked[:-3:-1] == [record["request_id"] for record in newest]
    receipt = await edge.receipt(asked[-1])
    receipt.pop("attempts")
    assert receipt == newest[0]


async def test_each_filter_of_the_list_agrees_with_the_table(
    edge: EdgeClient, stores: Stores, asked: list[str]
) -> None:
    """The list and the ledger's own table name the same requests."""
    key = (await edge.receipt(asked[0]))["key_id"]
    now = datetime.now(UTC)
    filters: dict[str, tuple[Json, str]] = {
        "user": ({"user": "blue-user"}, "true"),
        "other user": ({"user": "red-user"}, "false"),
        "key": ({"key": key}, "true"),
        "model": ({"model": "happy"}, "requested_model = 'happy'"),
        "cache": ({"cache": "hit"}, "cache_status = 'hit'"),
        "outcome": ({"outcome": "ok"}, "outcome = 'ok'"),
        "failed": ({"outcome": "provider_error"}, "outcome = 'provider_error'"),
        "state": ({"state": "settled", "model": "cached"}, "state = 'settled' AND requested_model = 'cached'"),
        "provider": (
            {"provider": "anthropic"},
            "request_id IN (SELECT request_id FROM attempts WHERE provider = 'anthropic')",
        ),
        "template": ({"template": "none"}, "false"),
        "client's id": ({"client_request_id": " reports-1 "}, "client_request_id = 'reports-1'"),
        "other client's id": ({"client_request_id": "reports-99"}, "false"),
        "today": ({"from": str(now.date()), "to": str(now.date())}, f"admitted_at::date = '{now.date()}'"),
        "tomorrow": ({"from": str(now.date() + timedelta(days=1))}, f"admitted_at::date > '{now.date()}'"),
        "an hour": (
            {"from": f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}", "to": "2100-01-01T00:00:00+01:00"},
            "true",
        ),
    }
    for name, (params, condition) in filters.items():
        rows = await stores.rows(
            f"SELECT request_id FROM requests WHERE tenant = 'blue' AND {condition} ORDER BY 1 DESC"  # noqa: S608
        )
        assert [str(row["request_id"]) for row in rows] == await all_ids(edge, limit=50, **params), name


async def test_requests_are_available_as_csv(edge: EdgeClient, asked: list[str]) -> None:
    """All of them, or `limit` of them with the cursor of the rest in a header; the cells are those of the list."""
    listed = await all_records(edge, limit=1000)
    rows = table(await edge.get("/v1/requests?format=csv"))
    some = await edge.get("/v1/requests?limit=2", headers={"accept": "text/csv"})
    rest = await edge.get("/v1/requests", params={"format": "csv", "cursor": some.headers["x-next-cursor"]})

    assert [record["request_id"] for record in listed] == [row["request_id"] for row in rows]
    for record, row in zip(listed, rows, strict=True):
        cells = {name: "" if value is None else value for name, value in record.items()}
        assert {
            name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in cells.items()
        } == row
    assert rows == table(some) + table(rest)
    assert asked[:-3:-1] == [row["request_id"] for row in table(some)]


async def test_a_cursor_is_bound_to_its_tenant_and_filters(
    edge: EdgeClient, other_edge: EdgeClient, asked: list[str]
) -> None:
    """It is refused elsewhere, and shows no rows of another tenant."""
    cursor = (await edge.get("/v1/requests", params={"limit": 1})).json()["next_cursor"]
    for who, params in ((other_edge, {}), (edge, {"user": "blue-user"}), (edge, {"cursor": cursor[:-4]})):
        answer = await who.get("/v1/requests", params={"cursor": cursor, **params})
        error = answer.json()["error"]
        assert (400, "invalid_request", "cursor") == (answer.status_code, error["code"], error["param"])
        assert "begin without it" in error["message"]
    assert not {record["tenant"] for record in (await other_edge.get("/v1/requests")).json()["data"]} - {"red"}
    assert not set(asked) & set(await all_ids(other_edge))


@pytest.mark.parametrize(
    ("path", "param", "explanation"),
    [
        ("/v1/costs?group_by=colour", "group_by", "user, key, model, route, provider, target_model, template, day"),
        ("/v1/costs?group_by=", "group_by", "is none of"),
        ("/v1/costs?group_by=model,route", "group_by", "the same"),
        ("/v1/costs?group_by=day&group_by=day", "group_by", "twice"),
        ("/v1/costs?form=2026-11-21", "form", "form"),
        ("/v1/costs?from=1700000000", "from", "YYYY-MM-DD"),
        ("/v1/costs?to=0001-01-02", "to", "no 30 days before"),
        ("/v1/costs?format=xml", "format", "csv"),
        ("/v1/requests?usr=ada", "usr", "usr"),
        ("/v1/requests?user=", "user", "at least 1"),
        ("/v1/requests?user=a%00b", None, "must be names"),
        ("/v1/requests?outcome=good", "outcome", "interrupted"),
        ("/v1/requests?cache=maybe", "cache", "bypass"),
        ("/v1/requests?state=lost", "state", "unsettled"),
        ("/v1/requests?limit=0", "limit", "greater"),
        ("/v1/requests?limit=1001", "limit", "less"),
        ("/v1/requests?from=2026-11-21T10:00:00", "from", "%2B"),
        ("/v1/requests?from=2026-11-21T10:00:00+01:00", "from", "%2B"),
        ("/v1/requests?from=2026-02-30", "from", "YYYY-MM-DD"),
        ("/v1/requests?to=9999-12-31", "to", "YYYY-MM-DD"),
        ("/v1/requests?from=0001-01-01T00:00:00%2B09:00", "from", "YYYY-MM-DD"),
        ("/v1/requests?from=0001-01-01", None, "1970"),
        ("/v1/requests?from=2026-11-22&to=2026-11-21", "from", "not before"),
        ("/v1/requests?client_request_id=%20", "client_request_id", "must not be empty"),
        ("/v1/requests?cursor=abc", "cursor", "begin without it"),
        ("/v1/requests?cursor=abc&format=csv", "cursor", "begin without it"),
    ],
)
async def test_a_wrong_parameter_is_refused_with_an_explanation(
    edge: EdgeClient, path: str, param: str | None, explanation: str
) -> None:
    """The error names the parameter and the rule; an unknown parameter is refused too."""
    answer = await edge.get(path)

    error = answer.json()["error"]
    assert (400, "invalid_request", param) == (answer.status_code, error["code"], error["param"])
    assert explanation in error["message"]


async def spillway(edge: EdgeClient, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command of `spillway` against the front door."""
    command = [str(Path(sys.executable).with_name("spillway")), *arguments]
    environment = {**os.environ, "SPILLWAY_URL": edge.url, "SPILLWAY_API_KEY": edge.key}
    return await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, timeout=60)


async def test_the_command_shows_costs_by_each_dimension(edge: EdgeClient) -> None:
    """As a table and as CSV, over the given days."""
    today = str(datetime.now(UTC).date())
    for name in ("user", "key", "model", "provider", "day"):
        groups = (await edge.get("/v1/costs", params={"group_by": name})).json()["groups"]
        run = await spillway(edge, "costs", "--by", name)
        lines = run.stdout.decode().splitlines()
        start = lines.index(f"by {name}") + 1
        shown = [line.split()[0] for line in lines[start : start + len(groups)]]
        assert [group[name] or "-" for group in groups] == shown, run
    as_csv = await spillway(edge, "costs", "--by", "model", "--csv", "--from", today, "--to", today)
    params = {"group_by": "model", "format": "csv", "from": today, "to": today}
    assert (await edge.get("/v1/costs", params=params)).content == as_csv.stdout
    refused = await spillway(edge, "costs", "--from", "yesterday")
    assert (1, b"") == (refused.returncode, refused.stdout)
    assert b"from: must be a UTC day" in refused.stderr


async def test_the_command_lists_requests_and_shows_a_receipt(edge: EdgeClient, asked: list[str]) -> None:
    """The newest first, filtered, as CSV; each has a receipt to be shown."""
    newest = await spillway(edge, "requests", "--limit", "2")
    assert asked[:-3:-1] == [line.split()[0] for line in newest.stdout.decode().splitlines()[1:3]]
    happy = await all_ids(edge, model="happy", outcome="ok", limit=1000)
    filtered = await spillway(edge, "requests", "--model", "happy", "--outcome", "ok", "--csv")
    rows = list(csv.DictReader(io.StringIO(filtered.stdout.decode(), newline="")))
    assert happy == [row["request_id"] for row in rows]
    receipt = await spillway(edge, "receipt", asked[0])
    assert asked[0] in receipt.stdout.decode()
    assert b"attempt" in receipt.stdout
    unknown = await spillway(edge, "receipt", "../models")
    assert (1, 1) == (unknown.returncode, len(unknown.stderr.splitlines()))
    wrong = await spillway(edge, "requests", "--outcome", "good")
    assert b"outcome" in wrong.stderr
