"""The tool calls of one choice, whatever way a vendor cuts and numbers them, as OpenAI itself would send them.

Each fragment that leaves has its `index`; the first of a call has its `id`, its `type` and its whole name, and no other
has. Calls are told apart by id, then by index, then by a new name. docs/compatibility.md lists who sends what.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from llm_router.errors import StreamBroken
from llm_router.providers.numbers import whole_number

Json = dict[str, Any]

_MAX_TOOL_CALLS = 1000
_MAX_NAME_CHARACTERS = 1000
# Of the arguments that are held back, or kept to see where those of a call end. What was sent on may be longer.
_MAX_KEPT_CHARACTERS = 1024 * 1024
# Some engines make up another id, or another number, for each fragment.
_MAX_ID_CHARACTERS = 1024 * 1024
_MAX_INDEXES = 100_000
# To see whether arguments are complete all of them are read; long ones that often look so, and are not, are left alone.
_LONG_ARGUMENTS = 16 * 1024
_MAX_LOOKS = 32
_OWN_FIELDS = frozenset({"index", "id", "type", "function", "custom", "name", "arguments"})


class _Call:
    """One call: what of it has come, and whether its first fragment has left."""

    def __init__(self) -> None:
        self.has_vendor_index = False
        self.id = ""
        self.name = ""
        self.kind = "function"  # or `custom`: OpenAI's tools whose input is any text
        self.type = ""
        self.number: int | None = None  # the index under which it leaves, from its first fragment on
        self.pieces: list[str] = []
        self.more: Json = {}  # fields that only the vendor knows, to leave with the next fragment
        self._looked_at = 0  # how many pieces there were when they were read last
        self._was_complete = False
        self._looks = 0  # at long arguments that were not complete
        self._is_forgotten = False

    @property
    def is_complete(self) -> bool:
        """Whether its arguments are one JSON object already, so that nothing can be added."""
        if not self.pieces or not self.pieces[-1].rstrip().endswith("}"):
            return False
        if self._looked_at != len(self.pieces) and self._looks < _MAX_LOOKS:
            self._looked_at = len(self.pieces)
            self._was_complete = self._is_object("".join(self.pieces))
        return self._was_complete and self._looked_at == len(self.pieces)

    def _is_object(self, arguments: str) -> bool:
        try:
            is_object = isinstance(orjson.loads(arguments), dict)
        except orjson.JSONDecodeError:
            is_object = False
        if not is_object and len(arguments) > _LONG_ARGUMENTS:
            self._looks += 1
        return is_object

    def forget(self) -> None:
        """Keep no more of arguments that have been sent on."""
        self._is_forgotten = True
        self.pieces = ["{"]  # there were some, and they are not complete

    def add(self, arguments: str, *, takes_arguments: bool) -> str:
        """Keep a fragment of the arguments; return what of it is to be sent on.

        `takes_arguments`: the tool has some, so that an empty object may only stand before the true ones.
        """
        given = arguments.strip()
        if not self.pieces and (given == "null" or (given == "{}" and takes_arguments)):
            return ""
        if given.startswith("{") and self.is_complete:
            if given == "{}":
                return ""
            if orjson.loads("".join(self.pieces)) == _read(arguments):
                return ""  # the whole call once more, as some do in their last chunk
            raise StreamBroken("a tool call has more arguments after their end")
        if arguments and not self._is_forgotten:
            self.pieces.append(arguments)
        return arguments


class ToolCalls:
    """Takes the `tool_calls` of each delta and returns those to send on."""

    def __init__(self, tools: Mapping[str, bool] = MappingProxyType({})) -> None:
        """`tools` are those of the request by name, and whether they take arguments.

        They tell a name that is cut in pieces from one that is whole, and no arguments from those that have not come.
        """
        self._tools = tools
        self._calls: list[_Call] = []
        self._by_id: dict[str, _Call] = {}
        self._by_index: dict[int, _Call] = {}
        self._count = 0
        self._kept = 0  # characters of arguments
        self._id_characters = 0

    @property
    def are_delivered(self) -> bool:
        """Whether a call has been sent on."""
        return self._count > 0

    def take(self, fragments: Any) -> list[Json]:
        """Return the fragments that these become, possibly none yet. StreamBroken when they cannot be read."""
        if isinstance(fragments, dict):
            fragments = [fragments]
        if not isinstance(fragments, list):
            raise StreamBroken("the tool calls of a chunk are not a list")
        sent: list[Json] = []
        for fragment in fragments:
            if fragment:
                self._take(fragment, sent)
        return sent

    def end(self) -> list[Json]:
        """Return what is still due when nothing more comes: `{}` for calls without arguments, names held back."""
        sent: list[Json] = []
        for call in self._calls:
            if call.name:
                has_arguments = call.kind == "custom" or any(map(str.strip, call.pieces))
                self._send(call, "" if has_arguments else "{}", sent)
            elif call.pieces:
                raise StreamBroken("a tool call has arguments and no name")
        self._calls, self._by_id, self._by_index = [], {}, {}
        return sent

    def _take(self, fragment: Any, sent: list[Json]) -> None:
        if not isinstance(fragment, dict):
            raise StreamBroken("a fragment of a tool call is not an object")
        kind = "custom" if isinstance(fragment.get("custom"), dict) else "function"
        function = fragment.get(kind) or fragment  # some write the function's fields into the call itself
        if not isinstance(function, dict):
            raise StreamBroken("the function of a tool call is not an object")
        name = _text(function.get("name"), "name")
        arguments = _arguments(function.get("input" if kind == "custom" else "arguments"))
        call = self._call_of(_identifier(fragment.get("id")), _index(fragment.get("index")), name, arguments, sent)
        if call.number is None:
            call.kind, call.type = kind, call.type or _text(fragment.get("type"), "type")[:_MAX_NAME_CHARACTERS]
            # In pieces, or from its beginning again with each fragment.
            call.name = name if name.startswith(call.name) else call.name + name
            if len(call.name) > _MAX_NAME_CHARACTERS:
                raise StreamBroken("the name of a tool call is too long")
        if not _OWN_FIELDS.issuperset(fragment):
            more = {field: value for field, value in fragment.items() if field not in _OWN_FIELDS}
            call.more |= more
            if call.number is None:
                self._keep(call, len(orjson.dumps(more)))
        arguments = call.add(arguments, takes_arguments=self._tools.get(call.name, False))
        if call.number is not None:
            self._send(call, arguments, sent)
        elif call.name and (call.pieces or (call.id and self._is_whole(call.name))):
            self._send(call, "".join(call.pieces), sent)
        self._keep(call, len(arguments))

    def _keep(self, call: _Call, size: int) -> None:
        """Count what is kept of a call. StreamBroken when too much of it waits for its name."""
        self._kept += size
        if self._kept > _MAX_KEPT_CHARACTERS:
            if call.number is None:
                raise StreamBroken("a tool call has a long beginning and no name")
            call.forget()

    def _is_whole(self, name: str) -> bool:
        return not self._tools or name in self._tools

    def _send(self, call: _Call, arguments: str, sent: list[Json]) -> None:
        """Send `arguments` on, before the first ones also what names the call; nothing when there is nothing new."""
        key = "input" if call.kind == "custom" else "arguments"
        if call.number is None:
            call.number = self._count
            self._count += 1
            call.id = call.id or "call_" + secrets.token_hex(12)
            function = {"name": call.name, key: arguments}
            sent.append(
                {
                    "index": call.number,
                    "id": call.id,
                    "type": call.type or call.kind,
                    call.kind: function,
                    **call.more,
                }
            )
        elif arguments or call.more:
            sent.append({"index": call.number, call.kind: {key: arguments}, **call.more})
        call.more = {}

    def _call_of(self, call_id: str, index: int | None, name: str, arguments: str, sent: list[Json]) -> _Call:
        """Return the call that a fragment belongs to; what was held back of others is sent before a new one."""
        call = self._by_id.get(call_id) if call_id else None
        if call is None:
            call = self._carried_on(call_id, index, name, arguments)
        elif name and arguments.strip() and call.is_complete and _read("".join(call.pieces)) != _read(arguments):
            call, call_id = None, ""  # one id for several calls, such as the function's name: it gets one of its own
        if call is None:
            if len(self._calls) >= _MAX_TOOL_CALLS:
                raise StreamBroken("the answer has too many tool calls")
            for other in self._calls:
                if other.number is None and other.name:
                    self._send(other, "".join(other.pieces), sent)
            call = _Call()
            self._calls.append(call)
        if call_id:
            self._note_id(call, call_id)
        if index is not None:
            if len(self._by_index) < _MAX_INDEXES:
                self._by_index[index] = call
            call.has_vendor_index = True
        return call

    def _note_id(self, call: _Call, call_id: str) -> None:
        if call_id not in self._by_id:
            self._id_characters += len(call_id)
        if self._id_characters <= _MAX_ID_CHARACTERS:
            self._by_id[call_id] = call
        elif not call.id:
            raise StreamBroken("the ids of the tool calls are too long")
        call.id = call.id or call_id

    def _carried_on(self, call_id: str, index: int | None, name: str, arguments: str) -> _Call | None:
        """Return the call that a fragment without a known id carries on; None when it begins one."""
        call = self._candidate(call_id, index, name, arguments)
        if call is None or not name or not call.name:
            # A new id alone begins no call: there are engines that make up another one for each fragment.
            return call
        if call_id and call.id:
            return None
        if name != call.name:
            return call if self._is_piece(call, name) else None
        return None if arguments.strip() and call.is_complete else call

    def _candidate(self, call_id: str, index: int | None, name: str, arguments: str) -> _Call | None:
        """Return the call that index or position point to."""
        last = self._calls[-1] if self._calls else None
        if index is not None:
            call = self._by_index.get(index)
            is_late_index = call is None and not (call_id or name) and last is not None and not last.has_vendor_index
            return last if is_late_index else call
        if call_id and not name and not arguments:
            return None
        named = (call for call in reversed(self._calls) if name and call.name == name)
        return next((call for call in named if not call.is_complete), last)

    def _is_piece(self, call: _Call, name: str) -> bool:
        """Tell whether `name` carries on the name of `call`, and is not that of another tool."""
        if call.number is not None or call.pieces:
            return False
        return name.startswith(call.name) or name not in self._tools


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str | None):
        raise StreamBroken(f"the {what} of a tool call is not a text")
    return value or ""


def _identifier(value: Any) -> str:
    """Return an id as a text; some engines count."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value, "id")


def _index(value: Any) -> int | None:
    if value is None or value == "":
        return None
    index = whole_number(value)
    if index is None or index < 0:
        raise StreamBroken("the index of a tool call is no number")
    return index


def _arguments(value: Any) -> str:
    """Return arguments as a text: some send the object itself, and an empty list for none."""
    if not value:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    raise StreamBroken("the arguments of a tool call are neither a text nor an object")


def _read(arguments: str) -> Any:
    """Return arguments as an object to compare; as they are when they are no JSON."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
