"""What real clients send, over targets of both vendors with the first one down."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from fault_provider.answers import TOOL_ARGUMENTS, TOOL_NAME, expected_text
from kit.wires import chat_completions, messages

from .asking import Outcome
from .cells import ALONE, Asked, Cell, Json, cells
from .contract_answers import Said, read_completion, read_message
from .meaning import said_in
from .refused import BY_EVERY_TARGET, BY_THE_OTHER_VENDOR

_DROPPED = orjson.loads(Path(__file__).with_name("dropped.json").read_bytes())
_INDEX = re.compile(r"\.\d+")
_BY_REQUEST = [
    pytest.param(asked, list(group), id=asked.name)
    for asked, group in ((key, list(each)) for key, each in itertools.groupby(cells(), key=lambda cell: cell.asked))
]
_ANSWERED = pytest.mark.parametrize(("asked", "group"), _BY_REQUEST)


def _is_refused(cell: Cell) -> bool:
    return cell.asked.name in BY_EVERY_TARGET or (cell.is_translated and cell.asked.name in BY_THE_OTHER_VENDOR)


@_ANSWERED
def test_every_request_is_answered_whole_by_the_second_target(
    asked: Asked, group: list[Cell], outcomes: Mapping[str, Outcome]
) -> None:
    """With status 200, in the shape of the client's contract, with all of the text or the call, and the right end."""
    for cell in group:
        outcome = outcomes[cell.route]
        if _is_refused(cell):
            continue
        assert 200 == outcome.status, (cell.route, outcome.content)
        limit = asked.body.get("max_tokens") or asked.body.get("max_completion_tokens")
        text = expected_text("ok", limit)
        expected = Said(text, {}, "stop" if text == expected_text("ok") else "length")
        if cell.answer == "tool-call":
            expected = Said("", {0: [TOOL_NAME, TOOL_ARGUMENTS]}, "tool_calls")
        assert expected == _read(asked, outcome), cell.route


def _read(asked: Asked, outcome: Outcome) -> Said:
    is_stream = bool(asked.body.get("stream"))
    if asked.contract == "anthropic":
        return read_message(outcome.content, is_stream)
    wants_usage = bool((asked.body.get("stream_options") or {}).get("include_usage"))
    return read_completion(outcome.content, is_stream, wants_usage)


@_ANSWERED
def test_what_arrives_is_valid_on_the_wire_of_the_target(
    asked: Asked, group: list[Cell], outcomes: Mapping[str, Outcome]
) -> None:
    """A translation keeps the rules of its vendor; a target of the client's contract gets the client's own body."""
    for cell in group:
        attempt = outcomes[cell.route].attempt
        if _is_refused(cell) or attempt is None:
            continue
        body = attempt["body"]
        if not cell.is_translated:
            assert _apart_from_ours(asked.body) == _apart_from_ours(body), cell.route
            for header in ("anthropic-version", "anthropic-beta") if cell.second == "anthropic" else ():
                assert asked.headers.get(header, "") == attempt[header.replace("-", "_")], cell.route
        elif cell.second == "anthropic":
            assert [] == messages.faults_of(body, attempt["anthropic_version"]), (cell.route, body)
        else:
            assert [] == chat_completions.faults_of(body), (cell.route, body)


def _apart_from_ours(body: Json) -> Json:
    """Leave out what the gateway says itself: which model, and that usage is to be told."""
    return {name: value for name, value in body.items() if name not in ("model", "stream", "stream_options")}


@_ANSWERED
def test_all_that_was_said_arrives(asked: Asked, group: list[Cell], outcomes: Mapping[str, Outcome]) -> None:
    """Every text, picture, document, call, result and tool of the request is in what the other vendor is asked."""
    for cell in group:
        attempt = outcomes[cell.route].attempt
        if _is_refused(cell) or attempt is None:
            continue
        arrived = orjson.dumps(attempt["body"]).decode()
        missing = [text for text in said_in(asked.body) if orjson.dumps(text).decode()[1:-1] not in arrived]
        assert [] == missing, (cell.route, arrived)


@_ANSWERED
def test_the_receipt_says_what_the_target_was_not_told(
    asked: Asked, group: list[Cell], outcomes: Mapping[str, Outcome]
) -> None:
    """By the client's names, for who was asked instead; a target of the client's own contract was told everything."""
    for cell in group:
        receipt = outcomes[cell.route].receipt
        if _is_refused(cell) or receipt is None:
            continue
        expected = _DROPPED.get(asked.name, []) if cell.is_translated else []
        attempts = receipt["attempts"]
        assert expected == sorted({_INDEX.sub(".*", name) for name in attempts[-1]["dropped"]}), cell.route
        assert {cell.second} == {attempt["provider"] for attempt in attempts if attempt["outcome"] == "ok"}


@pytest.mark.parametrize("name", BY_THE_OTHER_VENDOR)
def test_what_the_other_vendor_cannot_be_told_is_a_400_that_names_it(
    name: str, outcomes: Mapping[str, Outcome]
) -> None:
    """When there is nobody else to ask; while one who is down might, asking again may help, which is what is said."""
    for cell in cells():
        if cell.asked.name == name and cell.is_translated:
            outcome = outcomes[cell.route]
            error = orjson.loads(outcome.content)["error"]
            if cell.fault == ALONE:
                assert (400, "invalid_request_error") == (outcome.status, error["type"]), outcome.content
                assert BY_THE_OTHER_VENDOR[name] in error["message"]
            else:
                assert 502 == outcome.status, outcome.content
                assert f"{cell.route}-2: unsupported_parameter" in error["message"]
            assert outcome.attempt is None


@pytest.mark.parametrize("name", BY_EVERY_TARGET)
def test_what_no_target_is_asked_is_a_400_on_which_the_client_goes_on(
    name: str, outcomes: Mapping[str, Outcome]
) -> None:
    """Anthropic's SDK asks without a thread when the refusal has this code."""
    for cell in cells():
        if cell.asked.name == name:
            error = orjson.loads(outcomes[cell.route].content)["error"]
            assert 400 == outcomes[cell.route].status
            assert BY_EVERY_TARGET[name] in error["message"]
            assert "thread_unsupported_request" == error["details"]["error_code"]
