"""Names of tools that both vendors take, and the way back to those of the caller."""

from __future__ import annotations

import hashlib
import re

# OpenAI API reference, Chat, tools: letters, digits, underscores and dashes, 64 at most. Anthropic takes 128.
_MAX_CHARACTERS = 64
_TAKEN = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)
_OTHER = re.compile(r"[^a-zA-Z0-9_-]", re.ASCII)
_DIGEST_CHARACTERS = 8


class ToolNames:
    """Writes the names of one request. The same name is written alike in every request: providers cache prompts."""

    def __init__(self) -> None:
        self._originals: dict[str, str] = {}

    def written(self, name: str) -> str:
        """Return `name` as any vendor takes it."""
        if _TAKEN.fullmatch(name):
            return name
        digest = hashlib.sha256(name.encode(errors="replace")).hexdigest()[:_DIGEST_CHARACTERS]
        room = _MAX_CHARACTERS - _DIGEST_CHARACTERS - 1
        written = f"{_OTHER.sub('_', name[:room])}_{digest}"
        self._originals[written] = name
        return written

    def original(self, written: str) -> str:
        """Return the caller's name of a tool that is called by its `written` one."""
        return self._originals.get(written, written)
