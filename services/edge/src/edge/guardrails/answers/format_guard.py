"""Looks at the format of a whole answer, of which nothing goes out before where the policy blocks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from edge.answer import Answer
from edge.guardrails.answers.output import Checked, ContentStopped
from edge.guardrails.format import WantedFormat, are_objects
from edge.guardrails.input import Finding
from edge.guardrails.policy import FORMAT, Action
from edge.metrics import Metrics
from edge.problems import Problem
from spillway.router.v1 import router_pb2 as routerpb

FitsElsewhere = Callable[[Sequence[str], bytes], Awaitable[bool | None]]
"""Does `fits` in a process of its own."""


# To read so much takes about as long as to have it read.
_LONG_CHARACTERS = 64 * 1024
_ANY_OBJECT = b'{"type":"object"}'


class FormatGuard:
    """Made for one answer."""

    def __init__(
        self, wanted: WantedFormat, action: Action, checked: Checked, fits: FitsElsewhere, metrics: Metrics
    ) -> None:
        """`checked` is kept up to date."""
        self._wanted = wanted
        self._action = action
        self._checked = checked
        self._fits = fits
        self._metrics = metrics
        self.holds = action is Action.BLOCK
        """Whether nothing may go out before it has looked."""

    async def look(self, answer: Answer) -> None:
        """Look at a whole answer; ContentStopped when it must not go out."""
        if not answer.is_kept:
            self._metrics.guardrail_format_unchecked.labels("too_long").inc()
            return
        texts = _texts(answer)
        self._checked.characters = max(self._checked.characters, sum(map(len, texts)))
        if not texts or await self._is_good(texts):
            return
        self._checked.findings[FORMAT.name] = Finding(FORMAT.name, FORMAT.version, self._action, 1, 1.0)
        if self.holds:
            self._checked.is_stopped = True
            raise ContentStopped

    async def _is_good(self, texts: Sequence[str]) -> bool:
        schema = self._wanted.schema
        if schema is None:
            if sum(map(len, texts)) <= _LONG_CHARACTERS:
                return are_objects(texts)
            schema = _ANY_OBJECT
        reason = "schema"
        try:
            is_good = await self._fits(texts, schema)
        except Problem:
            is_good, reason = None, "busy"
        if is_good is None:  # the schema is the client's own, and so is the risk
            self._metrics.guardrail_format_unchecked.labels(reason).inc()
        return is_good is not False


def _texts(answer: Answer) -> list[str]:
    """Return the texts that have come to their own end; a call and a refusal are no answer in the format."""
    texts = []
    for choice, reason in zip(answer.choices(), answer.finish_reasons, strict=True):
        message = choice["message"]
        is_other = message.get("refusal") or message.get("tool_calls") or message.get("function_call")
        if reason == routerpb.FINISH_REASON_STOP and not is_other:
            texts.append(message.get("content") or "")
    return texts
