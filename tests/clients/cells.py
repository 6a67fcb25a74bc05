"""The cells of the matrix: a recorded request, the fault of the first target, and the wire of the second one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from .refused import BY_THE_OTHER_VENDOR

Json = dict[str, Any]
Wire = Literal["openai", "anthropic"]

_RECORDED = Path(__file__).parent / "recorded"
# How the first target fails, as the fault provider plays it.
FAULTS = ("status-500", "status-429", "reset")
ALONE = "alone"
"""There is no first target."""
WIRES: tuple[Wire, Wire] = ("openai", "anthropic")


@dataclass(frozen=True)
class Asked:
    """One recorded request of a client."""

    client: str
    case: str
    path: str
    query: str
    headers: Mapping[str, str]
    key_in: Sequence[str]
    body: Json

    @property
    def name(self) -> str:
        """What it is called in the tests."""
        return f"{self.client}: {self.case}"

    @property
    def contract(self) -> Wire:
        """Whose contract it is in."""
        return "anthropic" if self.path.endswith("/messages") else "openai"

    @property
    def may_call(self) -> bool:
        """Whether a tool may be called in the answer."""
        return bool(self.body.get("tools")) and self.body["messages"][-1]["role"] == "user"


@dataclass(frozen=True)
class Cell:
    """One request on its way through one route."""

    asked: Asked
    fault: str
    second: Wire
    route: str

    @property
    def is_translated(self) -> bool:
        """Whether the target that answers speaks another contract than the client."""
        return self.second != self.asked.contract

    @property
    def answer(self) -> str:
        """What the second target is to do: a call where one is possible, in the cells of two faults."""
        return "tool-call" if self.asked.may_call and self.fault != "status-500" else "ok"

    @property
    def targets(self) -> list[tuple[str, str]]:
        """The route's targets, as provider and model."""
        first = WIRES[1 - WIRES.index(self.second)]
        last = (self.second, f"{self.answer}?test={self.route}")
        return [last] if self.fault == ALONE else [(first, f"{self.fault}?test={self.route}-1"), last]


def recorded_requests() -> list[Asked]:
    """Read what the clients sent, in the order of their names."""
    found: list[Asked] = []
    for file in sorted(_RECORDED.glob("*.json")):
        record = orjson.loads(file.read_bytes())
        found += [Asked(record["client"], **each) for each in record["requests"]]
    return found


def cells() -> list[Cell]:
    """Return the whole matrix: each with a route of its own, so that no breaker opens.

    To the other vendor twice, with two of the faults in turn, and to the client's own with the third; what the other
    vendor cannot be asked is also sent to it alone.
    """
    found: list[Cell] = []
    for number, asked in enumerate(recorded_requests()):
        for second in WIRES:
            turned = (*FAULTS[number % len(FAULTS) :], *FAULTS[: number % len(FAULTS)])
            faults = turned[:2] if second != asked.contract else turned[2:]
            if second != asked.contract and asked.name in BY_THE_OTHER_VENDOR:
                faults = (*faults, ALONE)
            found += [Cell(asked, fault, second, f"cell-{number}-{fault}-{second}") for fault in faults]
    return found
