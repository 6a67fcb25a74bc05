"""What is kept of a request and its answer: the texts, with personal data and secrets replaced for good.

Done by a reader process: it takes time in proportion to the request's length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from edge.assembly import MalformedChunk
from edge.guardrails.answers.texts import AnswerTexts
from edge.guardrails.input import BINARY, LEAST_BINARY, LEAST_NUMBER, find_spans, with_placeholders
from edge.guardrails.policy import Action, RuleInForce, RuleSet
from edge.guardrails.rules import pii, secrets

Json = dict[str, Any]

MAX_TEXT_BYTES = 256 * 1024
# What is cut away is looked at so far: a number or a key that begins before the cut is found as a whole.
_MARGIN_BYTES = 16 * 1024
# Those of every policy, whatever the one in force does about them.
_RULES = RuleSet("", [RuleInForce(rule, Action.REDACT) for rule in (*pii.RULES, *secrets.RULES)])
# Arguments of a call are JSON in a text, and may hold some themselves.
_MAX_INSIDE = 3
_MAX_LEVELS = 200
_JSON = ("{", "[")
# `logprobs` and the like, which spell an answer out in pieces that no rule knows.
_BESIDE = "beside"
# Also one that was escaped itself, in JSON within JSON. A run of backslashes is read once: from its beginning.
_UNICODE_ESCAPE = re.compile(r"(?<!\\)\\+u([0-9a-fA-F]{4})")
_ESCAPE = re.compile(_UNICODE_ESCAPE.pattern + r"|\\[nrtbf\"/\\]")
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


class Source(NamedTuple):
    """A request that goes on to a target, and what went out of its answer."""

    body: bytes
    """JSON."""
    chunks: Sequence[str | bytes] = ()
    """As an `Answer` has them."""
    is_cut: bool = False
    """Whether there was more of the answer."""

    @property
    def size(self) -> int:
        """How many bytes, or characters, it is."""
        return len(self.body) + sum(map(len, self.chunks))


class RedactedTexts(NamedTuple):
    """The texts as they are kept."""

    prompt: str
    answer: str
    prompt_cut: bool
    """Whether there was more of it."""
    answer_cut: bool


class _Inside(NamedTuple):
    """JSON that stands in a text."""

    value: Any


def read_texts(source: Source) -> RedactedTexts:
    """Return the texts of a request without personal data and secrets, each with no more than is kept."""
    prompt, prompt_cut = _redacted(orjson.loads(source.body))
    if not source.chunks:
        return RedactedTexts(prompt, "", prompt_cut, source.is_cut)
    answer, answer_cut = _redacted(_parts(source.chunks))
    return RedactedTexts(prompt, answer, prompt_cut, answer_cut or source.is_cut)


def _redacted(value: Any) -> tuple[str, bool]:
    """Return a value as JSON, cut to what is kept, and whether it was cut."""
    shortening = _Shortening()
    value = shortening.of(value)
    texts = list(dict.fromkeys(_texts(value)))
    _, spans = find_spans(texts, _RULES)
    changes = {texts[number]: with_placeholders(texts[number], found, _kind) for number, found in spans.items()}
    encoded = orjson.dumps(_changed(value, changes))
    is_cut = shortening.has_cut or len(encoded) > MAX_TEXT_BYTES
    return encoded[:MAX_TEXT_BYTES].decode(errors="ignore"), is_cut


def _kind(rule: str, _value: str) -> str:
    return f"[{rule.upper()}]"


class _Shortening:
    """Returns values with no more text than is looked at, and with JSON in texts read."""

    def __init__(self) -> None:
        self._left = MAX_TEXT_BYTES + _MARGIN_BYTES
        self.has_cut = False

    def of(self, value: Any, inside: int = 0) -> Any:
        if isinstance(value, str):
            return self._text(value, inside)
        if isinstance(value, dict):
            return {self._cut(_unescaped(name, _UNICODE_ESCAPE)): self.of(each, inside) for name, each in value.items()}
        if isinstance(value, list):
            return [self.of(each, inside) for each in value]
        return value

    def _text(self, text: str, inside: int) -> Any:
        if len(text) >= LEAST_BINARY and BINARY.fullmatch(text) is not None:
            return f"[BINARY, {len(text)} characters]"
        if not text.startswith(_JSON):
            return self._cut(_unescaped(text, _UNICODE_ESCAPE))
        if inside < _MAX_INSIDE and text.count("{") + text.count("[") <= _MAX_LEVELS:
            try:
                return _Inside(self.of(orjson.loads(text), inside + 1))
            except orjson.JSONDecodeError:
                pass
        return self._cut(_unescaped(text, _ESCAPE))

    def _cut(self, text: str) -> str:
        """Return the beginning that there is room for."""
        encoded = text.encode(errors="replace")
        self.has_cut = self.has_cut or len(encoded) > self._left
        kept = encoded[: self._left].decode(errors="ignore")
        self._left -= min(len(encoded), self._left)
        return kept


def _unescaped(text: str, escapes: re.Pattern[str]) -> str:
    """Return a text as a reader of JSON has it: escapes hide nothing from the rules."""
    return escapes.sub(_sign, text) if "\\" in text else text


def _sign(escape: re.Match[str]) -> str:
    if escape[1] is None:
        return _CONTROLS.get(escape[0][1], escape[0][1])
    number = int(escape[1], 16)
    return "\N{REPLACEMENT CHARACTER}" if 0xD800 <= number < 0xE000 else chr(number)


def _texts(value: Any) -> Iterator[str]:
    """Return every text, names of fields and long numbers included: no word of a contract is exempt here."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, _Inside):
        yield from _texts(value.value)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif (number := _number(value)) is not None:
        yield number


def _changed(value: Any, changes: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return changes.get(value, value)
    if isinstance(value, _Inside):
        return orjson.dumps(_changed(value.value, changes)).decode()
    if isinstance(value, dict):
        return {changes.get(name, name): _changed(each, changes) for name, each in value.items()}
    if isinstance(value, list):
        return [_changed(each, changes) for each in value]
    number = _number(value)
    return value if number is None else changes.get(number, value)


def _number(value: Any) -> str | None:
    """Return the digits of a number that may be a card's or a telephone's; None when it is none."""
    if isinstance(value, int | float) and abs(value) >= LEAST_NUMBER and value == int(value):
        return str(abs(int(value)))
    return None


def _parts(chunks: Sequence[str | bytes]) -> list[Json]:
    """Put the texts in chunks together: each choice's content, thoughts, calls and whatever else it has."""
    reader = AnswerTexts(is_json=False)
    pieces: dict[tuple[int, str], list[str]] = {}
    for chunk in chunks:
        try:
            _, found = reader.read(chunk)
        except (orjson.JSONDecodeError, MalformedChunk):
            continue  # the answer broke off there
        for piece in found:
            if piece.channel != _BESIDE:
                pieces.setdefault((piece.choice, _name(piece.channel)), []).append(piece.text + piece.after)
    return [{"choice": index, "part": part, "text": "".join(texts)} for (index, part), texts in pieces.items()]


def _name(channel: object) -> str:
    return " ".join(map(str, channel)) if isinstance(channel, tuple) else str(channel)
