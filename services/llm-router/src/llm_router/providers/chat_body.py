"""A chat request in the forms that a wire can take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_NO_EFFORTS = frozenset({"", "none", "minimal"})
_THINKING = frozenset({"enabled", "adaptive"})


@dataclass(frozen=True, slots=True)
class MessagesForm:
    """A request of the Messages API as its client sent it; see router.proto."""

    body: Json
    beta: str = ""
    """The client's `anthropic-beta` header."""
    untranslatable: tuple[str, ...] = ()
    """The fields that the translation cannot say and that would change the answer."""
    version: str = ""
    """The client's `anthropic-version` header."""
    dropped: tuple[str, ...] = ()
    """The fields that the translation leaves out and that do not change the answer."""


@dataclass(frozen=True, slots=True)
class ChatBody:
    """What a provider is asked. Whatever `model` and `stream` say here, the provider sets them for its target."""

    openai: Json
    """An OpenAI chat body; the translation when the request has a native form."""
    messages_form: MessagesForm | None = None
    """The native form of a request that came in Anthropic's contract."""

    @property
    def asks_for_thinking(self) -> bool:
        """Whether the request asks the model to think before it answers, which may take it minutes of silence."""
        if self.messages_form is not None and _is_on(self.messages_form.body.get("thinking")):
            return True
        body = self.openai
        template = body.get("chat_template_kwargs")
        switches = [body, template] if isinstance(template, dict) else [body]
        return (
            _is_effort(body.get("reasoning_effort"))
            or _is_on(body.get("thinking"))
            or _is_reasoning(body.get("reasoning"))
            or any(fields.get("enable_thinking") is True for fields in switches)
        )

    @property
    def is_whole_only(self) -> bool:
        """Whether the request asks for something that engines have only in answers that come whole.

        vLLM refuses `prompt_logprobs` with 400 when it is to stream.
        """
        return bool(self.openai.get("prompt_logprobs"))


def _is_effort(effort: object) -> bool:
    """Tell whether a `reasoning_effort` lets a model think: OpenAI's models begin to with `low`."""
    return isinstance(effort, str) and effort not in _NO_EFFORTS


def _is_on(thinking: object) -> bool:
    """Tell whether a `thinking`, Anthropic's, DeepSeek's and Z.ai's, switches it on."""
    return isinstance(thinking, dict) and thinking.get("type") in _THINKING


def _is_reasoning(reasoning: object) -> bool:
    """Tell whether a `reasoning`, OpenRouter's, switches it on: by an effort, a number of tokens, or plainly."""
    if not isinstance(reasoning, dict) or reasoning.get("enabled") is False:
        return False
    return reasoning.get("enabled") is True or _is_effort(reasoning.get("effort")) or bool(reasoning.get("max_tokens"))
