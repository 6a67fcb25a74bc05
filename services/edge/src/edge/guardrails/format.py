"""Whether an answer is what its request asked for with `response_format`: JSON, and JSON that fits a schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson

Json = dict[str, Any]

# Of a pattern in a schema, when it is compiled.
_MAX_PATTERN_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class WantedFormat:
    """What a request asks for."""

    schema: bytes | None
    """As JSON; None: any object."""


def wanted_format(body: Json) -> WantedFormat | None:
    """Return the format that a chat body asks for; None: text."""
    wanted = body.get("response_format")
    if not isinstance(wanted, dict) or wanted.get("type") not in {"json_object", "json_schema"}:
        return None
    named = wanted.get("json_schema")
    schema = named.get("schema") if isinstance(named, dict) and wanted["type"] == "json_schema" else None
    return WantedFormat(orjson.dumps(schema) if isinstance(schema, dict) else None)


def are_objects(texts: Sequence[str]) -> bool:
    """Tell whether each text is an object of JSON."""
    try:
        return all(isinstance(orjson.loads(text), dict) for text in texts)
    except ValueError:
        return False


def fits(texts: Sequence[str], schema: bytes) -> bool | None:
    """Tell whether each text is JSON that fits the schema; None: the schema cannot be used.

    Nothing is fetched for it and its patterns take linear time, but there are schemas that take for ever.
    """
    try:
        documents = [orjson.loads(text) for text in texts]
    except ValueError:
        return False
    from jsonschema_rs import RegexOptions, ValidationError, validator_for  # here: 15 MB that only readers need

    try:
        options = RegexOptions(size_limit=_MAX_PATTERN_BYTES, dfa_size_limit=_MAX_PATTERN_BYTES)
        validator = validator_for(
            orjson.loads(schema), retriever=_fetch_nothing, pattern_options=options, validate_formats=False
        )
    except (ValueError, ValidationError):
        return None
    try:
        return all(validator.is_valid(document) for document in documents)
    except ValueError:  # nested more deeply than it can say
        return False


def _fetch_nothing(address: str) -> NoReturn:
    raise ValueError(f"a schema that stands elsewhere is not read: {address}")
