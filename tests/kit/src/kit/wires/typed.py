"""Whether a JSON value is what a TypedDict of a vendor's SDK describes: no field unknown or missing, each of its type.

The SDKs mark what must be there with `Required`; pydantic would read lists that are `Iterable` later, or never.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

from typing_extensions import ReadOnly, is_typeddict

_PLAIN: Mapping[Any, tuple[type, ...]] = {str: (str,), bool: (bool,), int: (int,), float: (int, float)}
_LISTS = frozenset({list, Iterable, Sequence})
_WRAPPERS = frozenset({Annotated, Required, NotRequired, ReadOnly})
# By these fields a member of a union is recognised.
_NAMING_FIELDS = ("type", "role")


def faults_of(value: object, kind: Any, path: str = "") -> list[str]:
    """Return what is wrong with `value`, each fault beginning with the path to it; empty: it is a `kind`."""
    kind = _unwrapped(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in (Any, object):
        return []
    if is_typeddict(kind):
        return _object_faults(value, kind, path)
    if origin in (Union, types.UnionType):
        return _union_faults(value, arguments, path)
    if origin in _LISTS or kind in _LISTS:
        return _list_faults(value, arguments, path)
    if origin in (dict, Mapping) or kind in (dict, Mapping):
        return _mapping_faults(value, arguments, path)
    if origin is Literal:
        fits = any(type(value) is type(each) and value == each for each in arguments)
        return [] if fits else [f"{path}: {value!r} is none of {', '.join(map(repr, arguments))}"]
    if kind is None or kind is type(None):
        return [] if value is None else [f"{path}: not null"]
    expected = _PLAIN.get(kind, ())
    fits = isinstance(value, expected) and (kind is bool or not isinstance(value, bool))
    return [] if fits else [f"{path}: {type(value).__name__} is no {getattr(kind, '__name__', kind)}"]


def _unwrapped(kind: Any) -> Any:
    while get_origin(kind) in _WRAPPERS:
        kind = get_args(kind)[0]
    return kind


def _object_faults(value: object, kind: Any, path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: not an object"]
    fields = get_type_hints(kind, include_extras=True)
    missing = [f"{path}.{name}: missing" for name, each in fields.items() if _is_required(each) and name not in value]
    takes_more = getattr(kind, "__pydantic_config__", {}).get("extra") == "allow"
    unknown = [] if takes_more else [f"{path}.{name}: unknown field" for name in value if name not in fields]
    known = ((name, each) for name, each in value.items() if name in fields)
    return [*missing, *unknown, *_all(faults_of(each, fields[name], f"{path}.{name}") for name, each in known)]


def _is_required(kind: Any) -> bool:
    while get_origin(kind) in _WRAPPERS:
        if get_origin(kind) is Required:
            return True
        kind = get_args(kind)[0]
    return False


def _union_faults(value: object, kinds: Sequence[Any], path: str) -> list[str]:
    """Return the faults by the member that the value names by its `type` or `role`, else by the nearest one."""
    found = [(kind, faults_of(value, kind, path)) for kind in kinds]
    if any(not faults for _, faults in found):
        return []
    named = [(kind, faults) for kind, faults in found if _names(value, kind)]
    return min((faults for _, faults in named or found), key=lambda faults: (faults[0].count(".") * -1, len(faults)))


def _names(value: object, kind: Any) -> bool:
    kind = _unwrapped(kind)
    if isinstance(value, list):
        return get_origin(kind) in _LISTS
    if not isinstance(value, dict) or not is_typeddict(kind):
        return False
    fields = get_type_hints(kind)
    naming = [name for name in _NAMING_FIELDS if name in fields and get_origin(fields[name]) is Literal]
    return any(value.get(name) in get_args(fields[name]) for name in naming)


def _list_faults(value: object, arguments: Sequence[Any], path: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{path}: not a list"]
    kind = arguments[0] if arguments else object
    return _all(faults_of(each, kind, f"{path}.{index}") for index, each in enumerate(value))


def _mapping_faults(value: object, arguments: Sequence[Any], path: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path}: not an object"]
    kind = arguments[1] if arguments else object
    return _all(faults_of(each, kind, f"{path}.{name}") for name, each in value.items())


def _all(each: Iterable[list[str]] | Iterator[list[str]]) -> list[str]:
    return [fault for faults in each for fault in faults]
