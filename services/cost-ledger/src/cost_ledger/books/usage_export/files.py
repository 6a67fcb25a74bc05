"""Reads a provider's usage and cost exports from files, as CSV or JSON.

An export groups by whatever its creator chose; rows of one day and model are added up. The formats are in openai.py and
anthropic.py.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Literal

from cost_ledger.books.usage_export import anthropic, openai
from cost_ledger.books.usage_export.export import UsageExport
from cost_ledger.books.usage_export.fields import CsvTable, Row, RowReader, UnusableExport, VendorFormat
from cost_ledger.errors import UsageExportInvalid

Vendor = Literal["openai", "anthropic"]
_FORMATS: dict[Vendor, VendorFormat] = {"openai": openai.FORMAT, "anthropic": anthropic.FORMAT}
_MAX_BYTES = 256 * 2**20
_MAX_FAULTS = 20


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
        raise UsageExportInvalid(faults[:_MAX_FAULTS], len(faults))
    return export


class _Reading:
    """One file that is being read into an export."""

    def __init__(self, path: Path, vendor: Vendor, export: UsageExport) -> None:
        self._path = path
        self._vendor = vendor
        self._format = _FORMATS[vendor]
        self._export = export
        self.faults: list[str] = []

    def read(self) -> None:
        try:
            if self._path.stat().st_size > _MAX_BYTES:
                self.faults.append(f"{self._path}: larger than {_MAX_BYTES // 2**20} MiB; export fewer days")
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
            table = self._table_of(header)
            self._note_unknown(header, table)
            for cells in lines:
                if cells:
                    self._read_line(lines.line_num, header, cells, table)
        except (csv.Error, UnusableExport) as error:
            self._fault(lines.line_num or 1, error)

    def _table_of(self, header: Sequence[str]) -> CsvTable:
        repeated = {name for name in header if header.count(name) > 1}
        if repeated:
            raise UnusableExport(f"column given twice: {', '.join(sorted(repeated))}")
        missing = []
        for table in self._format.tables:
            lacking = table.needed - set(header)
            if not lacking:
                return table
            missing.append(f"{table.kind} needs {', '.join(sorted(lacking))}")
        raise UnusableExport(f"no export of {self._vendor} that is known; missing columns: {'; '.join(missing)}")

    def _read_line(self, line: int, header: Sequence[str], cells: Sequence[str], table: CsvTable) -> None:
        if len(cells) != len(header):
            self._fault(line, f"{len(cells)} fields where the first line has {len(header)}")
            return
        self._read_row(line, {name: cell.strip() for name, cell in zip(header, cells, strict=True)}, table.read)

    def _note_unknown(self, header: Sequence[str], table: CsvTable) -> None:
        unknown = [name for name in header if name not in table.used and name not in self._format.ignored]
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
            self._read_row(f"{place}.results[{at}]", {**result, **start}, self._format.read_json)

    def _read_row(self, place: str | int, row: Row, read: RowReader) -> None:
        try:
            # The whole row before any of it counts: a reader is a generator, and raises while it is read.
            rows = list(read(row))
        except UnusableExport as error:
            self._fault(place, error)
            return
        for each in rows:
            self._export.add(each)
