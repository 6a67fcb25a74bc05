"""Targets and routes: the file that says which public model leads to which targets, in which order.

    targets:
      NAME:
        provider: openai | anthropic | vllm    # vllm: any engine of our own that speaks OpenAI's wire
        model: MODEL                           # as the provider calls it
        base_url: https://HOST/PATH            # default: the vendor's own; vllm needs one
        credential_file: FILE                  # holds the key and nothing else; only vllm can do without
        context_tokens: 128000                 # how long prompt and answer may be together; default: not known
        weight: 1                              # its share among targets of equal rank; above 0
        timeouts:                              # in seconds, above 0
          connect_seconds: 2                   # at most 30
          first_content_seconds: 8             # at most 30, for a model that thinks in silence before it speaks;
                                               #   vllm: 30, our own engine is worth waiting for
          gap_seconds: 20                      # between two chunks of content; at most 3600
          stream_seconds: 120                  # the whole attempt; at most 3600

    routes:
      PUBLIC MODEL:
        targets:                               # asked in this order; none may come twice
          - NAME
          - [NAME, NAME]                       # of equal rank: one of them is chosen, the others stand behind it
          - {route: PUBLIC MODEL}              # the ranks of that route stand here, without its other settings
        balance: weighted | least_latency      # how one of equal rank is chosen; default: weighted
        hedge:                                 # {} switches it on as it is written here; default: off
          after_least_seconds: 0.2             # the second target starts when the first was silent for its own
          after_most_seconds: 4.0              #   95th percentile of time to first content, within these bounds;
          most_extra_ratio: 0.1                #   at most 30, and at most this share of requests pays twice
        continuation: allow | never            # whether another target may carry on a cut answer; default: never

Whatever is not named here is refused. Paths are relative to the folder that the process was started in. The file, and
the credential files, may change while the process runs: `routes_watch.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import httpx2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llm_router.routes.ranks import NamedRanks, RankResolver
from llm_router.routes.sources import Sources, Unreadable
from servicekit.lined_yaml import LinedYaml, NotYaml, Where

ProviderName = Literal["openai", "anthropic", "vllm"]
Balance = Literal["weighted", "least_latency"]

_Name = Annotated[str, Field(min_length=1, max_length=200)]
# Nothing that a person waits for may stay silent for longer than this.
_FirstByteSeconds = Annotated[float, Field(gt=0, le=30)]
_Seconds = Annotated[float, Field(gt=0, le=3600)]


@dataclass(frozen=True)
class Timeouts:
    """The timers of a target, in seconds. The defaults fit a person who waits."""

    connect_seconds: float = 2.0
    first_content_seconds: float = 8.0
    """From the start of the attempt to its first content; a role, a ping or usage is not content."""
    gap_seconds: float = 20.0
    """Between two chunks of content."""
    stream_seconds: float = 120.0
    """From the start of the attempt to its end."""


@dataclass(frozen=True)
class Target:
    """One callable place: provider, model, address and credential. Equal when all of its settings are."""

    name: str
    provider: ProviderName
    model: str
    base_url: str | None
    credential: str | None
    context_tokens: int | None
    timeouts: Timeouts
    weight: float = 1.0
    """Its share among targets of equal rank."""

    def __repr__(self) -> str:
        """Leave the credential out, wherever this may be printed."""
        return f"Target({self.name!r}, {self.provider!r}, {self.model!r})"


@dataclass(frozen=True)
class Hedge:
    """When a second target is asked beside a silent first one."""

    after_least_seconds: float
    after_most_seconds: float
    most_extra_ratio: float
    """At most this share of the requests may have a second attempt beside the first."""


@dataclass(frozen=True)
class Route:
    """What a public model leads to."""

    name: str
    ranks: tuple[tuple[Target, ...], ...]
    """In the order in which they are asked; the targets of one rank are equal. None is empty, no target comes twice."""
    balance: Balance = "weighted"
    hedge: Hedge | None = None
    may_continue: bool = False
    """Whether another target may carry on an answer that broke off, also when the request does not ask for it."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """All targets in the order of the file."""
        return tuple(target for rank in self.ranks for target in rank)


Routes = Mapping[str, Route]
"""Public model -> its route, in the order of the file."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a routes file."""

    file: Path
    line: int | None
    """None when it is the file as a whole that cannot be read."""
    reason: str

    def __str__(self) -> str:
        """Return `FILE:LINE: dotted.path: what is wrong`."""
        return f"{self.file}: {self.reason}" if self.line is None else f"{self.file}:{self.line}: {self.reason}"


class RoutesError(Exception):
    """The file cannot be used; the text names file, line and reason for each of `faults`, one a line."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults


def load_routes(path: Path, sources: Sources | None = None) -> Routes:
    """Read the routes in `path`. RoutesError when anything in it is wrong, with every fault that could be found.

    `sources` remembers what was read, the credential files included, also when the file is refused.
    """
    sources = sources or Sources()
    try:
        document = LinedYaml(sources.read(path))
    except Unreadable as error:
        raise RoutesError([Fault(path, None, str(error))]) from error
    except NotYaml as error:
        raise RoutesError([Fault(path, error.line, f"not YAML: {error}")]) from error
    if document.data is None:
        raise RoutesError([Fault(path, 1, "the file is empty; it needs 'targets' and 'routes'")])
    return _RoutesFile(path, document, sources).routes()


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _File(_Entry):
    targets: Annotated[dict[_Name, Any], Field(min_length=1)]
    routes: Annotated[dict[_Name, Any], Field(min_length=1)]


class _TimeoutsEntry(_Entry):
    connect_seconds: _FirstByteSeconds | None = None
    first_content_seconds: _FirstByteSeconds | None = None
    gap_seconds: _Seconds | None = None
    stream_seconds: _Seconds | None = None


class _TargetEntry(_Entry):
    provider: ProviderName
    model: _Name
    base_url: str | None = None
    credential_file: Path | None = None
    context_tokens: Annotated[int, Field(gt=0)] | None = None
    weight: Annotated[float, Field(gt=0, le=1_000_000)] = 1.0
    timeouts: _TimeoutsEntry = _TimeoutsEntry()


class _HedgeEntry(_Entry):
    after_least_seconds: _FirstByteSeconds = 0.2
    after_most_seconds: _FirstByteSeconds = 4.0
    most_extra_ratio: Annotated[float, Field(gt=0, le=1)] = 0.1


class _RouteEntry(_Entry):
    targets: Annotated[list[Any], Field(min_length=1)]
    balance: Balance = "weighted"
    hedge: _HedgeEntry | None = None
    continuation: Literal["allow", "never"] = "never"


_EntryT = TypeVar("_EntryT", bound=_Entry)


class _RoutesFile:
    """Turns one file into routes, gathering every fault on the way."""

    def __init__(self, path: Path, document: LinedYaml, sources: Sources) -> None:
        self._path = path
        self._document = document
        self._sources = sources
        self._faults = [Fault(path, line, f"{_dotted(where)}: {reason}") for where, line, reason in document.faults]

    def routes(self) -> Routes:
        """Return the routes; RoutesError when there was any fault."""
        file = self._entry(_File, self._document.data, ())
        if file is None:
            raise self._error()
        targets = {name: self._target(name, data) for name, data in file.targets.items()}
        entries = {name: self._entry(_RouteEntry, data, ("routes", name)) for name, data in file.routes.items()}
        resolver = RankResolver({name: entry.targets if entry else [] for name, entry in entries.items()}, targets)
        ranks = {name: resolver.ranks_of(name) for name in entries}
        for where, reason in resolver.faults:
            self._fault(where, reason)
        usable = {name: target for name, target in targets.items() if target}
        routes = {name: self._route(name, entry, ranks[name], usable) for name, entry in entries.items() if entry}
        if self._faults:
            raise self._error()
        return routes

    def _target(self, name: str, data: object) -> Target | None:
        where = ("targets", name)
        entry = self._entry(_TargetEntry, data, where)
        if entry is None:
            return None
        if entry.provider == "vllm" and entry.base_url is None:
            self._fault(where, "provider 'vllm' needs a base_url")
        if entry.provider != "vllm" and entry.credential_file is None:
            self._fault(where, f"provider {entry.provider!r} needs a credential_file")
        if entry.base_url is not None and not _is_address(entry.base_url):
            self._fault((*where, "base_url"), "expected an address such as https://host:8000/v1")
        return Target(
            name=name,
            provider=entry.provider,
            model=entry.model,
            base_url=entry.base_url,
            credential=self._credential(entry.credential_file, (*where, "credential_file")),
            context_tokens=entry.context_tokens,
            timeouts=_timeouts(entry),
            weight=entry.weight,
        )

    def _credential(self, path: Path | None, where: Where) -> str | None:
        if path is None:
            return None
        try:
            credential = self._sources.read(path).strip()
        except Unreadable as error:
            self._fault(where, f"{path}: {error}")
            return None
        if not credential:
            self._fault(where, f"{path}: the file is empty")
        elif not (credential.isascii() and credential.isprintable()):
            self._fault(where, f"{path}: expected one line of plain characters, the key and nothing else")
        return credential

    def _route(self, name: str, entry: _RouteEntry, ranks: NamedRanks, targets: Mapping[str, Target]) -> Route:
        hedge = Hedge(**entry.hedge.model_dump()) if entry.hedge else None
        if hedge and hedge.after_least_seconds > hedge.after_most_seconds:
            self._fault(("routes", name, "hedge"), "after_least_seconds is greater than after_most_seconds")
        return Route(
            name=name,
            ranks=tuple(tuple(targets[target] for target in rank if target in targets) for rank in ranks),
            balance=entry.balance,
            hedge=hedge,
            may_continue=entry.continuation == "allow",
        )

    def _entry(self, entry_class: type[_EntryT], data: object, where: Where) -> _EntryT | None:
        """Read `data`, which stands at `where`; None when something in it is wrong."""
        try:
            return entry_class.model_validate(data)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False, include_context=False):
                is_no_mapping = detail["type"] in {"model_type", "dict_type"}
                self._fault(
                    (*where, *detail["loc"]), "expected names with values below it" if is_no_mapping else detail["msg"]
                )
            return None

    def _fault(self, where: Where, reason: str) -> None:
        self._faults.append(Fault(self._path, self._document.line_of(where), f"{_dotted(where)}: {reason}"))

    def _error(self) -> RoutesError:
        return RoutesError(sorted(self._faults, key=lambda fault: (fault.line or 0, fault.reason)))


def _timeouts(entry: _TargetEntry) -> Timeouts:
    # Our own engine is the last target: nobody stands behind it who would be quicker.
    unset = {"first_content_seconds": 30.0} if entry.provider == "vllm" else {}
    return Timeouts(**(unset | entry.timeouts.model_dump(exclude_none=True)))


def _is_address(url: str) -> bool:
    """Tell whether the HTTP client can call `url`."""
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        return False
    return parsed.scheme in {"http", "https"} and bool(parsed.host)


def _dotted(where: Where) -> str:
    return ".".join(str(part) for part in where) or "the file"
