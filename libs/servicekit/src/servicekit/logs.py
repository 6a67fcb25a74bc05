"""Structured logs: one JSON object a line on standard output, the request id in every line that has one.

Logging never breaks serving: a full disk, a closed pipe, a limit of the file's size or a slow reader loses lines, which
are counted; see `log_writer.py`.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from servicekit.log_writer import LogWriter

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def configure_logs(service: str, level: str = "INFO") -> LogWriter:
    """Send every log line of this process, also those of libraries, to standard output as JSON.

    Return what writes them. `service` stands in each line. An exception is logged as its type and the frames it passed,
    never its message: messages of foreign exceptions may quote a prompt or a header.
    """
    # Python leaves it out where the process was started without one; then the next file to be opened gets its number.
    writer = LogWriter(None if sys.stdout is None else sys.stdout.fileno(), _loss_report(service))
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _name_service(service),
        _exception_as_places,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_to_json)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=lambda *_: _LineLogger(writer),
        cache_logger_on_first_use=True,
    )
    handler = _LineHandler(writer)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_to_text),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    # Only warnings of libraries: their other messages may hold URLs and headers.
    root.setLevel(logging.WARNING)
    return writer


class _LineLogger:
    """What structlog ends in: every level writes a line."""

    def __init__(self, writer: LogWriter) -> None:
        self._writer = writer

    def msg(self, line: bytes) -> None:
        self._writer.write(line + b"\n")

    debug = info = warning = warn = error = critical = fatal = exception = failure = msg


class _LineHandler(logging.Handler):
    """What the standard library's logging ends in."""

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - arguments that do not fit the message must not break a library's call
            record.args = None
            line = self.format(record)
        self._writer.write(line.encode() + b"\n")


def _loss_report(service: str) -> Callable[[int], bytes]:
    def report(lines: int) -> bytes:
        time = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        fields = {"lines": lines, "event": "log_lines_lost", "level": "error", "time": time, "service": service}
        return orjson.dumps(fields) + b"\n"

    return report


def places_of(error: BaseException) -> list[str]:
    """Return the frames of `error`, innermost last, as `file:line function`: no message, no source line, no values."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename.rpartition('/src/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-8:]]


def _name_service(service: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
        event_dict["service"] = service
        return event_dict

    return add


def _exception_as_places(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    exc_info = event_dict.pop("exc_info", None)
    error: BaseException | None
    if isinstance(exc_info, BaseException):
        error = exc_info
    elif isinstance(exc_info, tuple):
        error = exc_info[1]
    else:
        error = sys.exc_info()[1] if exc_info else None
    if error is not None:
        event_dict["error_type"] = f"{type(error).__module__}.{type(error).__qualname__}"
        event_dict["error_places"] = places_of(error)
    return event_dict


def _to_json(event_dict: EventDict, **_kwargs: Any) -> bytes:
    try:
        return orjson.dumps(event_dict, default=repr)
    except TypeError:  # not representable as JSON: a key that is no string, a lone surrogate, a huge number
        return orjson.dumps({name: _writable(value) for name, value in event_dict.items()})


def _writable(value: object) -> object:
    try:
        orjson.dumps(value)
    except TypeError:
        return repr(value)
    return value


def _to_text(event_dict: EventDict, **kwargs: Any) -> str:
    return _to_json(event_dict, **kwargs).decode()
