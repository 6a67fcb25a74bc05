"""All fuzz targets by name, and their corpus."""

from __future__ import annotations

import importlib
from pathlib import Path

from .target import Target

CORPUS = Path(__file__).with_name("corpus")
"""A folder for each target; its files are inputs that reach different code."""

# By module, so that whoever wants one imports, and instruments, no more than that needs.
_TARGETS = {
    "sse": ("sse",),
    "framing": ("framing",),
    "wires": ("openai_wire", "openai_wire_functions", "anthropic_wire", "anthropic_wire_translated"),
    "replies": ("refusal", "stream_error", "embeddings_reply"),
    "requests": (
        *("chat_request", "completions_request", "messages_request", "embeddings_request"),
        *("grpc_completion", "grpc_embed", "headers"),
    ),
    "answers": ("cache_entry", "chunks", "guarded_chunks", "captured_texts", "openai_answer", "anthropic_answer"),
    "cost_events": ("cost_event",),
    "chat_client": ("chat_client",),
}
NAMES = tuple(name for names in _TARGETS.values() for name in names)


def target_of(name: str) -> Target:
    """Return a target by its name."""
    (module,) = (module for module, names in _TARGETS.items() if name in names)
    targets: list[Target] = importlib.import_module(f"{__package__}.targets.{module}").TARGETS
    return next(target for target in targets if target.name == name)


def corpus_of(name: str) -> list[bytes]:
    """Return the kept inputs of a target, in the order of their names."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
