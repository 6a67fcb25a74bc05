"""A chat request in the forms that a wire can take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class MessagesForm:
    """A request of the Messages API as its client sent it; see router.proto."""

    body: Json
    beta: str = ""
    """The client's `anthropic-beta` header."""
    untranslatable: tuple[str, ...] = ()
    """The fields that the translation cannot say and that would change the answer."""


@dataclass(frozen=True, slots=True)
class ChatBody:
    """What a provider is asked. Whatever `model` and `stream` say here, the provider sets them for its target."""

    openai: Json
    """An OpenAI chat body; the translation when the request has a native form."""
    messages_form: MessagesForm | None = None
    """The native form of a request that came in Anthropic's contract."""

    @property
    def is_whole_only(self) -> bool:
        """Whether the request asks for something that engines have only in answers that come whole.

        vLLM refuses `prompt_logprobs` with 400 when it is to stream.
        """
        return bool(self.openai.get("prompt_logprobs"))
