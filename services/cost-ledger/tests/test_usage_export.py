"""Providers' exports: all documented forms give the same figures; what cannot be used is reported with its place."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost_ledger.books.usage_export.export import Figures, UsageExport
from cost_ledger.books.usage_export.files import Vendor, read_usage_exports
from cost_ledger.errors import UsageExportInvalid

DAY = date(2026, 11, 20)
NOON = 1795176000
LUNA, HAIKU = "gpt-6-luna-2026-09-01", "claude-haiku-5-5-20261007"
OPENAI_FIGURES = Figures(3, 1200, 400, 50, 90)
OPENAI_CSV = f"""\
start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,input_tokens,output_tokens,input_cached_tokens,input_cache_write_tokens,input_uncached_tokens
{NOON},1795176060,2026-11-20T12:00:00+00:00,2026-11-20T12:01:00+00:00,proj_1,2.0,,key_1,{LUNA},false,1000,50,400,50,600
{NOON},1795176060,2026-11-20T12:00:00+00:00,2026-11-20T12:01:00+00:00,proj_1,1.0,,key_2,{LUNA},false,200,40,0,0,200
1795176060,1795176120,2026-11-20T12:01:00+00:00,2026-11-20T12:02:00+00:00,,,,,,,,,,,
"""
OPENAI_RESULT = {"object": "organization.usage.completions.result", "project_id": None, "batch": None}
OPENAI_PAGE = {
    "object": "page",
    "data": [
        {
            "object": "bucket",
            "start_time": 1795132800,
            "end_time": 1795219200,
            "results": [
                {
                    **OPENAI_RESULT,
                    "model": LUNA,
                    "num_model_requests": 3,
                    "input_tokens": 1200,
                    "input_cached_tokens": 400,
                    "input_cache_write_tokens": 50,
                    "output_tokens": 90,
                }
            ],
        },
        {"object": "bucket", "start_time": 1795219200, "end_time": 1795305600, "results": []},
    ],
    "has_more": False,
}
ANTHROPIC_FIGURES = Figures(None, 3200, 200, 1500, 500)
ANTHROPIC_CSV = f"""\
usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count,inference_geo,speed
2026-11-20,{HAIKU},key,Default,standard,≤ 200k,1500,500,1000,200,500,0,global,
"""
ANTHROPIC_PAGE = {
    "data": [
        {
            "starting_at": "2026-11-20T00:00:00Z",
            "ending_at": "2026-11-21T00:00:00Z",
            "results": [
                {
                    "model": HAIKU,
                    "uncached_input_tokens": 1500,
                    "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 500},
                    "cache_read_input_tokens": 200,
                    "output_tokens": 500,
                    "server_tool_use": {"web_search_requests": 10},
                }
            ],
        }
    ],
    "has_more": False,
    "next_page": None,
}
OPENAI_COSTS = f"""\
start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,quantity_unit,line_item,user_id,api_key_id,project_id,organization_id,project_name,organization_name,user_email,api_source
{NOON},1795219200,2026-11-20T12:00:00,2026-11-21T00:00:00,,,,,,,,,,,,,
{NOON},1795219200,2026-11-20T12:00:00,,0.003835980000000000000000000000,usd,1000,tokens,"{LUNA}, input",,,,,,,,
{NOON},1795219200,2026-11-20T12:00:00,2026-11-21T00:00:00,0.1,usd,10,tokens,"{LUNA}, output",,,,,,,,
"""
OPENAI_COSTS_PAGE = {
    "data": [
        {
            "start_time": NOON,
            "results": [{"amount": {"value": 0.10383598, "currency": "usd"}, "line_item": f"{LUNA}, all"}],
        }
    ]
}
ANTHROPIC_COSTS = """\
usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,inference_geo,speed
2026-11-20,Claude Haiku 5.5,Default,key,message,≤ 200k,input_no_cache,0.05,0.05,token,global,
2026-11-20,Claude Haiku 5.5,Default,key,message,≤ 200k,output,0.02,0.02,token,global,
2026-11-20,,Default,key,web_search,,,1.00,1.00,web_search,global,
"""
ANTHROPIC_COSTS_PAGE = {
    "data": [
        {
            "starting_at": "2026-11-20T00:00:00Z",
            "results": [
                {"model": "claude-haiku-5-5", "amount": "7", "currency": "USD", "cost_type": "tokens"},
                {"model": None, "amount": "100", "currency": "USD", "cost_type": "web_search"},
            ],
        }
    ]
}


def read(folder: Path, vendor: Vendor, *texts: str) -> UsageExport:
    """Read files with these texts."""
    paths = [folder / f"usage-{number}" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return read_usage_exports(vendor, paths)


def faults(folder: Path, vendor: Vendor, *texts: str) -> list[str]:
    """Read files that cannot be used; return the faults, without the folder."""
    with pytest.raises(UsageExportInvalid) as caught:
        read(folder, vendor, *texts)
    assert all("\n" not in fault for fault in caught.value.faults)
    return [fault.removeprefix(f"{folder}/usage-") for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("vendor", "text", "model", "figures"),
    [
        ("openai", OPENAI_CSV, LUNA, OPENAI_FIGURES),
        ("openai", "\ufeff" + OPENAI_CSV.replace("\n", "\r\n"), LUNA, OPENAI_FIGURES),
        ("openai", json.dumps(OPENAI_PAGE), LUNA, OPENAI_FIGURES),
        ("openai", OPENAI_COSTS, LUNA, Figures(cost_usd=Decimal("0.10383598"))),
        ("openai", json.dumps(OPENAI_COSTS_PAGE), LUNA, Figures(cost_usd=Decimal("0.10383598"))),
        ("anthropic", ANTHROPIC_CSV, HAIKU, ANTHROPIC_FIGURES),
        ("anthropic", json.dumps(ANTHROPIC_PAGE), HAIKU, ANTHROPIC_FIGURES),
        ("anthropic", ANTHROPIC_COSTS, "claude-haiku-5-5", Figures(cost_usd=Decimal("0.07"))),
        ("anthropic", json.dumps(ANTHROPIC_COSTS_PAGE), "claude-haiku-5-5", Figures(cost_usd=Decimal("0.07"))),
    ],
)
def test_every_form_of_an_export_gives_its_figures(
    tmp_path: Path, vendor: Vendor, text: str, model: str, figures: Figures
) -> None:
    """Rows of one day and model are one; totals are inclusive as in the ledger; all documented columns are known."""
    export = read(tmp_path, vendor, text)

    assert {(DAY, model): figures} == export.figures
    assert [] == export.notes


def test_files_and_pages_add_up(tmp_path: Path) -> None:
    """Completions and embeddings are exports of their own; a list of pages is one file."""
    embeddings = {
        "data": [{"start_time": NOON, "results": [{"model": "e", "num_model_requests": 1, "input_tokens": 5}]}]
    }
    export = read(tmp_path, "openai", json.dumps([OPENAI_PAGE, OPENAI_PAGE]), json.dumps(embeddings))

    assert {(DAY, LUNA): Figures(6, 2400, 800, 100, 180), (DAY, "e"): Figures(1, 5)} == export.figures


def test_days_are_utc(tmp_path: Path) -> None:
    """Whatever time zone a time is written in."""
    page = json.dumps(ANTHROPIC_PAGE).replace("2026-11-20T00:00:00Z", "2026-11-20T22:00:00-05:00")

    assert {(date(2026, 11, 21), HAIKU)} == read(tmp_path, "anthropic", page).figures.keys()


def test_unknown_columns_are_noted_and_not_used(tmp_path: Path) -> None:
    """Their meaning is unknown."""
    text = "start_time,model,input_tokens,output_tokens,moon\n" + f"{NOON},m,1,2,full\n"
    export = read(tmp_path, "openai", text)

    assert [f"{tmp_path}/usage-0: columns not known and not used: moon"] == export.notes
    assert {(DAY, "m"): Figures(None, 1, None, None, 2)} == export.figures


@pytest.mark.parametrize(
    ("vendor", "text", "expected"),
    [
        ("openai", "", ["0:1: no export of openai that is known; missing columns: usage needs input_tokens, model"]),
        (
            "openai",
            "start_time,model\n",
            ["0:1: no export of openai that is known; missing columns: usage needs input_"],
        ),
        ("anthropic", OPENAI_CSV, ["0:1: no export of anthropic that is known; missing columns: "]),
        ("openai", "start_time,model,model,input_tokens\n", ["0:1: column given twice: model"]),
        ("openai", "start_time,model,input_tokens\n", ["0: no row holds any usage"]),
        ("openai", f"start_time,model,input_tokens\n{NOON},m\n", ["0:2: 2 fields where the first line has 3"]),
        (
            "openai",
            f"start_time,model,input_tokens\n{NOON},m,1\nsoon,m,1\n{NOON},m,many\n{NOON},m,-1\n{NOON},m,1.5\n{NOON},,1\n",
            [
                "0:3: start_time 'soon' is no Unix time",
                "0:4: input_tokens 'many' is no count",
                "0:5: input_tokens '-1' is no count",
                "0:6: input_tokens '1.5' is no count",
                "0:7: no model: the export must be grouped by model",
            ],
        ),
        ("openai", f"start_time,model,input_tokens\n{NOON},m,NaN\n", ["0:2: input_tokens 'NaN' is no count"]),
        ("openai", f"start_time,model,input_tokens\n{NOON},m,1e99\n", ["0:2: input_tokens '1e99' is no count"]),
        ("openai", "start_time,model,input_tokens\n1e30,m,1\n", ["0:2: start_time '1e30' is no Unix time"]),
        ("openai", f'start_time,model,input_tokens\n{NOON},"m,1\n', ["0:2: unexpected end of data"]),
        ("openai", OPENAI_COSTS.replace("usd", "eur"), ["0:3: currency 'eur': only USD", "0:4: currency 'eur'"]),
        ("anthropic", ANTHROPIC_CSV.replace("2026-11-20", "20.11."), ["0:2: usage_date_utc '20.11.' is no day"]),
        ("openai", "{", ["0:1: not JSON: "]),
        ("openai", "[" * 100_000, ["0:1: nested too deeply"]),
        ("openai", "[]", ["0: no row holds any usage"]),
        ("openai", "[1]", ["0:[0].data: expected a page"]),
        ("openai", '{"data": {}}', ["0:data: expected a page"]),
        ("openai", '{"data": [1]}', ["0:data[0]: expected a bucket"]),
        ("openai", '{"data": [{"start_time": 1, "results": [1]}]}', ["0:data[0].results[0]: expected an object"]),
        (
            "openai",
            '{"data": [{"start_time": 1, "results": [{"input_tokens": true, "model": "m"}]}]}',
            ["0:data[0].results[0]: input_tokens True is no count"],
        ),
        (
            "openai",
            '{"data": [{"start_time": null, "results": [{"input_tokens": 1, "model": "m"}]}]}',
            ["0:data[0].results[0]: start_time_iso None is no day"],
        ),
        (
            "openai",
            '{"data": [{"start_time": 1, "results": [{"model": "m"}]}]}',
            ["0:data[0].results[0]: it has no input_tokens"],
        ),
        (
            "openai",
            json.dumps({**OPENAI_PAGE, "has_more": True}),
            ["0:has_more: there are further pages; fetch them all"],
        ),
        ("anthropic", json.dumps(OPENAI_PAGE), ["0:data[0].results[0]: starting_at None is no day"]),
    ],
)
def test_faults_are_reported_with_their_place(tmp_path: Path, vendor: Vendor, text: str, expected: list[str]) -> None:
    """File, and line or place in the JSON, and reason; every fault, not only the first."""
    found = faults(tmp_path, vendor, text)

    assert len(expected) == len(found)
    assert [] == [pair for pair in zip(expected, found, strict=True) if not pair[1].startswith(pair[0])]


def test_usage_and_costs_are_compared_one_after_the_other(tmp_path: Path) -> None:
    """A model may have a different name in each."""
    assert ["0: usage and costs in one run; compare them one after the other"] == faults(
        tmp_path, "anthropic", ANTHROPIC_CSV, ANTHROPIC_COSTS
    )


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_is_no_text_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    """Missing, or of another encoding."""
    path = tmp_path / "usage"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageExportInvalid) as caught:
        read_usage_exports("openai", [path])

    assert caught.value.faults[0].startswith(f"{path}:")


@given(
    text=st.text(),
    vendor=st.sampled_from(["openai", "anthropic"]),
    head=st.sampled_from(["", OPENAI_CSV, ANTHROPIC_CSV, "{", '{"data": [']),
)
def test_no_text_is_a_traceback(tmp_path_factory: pytest.TempPathFactory, text: str, vendor: Vendor, head: str) -> None:
    """Whatever is in the file: figures, or reasons."""
    path = tmp_path_factory.getbasetemp() / "any-usage"
    path.write_bytes((head + text).encode("utf-8", "surrogatepass"))
    with suppress(UsageExportInvalid):
        assert read_usage_exports(vendor, [path]).figures
