"""An answer that broke off, continued by another target: when that is possible, and what the next one is asked."""

from __future__ import annotations

from dataclasses import replace

import orjson

from llm_router.providers.chat_body import ChatBody, Json
from llm_router.providers.provider import Content, MessagesEvent
from llm_router.strategies.splice import anchor_of
from pricing.estimate import estimate_tokens

MAX_CONTINUATIONS = 2
# A longer answer is delivered and not kept: few targets would take it as a prompt.
_MAX_KEPT_CHARACTERS = 1024 * 1024
# For the words that are repeated and left out again.
_REPETITION_TOKENS = 32
_LIMITS = ("max_tokens", "max_completion_tokens")
_JOINABLE_FIELDS = frozenset({"role", "content", "reasoning", "reasoning_content"})


class Delivered:
    """What of an answer has been sent on, over all its attempts."""

    def __init__(self, *, keeps_text: bool) -> None:
        """`keeps_text`: the answer may be continued, which needs its text."""
        self._keeps_text = keeps_text
        self._texts: list[str] = []
        self.characters = 0
        """Of the text of choice 0."""
        self.is_plain = True
        """Whether it is text and thoughts only, all of it kept: what can be carried on. True when nothing is kept."""

    def add(self, contents: list[Content]) -> None:
        """Note what is sent on now."""
        for content in contents:
            if isinstance(content, str):
                self.characters += len(content)
                if self._keeps_text:
                    self._texts.append(content)
                    if self.characters > _MAX_KEPT_CHARACTERS:
                        self._keeps_text, self._texts, self.is_plain = False, [], False
            elif self._keeps_text:
                self.is_plain = self.is_plain and not isinstance(content, MessagesEvent) and _is_plain(content)

    @property
    def text(self) -> str:
        """The text so far; empty when it is not kept."""
        return "".join(self._texts)


def may_be_continued(chat: ChatBody) -> bool:
    """Tell whether another target could continue the answer to `chat` without misleading anyone.

    Not with several choices, probabilities or a format that a repetition breaks, and not when the caller has put
    words into the model's mouth.
    """
    body = chat.openai
    wanted_format = body.get("response_format")
    is_text = wanted_format is None or (isinstance(wanted_format, dict) and wanted_format.get("type") == "text")
    messages = body["messages"]
    ends_with_assistant = bool(messages) and isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant"
    if chat.messages_form is not None:
        config = chat.messages_form.body.get("output_config")
        is_text = is_text and not (isinstance(config, dict) and config.get("format"))
    return is_text and not ends_with_assistant and body.get("n") in (None, 1) and not body.get("logprobs")


def continuation_of(chat: ChatBody, delivered: str) -> ChatBody:
    """Return the request, in all its forms, that asks to continue after `delivered`.

    What was delivered stands as a finished turn and a new turn asks for the rest: newer models refuse an answer
    that is begun for them.
    """
    if not delivered.strip():
        return chat
    form = chat.messages_form
    return ChatBody(
        openai=_continued(chat.openai, delivered),
        messages_form=None if form is None else replace(form, body=_continued(form.body, delivered)),
    )


def _continued(body: Json, delivered: str) -> Json:
    """Add two turns and lower the limits; both are written alike in OpenAI's contract and in the Messages API."""
    request = (
        "Your last message was cut off in the middle. Carry on exactly where it stopped. Begin by repeating its last "
        f"words, between the marks, word for word: <<<{anchor_of(delivered)}>>> Then go straight on to the end of the "
        "answer. Leave out the marks, and write no introduction and no apology."
    )
    turns = [{"role": "assistant", "content": delivered}, {"role": "user", "content": request}]
    used = estimate_tokens(len(delivered.encode()))
    limits = {
        name: max(body[name] - used, 1) + _REPETITION_TOKENS for name in _LIMITS if isinstance(body.get(name), int)
    }
    return {**body, "messages": [*body["messages"], *turns], **limits}


def _is_plain(choices: bytes) -> bool:
    deltas = [choice.get("delta") or {} for choice in orjson.loads(choices)]
    return all(name in _JOINABLE_FIELDS for delta in deltas for name, value in delta.items() if value)
