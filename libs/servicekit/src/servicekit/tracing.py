"""Steps of a request, timed for `Server-Timing`, and the W3C trace context that it carries between services."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType

import structlog

_NO_SPAN: AbstractContextManager[None] = nullcontext()

# Version, trace id, parent id, flags; all zeros and the version ff are invalid. A later version may have more behind.
_TRACEPARENT = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?P<more>-.*)?"
)
# What W3C asks everyone to pass on, in characters that gRPC metadata can hold.
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")


def step(name: str) -> AbstractContextManager[None]:
    """Return the span of a step of the request path. Spans are started here, and nowhere else.

    There is no tracer yet: without one OpenTelemetry's `start_as_current_span` takes 12 microseconds, a step 1.
    """
    return _NO_SPAN


class Steps:
    """The steps of one request, and how long each took."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def step(self, name: str) -> _TimedStep:
        """Return a context manager that makes its block a step with a span; a name that comes again adds up."""
        return _TimedStep(name, self._seconds)

    def header(self) -> str:
        """Return the steps that have ended so far as a `Server-Timing` header, in milliseconds."""
        return ", ".join(f"{name};dur={seconds * 1e3:.2f}" for name, seconds in self._seconds.items())


class _TimedStep:
    __slots__ = ("_name", "_seconds", "_span", "_started")

    def __init__(self, name: str, seconds: dict[str, float]) -> None:
        self._name = name
        self._seconds = seconds
        self._span = step(name)

    def __enter__(self) -> None:
        self._span.__enter__()
        self._started = time.perf_counter()

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._started
        self._seconds[self._name] = self._seconds.get(self._name, 0.0) + seconds
        self._span.__exit__(exc_type, error, traceback)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A caller's trace, as W3C Trace Context writes it."""

    traceparent: str
    tracestate: str = ""
    """Empty when the caller sent none, or one that cannot be passed on."""

    @property
    def trace_id(self) -> str:
        """The id of the whole trace, as log lines and tracing systems have it."""
        return self.traceparent[3:35]


_current: ContextVar[TraceContext | None] = ContextVar("trace_context", default=None)


def parse_trace_context(traceparent: str, tracestate: str = "") -> TraceContext | None:
    """Return the trace context in these headers; None when `traceparent` is malformed."""
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None or (match["version"] == "00" and match["more"]):
        return None
    state = tracestate if _TRACESTATE.fullmatch(tracestate) else ""
    return TraceContext(f"00-{match['trace']}", state)


def bind_trace(traceparent: str | None, tracestate: str = "") -> None:
    """Make the caller's trace that of this task, and of its log lines as `trace_id`; no trace without a valid one."""
    trace = parse_trace_context(traceparent, tracestate) if traceparent else None
    _current.set(trace)
    if trace is None:
        structlog.contextvars.unbind_contextvars("trace_id")
    else:
        structlog.contextvars.bind_contextvars(trace_id=trace.trace_id)


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """Return the trace of this task as metadata for a gRPC call."""
    trace = _current.get()
    if trace is None:
        return ()
    if trace.tracestate:
        return ("traceparent", trace.traceparent), ("tracestate", trace.tracestate)
    return (("traceparent", trace.traceparent),)


def bind_call_trace(metadata: Iterable[tuple[str, str | bytes]] | None) -> None:
    """Do as `bind_trace` with the metadata of a call that a gRPC server received."""
    found = {
        key: value for key, value in metadata or () if key in {"traceparent", "tracestate"} and isinstance(value, str)
    }
    bind_trace(found.get("traceparent"), found.get("tracestate", ""))
