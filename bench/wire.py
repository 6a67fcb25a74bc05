"""What the mock provider answers, known to the client as well: by it a cut or changed answer shows."""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

EMBEDDING_MODEL = "mock-embedding"
EMBEDDING_SIZE = 1536
MAX_CHUNKS = 4096
_LETTERS = 4
_MODEL = re.compile(r"mock-(\d+)-(\d+)")
_EVENT = re.compile(rb"^data: ?(.*)$", re.MULTILINE)
# Proxies may write JSON anew, with spaces in it.
_CONTENT = re.compile(rb'"content": ?"([^"]+)"')


@dataclass(frozen=True)
class Plan:
    """An answer: how many chunks of content, and how long after each the next one comes."""

    chunks: int
    interval_ms: int

    @property
    def model(self) -> str:
        """The name by which the mock provider knows it."""
        return f"mock-{self.chunks}-{self.interval_ms}"

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return (self.chunks - 1) * self.interval_ms / 1000

    @property
    def text(self) -> str:
        """The whole text: each chunk has its number, so that neither a lost nor a doubled one goes unnoticed."""
        return "".join(piece(number) for number in range(self.chunks))


class NotWhole(Exception):
    """An answer that is not the one that was promised. The message says in what."""


def plan_of(model: str) -> Plan | None:
    """Return the plan that a model's name means; None for any other name."""
    found = _MODEL.fullmatch(model)
    if found is None or not 1 <= int(found[1]) <= MAX_CHUNKS:
        return None
    return Plan(int(found[1]), int(found[2]))


def piece(number: int) -> str:
    """Return the text of one chunk: its number in letters, as digits might be the number of a card or a telephone."""
    letters = ""
    for _ in range(_LETTERS):
        number, letter = divmod(number, 26)
        letters = chr(ord("a") + letter) + letters
    return f"{letters} "


def has_content(data: bytes) -> bool:
    """Say whether there is content for a reader in what came: neither a role alone nor a comment."""
    return _CONTENT.search(data) is not None


def check_stream(body: bytes, plan: Plan) -> None:
    """Check a whole event stream: each chunk once and in order, a finish reason, the usage, `[DONE]` last."""
    text = b"".join(_CONTENT.findall(body)).decode()
    if text != plan.text:
        raise NotWhole(f"{len(text)} characters of {len(plan.text)}, or others: {text[-40:]!r}")
    *events, last = _EVENT.findall(body.replace(b"\r\n", b"\n")) or [b""]
    if last != b"[DONE]":
        raise NotWhole(f"[DONE] is missing: {last[:200]!r}")
    # All that matters comes after the last content.
    chunks = [orjson.loads(event) for event in events[-4:]]
    if not any(choice.get("finish_reason") == "stop" for chunk in chunks for choice in chunk.get("choices") or ()):
        raise NotWhole("there is no finish reason")
    if not any((chunk.get("usage") or {}).get("completion_tokens") == plan.chunks for chunk in chunks):
        raise NotWhole("the usage is missing, or another one")


def check_completion(body: bytes, plan: Plan) -> None:
    """Check an answer in one piece."""
    document = orjson.loads(body)
    text = document["choices"][0]["message"]["content"]
    if text != plan.text:
        raise NotWhole(f"{len(text)} characters of {len(plan.text)}, or others: {text[-40:]!r}")
    if document["usage"]["completion_tokens"] != plan.chunks:
        raise NotWhole("another usage")


def check_embedding(body: bytes) -> None:
    """Check the vector of one input."""
    (entry,) = orjson.loads(body)["data"]
    if len(entry["embedding"]) != EMBEDDING_SIZE:
        raise NotWhole(f"{len(entry['embedding'])} numbers of {EMBEDDING_SIZE}")
