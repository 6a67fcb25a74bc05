"""What a translation does not say, by the client's names for it."""

from __future__ import annotations

from typing import Any

from edge.problems import Problem

Json = dict[str, Any]

# A request may have thousands, and its receipt has room for some.
MAX_NAMES = 50
# The router reports a name in gRPC's metadata, which has a limit; a client may name a field as it likes.
_MAX_NAME_CHARACTERS = 100
# A call that the model has made itself, as all calls that cross to another vendor.
_DIRECT = {"type": "direct"}


class Losses:
    """Collects the fields that OpenAI's contract has no word for."""

    def __init__(self) -> None:
        self._missed: dict[str, None] = {}
        self._dropped: dict[str, None] = {}
        self._more = 0

    def miss(self, name: str) -> None:
        """Note a field without which the answer would be another one."""
        if len(self._missed) < MAX_NAMES:
            self._missed[name[:_MAX_NAME_CHARACTERS]] = None

    def drop(self, name: str) -> None:
        """Note a field that does not change the answer: only its price, its speed or what is reported about it."""
        name = name[:_MAX_NAME_CHARACTERS]
        if len(self._dropped) < MAX_NAMES:
            self._dropped[name] = None
        elif name not in self._dropped:
            self._more += 1

    def drop_rest(self, value: Json, known: frozenset[str], where: str) -> None:
        """Note the fields of `value` that are not `known` and say something."""
        for name, each in value.items():
            if name not in known and each not in (None, [], {}) and not (name == "caller" and each == _DIRECT):
                self.drop(f"{where}.{name}")

    @property
    def missed(self) -> tuple[str, ...]:
        """The names of what would change the answer."""
        return tuple(self._missed)

    @property
    def dropped(self) -> tuple[str, ...]:
        """The names of what does not; behind the first 50 stands how many more there are."""
        return (*self._dropped, *([f"{self._more} more"] if self._more else ()))


def text_of(block: Json, name: str, where: str) -> str:
    """Return a field that has to be a text. Problem (400) when it is none."""
    value = block.get(name)
    if not isinstance(value, str):
        raise wrong(f"{where}.{name}", "must be a text")
    return value


def wrong(where: str, what: str) -> Problem:
    """Return the error that says that the field at `where` is malformed."""
    return Problem("invalid_request", f"{where}: {what}", param=where)
