"""What public models can be called: no name may lead to two routes, whatever the order of the file.

A name that ends in `*` is a wildcard: any name that begins with what stands before it. An exact name goes before a
wildcard, and of two wildcards the longer one; so no two of them are ever equally good.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llm_router.routes.file import RouteEntry
from servicekit.lined_yaml import Where


def faults_in_names(entries: Mapping[str, RouteEntry | None]) -> Iterator[tuple[Where, str]]:
    """Yield the names that cannot be used, with the reason; an entry that is None is wrong elsewhere."""
    taken = set(entries)
    for route, entry in entries.items():
        if reason := _fault_in(route):
            yield ("routes", route), reason
        for index, alias in enumerate(entry.aliases if entry else ()):
            where = ("routes", route, "aliases", index)
            if reason := _fault_in(alias):
                yield where, reason
            elif alias in taken:
                yield where, f"{alias!r} is the name, or an alias, of a route already"
            taken.add(alias)


def _fault_in(name: str) -> str:
    return f"{name!r}: a '*' stands at the end of a name only" if "*" in name[:-1] else ""
