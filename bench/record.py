"""What a run found: results.json, and from it the table, the plot and the figures in docs/performance.md.

`python -m bench.record` writes them anew from the files in bench/results.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.added import added
from bench.measure import Measurement
from bench.plot import svg
from bench.report import markdown, rows, summary

_ROOT = Path(__file__).parents[1]
FOLDER = _ROOT / "bench/results"
FEATURES = FOLDER / "features"
_DOCUMENT = _ROOT / "docs/performance.md"
_TABLES: Mapping[Path, tuple[str, Callable[[Sequence[Measurement]], str]]] = {
    FOLDER: ("make bench", lambda measurements: summary(rows(measurements))),
    FEATURES: ("make bench-features", added),
}
"""What the document has of the results in a folder, and the command that writes them."""
_END = "<!-- until here -->"


@dataclass(frozen=True)
class Results:
    """All measurements of a run, and on what they were made."""

    date: str
    rounds: int
    seconds: float
    """How long each cell was asked in each round."""
    machine: dict[str, str]
    versions: dict[str, str]
    measurements: Sequence[Measurement]

    @property
    def about(self) -> str:
        """One line on versions, machine and date."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        machine = f"{self.machine['cores']} cores, {self.machine['processor']}"
        return f"{versions}; {machine}; {self.date}; {self.rounds} rounds of {self.seconds:g} s"


def write(results: Results, folder: Path) -> None:
    """Write results, table and plot into a folder; the document as well when it is one of the repository's."""
    folder.mkdir(parents=True, exist_ok=True)
    encoded = _encoded(results)
    (folder / "results.json").write_bytes(encoded)
    # What is written from the file later is then the same.
    results = _decoded(encoded)
    found = rows(results.measurements)
    others = statistics.median(row.others_cores for row in found)
    remark = f"{results.about}. Other work took {others:.1f} of the cores meanwhile (median over the cells)."
    more = added(results.measurements)
    tables = "\n".join(filter(None, (more, markdown(found))))
    (folder / "table.md").write_text(f"# What an answer costs\n\n{remark}\n\n{tables}")
    (folder / "cpu.svg").write_text(svg(found, results.about))
    if folder.resolve() in _TABLES:
        command, table = _TABLES[folder.resolve()]
        text = f"{table(results.measurements)}\n{remark}\n"
        _DOCUMENT.write_text(with_table(_DOCUMENT.read_text(), command, text))


def _encoded(results: Results) -> bytes:
    """A line for each measurement."""
    document = asdict(results)
    lines = b",\n".join(orjson.dumps(_rounded(each)) for each in document.pop("measurements"))
    return orjson.dumps(document)[:-1] + b',"measurements":[\n' + lines + b"\n]}\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value


def read(folder: Path) -> Results:
    """Return what was written into a folder."""
    return _decoded((folder / "results.json").read_bytes())


def _decoded(encoded: bytes) -> Results:
    document = orjson.loads(encoded)
    measurements = [Measurement(**each) for each in document.pop("measurements")]
    return Results(**document, measurements=measurements)


def with_table(document: str, command: str, table: str) -> str:
    """Return a document with another table between the marks of a command; ValueError when it has none."""
    mark = f"<!-- {command} writes this table -->"
    before, begin, rest = document.partition(mark)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"the document has no {mark} ... {_END}")
    return f"{before}{mark}\n{table}{_END}{after}"


if __name__ == "__main__":
    for each in _TABLES:
        write(read(each), each)
