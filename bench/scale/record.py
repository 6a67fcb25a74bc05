"""Writes tables and plot into docs/scale.md and bench/results, from slopes."""

from __future__ import annotations

from pathlib import Path

from bench.record import FOLDER, with_table
from bench.scale.model import CHAT, REASONING, Workload
from bench.scale.plot import svg
from bench.scale.slopes import Slopes
from bench.scale.tables import computed, measured, met
from bench.scale.walls import walls

DOCUMENT = Path(__file__).parents[2] / "docs/scale.md"
PLOT = FOLDER / "scale.svg"


def about(slopes: Slopes) -> str:
    """Return one line on version, machine and date."""
    machine = f"{slopes.machine['cores']} cores, {slopes.machine['processor']}"
    others = max(answer.others_cores for answer in slopes.answers)
    return (
        f"spillway {slopes.version}; {machine}; {slopes.date}. "
        f"Other work took up to {others:.1f} of the cores while CPU was measured."
    )


def tables(slopes: Slopes) -> dict[str, str]:
    """Return what stands between which marks of the document."""
    return {
        "make scale (measured)": f"{measured(slopes)}\n{about(slopes)}\n",
        "make scale (chat)": computed(slopes, CHAT),
        "make scale (reasoning)": computed(slopes, REASONING),
        "make scale (walls)": met(slopes, CHAT, REASONING),
    }


def plot(slopes: Slopes, work: Workload = CHAT) -> str:
    """Return the plot of the walls."""
    return svg(walls(slopes, work), f"Where one is not enough: {work.name}", f"Computed from slopes: {about(slopes)}")


def write(slopes: Slopes) -> None:
    """Write plot and document."""
    PLOT.write_text(plot(slopes))
    document = DOCUMENT.read_text()
    for command, table in tables(slopes).items():
        document = with_table(document, command, table)
    DOCUMENT.write_text(document)
