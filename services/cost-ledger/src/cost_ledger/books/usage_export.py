"""What a provider says was used: its usage and cost exports as CSV or JSON, by UTC day and model.

OpenAI, Activity and Cost of the usage dashboard as CSV, and the pages of `/v1/organization/usage/*` and `/costs`:
    start_time or start_time_iso, model, num_model_requests, input_tokens (cached and written ones included),
    input_cached_tokens, input_cache_write_tokens, output_tokens; amount_value, amount_currency, line_item (its model
    before a comma)
Anthropic, Usage and Cost of the Console as CSV, and the pages of `/v1/organizations/usage_report/messages` and
`/cost_report`:
    usage_date_utc, model_version, usage_input_tokens_no_cache, _cache_read, _cache_write_5m, _cache_write_1h,
    usage_output_tokens; model, cost_usd (by the model's display name); in JSON uncached_input_tokens,
    cache_read_input_tokens, cache_creation, output_tokens; amount in cents

An export groups by whatever its maker chose; rows of one day and model are added up.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal

from cost_ledger.errors import UsageExportInvalid

Vendor = Literal["openai", "anthropic"]
_MOST_BYTES = 256 * 2**20
_MOST_FAULTS = 20
_TOO_LARGE = 10**18


@dataclass(slots=True)
class Figures:
    """What was used, inclusive totals as in the ledger; None: the export does not say."""

    requests: int | None = None
    input_tokens: int | None = None
    provider_cache_read_input_tokens: int | None = None
    provider_cache_write_input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None

    def add(self, other: Figures) -> None:
        """Add `other`; what only one of the two knows is what that one says."""
        for name in FIGURES:
            own, more = getattr(self, name), getattr(other, name)
            if more is not None:
                setattr(self, name, more if own is None else own + more)


FIGURES = tuple(each.name for each in fields(Figures))


@dataclass
class UsageExport:
    """The usage of one provider by day and by the model's name in the export."""

    figures: dict[tuple[date, str], Figures] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What of the files was not used, and why."""

    def add(self, day: date, model: str, figures: Figures) -> None:
        """Count one row."""
        self.figures.setdefault((day, model), Figures()).add(figures)


def read_usage_exports(vendor: Vendor, paths: Sequence[Path]) -> UsageExport:
    """Read and add up files; UsageExportInvalid names file, line (in JSON: place) and reason of every fault."""
    export = UsageExport()
    faults: list[str] = []
    for path in paths:
        reading = _Reading(path, vendor, export)
        reading.read()
        faults += reading.faults
    if not faults and not export.figures:
        faults.append(f"{paths[0]}: no row holds any usage")
    kinds = {figures.cost_usd is not None for figures in export.figures.values()}
    if not faults and len(kinds) > 1:
        # They may call a model by different names.
        faults.append(f"{paths[0]}: usage and costs in one run; compare them one after the other")
    if faults:
        raise UsageExportInvalid(faults[:_MOST_FAULTS], len(faults))
    return export


class _Refused(ValueError):
    """Why a row, or a file, cannot be used."""


class _Reading:
    """One file on its way into an export."""

    def __init__(self, path: Path, vendor: Vendor, export: UsageExport) -> None:
        self._path = path
        self._vendor: Vendor = vendor
        self._export = export
        self.faults: list[str] = []

    def read(self) -> None:
        try:
            if self._path.stat().st_size > _MOST_BYTES:
                self.faults.append(f"{self._path}: larger than {_MOST_BYTES // 2**20} MiB; export fewer days")
                return
            text = self._path.read_bytes().decode("utf-8-sig")
        except OSError as error:
            self.faults.append(f"{self._path}: {error.strerror}")
            return
        except UnicodeDecodeError:
            self.faults.append(f"{self._path}: not UTF-8 text")
            return
        if text.lstrip()[:1] in {"{", "["}:
            self._read_json(text)
        else:
            self._read_csv(text)

    def _fault(self, place: str | int, reason: object) -> None:
        self.faults.append(f"{self._path}:{place}: {reason}")

    def _read_csv(self, text: str) -> None:
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            header = [name.strip() for name in next(lines, [])]
            table = _table_for(self._vendor, header)
            self._note_unknown(header, table)
            for cells in lines:
                if cells:
                    self._read_line(lines.line_num, header, cells, table)
        except (csv.Error, _Refused) as error:
            self._fault(lines.line_num or 1, error)

    def _read_line(self, line: int, header: Sequence[str], cells: Sequence[str], table: _Table) -> None:
        if len(cells) != len(header):
            self._fault(line, f"{len(cells)} fields where the first line has {len(header)}")
            return
        self._take(line, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}, table.read)

    def _note_unknown(self, header: Sequence[str], table: _Table) -> None:
        unknown = [name for name in header if name not in table.used and name not in _IGNORED[self._vendor]]
        if unknown:
            self._export.notes.append(f"{self._path}: columns not known and not used: {', '.join(unknown)}")

    def _read_json(self, text: str) -> None:
        try:
            # As text: a float would round what was billed.
            data = json.loads(text, parse_float=Decimal)
        except json.JSONDecodeError as error:
            self._fault(error.lineno, f"not JSON: {error.msg}")
            return
        except RecursionError:
            self._fault(1, "nested too deeply")
            return
        pages = data if isinstance(data, list) else [data]
        for number, page in enumerate(pages):
            prefix = f"[{number}]." if isinstance(data, list) else ""
            if not isinstance(page, dict) or not isinstance(page.get("data"), list):
                self._fault(prefix + "data", "expected a page of the provider's usage API, with `data`")
                return
            for at, bucket in enumerate(page["data"]):
                self._read_bucket(f"{prefix}data[{at}]", bucket)
        if pages and isinstance(pages[-1], dict) and pages[-1].get("has_more"):
            self._fault("has_more", "there are further pages; fetch them all and give them as files or as one list")

    def _read_bucket(self, place: str, bucket: object) -> None:
        if not isinstance(bucket, dict) or not isinstance(bucket.get("results"), list):
            self._fault(place, "expected a bucket with `results`")
            return
        start = {name: bucket.get(name) for name in ("start_time", "starting_at")}
        for at, result in enumerate(bucket["results"]):
            if not isinstance(result, dict):
                self._fault(f"{place}.results[{at}]", "expected an object")
                continue
            self._take(f"{place}.results[{at}]", {**result, **start}, _JSON_READERS[self._vendor])

    def _take(self, place: str | int, row: Mapping[str, Any], read: _Reader) -> None:
        try:
            # All of it here: a reader is a generator, and refuses when it is asked.
            found = list(read(row))
        except _Refused as error:
            self._fault(place, error)
            return
        for day, model, figures in found:
            self._export.add(day, model, figures)


_Reader = Callable[[Mapping[str, Any]], Iterator[tuple[date, str, Figures]]]


@dataclass(frozen=True)
class _Table:
    """One kind of CSV: which columns it needs and uses, and how a row is read."""

    kind: str
    needed: frozenset[str]
    used: frozenset[str]
    read: _Reader


def _table_for(vendor: Vendor, header: Sequence[str]) -> _Table:
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise _Refused(f"column given twice: {', '.join(sorted(twice))}")
    missing = []
    for table in _TABLES[vendor]:
        lacking = table.needed - set(header)
        if not lacking:
            return table
        missing.append(f"{table.kind} needs {', '.join(sorted(lacking))}")
    raise _Refused(f"no export of {vendor} that is known; missing columns: {'; '.join(missing)}")


def _openai_usage(row: Mapping[str, Any]) -> Iterator[tuple[date, str, Figures]]:
    figures = Figures(
        requests=_count(row, "num_model_requests"),
        input_tokens=_count(row, "input_tokens"),
        provider_cache_read_input_tokens=_count(row, "input_cached_tokens"),
        provider_cache_write_input_tokens=_count(row, "input_cache_write_tokens"),
        output_tokens=_count(row, "output_tokens"),
    )
    yield from _used(_openai_day(row), row.get("model"), figures)


def _openai_cost(row: Mapping[str, Any]) -> Iterator[tuple[date, str, Figures]]:
    figures = Figures(cost_usd=_money(row, "amount_value", row.get("amount_currency")))
    # A line item is `MODEL, KIND OF TOKEN`.
    yield from _used(_openai_day(row), str(row.get("line_item") or "").partition(",")[0].strip(), figures)


def _openai_json(row: Mapping[str, Any]) -> Iterator[tuple[date, str, Figures]]:
    amount = row.get("amount")
    if isinstance(amount, dict):
        row = {**row, "amount_value": amount.get("value"), "amount_currency": amount.get("currency")}
        yield from _openai_cost(row)
    else:
        if "input_tokens" not in row:
            raise _Refused(
                f"{row.get('object', 'it')} has no input_tokens: usage of completions or embeddings is needed"
            )
        yield from _openai_usage(row)


def _anthropic_usage(row: Mapping[str, Any]) -> Iterator[tuple[date, str, Figures]]:
    plain = _count(row, "usage_input_tokens_no_cache")
    read = _count(row, "usage_input_tokens_cache_read")
    written = _sum(_count(row, f"usage_input_tokens_cache_write{kind}") for kind in ("_5m", "_1h", ""))
    figures = Figures(
        input_tokens=_sum((plain, read, written)),
        provider_cache_read_input_tokens=read,
        provider_cache_write_input_tokens=written,
        output_tokens=_count(row, "usage_output_tokens"),
    )
    yield from _used(_day(row, "usage_date_utc"), row.get("model_version"), figures)


def _anthropic_cost(row: Mapping[str, Any]) -> Iterator[tuple[date, str, Figures]]:
    figures = Figures(cost_usd=_money(row, "cost_usd", "USD"))
    # Web searches and the like have no model: they are not tokens and not in the ledger.
    model = str(row.get("model") or "")
    if model:
        # The Console shows `Claude Haiku 4.5` for claude-haiku-4-5.
        yield from _used(_day(row, "usage_date_utc"), model.lower().replace(" ", "-").replace(".", "-"), figures)


def _anthropic_json(row: Mapping[str, Any]) -> Iterator[tuple[date, str, Figures]]:
    day = _day(row, "starting_at")
    if "amount" in row:
        cents = _money(row, "amount", row.get("currency"))
        if row.get("model"):
            yield from _used(day, row["model"], Figures(cost_usd=None if cents is None else cents / 100))
        return
    if "uncached_input_tokens" not in row:
        raise _Refused("no uncached_input_tokens: the usage report of messages is needed")
    creation = row.get("cache_creation")
    written = creation if isinstance(creation, dict) else {}
    read = _count(row, "cache_read_input_tokens")
    write = _sum(_count(written, f"ephemeral_{kind}_input_tokens") for kind in ("5m", "1h"))
    figures = Figures(
        input_tokens=_sum((_count(row, "uncached_input_tokens"), read, write)),
        provider_cache_read_input_tokens=read,
        provider_cache_write_input_tokens=write,
        output_tokens=_count(row, "output_tokens"),
    )
    yield from _used(day, row.get("model"), figures)


def _used(day: date, model: object, figures: Figures) -> Iterator[tuple[date, str, Figures]]:
    """Yield the row unless it is an empty bucket; a row of all models cannot be compared by model."""
    if not any(getattr(figures, name) for name in FIGURES):
        return
    if not isinstance(model, str) or not model:
        raise _Refused("no model: the export must be grouped by model (costs: by line item)")
    yield day, model, figures


def _openai_day(row: Mapping[str, Any]) -> date:
    if row.get("start_time") in (None, ""):
        return _day(row, "start_time_iso")
    try:
        return datetime.fromtimestamp(int(Decimal(str(row["start_time"]))), UTC).date()
    except (InvalidOperation, ValueError, OverflowError, OSError):
        raise _Refused(f"start_time {_quoted(row['start_time'])} is no Unix time") from None


def _day(row: Mapping[str, Any], name: str) -> date:
    try:
        moment = datetime.fromisoformat(str(row.get(name)))
    except ValueError:
        raise _Refused(f"{name} {_quoted(row.get(name))} is no day") from None
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date()


def _count(row: Mapping[str, Any], name: str) -> int | None:
    """Return a count; None when the export has no such column or leaves it empty."""
    number = _number(row, name, "count")
    if number is None:
        return None
    if number != number.to_integral_value() or number < 0:
        raise _Refused(f"{name} {_quoted(row[name])} is no count")
    return int(number)


def _money(row: Mapping[str, Any], name: str, currency: object) -> Decimal | None:
    """Return an amount; None when the export has no such column or leaves it empty."""
    number = _number(row, name, "amount")
    if number is not None and str(currency).upper() != "USD":
        raise _Refused(f"currency {_quoted(currency)}: only USD can be compared")
    return number


def _number(row: Mapping[str, Any], name: str, what: str) -> Decimal | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    # A comparison with NaN would raise.
    if not number.is_finite() or abs(number) >= _TOO_LARGE:
        raise _Refused(f"{name} {_quoted(value)} is no {what}")
    return number


def _sum(counts: Iterator[int | None] | Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _quoted(value: object) -> str:
    return repr(value if len(str(value)) <= 40 else str(value)[:40] + "…")


_OPENAI_TIME = frozenset({"start_time", "start_time_iso"})
_ANTHROPIC_TOKENS = frozenset({"usage_input_tokens_no_cache", "usage_input_tokens_cache_read", "usage_output_tokens"})
_TABLES: dict[Vendor, tuple[_Table, ...]] = {
    "openai": (
        _Table(
            "usage",
            frozenset({"start_time", "model", "input_tokens"}),
            _OPENAI_TIME
            | {"model", "num_model_requests", "input_tokens", "input_cached_tokens", "input_cache_write_tokens"}
            | {"output_tokens"},
            _openai_usage,
        ),
        _Table(
            "cost",
            frozenset({"start_time", "amount_value", "amount_currency", "line_item"}),
            _OPENAI_TIME | {"amount_value", "amount_currency", "line_item"},
            _openai_cost,
        ),
    ),
    "anthropic": (
        _Table(
            "usage",
            frozenset({"usage_date_utc", "model_version"}) | _ANTHROPIC_TOKENS,
            frozenset({"usage_date_utc", "model_version"})
            | _ANTHROPIC_TOKENS
            | {f"usage_input_tokens_cache_write{kind}" for kind in ("", "_5m", "_1h")},
            _anthropic_usage,
        ),
        _Table(
            "cost",
            frozenset({"usage_date_utc", "model", "cost_usd"}),
            frozenset({"usage_date_utc", "model", "cost_usd"}),
            _anthropic_cost,
        ),
    ),
}
_JSON_READERS: dict[Vendor, _Reader] = {"openai": _openai_json, "anthropic": _anthropic_json}
# Known columns that say by what the rows are split, or what a total contains already.
_IGNORED: dict[Vendor, frozenset[str]] = {
    "openai": frozenset(
        {
            *("end_time", "end_time_iso", "project_id", "project_name", "user_id", "user_email", "api_key_id"),
            *(
                "api_key_name",
                "api_source",
                "batch",
                "service_tier",
                "organization_id",
                "organization_name",
                "quantity",
            ),
            *("quantity_unit", "input_uncached_tokens", "input_text_tokens", "output_text_tokens"),
            *("input_cached_text_tokens", "input_audio_tokens", "input_cached_audio_tokens", "output_audio_tokens"),
            *("input_image_tokens", "input_cached_image_tokens", "output_image_tokens"),
        }
    ),
    "anthropic": frozenset(
        {
            *("workspace", "api_key", "api_key_id", "api_key_status", "usage_type", "context_window", "token_type"),
            *("cost_type", "list_price_usd", "web_search_count", "inference_geo", "speed"),
        }
    ),
}
