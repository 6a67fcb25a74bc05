"""Anthropic's exports: Usage and Cost of the Console, and `/v1/organizations/usage_report/messages` and `/cost_report`.

CSV: usage_date_utc, model_version, usage_input_tokens_no_cache, _cache_read, _cache_write_5m, _cache_write_1h,
usage_output_tokens; model, cost_usd (by the model's display name). JSON: uncached_input_tokens,
cache_read_input_tokens, cache_creation, output_tokens; amount in cents.
"""

from __future__ import annotations

from collections.abc import Iterator

from cost_ledger.books.usage_export.export import Figures, UsageRow
from cost_ledger.books.usage_export.fields import (
    CsvTable,
    Row,
    UnusableExport,
    VendorFormat,
    amount,
    count,
    iso_day,
    sum_of,
    used,
)


def _usage(row: Row) -> Iterator[UsageRow]:
    plain = count(row, "usage_input_tokens_no_cache")
    read = count(row, "usage_input_tokens_cache_read")
    written = sum_of(count(row, f"usage_input_tokens_cache_write{kind}") for kind in ("_5m", "_1h", ""))
    figures = _figures(plain, read, written, count(row, "usage_output_tokens"))
    yield from used(iso_day(row, "usage_date_utc"), row.get("model_version"), figures)


def _cost(row: Row) -> Iterator[UsageRow]:
    figures = Figures(cost_usd=amount(row, "cost_usd", "USD"))
    # Web searches and the like have no model: they are not tokens and not in the ledger.
    model = str(row.get("model") or "")
    if model:
        # The Console shows `Claude Haiku 4.5` for claude-haiku-4-5.
        yield from used(iso_day(row, "usage_date_utc"), model.lower().replace(" ", "-").replace(".", "-"), figures)


def _json(row: Row) -> Iterator[UsageRow]:
    day = iso_day(row, "starting_at")
    if "amount" in row:
        cents = amount(row, "amount", row.get("currency"))
        if row.get("model"):
            yield from used(day, row["model"], Figures(cost_usd=None if cents is None else cents / 100))
        return
    if "uncached_input_tokens" not in row:
        raise UnusableExport("no uncached_input_tokens: the usage report of messages is needed")
    creation = row.get("cache_creation")
    by_kind = creation if isinstance(creation, dict) else {}
    plain, read = count(row, "uncached_input_tokens"), count(row, "cache_read_input_tokens")
    written = sum_of(count(by_kind, f"ephemeral_{kind}_input_tokens") for kind in ("5m", "1h"))
    yield from used(day, row.get("model"), _figures(plain, read, written, count(row, "output_tokens")))


def _figures(plain: int | None, read: int | None, written: int | None, output: int | None) -> Figures:
    return Figures(
        input_tokens=sum_of((plain, read, written)),
        provider_cache_read_input_tokens=read,
        provider_cache_write_input_tokens=written,
        output_tokens=output,
    )


_TOKENS = frozenset({"usage_input_tokens_no_cache", "usage_input_tokens_cache_read", "usage_output_tokens"})
_WRITTEN = frozenset(f"usage_input_tokens_cache_write{kind}" for kind in ("", "_5m", "_1h"))
_USAGE_KEY = frozenset({"usage_date_utc", "model_version"})
_COST_COLUMNS = frozenset({"usage_date_utc", "model", "cost_usd"})
FORMAT = VendorFormat(
    tables=(
        CsvTable("usage", _USAGE_KEY | _TOKENS, _USAGE_KEY | _TOKENS | _WRITTEN, _usage),
        CsvTable("cost", _COST_COLUMNS, _COST_COLUMNS, _cost),
    ),
    read_json=_json,
    ignored=frozenset(
        {
            *("workspace", "api_key", "api_key_id", "api_key_status", "usage_type", "context_window", "token_type"),
            *("cost_type", "list_price_usd", "web_search_count", "inference_geo", "speed"),
        }
    ),
)
