"""Reads the routes file, and reports every fault in it with its line."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from llm_router.routes.file import Route, RouteEntry, Routes, RoutesFile, TargetEntry
from llm_router.routes.names import faults_in_names
from llm_router.routes.resolve import NamedRanks, RankResolver
from llm_router.routes.sources import Sources, Unreadable
from llm_router.target import Target
from servicekit.lined_yaml import LinedYaml, NotYaml, Where

_ModelT = TypeVar("_ModelT", bound=BaseModel)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a routes file."""

    file: Path
    line: int | None
    """None when the file as a whole cannot be read."""
    reason: str

    def __str__(self) -> str:
        """Return `FILE:LINE: dotted.path: what is wrong`."""
        return f"{self.file}: {self.reason}" if self.line is None else f"{self.file}:{self.line}: {self.reason}"


class RoutesError(Exception):
    """The file cannot be used; the message gives file, line and reason for each of `faults`, one a line."""

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
    return _Loader(path, document, sources).routes()


class _Loader:
    """Turns one document into routes and collects every fault on the way."""

    def __init__(self, path: Path, document: LinedYaml, sources: Sources) -> None:
        self._path = path
        self._document = document
        self._sources = sources
        self._faults = [Fault(path, line, f"{_dotted(where)}: {reason}") for where, line, reason in document.faults]

    def routes(self) -> Routes:
        """Return the routes; RoutesError when there was any fault."""
        file = self._validate(RoutesFile, self._document.data, ())
        if file is None:
            raise self._error()
        targets = {name: self._target(name, data) for name, data in file.targets.items()}
        entries = {name: self._validate(RouteEntry, data, ("routes", name)) for name, data in file.routes.items()}
        resolver = RankResolver({name: entry.targets if entry else [] for name, entry in entries.items()}, targets)
        ranks = {name: resolver.ranks_of(name) for name in entries}
        for where, reason in resolver.faults:
            self._add_fault(where, reason)
        for where, reason in faults_in_names(entries):
            self._add_fault(where, reason)
        for name, entry in entries.items():
            if entry and entry.economy is not None and (entry.economy == name or entry.economy not in entries):
                others = ", ".join(sorted(set(entries) - {name})) or "none"
                self._add_fault(("routes", name, "economy"), f"{entry.economy!r} is no other route; there are {others}")
        usable = {name: target for name, target in targets.items() if target}
        routes = {name: _route(name, entry, ranks[name], usable) for name, entry in entries.items() if entry}
        if self._faults:
            raise self._error()
        return routes

    def _target(self, name: str, data: object) -> Target | None:
        where = ("targets", name)
        entry = self._validate(TargetEntry, data, where)
        if entry is None:
            return None
        credential = self._credential(entry.credential_file, (*where, "credential_file"))
        authorities = self._authorities(entry.ca_file, (*where, "ca_file"))
        others = entry.model_dump(exclude={"credential_file", "ca_file"})
        return Target(name=name, credential=credential, authorities=authorities, **others)

    def _credential(self, path: Path | None, where: Where) -> str | None:
        if path is None:
            return None
        try:
            credential = self._sources.read(path).strip()
        except Unreadable as error:
            self._add_fault(where, f"{path}: {error}")
            return None
        if not credential:
            self._add_fault(where, f"{path}: the file is empty")
        elif not (credential.isascii() and credential.isprintable()):
            self._add_fault(where, f"{path}: expected one line of printable ASCII, the key and nothing else")
        return credential

    def _authorities(self, path: Path | None, where: Where) -> str | None:
        if path is None:
            return None
        try:
            authorities = self._sources.read(path)
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=authorities)
        except Unreadable as error:
            self._add_fault(where, f"{path}: {error}")
            return None
        except (ssl.SSLError, ValueError):  # ValueError: it is not ASCII, or empty
            self._add_fault(where, f"{path}: it has no certificate in PEM that can be read")
            return None
        return authorities

    def _validate(self, model: type[_ModelT], data: object, where: Where) -> _ModelT | None:
        """Validate `data`, which is at `where` in the document; None when something in it is wrong."""
        try:
            return model.model_validate(data)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False, include_context=False):
                self._add_fault((*where, *detail["loc"]), _reason(model, detail))
            return None

    def _add_fault(self, where: Where, reason: str) -> None:
        self._faults.append(Fault(self._path, self._document.line_of(where), f"{_dotted(where)}: {reason}"))

    def _error(self) -> RoutesError:
        return RoutesError(sorted(self._faults, key=lambda fault: (fault.line or 0, fault.reason)))


def _route(name: str, entry: RouteEntry, ranks: NamedRanks, targets: Mapping[str, Target]) -> Route:
    return Route(
        name=name,
        ranks=tuple(tuple(targets[target] for target in rank if target in targets) for rank in ranks),
        **entry.model_dump(exclude={"targets"}),
    )


def _reason(model: type[BaseModel], detail: ErrorDetails) -> str:
    match detail["type"]:
        case "model_type" | "dict_type":
            return "expected a mapping"
        case "extra_forbidden":
            return f"unknown key; the keys here are {', '.join(_keys(model, detail['loc'][:-1]))}"
        case _:
            return detail["msg"]


def _keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """Return the keys of the mapping at `path` in a document that `model` describes."""
    for part in path:
        annotation = model.model_fields[str(part)].annotation
        candidates = (annotation, *get_args(annotation))
        model = next(each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel))
    return list(model.model_fields)


def _dotted(where: Where) -> str:
    return ".".join(str(part) for part in where) or "the file"
