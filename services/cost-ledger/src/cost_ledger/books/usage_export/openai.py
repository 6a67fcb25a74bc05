"""OpenAI's exports: Activity and Cost of the usage dashboard, and `/v1/organization/usage/*` and `/costs`.

CSV: start_time or start_time_iso, model, num_model_requests, input_tokens (cached and written ones included),
input_cached_tokens, input_cache_write_tokens, output_tokens; amount_value, amount_currency, line_item (its model before
a comma). The pages of the API have the same names.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from cost_ledger.books.usage_export.export import Figures, UsageRow
from cost_ledger.books.usage_export.fields import (
    CsvTable,
    Row,
    UnusableExport,
    VendorFormat,
    amount,
    count,
    iso_day,
    unix_day,
    used,
)


def _usage(row: Row) -> Iterator[UsageRow]:
    figures = Figures(
        requests=count(row, "num_model_requests"),
        input_tokens=count(row, "input_tokens"),
        provider_cache_read_input_tokens=count(row, "input_cached_tokens"),
        provider_cache_write_input_tokens=count(row, "input_cache_write_tokens"),
        output_tokens=count(row, "output_tokens"),
    )
    yield from used(_day(row), row.get("model"), figures)


def _cost(row: Row) -> Iterator[UsageRow]:
    figures = Figures(cost_usd=amount(row, "amount_value", row.get("amount_currency")))
    # A line item is `MODEL, KIND OF TOKEN`.
    yield from used(_day(row), str(row.get("line_item") or "").partition(",")[0].strip(), figures)


def _json(row: Row) -> Iterator[UsageRow]:
    money = row.get("amount")
    if isinstance(money, dict):
        yield from _cost({**row, "amount_value": money.get("value"), "amount_currency": money.get("currency")})
        return
    if "input_tokens" not in row:
        kind = row.get("object", "it")
        raise UnusableExport(f"{kind} has no input_tokens: usage of completions or embeddings is needed")
    yield from _usage(row)


def _day(row: Row) -> date:
    if row.get("start_time") in (None, ""):
        return iso_day(row, "start_time_iso")
    return unix_day(row, "start_time")


_TIME = frozenset({"start_time", "start_time_iso"})
FORMAT = VendorFormat(
    tables=(
        CsvTable(
            "usage",
            frozenset({"start_time", "model", "input_tokens"}),
            _TIME
            | {"model", "num_model_requests", "input_tokens", "input_cached_tokens", "input_cache_write_tokens"}
            | {"output_tokens"},
            _usage,
        ),
        CsvTable(
            "cost",
            frozenset({"start_time", "amount_value", "amount_currency", "line_item"}),
            _TIME | {"amount_value", "amount_currency", "line_item"},
            _cost,
        ),
    ),
    read_json=_json,
    ignored=frozenset(
        {
            *("end_time", "end_time_iso", "project_id", "project_name", "user_id", "user_email"),
            *("api_key_id", "api_key_name", "api_source", "batch", "service_tier"),
            *("organization_id", "organization_name", "quantity", "quantity_unit"),
            *("input_uncached_tokens", "input_text_tokens", "output_text_tokens", "input_cached_text_tokens"),
            *("input_audio_tokens", "input_cached_audio_tokens", "output_audio_tokens"),
            *("input_image_tokens", "input_cached_image_tokens", "output_image_tokens"),
        }
    ),
)
