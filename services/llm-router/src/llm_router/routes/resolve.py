"""Resolves the `targets` of routes to ranks of target names; a `route:` is replaced by the ranks of that route."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from servicekit.lined_yaml import Where

# A person cannot follow routes that are nested deeper.
_MAX_DEPTH = 20

NamedRanks = tuple[tuple[str, ...], ...]


class RankResolver:
    """Resolves the routes of one file. An entry that is wrong is left out and added to `faults`, once."""

    def __init__(self, entries: Mapping[str, Sequence[object]], targets: Collection[str]) -> None:
        """`entries` are the `targets` of each route as the file has them; `targets` are the names that exist."""
        self.faults: list[tuple[Where, str]] = []
        self._entries = entries
        self._targets = targets
        self._resolved: dict[str, NamedRanks] = {}
        self._path: list[str] = []
        """The routes that are being resolved, each included by the one before it."""

    def ranks_of(self, route: str) -> NamedRanks:
        """Return the ranks of `route`, a name in `entries`."""
        if route in self._resolved:
            return self._resolved[route]
        self._path.append(route)
        ranks: list[tuple[str, ...]] = []
        seen: set[str] = set()
        for index, entry in enumerate(self._entries[route]):
            where = ("routes", route, "targets", index)
            for rank in self._ranks_of_entry(entry, where):
                ranks.append(tuple(name for name in rank if name not in seen))
                self._report_repeated(rank, seen, where)
        self._path.pop()
        self._resolved[route] = tuple(ranks)
        return self._resolved[route]

    def _ranks_of_entry(self, entry: object, where: Where) -> NamedRanks:
        match entry:
            case str():
                return (self._known([entry], [where]),)
            case [str(), *_] if len(names := [name for name in entry if isinstance(name, str)]) == len(entry):
                return (self._known(names, [(*where, index) for index in range(len(names))]),)
            case {"route": str(included), **rest} if not rest:
                return self._included(included, where)
            case _:
                self.faults.append((where, "expected a target, a list of targets of equal rank, or {route: MODEL}"))
                return ()

    def _known(self, names: Sequence[str], places: Sequence[Where]) -> tuple[str, ...]:
        """Return the `names` that are targets, each once; `places` says where each is in the file."""
        known: list[str] = []
        for name, where in zip(names, places, strict=True):
            if name in known:
                self.faults.append((where, f"target {name!r} is in this rank twice"))
            elif name in self._targets:
                known.append(name)
            else:
                hint = f"; a route is written {{route: {name}}}" if name in self._entries else ""
                self.faults.append((where, f"no target {name!r}; there are {', '.join(sorted(self._targets))}{hint}"))
        return tuple(known)

    def _included(self, route: str, where: Where) -> NamedRanks:
        if route not in self._entries:
            self.faults.append((where, f"no route {route!r}; there are {', '.join(sorted(self._entries))}"))
            return ()
        if route in self._path:
            cycle = [*self._path[self._path.index(route) :], route]
            self.faults.append((where, f"the routes include each other in a cycle: {' -> '.join(cycle)}"))
            return ()
        if len(self._path) == _MAX_DEPTH:
            self.faults.append((where, f"routes are nested more than {_MAX_DEPTH} deep"))
            return ()
        return self.ranks_of(route)

    def _report_repeated(self, rank: Sequence[str], seen: set[str], where: Where) -> None:
        for name in rank:
            if name in seen:
                self.faults.append((where, f"target {name!r} is in this route twice"))
            seen.add(name)
