"""What a target is not told because its wire has no word for it: names of fields, for the receipt."""

from __future__ import annotations

from collections.abc import Iterable

MAX_DROPPED = 50
# A client may name a field of its request as it likes.
_MAX_NAME_CHARACTERS = 100


class Dropped:
    """Collects the names of fields that are left out and that do not change the answer. Names only, never values."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}
        self._more = 0

    def add(self, name: str) -> None:
        """Note a field by the caller's name for it, e.g. `seed` or `messages.0.name`."""
        name = name[:_MAX_NAME_CHARACTERS]
        if len(self._names) < MAX_DROPPED:
            self._names[name] = None
        elif name not in self._names:
            self._more += 1

    def add_all(self, names: Iterable[str]) -> None:
        """Note several fields."""
        for name in names:
            self.add(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the order in which they were noted; behind the first 50 stands how many more there are."""
        return (*self._names, *([f"{self._more} more"] if self._more else ()))
