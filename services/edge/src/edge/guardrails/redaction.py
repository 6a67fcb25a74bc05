"""Placeholders that stand for what was redacted, and their way back in the answer to the same request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from edge.answer import Answer
from edge.assembly import MessagesEvent

Json = dict[str, Any]

_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z0-9_]{0,40}_[0-9]{1,7}\]")
# What may become one; longer than any of ours it cannot.
_BEGINNING = re.compile(r"\[(?:[A-Z][A-Z0-9_]{0,48})?\Z")
_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")
_EVENT_TEXTS = ("text", "thinking", "partial_json")


class Placeholders:
    """Made for one request: the same value has the same placeholder wherever it stands."""

    def __init__(self, text: str) -> None:
        """`text` is the whole request: what stands there already is nobody's placeholder."""
        self._taken = set(_PLACEHOLDER.findall(text))
        self._counts: dict[str, int] = {}
        self._by_value: dict[tuple[str, str], str] = {}

    def of(self, rule: str, value: str) -> str:
        """Return the placeholder of a value."""
        known = self._by_value.get((rule, value))
        if known is not None:
            return known
        name = rule.upper()
        while True:
            self._counts[name] = self._counts.get(name, 0) + 1
            placeholder = f"[{name}_{self._counts[name]}]"
            if placeholder not in self._taken:
                break
        self._by_value[rule, value] = placeholder
        return placeholder

    @property
    def originals(self) -> dict[str, str]:
        """The values by placeholder."""
        return {placeholder: value for (_, value), placeholder in self._by_value.items()}


class Restorer:
    """Puts the values back into one answer as it comes, also where a placeholder is cut over chunks.

    What may be the beginning of a placeholder waits, at most as long as one is, until the next text of its kind comes.
    """

    def __init__(self, originals: Mapping[str, str], *, is_json: bool = False) -> None:
        """`is_json`: the words of the answer are JSON, in which a value is written with its escapes."""
        self._words_are_json = is_json
        self._originals = originals
        self._in_json = {name: orjson.dumps(value).decode()[1:-1] for name, value in originals.items()}
        # By choice: the field whose text waits, and the text.
        self._waiting: dict[object, tuple[tuple[Any, ...], str]] = {}

    def take(self, chunks: list[str | bytes]) -> list[str | bytes]:
        """Return the chunks with the values in their places."""
        restored: list[str | bytes] = []
        for chunk in chunks:
            if isinstance(chunk, str):
                text = self._text((0, "content"), chunk, restored, is_json=self._words_are_json)
                if text:
                    restored.append(text)
            elif isinstance(chunk, MessagesEvent):
                event = orjson.loads(bytes(chunk))
                if isinstance(event, dict):
                    event = self._event(event, restored)
                restored.append(MessagesEvent(orjson.dumps(event)))
            else:
                restored.append(self._choices(chunk, restored))
        return restored

    def end(self) -> list[str | bytes]:
        """Return what still waits: it was no placeholder."""
        rest: list[str | bytes] = []
        for choice in list(self._waiting):
            self._release(choice, rest)
        return rest

    def answer(self, answer: Answer) -> Answer:
        """Return a whole answer with the values in their places."""
        return replace(answer, chunks=[*self.take(answer.chunks), *self.end()], _choices=None)

    def _choices(self, chunk: bytes, before: list[str | bytes]) -> bytes:
        choices = orjson.loads(chunk)
        for choice in choices if isinstance(choices, list) else ():
            # What has another shape ends with an error where it is written.
            if isinstance(choice, dict) and isinstance(choice.get("delta"), dict):
                index = choice.get("index")
                self._delta(index if isinstance(index, int) else 0, choice["delta"], before)
        return orjson.dumps(choices)

    def _delta(self, index: object, delta: Json, before: list[str | bytes]) -> None:
        for name in _TEXTS:
            if isinstance(delta.get(name), str) and delta[name]:
                is_json = self._words_are_json and name == "content"
                delta[name] = self._text((index, name), delta[name], before, is_json=is_json)
        audio = delta.get("audio")
        if isinstance(audio, dict) and isinstance(audio.get("transcript"), str):
            audio["transcript"] = self._text((index, "audio"), audio["transcript"], before)
        call = delta.get("function_call")
        if isinstance(call, dict) and isinstance(call.get("arguments"), str):
            call["arguments"] = self._text((index, "function_call"), call["arguments"], before, is_json=True)
        fragments = delta.get("tool_calls")
        for fragment in fragments if isinstance(fragments, list) else ():
            if not isinstance(fragment, dict):
                continue
            for part, name in (("function", "arguments"), ("custom", "input")):
                inside = fragment.get(part)
                if isinstance(inside, dict) and isinstance(inside.get(name), str) and inside[name]:
                    place = (index, "tool_calls", fragment.get("index", 0), part)
                    inside[name] = self._text(place, inside[name], before, is_json=part == "function")

    def _event(self, event: Json, before: list[str | bytes]) -> Json:
        delta = event.get("delta")
        if not isinstance(delta, dict):
            self._release("event", before)
            return _mapped(event, self._restored) if event.get("type") == "content_block_start" else event
        for name in _EVENT_TEXTS:
            if isinstance(delta.get(name), str):
                place = ("event", delta.get("type"), name)
                delta[name] = self._text(place, delta[name], before, is_json=name == "partial_json")
        return event

    def _text(self, place: tuple[Any, ...], text: str, before: list[str | bytes], *, is_json: bool = False) -> str:
        """Return what may go out at this place; what waits elsewhere in the choice goes `before` it."""
        held_place, held = self._waiting.get(place[0], (place, ""))
        if held_place != place:
            self._release(place[0], before)
            held = ""
        if not held and "[" not in text:
            return text
        self._waiting.pop(place[0], None)
        text = self._restored(held + text, is_json=is_json)
        beginning = _BEGINNING.search(text, max(len(text) - 52, 0))
        if beginning is not None:
            self._waiting[place[0]] = (place, beginning.group())
            text = text[: beginning.start()]
        return text

    def _restored(self, text: str, *, is_json: bool = False) -> str:
        values = self._in_json if is_json else self._originals
        return _PLACEHOLDER.sub(lambda found: values.get(found.group(), found.group()), text)

    def _release(self, choice: object, into: list[str | bytes]) -> None:
        """Write what waits in a choice as a chunk of its own."""
        place, text = self._waiting.pop(choice, ((), ""))
        if not text:
            return
        delta: Json
        match place:
            case ("event", kind, name):
                event = {"type": "content_block_delta", "delta": {"type": kind, name: text}}
                into.append(MessagesEvent(orjson.dumps(event)))
                return
            case (0, "content"):
                into.append(text)
                return
            case (_, "tool_calls", number, part):
                name = "arguments" if part == "function" else "input"
                delta = {"tool_calls": [{"index": number, part: {name: text}}]}
            case (_, "function_call"):
                delta = {"function_call": {"arguments": text}}
            case (_, "audio"):
                delta = {"audio": {"transcript": text}}
            case (_, name):
                delta = {name: text}
        into.append(orjson.dumps([{"index": choice, "delta": delta, "logprobs": None, "finish_reason": None}]))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _mapped(each, change) for name, each in value.items()}
    return [_mapped(each, change) for each in value] if isinstance(value, list) else value
