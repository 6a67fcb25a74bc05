"""Every line on standard output is one JSON object, and none contains the message of an exception."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import orjson
import pytest

pytestmark = pytest.mark.integration

SET_UP = """
import asyncio, logging
import structlog
from servicekit.logs import configure_logs

configure_logs("edge", {level!r})
log = structlog.get_logger()

def fail():
    raise ValueError("SECRET")

"""


def lines(program: str, level: str = "INFO") -> list[dict[str, Any]]:
    """Run a program that logs in a process of its own; return its lines, each of them JSON."""
    command = [sys.executable, "-c", SET_UP.format(level=level) + program]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (0, b"") == (result.returncode, result.stderr)
    return [orjson.loads(line) for line in result.stdout.splitlines()]


def test_a_line_has_its_event_level_time_and_service() -> None:
    """And the fields that were passed, with their types."""
    (line,) = lines('log.info("request_finished", attempts=2, cost_usd=None, names=["größe", "\\n"])')

    assert line.pop("time").endswith("Z")
    assert {
        "event": "request_finished",
        "level": "info",
        "service": "edge",
        "attempts": 2,
        "cost_usd": None,
        "names": ["größe", "\n"],
    } == line


def test_the_request_id_is_in_each_line_of_its_task() -> None:
    """Bound once, it is also in the lines of libraries, and never in those of another request."""
    logged = lines("""
async def serve(request_id):
    structlog.contextvars.bind_contextvars(request_id=request_id)
    await asyncio.sleep(0)
    log.info("one")
    logging.getLogger("library").warning("two")

async def main():
    await asyncio.gather(serve("a"), serve("b"))
    log.info("none")

asyncio.run(main())
""")

    assert [("one", "a"), ("two", "a"), ("one", "b"), ("two", "b"), ("none", None)] == [
        (line["event"], line.get("request_id")) for line in logged
    ]


@pytest.mark.parametrize(
    "logging_call",
    [
        'log.exception("it_failed")',
        'log.error("it_failed", exc_info=error)',
        'log.error("it_failed", exc_info=True)',
        'log.error("it_failed", exc_info=(type(error), error, error.__traceback__))',
        'logging.getLogger("library").exception("it_failed")',
        'logging.getLogger("library").error("it_failed", exc_info=error)',
    ],
)
def test_an_exception_is_logged_as_its_type_and_frames(logging_call: str) -> None:
    """Innermost frame last; not its message, which may quote a prompt or a header."""
    (line,) = lines(f"""
try:
    fail()
except ValueError as error:
    {logging_call}
""")

    assert ("it_failed", "error", "builtins.ValueError") == (line["event"], line["level"], line["error_type"])
    assert [" <module>", " fail"] == [" " + place.split(" ")[1] for place in line["error_places"]]
    assert "SECRET" not in str(line)
    assert "exc_info" not in line


def test_lines_of_libraries_are_json_as_well() -> None:
    """With the library's name; below the level of a warning only their lines are left out."""
    logged = lines("""
logging.getLogger("library").info("chatter")
logging.getLogger("library.part").warning("retry %d of %s", 1, "three")
log.info("ours")
""")

    assert [("retry 1 of three", "warning", "library.part", "edge"), ("ours", "info", None, "edge")] == [
        (line["event"], line["level"], line.get("logger"), line["service"]) for line in logged
    ]


def test_a_failed_background_task_is_logged_without_its_message() -> None:
    """asyncio reports it itself, through the standard library's logging."""
    logged = lines("""
async def main():
    task = asyncio.create_task(asyncio.to_thread(fail))
    await asyncio.wait((task,))
    del task

asyncio.run(main())
""")

    assert ["builtins.ValueError"] == [line["error_type"] for line in logged if line["logger"] == "asyncio"]
    assert "SECRET" not in str([line["error_places"] for line in logged])


def test_lines_below_the_level_are_left_out() -> None:
    """Those of our own code included."""
    assert ["c"] == [line["event"] for line in lines('log.debug("a"); log.info("b"); log.warning("c")', "WARNING")]
    assert ["a"] == [line["event"] for line in lines('log.debug("a")', "DEBUG")]


@pytest.mark.parametrize(
    "value", ["object()", "2**70", "'\\ud800'", "{1: 2}", "{2**70: object()}", "b'x'", "float('nan')"]
)
def test_any_value_can_be_logged(value: str) -> None:
    """A log line must never be what breaks a request."""
    logged = lines(f'log.info("odd", value={value})\nlogging.getLogger("library").warning("{{}}".format({value}))')

    assert 2 == len(logged)
    assert "odd" == logged[0]["event"]
    assert "value" in logged[0]
