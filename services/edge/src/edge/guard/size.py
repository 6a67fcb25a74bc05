"""The checks of a request's size that concern everybody."""

from __future__ import annotations

from collections.abc import Mapping

from edge.conversation import Conversation, Counts
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
            raise too_long(longest.what, longest.tokens, self._max_prompt_tokens, longest.param)
        return {}


class CountsLimit:
    """Refuses requests with too many messages, tools or images."""

    def __init__(self, most: Counts) -> None:
        self._most = most

    async def check(self, asked: Asked) -> Mapping[str, str]:
        """Problem (400) that says of what there is too much."""
        if isinstance(asked.content, Conversation):
            counts, most = asked.content.counts, self._most
            _refuse_above("messages", counts.messages, most.messages, "messages")
            _refuse_above("tools", counts.tools, most.tools, "tools")
            _refuse_above("images", counts.images, most.images, "messages")
        return {}


def _refuse_above(what: str, count: int, most: int, param: str) -> None:
    if count > most:
        raise Problem("invalid_request", f"the request has {count} {what}; at most {most} are allowed", param=param)


def too_long(what: str, tokens: int, most: int, param: str, whose: str = "") -> Problem:
    """Return the refusal in the words by which clients know that they have to shorten a conversation.

    Anthropic's go by the first half and read its two numbers; OpenAI's go by the code or by the second half.
    """
    return Problem(
        "context_length_exceeded",
        f"{what} is too long: {tokens} tokens > {most} maximum (by estimate{whose}): "
        f"the maximum context length is {most} tokens",
        param=param,
    )
