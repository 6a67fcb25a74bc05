"""Looks at every text of a request that a model will read, and redacts what the policy wants redacted."""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from edge.conversation import Content, Conversation, digest_of, encode_body
from edge.guardrails.format import WantedFormat, wanted_format
from edge.guardrails.marking import Marker
from edge.guardrails.policy import Action, RuleInForce, RuleSet
from edge.guardrails.redaction import Placeholders
from edge.guardrails.rules.detector import BETWEEN

Json = dict[str, Any]

# Bytes in base64 (images, sound, signatures) are no text. Nothing else is that long without a space.
BINARY = re.compile(r"(?:data:[^,]{0,200},)?[A-Za-z0-9+/=_-]+")
LEAST_BINARY = 1024
# Names that tie a call to its result must stay as they are, and words of the contract are no text.
_TIES = frozenset({"tool_call_id", "tool_use_id"})
_CALLS = ("tool_use", "server_tool_use", "mcp_tool_use")
_WORDS = frozenset({"type", "role", "model"})
_WORD = re.compile(r"[A-Za-z0-9_.:/-]{1,200}")
_FIELD = re.compile(r"[a-z_]{1,60}")
# A shorter number is no card and no telephone.
LEAST_NUMBER = 10**8
# Only there it is known what was retrieved.
_CHAT_PATHS = frozenset({"/chat", "/v1/chat"})


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule has found in one request."""

    rule: str
    version: int
    action: Action
    count: int
    score: float
    """Of the surest span."""


@dataclass(frozen=True, slots=True)
class Inspected:
    """A request after its inspection."""

    content: Content
    """Redacted where the policy wants it."""
    policy: str = ""
    """The version of the policy; empty: there was nothing to look for."""
    findings: Sequence[Finding] = ()
    originals: Mapping[str, str] = field(default_factory=dict)
    """What was redacted, by placeholder."""
    output: Sequence[RuleInForce] = ()
    """What is looked for in the answer."""
    wanted: WantedFormat | None = None
    """The format that the answer shall have, where anything is looked for in it; None: any."""
    format: Action = Action.OFF
    """What is done about an answer that has another one."""

    marked: int = 0
    """How many results of tools and documents are marked as data."""

    @property
    def has_format(self) -> bool:
        """Whether the format of the answer is looked at."""
        return self.format is not Action.OFF

    @property
    def told(self) -> list[Finding]:
        """What the client learns: all but what is only observed."""
        return [finding for finding in self.findings if finding.action is not Action.OBSERVE]


def size_of(content: Content) -> int:
    """Return how many bytes there are to look at."""
    form = content.messages_form if isinstance(content, Conversation) else None
    return len(content.encoded_body) + (len(form.body) if form is not None else 0)


def inspect(content: Content, rules: RuleSet) -> Inspected:
    """Look at a request; takes time in proportion to its length."""
    body = orjson.loads(content.encoded_body)
    form = content.messages_form if isinstance(content, Conversation) else None
    native = orjson.loads(form.body) if form is not None else None
    # A target reads the one or the other.
    texts = list(dict.fromkeys(texts_of([body, native])))
    findings, spans = find_spans(texts, rules)
    wanted = wanted_format(body)
    changed: Content
    if not spans:
        changed, marked = _marked(content, body, native, rules)
        return Inspected(changed, rules.policy, findings, wanted=wanted, marked=marked)
    placeholders = Placeholders("\n".join(texts))
    redacted = {
        number: with_placeholders(texts[number], found, placeholders.of) for number, found in sorted(spans.items())
    }
    changes = {texts[number]: text for number, text in redacted.items()}
    body = with_changes(body, changes)
    if isinstance(content, Conversation):
        digest = digest_of(body)
        if form is not None:
            native = with_changes(native, changes)
            form = replace(form, body=encode_body(native))
            digest = form.digest_of(native)
        changed = replace(content, encoded_body=encode_body(body), digest=digest, messages_form=form)
    else:
        changed = replace(content, encoded_body=encode_body(body))
    changed, marked = _marked(changed, body, native, rules)
    return Inspected(changed, rules.policy, findings, placeholders.originals, wanted=wanted, marked=marked)


def _marked(content: Content, body: Json, native: Json | None, rules: RuleSet) -> tuple[Content, int]:
    """Return the request with data marked, and how much that is; the cache's key is that of the one without marks."""
    if rules.marking_key is None or not isinstance(content, Conversation) or not body["messages"]:
        return content, 0
    marker = Marker(rules.marking_key, body)
    if content.endpoint in _CHAT_PATHS:
        marker.mark_context()
    marker.mark(native)
    if not marker.count:
        return content, 0
    form = content.messages_form
    if form is not None:
        form = replace(form, body=encode_body(native or {}))
    return replace(content, encoded_body=encode_body(body), messages_form=form), marker.count


def texts_of(value: Any) -> Iterator[str]:
    """Return every text, names of fields included: those of a schema and of a tool's input are read as well."""
    if isinstance(value, str):
        if len(value) < LEAST_BINARY or BINARY.fullmatch(value) is None:
            yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            if _FIELD.fullmatch(name) is None:
                yield name
            if not _is_contract(name, each, value):
                yield from texts_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts_of(each)
    elif isinstance(value, int) and abs(value) >= LEAST_NUMBER:
        yield str(value)


def _is_contract(name: str, value: Any, beside: Mapping[str, Any]) -> bool:
    """Tell whether the value of a field is a word that the contract gives a meaning, going by the fields beside it."""
    if not isinstance(value, str):
        return False
    if name == "id":
        return "function" in beside or "custom" in beside or beside.get("type") in _CALLS
    return name in _TIES or (name in _WORDS and _WORD.fullmatch(value) is not None)


def find_spans(texts: Sequence[str], rules: RuleSet) -> tuple[list[Finding], dict[int, list[tuple[int, int, str]]]]:
    """Return what was found, and the spans to be redacted by text; all texts at once, as most are short."""
    encoded = [text.encode() for text in texts]
    starts = [0]
    for text in encoded:
        starts.append(starts[-1] + len(text) + len(BETWEEN))
    joined = BETWEEN.join(encoded)
    findings: list[Finding] = []
    spans: dict[int, list[tuple[int, int, str]]] = {}
    for each in rules.rules:
        count, score = 0, 0.0
        for span in each.rule.find(joined):
            number = bisect.bisect_right(starts, span.start) - 1
            start, end = span.start - starts[number], min(span.end - starts[number], len(encoded[number]))
            if start >= end:
                continue
            count, score = count + 1, max(score, span.score)
            if each.action is Action.REDACT:
                spans.setdefault(number, []).append((start, end, each.rule.name))
        if count:
            findings.append(Finding(each.rule.name, each.rule.version, each.action, count, score))
    return findings, spans


def with_placeholders(text: str, spans: list[tuple[int, int, str]], placeholder_of: Callable[[str, str], str]) -> str:
    """Put placeholders in place of spans; of those that overlap the longest counts, and all of them is covered.

    `placeholder_of` is called with the name of a rule and the value that it has found.
    """
    encoded = text.encode()
    pieces: list[str] = []
    done = 0
    for start, end, rule in _merged(spans):
        pieces += [
            encoded[done:start].decode(errors="ignore"),
            placeholder_of(rule, encoded[start:end].decode(errors="ignore")),
        ]
        done = end
    return "".join(pieces) + encoded[done:].decode(errors="ignore")


def _merged(spans: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    merged: list[tuple[int, int, str]] = []
    longest = 0
    for start, end, rule in sorted(spans):
        if not merged or start >= merged[-1][1]:
            merged.append((start, end, rule))
            longest = end - start
            continue
        first, last, known = merged[-1]
        if end - start > longest:
            known, longest = rule, end - start
        merged[-1] = (first, max(last, end), known)
    return merged


def with_changes(value: Any, changes: Mapping[str, str]) -> Any:
    """Return a value with other texts, wherever `texts_of` finds one."""
    if isinstance(value, str):
        return changes.get(value, value)
    if isinstance(value, dict):
        return {
            name if _FIELD.fullmatch(name) else changes.get(name, name): each
            if _is_contract(name, each, value)
            else with_changes(each, changes)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [with_changes(each, changes) for each in value]
    if isinstance(value, int) and abs(value) >= LEAST_NUMBER:
        return changes.get(str(value), value)
    return value
