"""The check of the prompt's size."""

from __future__ import annotations

from collections.abc import Mapping

from edge.guard.check import Asked
from edge.problems import Problem


class PromptLimit:
    """Refuses prompts that are too long, by estimate."""

    def __init__(self, max_prompt_tokens: int) -> None:
        self._max_prompt_tokens = max_prompt_tokens

    async def check(self, asked: Asked) -> Mapping[str, str]:
        """Problem (400) when the prompt, or one of the inputs, is longer than allowed."""
        longest = asked.content.longest
        if longest.tokens > self._max_prompt_tokens:
            raise Problem(
                "prompt_too_long",
                f"{longest.what} has about {longest.tokens} tokens; at most {self._max_prompt_tokens} are allowed",
                param=longest.param,
            )
        return {}
