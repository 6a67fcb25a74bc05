"""How servers say that they do not know a field of a request, or not this value of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from llm_router.errors import TargetUnable
from servicekit.lenient_json import loads

_MAX_FAULTS = 20
_MAX_QUOTED_CHARACTERS = 300
_FIELD = r"['\"`]?(?P<field>[A-Za-z_][A-Za-z0-9_.]{0,99})['\"`]?"
# So that a text without spaces is not tried from each of its characters.
_WORD_BEGINS = r"(?<![A-Za-z0-9_.])"
# Pydantic's kinds, as FastAPI and Mistral have them in `detail`: of version 2, and of version 1.
_UNKNOWN_KINDS = frozenset({"extra_forbidden", "value_error.extra"})
_UNKNOWN_CODES = frozenset({"unknown_parameter", "unsupported_parameter", "unrecognized_parameter"})
# The field is known, and the value is not one for this model.
_OTHER_CODES = frozenset({"unsupported_value"})
# Patterns and who says so.
WORDS = (
    (rf"(?:unsupported|unknown|unrecognized) (?:request )?(?:parameter|argument)s?(?: supplied)?:? {_FIELD}", "OpenAI"),
    (rf"unknown field:? (?:parameter )?{_FIELD}", "Groq, servers in Go and Rust (mozilla-ai/any-llm#186)"),
    (rf"property {_FIELD} is unsupported", "Groq (vercel/ai#1578)"),
    (rf"arguments? not supported(?: on this model)?: {_FIELD}", "xAI (cline/cline#2764)"),
    (rf"does not support parameters?:? \[?{_FIELD}", "xAI, LiteLLM (diegosouzapw/OmniRoute#5273)"),
    (rf"parameter {_FIELD} is not a valid field", "Cohere"),
    (rf"unprocessable entity: {_FIELD} is not supported", "Cohere (davidmigloz/ai_clients_dart#26)"),
    (rf"{_WORD_BEGINS}{_FIELD} is not supported (?:with|by|for|in) this model", "OpenAI, Groq"),
    (rf"{_WORD_BEGINS}{_FIELD} is deprecated for this model", "Anthropic (Cratis/AI, release 7.105.1)"),
    (rf"does not support the {_FIELD} parameter", "Anthropic"),
    (rf"extraneous key \[{_FIELD}\] is not permitted", "Amazon Bedrock"),
    (rf"unknown name {_FIELD}(?: at '[^']*')?: cannot find field", "Google"),
    (rf"additional properties are not allowed \({_FIELD} (?:was|were) unexpected", "validators of JSON schemas"),
    (rf"unrecognized key\(?s?\)? in object: {_FIELD}", "validators in TypeScript (zod)"),
    (rf"unexpected keyword argument {_FIELD}", "engines in Python"),
    (rf"extra_forbidden['\"], ?['\"]loc['\"]: ?[\[(]['\"]body['\"], ?{_FIELD}", "older vLLM (gpustack/gpustack#429)"),
    (rf"{_WORD_BEGINS}{_FIELD}: extra (?:inputs|fields) (?:are )?not permitted", "Anthropic"),
)
_PATTERN = re.compile(
    "|".join(words.replace("<field>", f"<field{place}>") for place, (words, _) in enumerate(WORDS)), re.IGNORECASE
)


def read_unknown_fields(
    status: int, message: str, names: frozenset[str], details: dict[str, Any]
) -> TargetUnable | None:
    """Return the error when a refusal says that fields of the body are unknown; None when it says something else.

    `names` are its code and type, `details` its error object.
    """
    if status >= 500:
        return None
    places = list(filter(None, map(_place, _faults(details))))
    param = details.get("param")
    if not places and names & (_UNKNOWN_CODES | _OTHER_CODES) and isinstance(param, str) and param:
        places = [param]
    if not places and (found := _PATTERN.search(message)):
        places = [next(filter(None, found.groups()))]
    if not places:
        return None
    fields = () if names & _OTHER_CODES else tuple(dict.fromkeys(place.partition(".")[0] for place in places))
    return TargetUnable(
        "it does not take a field as it is",
        f": {message[:_MAX_QUOTED_CHARACTERS]}",
        http_status=status,
        param=places[0],
        unknown_fields=fields,
    )


def _faults(details: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the faults of FastAPI's kind that are about unknown fields, wherever a server writes the list of them."""
    listed = details.get("detail") or details.get("message")
    for _ in range(2):  # Mistral: a list, or `detail` inside, as an object or as JSON in a text
        if isinstance(listed, str) and listed[:1] in ("{", "["):
            try:
                listed = loads(listed.encode())
            except ValueError:
                return
        if isinstance(listed, dict):
            listed = listed.get("detail")
    if isinstance(listed, list):
        for fault in listed[:_MAX_FAULTS]:
            if (
                isinstance(fault, dict)
                and str(fault.get("type")) in _UNKNOWN_KINDS
                and isinstance(fault.get("loc"), list)
            ):
                yield fault


def _place(fault: dict[str, Any]) -> str:
    """Return the path of the field in the body, joined by dots."""
    parts = [str(part)[:100] for part in fault["loc"][:10] if isinstance(part, str | int)]
    return ".".join(parts[1:] if parts[:1] == ["body"] else parts)
