"""The operator's commands: what they print, their status, and one line for whatever cannot be done."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from cost_ledger.commands.cli import run_command
from cost_ledger.recording.price import price_settled
from kit.ledger.cost_events import attempt, read_settled, request, settled, used
from kit.ledger.process import Parts, environment, run_ledger_command, running_ledger, until
from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

NEW_PRICE = """
prices:
  - provider: openai
    target_model: {model}
    effective_from: {first}
    rates: {{input: {input}, output: 2}}
    source: a page
    source_date: 2026-01-01
"""


@dataclass
class Operator:
    """A person with a shell, a folder and a database."""

    values: dict[str, str]
    folder: Path
    parts: Parts
    output: pytest.CaptureFixture[str]

    def run(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Run a command in a thread, since it has an event loop of its own; return its status and what it printed."""
        self.output.readouterr()
        with ThreadPoolExecutor(1) as thread:
            status = thread.submit(_status_of, [*map(str, arguments)]).result(timeout=60)
        return (status, *self.output.readouterr())

    def lines(self, *arguments: str | Path, status: int = 0) -> list[str]:
        """Run a command that ends with this status; return what it printed."""
        done = self.run(*arguments)
        assert status == done[0], done
        return done[1].splitlines()

    def refusal(self, *arguments: str | Path, status: int) -> list[str]:
        """Run a command that ends with this status and prints nothing; return what it said instead."""
        done = self.run(*arguments)
        assert (status, "") == done[:2], done
        return done[2].splitlines()

    def price(self, model: str, first: str, rate: str = "1") -> Path:
        """Write a price book with one price."""
        path = self.folder / f"{uuid.uuid4()}.yaml"
        path.write_text(NEW_PRICE.format(model=model, first=first, input=rate))
        return path

    async def record(self, *events: ledgerpb.CostEvent) -> None:
        """Record endings."""
        await self.parts.prices.refresh()
        book = await self.parts.prices.book()
        await self.parts.store.record([], [price_settled(read_settled(event), book) for event in events])


def _status_of(arguments: list[str]) -> int:
    try:
        return run_command(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else -1


@pytest.fixture
async def operator(
    parts: Parts,
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Operator]:
    """Yield an operator; the prices of the tests are recorded and nothing else, now and afterwards."""
    values = environment(database_url, redis_url)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    before = [tuple(row) for row in await parts.pool.fetch("SELECT price_version, effective_to FROM prices")]
    yield Operator(values, tmp_path, parts, capsys)
    await parts.pool.execute("DELETE FROM prices WHERE price_version <> ALL($1)", [row[0] for row in before])
    await parts.pool.executemany("UPDATE prices SET effective_to = $2 WHERE price_version = $1", before)


def test_prices_are_listed_as_they_are_recorded(operator: Operator) -> None:
    """One line a version, figures as they were written, and what is said about the unit."""
    header, *rows, unit = operator.lines("prices", "list")

    assert ["anthropic/claude-test@2026-01-01", "openai/gpt-test@2026-01-01", "openai/gpt-test@2026-06-01"] == [
        row.split()[0] for row in rows[:3]
    ]
    assert header.startswith("price version")
    assert ["openai/gpt-test@2026-01-01", "2026-06-01", "1.253", "10.007", "0.125", "9.001"] == rows[1].split()[:6]
    assert "over 1000: 6.002 / 22.519" in rows[0]
    assert unit.startswith("USD per million tokens")


def test_prices_are_listed_by_day_and_provider(operator: Operator) -> None:
    """A price holds on its first day and no longer on its last."""

    def versions(*arguments: str) -> list[str]:
        return [
            price["price_version"]
            for price in json.loads("".join(operator.lines("prices", "list", "--json", *arguments)))
        ]

    old, new = "openai/gpt-test@2026-01-01", "openai/gpt-test@2026-06-01"
    assert [old] == versions("--provider", "openai", "--at", "2026-05-31")
    assert [new] == versions("--provider", "openai", "--at", "2026-06-01")
    assert ["vllm/free-test@2026-01-01"] == versions("--provider", "vllm")
    assert [] == versions("--at", "2025-12-31")


def test_prices_as_json_have_every_figure(operator: Operator) -> None:
    """As text, so that they are not rounded; a rate that is not set is null."""
    [price] = json.loads("".join(operator.lines("prices", "list", "--json", "--provider", "anthropic")))

    rates = dict.fromkeys(("provider_cache_read_input", "provider_cache_write_input", "reasoning_output"))
    assert {
        "price_version": "anthropic/claude-test@2026-01-01",
        "provider": "anthropic",
        "target_model": "claude-test",
        "effective_from": "2026-01-01",
        "effective_to": None,
        "currency": "USD",
        "rates": {
            "input": "3.001",
            "output": "15.013",
            "provider_cache_read_input": "0.301",
            "provider_cache_write_input": "3.751",
            "reasoning_output": None,
        },
        "long_prompt": {"above_input_tokens": 1000, "rates": {"input": "6.002", "output": "22.519", **rates}},
        "source": "made up for tests",
        "source_date": "2026-01-01",
    } == price


async def test_a_check_says_what_an_import_then_does(operator: Operator) -> None:
    """A new price ends the one before it; the check writes nothing; the second import finds nothing to do."""
    file = operator.price("gpt-test", "2099-01-01")
    before = operator.lines("prices", "list")
    said = operator.lines("prices", "check", file)

    assert [
        "would add openai/gpt-test@2099-01-01",
        "would end openai/gpt-test@2026-06-01: until 2099-01-01, was open",
    ] == said
    assert before == operator.lines("prices", "list")
    assert [line.replace("would add", "added").replace("would end", "ended") for line in said] == operator.lines(
        "prices", "import", file
    )[:-1]
    assert len(before) + 1 == len(operator.lines("prices", "list"))
    assert ["nothing to do: all 1 prices of the file are recorded"] == operator.lines("prices", "import", file)


@pytest.mark.parametrize("command", ["check", "import"])
async def test_a_bad_book_is_refused_with_a_line_for_each_fault(operator: Operator, command: str) -> None:
    """File, line and reason; nothing is written."""
    file = operator.price("", "2026-02-30", "-1")

    assert [
        f"cost_ledger: {file}:4: prices.0.target_model: Input should be a valid string",
        f"cost_ledger: {file}:5: prices.0.effective_from: YAML cannot make a value of it; put it in quotes",
        f"cost_ledger: {file}:6: prices.0.rates.input: Input should be greater than or equal to 0",
    ] == operator.refusal("prices", command, file, status=1)


@pytest.mark.parametrize("command", ["check", "import"])
async def test_changed_figures_are_refused_where_they_stand(operator: Operator, command: str) -> None:
    """With file and line, also when the file is fine by itself."""
    file = operator.price("gpt-test", "2026-06-01")
    [line] = operator.refusal("prices", command, file, status=1)

    assert line.startswith(f"cost_ledger: {file}:3: openai/gpt-test@2026-06-01 is recorded with other figures; ")


async def test_a_price_that_changes_recorded_costs_needs_backdate(operator: Operator) -> None:
    """Without --backdate it is refused with what to do; with it, it is written and `reprice` is due."""
    await operator.record(settled(request()))
    file = operator.price("gpt-test", "2026-11-01")
    [line] = operator.refusal("prices", "import", file, status=1)

    assert "openai/gpt-test@2026-11-01 would change what 1 recorded attempts cost; if that is meant" in line
    due = "reprice is due: 1 attempts of openai/gpt-test from 2026-11-01 (1 of them have a cost already)"
    assert due in operator.lines("prices", "check", "--backdate", file)
    assert due in operator.lines("prices", "import", "--backdate", file)
    table = operator.lines("reprice", "--dry-run")
    assert "1 attempts looked at, 1 would be corrected" == table[-1]
    assert ["openai", "gpt-test", "2026-11-21", "1", "0.000650880", "0.000140000", "-0.000510880", "0", "0"] == (
        table[1].split()
    )
    assert "1 attempts looked at, 1 corrected" == operator.lines("reprice")[-1]
    assert ["1 attempts looked at, 0 corrected"] == operator.lines("reprice")


async def test_models_without_a_price_are_shown_until_they_have_one(operator: Operator) -> None:
    """With what was used; a price alone does not fill the costs, `reprice` does."""
    await operator.record(
        settled(request(), [attempt(1, model="new", usage=used(7, 3)), attempt(2, model="new", usage=used(1, 1))]),
        settled(request(), [attempt(model="new", usage=routerpb.Usage(input_tokens=5))]),
        settled(request()),
    )
    _, row, _ = operator.lines("prices", "missing")
    assert ["openai", "new", "3", "1", "13", "4", "2026-11-21", "2026-11-21", "none"] == row.split()
    assert "every attempt with usage has a cost" == operator.lines("prices", "missing", "--to", "2026-11-20")[0]

    operator.lines("prices", "import", operator.price("new", "2026-11-01"))
    assert operator.lines("prices", "missing")[1].endswith("there is one: reprice")
    operator.lines("reprice", "--model", "new")
    # Those have a cost already: changing it needs --backdate.
    assert operator.refusal("prices", "import", operator.price("new", "2026-11-10"), status=1)
    # An attempt without a token count stays unpriced.
    assert ["openai", "new", "1", "1", "5", "0"] == operator.lines("prices", "missing")[1].split()[:6]


MORE = """
prices:
  - provider: openai
    target_model: gpt-test
    also: [gpt-test-2026-11]
    effective_from: 2026-11-01
    rates: {input: 2, output: 10, audio_input: 30}
    service_tiers:
      flex: {multiplier: 0.5}
      priority: {rates: {input: 4, output: 20}}
    uses: {web_search: 0.01}
    source: a page
    source_date: 2026-01-01

  - provider: openai
    target_model: gpt-*
    effective_from: 2026-11-01
    rates: {input: 3, output: 12}
    estimated: true
    source: the dearest of the family
    source_date: 2026-01-01
"""


async def test_billed_units_are_unpriced_until_the_book_knows_them(operator: Operator) -> None:
    """A unit without a rate makes the cost NULL and is named; with a rate it is repriced, and the books are right."""
    units = [
        routerpb.Usage(input_tokens=100, output_tokens=20, audio_input_tokens=10),
        routerpb.Usage(input_tokens=100, output_tokens=20, service_tier="flex"),
        routerpb.Usage(input_tokens=100, output_tokens=20, web_search_requests=3),
        routerpb.Usage(input_tokens=100, output_tokens=20, unpriced_units="hologram_tokens"),
        routerpb.Usage(input_tokens=100, output_tokens=20),
    ]
    await operator.record(*(settled(request(), [attempt(usage=usage)]) for usage in units))
    costs = "SELECT cost_usd FROM attempts ORDER BY audio_input_tokens, service_tier, web_search_requests, cost_usd"
    assert [None, None, None, Decimal("0.000650880"), None] == [
        row["cost_usd"] for row in await operator.parts.pool.fetch(costs)
    ]
    reasons = "openai/gpt-test has no rate for: hologram_tokens; audio input; web searches; service tier 'flex'"
    assert reasons == operator.lines("prices", "missing")[-1]
    assert "0 mismatches" in operator.lines("verify")[-1]

    file = operator.folder / "more.yaml"
    file.write_text(MORE)
    operator.lines("prices", "import", "--backdate", file)
    operator.lines("reprice")
    corrected = await operator.parts.pool.fetch("SELECT cost_usd FROM corrections ORDER BY cost_usd")
    # Half of 100 x 2 + 20 x 10; all of it; 90 x 2 + 10 x 30 + 20 x 10; 400 and three searches
    assert ["0.000200000", "0.000400000", "0.000680000", "0.030400000"] == [f"{row['cost_usd']:f}" for row in corrected]
    assert "openai/gpt-test has no rate for: hologram_tokens" == operator.lines("prices", "missing")[-1]
    assert "0 mismatches" in operator.lines("verify")[-1]


async def test_a_family_prices_what_has_no_price_of_its_own_and_says_so(operator: Operator) -> None:
    """The mark stands in the row's version; a price of the model's own then takes its place, with --backdate."""
    file = operator.folder / "more.yaml"
    file.write_text(MORE)
    operator.lines("prices", "import", file)
    await operator.record(settled(request(), [attempt(model="gpt-next", usage=used())]))
    [row] = await operator.parts.pool.fetch("SELECT cost_usd, price_version FROM attempts")
    assert ("0.000540000", "openai/gpt-*@2026-11-01+estimated") == (f"{row['cost_usd']:f}", row["price_version"])
    assert "0 mismatches" in operator.lines("verify")[-1]

    assert operator.refusal("prices", "import", operator.price("gpt-next", "2026-11-01"), status=1)
    listed = json.loads("".join(operator.lines("prices", "list", "--json", "--provider", "openai")))
    tiers = {"multiplier": "0.5", "rates": None, "long_prompt": None}
    [price] = [each for each in listed if each["price_version"] == "openai/gpt-test-2026-11@2026-11-01"]
    assert (tiers, {"web_search": "0.01"}) == (price["service_tiers"]["flex"], price["uses"])
    assert "30" == price["rates"]["audio_input"]


async def test_verification_ends_with_its_figures_and_a_status(operator: Operator) -> None:
    """0 when all is right; 1 with a line for each mismatch, at most `--limit` of them."""
    await operator.record(settled(request()), settled(request()), settled(request()))
    *_, well = operator.lines("verify")
    assert well.startswith("verified 3 requests, 3 attempts, 0 corrections")
    assert well.endswith(": 0 mismatches")

    await operator.parts.pool.execute("UPDATE requests SET cost_usd = 0")
    *rows, more, summary = operator.lines("verify", "--limit", "2", status=1)
    assert 2 == len(rows)
    assert "… and 1 more" == more
    assert summary.endswith(": 3 mismatches, request_cost 3")


@pytest.mark.parametrize(
    "arguments",
    [
        ("serve",),
        ("prices",),
        ("prices", "list", "--at", "2026-02-30"),
        ("prices", "list", "--at", "20260201"),
        ("reprice", "--from", "yesterday"),
        ("reprice", "--from", "2026-02-02", "--to", "2026-02-01"),
        ("verify", "--limit", "-1"),
        ("reconcile", "--provider", "vllm", "--file", "x"),
        ("reconcile", "--provider", "openai"),
        ("reconcile", "--provider", "openai", "--file", "x", "--tolerance", "nan"),
        ("reconcile", "--provider", "openai", "--file", "/nowhere/x.csv"),
    ],
)
def test_a_wrong_argument_ends_with_status_2_and_a_reason(operator: Operator, arguments: tuple[str, ...]) -> None:
    """Nothing on standard output, no traceback."""
    assert operator.refusal(*arguments, status=2)


def test_a_file_that_is_not_there_is_one_line(operator: Operator) -> None:
    """It names the file."""
    assert ["cost_ledger: /nowhere/book.yaml: No such file or directory"] == operator.refusal(
        "prices", "check", "/nowhere/book.yaml", status=1
    )


@pytest.mark.parametrize("command", [("prices", "list"), ("verify",)])
def test_a_database_that_is_away_or_empty_is_one_line(
    postgres_url: str, redis_url: str, command: tuple[str, ...]
) -> None:
    """No server on the port; a server without the tables."""
    away = run_ledger_command(environment("postgresql://postgres@127.0.0.1:9/spillway", redis_url), *command)
    empty = run_ledger_command(environment(postgres_url, redis_url), *command)

    assert (2, 1) == (away.returncode, len(away.stderr.splitlines()))
    assert (2, ["cost_ledger: the database is of an older version: run `python -m cost_ledger migrate`"]) == (
        empty.returncode,
        empty.stderr.splitlines(),
    )


async def test_a_comparison_says_what_differs_and_what_explains_it(operator: Operator) -> None:
    """0 when the books agree, also within a tolerance; 1 with a line for each figure; estimates and matches apart."""
    estimated = attempt(model="m", usage=used(10, 1))
    estimated.usage_source = routerpb.USAGE_SOURCE_ESTIMATED
    await operator.record(
        settled(request(), [attempt(model="m", usage=used(990, 99))]), settled(request(), [estimated])
    )
    export = operator.folder / "usage.csv"
    export.write_text(
        "start_time,model,num_model_requests,input_tokens,output_tokens\n1795219200,m-20261001,2,1010,100\n"
    )
    command = ("reconcile", "--provider", "openai", "--file", export)
    header, row, *notes = operator.lines(*command, status=1)

    assert ["day", "model", "figure", "provider", "ledger", "difference", "percent"] == header.split()
    assert ["2026-11-21", "m-20261001", "input_tokens", "1,010", "1,000", "-10", "-0.99"] == row.split()
    assert [
        "estimated: 2026-11-21 m-20261001: 1 attempts reported no usage; the ledger has them with 10 input and 1 "
        "output tokens of our own estimate",
        "unpriced: 2 attempts are in no cost (see `prices missing`)",
        "matched: m, m-2026 in the ledger is counted as m-20261001",
        "2026-11-21 to 2026-11-21 (UTC): 3 figures compared, 2 agree, 1 differ",
    ] == notes
    assert operator.lines(*command, "--tolerance", "1%")[-1].endswith("3 figures compared, 3 agree, 0 differ")
    export.write_text("start_time,model\n")
    assert operator.refusal(*command, status=2)[0].startswith(f"cost_ledger: {export}:1: ")


async def test_a_reader_that_leaves_is_no_traceback(operator: Operator) -> None:
    """As `verify | head -1` does."""
    await operator.record(*(settled(request()) for _ in range(3000)))
    await operator.parts.pool.execute("UPDATE requests SET cost_usd = 0")
    command = [sys.executable, "-m", "cost_ledger", "verify", "--limit", "3000"]

    assert (1, b"") == await asyncio.to_thread(_read_a_line_and_leave, command, operator.values)


def _read_a_line_and_leave(command: Sequence[str], values: Mapping[str, str]) -> tuple[int, bytes]:
    with subprocess.Popen(command, env=values, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    return process.wait(30), errors


async def test_a_running_ledger_takes_new_prices(operator: Operator, redis_url: str) -> None:
    """Without a restart, within half a minute: what was unpriced before the import has a cost after it."""
    async with running_ledger(operator.folder, operator.values["COST_LEDGER_POSTGRES_URL"], redis_url) as ledger:
        await operator.parts.send(settled(request(), [attempt(model="new", usage=used(10**6, 0))]))
        await until(operator.parts.is_drained)
        operator.lines("prices", "import", operator.price("new", "2026-11-01"))

        async def is_known() -> bool:
            book = await ledger.stub.GetPriceBook(ledgerpb.GetPriceBookRequest(), timeout=10)
            return "openai/new@2026-11-01" in {price.price_version for price in book.prices}

        await until(is_known, timeout_seconds=30.0)
        await operator.parts.send(settled(request(), [attempt(model="new", usage=used(10**6, 0))]))
        await until(operator.parts.is_drained)

    assert [("",), ("openai/new@2026-11-01",)] == await operator.parts.rows("attempts", "price_version")
