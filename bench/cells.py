"""What is measured: each cell is a kind of question and a number of clients that ask it at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial

from bench.client import Question, messages
from bench.prompt import LONG
from bench.wire import EMBEDDING_MODEL, Plan, check_completion, check_embedding, check_stream

CHUNKS = 64
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
_INTERVALS_MS, _CLIENTS = (2, 20, 50), (1, 20, 100, 500)
_STREAM = re.compile(r"(\d+)ms-(\d+)")
_KIND = re.compile(r"(one|long|hit|whole|embeddings)-(\d+)")
IDLE = "idle"


@dataclass(frozen=True)
class Cell:
    """One of them."""

    name: str
    clients: int
    question: Question | None
    """None: nothing is asked, to see what a subject costs at rest."""
    chunks: int = 1
    """Of content, in each answer."""
    is_hit: bool = False
    """Whether the answers come from a cache, and the provider is not asked."""

    @property
    def says(self) -> str:
        """What it is, for a table."""
        clients = f"{self.clients} client{'s' if self.clients > 1 else ''}"
        if found := _STREAM.fullmatch(self.name):
            return f"{CHUNKS} chunks, {found[1]} ms apart, {clients}"
        kind = self.name.partition("-")[0]
        return {
            "one": f"one chunk, {clients}",
            "long": f"one chunk, prompt of 1,000 tokens, {clients}",
            "hit": f"exact cache hit of {CHUNKS} chunks, {clients}",
            "whole": f"not streamed, {clients}",
            "embeddings": f"embeddings, {clients}",
            "idle": "nothing asked",
        }[kind]


def cell_of(name: str) -> Cell:
    """Return the cell of this name: `20ms-100`, `one-20`, `long-20`, `hit-1`, `whole-20`, `embeddings-20`, `idle`."""
    if name == IDLE:
        return Cell(IDLE, 0, None)
    if found := _STREAM.fullmatch(name):
        return Cell(name, int(found[2]), _streamed(Plan(CHUNKS, int(found[1]))), CHUNKS)
    found = _KIND.fullmatch(name)
    if found is None or not int(found[2]):
        raise ValueError(f"{name!r} is no cell: {', '.join(DEFAULT_CELLS)}, or others like them")
    kind, clients = found[1], int(found[2])
    match kind:
        case "one":
            return Cell(name, clients, _streamed(Plan(1, 0)))
        case "long":
            return Cell(name, clients, replace(_streamed(Plan(1, 0)), prompt=f"\n{LONG}"))
        case "hit":
            return Cell(name, clients, _streamed(Plan(CHUNKS, 0), is_repeated=True), CHUNKS, is_hit=True)
        case "whole":
            plan = Plan(CHUNKS, 0)
            body: dict[str, object] = {"model": plan.model, "messages": messages("")}
            return Cell(name, clients, Question(CHAT, body, partial(check_completion, plan=plan)))
        case _:
            body = {"model": EMBEDDING_MODEL, "input": "", "encoding_format": "float"}
            return Cell(name, clients, Question(EMBEDDINGS, body, check_embedding))


def warm_up_of(cell: Cell) -> Question | None:
    """Return what is asked before, to open connections and, for a hit, to fill the cache."""
    return cell.question if cell.is_hit or cell.chunks == 1 else _streamed(Plan(1, 0))


def models_of(cells: list[Cell]) -> list[str]:
    """Return the models that the cells ask for, each once."""
    questions = [question for cell in cells for question in (cell.question, warm_up_of(cell)) if question]
    return sorted({str(question.body["model"]) for question in questions})


def _streamed(plan: Plan, *, is_repeated: bool = False) -> Question:
    body: dict[str, object] = {
        "model": plan.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": messages("the same question"),
    }
    check = partial(check_stream, plan=plan)
    return Question(CHAT, body, check, spread_seconds=plan.seconds, is_repeated=is_repeated)


DEFAULT_CELLS = (
    *(f"{interval}ms-{clients}" for interval in _INTERVALS_MS for clients in _CLIENTS),
    *("one-20", "whole-20", "embeddings-20", "hit-1", "hit-20", IDLE),
)
