"""The attempts of one request: those that the router has reported, and those that are still open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edge.events.cost_event import open_attempt
from pricing.estimate import estimate_tokens
from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb


class AttemptLog:
    """Filled while a call runs; at its end every attempt that has begun is in it once."""

    def __init__(self, estimated_input_tokens: int, dropped: Sequence[str] = ()) -> None:
        """The estimate counts for each attempt that is never reported.

        `dropped` are fields that no target is told because the contract's translation leaves them out, by name.
        """
        self._dropped = dropped
        self._estimated_input_tokens = estimated_input_tokens
        self._started: dict[int, routerpb.Started] = {}
        self._open: set[int] = set()
        self._reported: list[routerpb.Attempt] = []
        self._received_bytes = 0  # from the attempt that answers
        self.answering = 0
        """The attempt that the content is from; 0: none yet."""

    def start(self, started: routerpb.Started) -> None:
        """Note that an attempt begins."""
        self._started[started.attempt_number] = started
        self._open.add(started.attempt_number)

    def report(self, attempts: Iterable[routerpb.Attempt]) -> None:
        """Note the router's own records."""
        for attempt in attempts:
            self._open.discard(attempt.attempt_number)
            if attempt.HasField("usage"):  # it was asked, and did something
                attempt.dropped.extend(self._dropped)
            self._reported.append(attempt)

    def answer_from(self, attempt_number: int) -> routerpb.Started | None:
        """Note that an attempt answers: what is received from now on is its own. Return what its start said."""
        self.answering = attempt_number
        self._received_bytes = 0
        return self._started.get(attempt_number)

    def receive(self, delta: routerpb.Delta) -> None:
        """Count what the answering attempt has sent; it matters only if the attempt is never reported."""
        size = len("".join(delta.texts).encode()) + sum(map(len, delta.choices)) + sum(map(len, delta.messages_events))
        self._received_bytes += size

    @property
    def newest(self) -> int:
        """The attempt that was started last; 0: none was."""
        return max(self._started, default=0)

    @property
    def last_reported(self) -> int:
        """The attempt that was reported last; 0: none was."""
        return self._reported[-1].attempt_number if self._reported else 0

    @property
    def usage(self) -> Usage | None:
        """What the attempt reported last has used; None: nothing is known."""
        last = self._reported[-1] if self._reported else None
        return Usage.from_proto(last.usage) if last is not None and last.HasField("usage") else None

    @property
    def has_open(self) -> bool:
        """Whether an attempt has begun and was not reported."""
        return bool(self._open)

    @property
    def router_address(self) -> str | None:
        """Where the router that makes the attempts can be asked to stop; None before the first attempt."""
        return next((started.router_address for started in self._started.values()), None)

    def close(self, outcome: routerpb.Outcome.ValueType) -> list[routerpb.Attempt]:
        """Return the records of all attempts; those that are open end with `outcome`, and their usage is estimated."""
        for number in sorted(self._open):
            received = estimate_tokens(self._received_bytes) if number == self.answering else 0
            estimated = Usage(self._estimated_input_tokens, received)
            self._reported.append(open_attempt(self._started[number], outcome, estimated))
        self._open.clear()
        return self._reported
