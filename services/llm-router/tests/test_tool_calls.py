"""Tool calls arrive as OpenAI would send them, however a vendor cuts and numbers them (docs/compatibility.md)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.errors import ProviderError, StreamBroken
from llm_router.providers.openai.tool_calls import ToolCalls
from llm_router.providers.openai.wire import OpenAIWire
from spillway.router.v1 import router_pb2 as routerpb

Json = dict[str, Any]
TOOLS = {"weather": True, "clock": True, "list_all": False}
ROME, CET = '{"city":"Rome"}', '{"zone":"CET"}'
TWO = [("weather", ROME), ("clock", CET)]


def fragment(name: str | None = None, arguments: object = None, **more: object) -> Json:
    """Write a fragment; what is None is left out."""
    function = {"name": name, "arguments": arguments}
    return {**more, "function": {key: value for key, value in function.items() if value is not None}}


def assembled(*deltas: Any, tools: Mapping[str, bool] = TOOLS) -> list[tuple[str, str, str]]:
    """Return id, name and arguments of each call, put together as strict clients do: every text is appended."""
    calls = ToolCalls(tools)
    sent = [each for delta in deltas for each in calls.take(delta)] + calls.end()
    known: dict[int, tuple[str, str, str]] = {}
    for each in sent:
        index, function = each["index"], each["function"]
        assert isinstance(index, int)
        assert (index in known) == ("id" not in each) == ("name" not in function)
        before = known.get(index, ("", "", ""))
        after = (each.get("id", ""), function.get("name", ""), function["arguments"])
        known[index] = (before[0] + after[0], before[1] + after[1], before[2] + after[2])
    assert [*range(len(known))] == [*known]
    assert len({call[0] for call in known.values()}) == len(known)
    assert all(call[0] for call in known.values())
    return list(known.values())


def named(*deltas: Any, tools: Mapping[str, bool] = TOOLS) -> list[tuple[str, str]]:
    """Return name and arguments of each call."""
    return [call[1:] for call in assembled(*deltas, tools=tools)]


@pytest.mark.parametrize(
    "deltas",
    [
        # as OpenAI
        [
            [fragment("weather", "", index=0, id="a")],
            [fragment(None, ROME[:5], index=0)],
            [fragment(None, ROME[5:], index=0)],
            [fragment("clock", "", index=1, id="b")],
            [fragment(None, CET, index=1)],
        ],
        # no index, or one that says nothing
        [[fragment("weather", ROME, id="a")], [fragment("clock", CET, id="b")]],
        [[fragment("weather", ROME, id="a", index=None)], [fragment("clock", CET, id="b", index="")]],
        [[fragment("weather", ROME, id="a"), fragment("clock", CET, id="b")]],
        [[fragment("weather", ROME[:5], id="a")], [fragment(None, ROME[5:])], [fragment("clock", CET, id="b")]],
        [[fragment("weather", ROME[:5])], [fragment(None, ROME[5:])], [fragment("clock", CET)]],
        # every index 0: told apart by their ids, or by their names
        [[fragment("weather", ROME, id="a", index=0)], [fragment("clock", CET, id="b", index=0)]],
        [[fragment("weather", ROME, id="", index=0)], [fragment("clock", CET, id="", index=0)]],
        [
            [fragment("weather", ROME[:5], id="a", index=0)],
            [fragment(None, ROME[5:], index=0)],
            [fragment("clock", CET[:5], id="b", index=0)],
            [fragment(None, CET[5:], index=0)],
        ],
        # id and name with every fragment
        [
            [fragment("weather", ROME[:5], id="a", index=0)],
            [fragment("weather", ROME[5:], id="a", index=0)],
            [fragment("clock", CET[:5], id="b", index=1)],
            [fragment("clock", CET[5:], id="b", index=1)],
        ],
        [[fragment("weather", ROME[:5])], [fragment("weather", ROME[5:])], [fragment("clock", CET)]],
        # another id with every fragment
        [
            [fragment("weather", "", id="a", index=0)],
            [fragment(None, ROME[:5], id="b", index=0)],
            [fragment(None, ROME[5:], id="c", index=0)],
            [fragment("clock", CET, id="d", index=1)],
            [fragment(None, "", id="e", index=1)],
        ],
        # fragments after those of another call
        [
            [fragment("weather", ROME[:5], id="a", index=0), fragment("clock", CET[:5], id="b", index=1)],
            [fragment(None, ROME[5:], index=0)],
            [fragment(None, CET[5:], index=1)],
        ],
        [
            [fragment("weather", ROME[:5], id="a"), fragment("clock", CET[:5], id="b")],
            [fragment(None, ROME[5:], id="a"), fragment(None, CET[5:], id="b")],
        ],
        [
            [fragment("weather", ROME[:5])],
            [fragment("clock", CET[:5])],
            [fragment("weather", ROME[5:])],
            [fragment("clock", CET[5:])],
        ],
        # numbers as floats and digits; from 1; with gaps
        [[fragment("weather", ROME, id="a", index=0.0)], [fragment("clock", CET, id="b", index=1.0)]],
        [[fragment("weather", ROME, id="a", index="0")], [fragment("clock", CET, id="b", index="1")]],
        [[fragment("weather", ROME, id="a", index=1)], [fragment("clock", CET, id="b", index=3)]],
        [[fragment("weather", ROME, id=17)], [fragment("clock", CET, id=18)]],
        # arguments as an object
        [[fragment("weather", {"city": "Rome"}, id="a")], [fragment("clock", {"zone": "CET"}, id="b")]],
        # only the first fragment has no index
        [
            [fragment("weather", ROME[:5], id="a")],
            [fragment(None, ROME[5:], index=0)],
            [fragment("clock", CET, id="b", index=1)],
        ],
        # the name in pieces, or from its beginning again; arguments before the name
        [
            [fragment("wea", id="a", index=0)],
            [fragment("ther", index=0)],
            [fragment(None, ROME, index=0)],
            [fragment("clock", CET, id="b", index=1)],
        ],
        [[fragment("wea", id="a", index=0)], [fragment("weather", ROME, index=0)], [fragment("clock", CET, index=1)]],
        [[fragment(None, ROME[:5], index=0)], [fragment("weather", ROME[5:], index=0)], [fragment("clock", CET)]],
        # the whole call once more at the end, and an empty object before and after the arguments
        [
            [fragment("weather", ROME[:5], id="a", index=0)],
            [fragment(None, ROME[5:], index=0)],
            [fragment("clock", CET, id="b", index=1)],
            [fragment("weather", ROME, id="a", index=0), fragment("clock", '{"zone": "CET"}', id="b", index=1)],
        ],
        [
            [fragment("weather", "{}", id="a", index=0)],
            [fragment(None, ROME, index=0)],
            [fragment(None, "{}", index=0)],
            [fragment("clock", CET, id="b", index=1)],
        ],
        # one id for both
        [[fragment("weather", ROME, id="call", index=0)], [fragment("clock", CET, id="call", index=1)]],
        # nothing among them
        [[None, fragment("weather", ROME), {}, fragment("clock", CET), {"index": 0, "function": None}]],
        [fragment("weather", ROME), fragment("clock", CET)],
        [[{"name": "weather", "arguments": ROME}], [{"name": "clock", "arguments": CET}]],
    ],
)
def test_two_calls_stay_two_calls(deltas: list[Any]) -> None:
    """By id, then by index, then by a new name."""
    assert [(name, orjson.loads(text)) for name, text in TWO] == [
        (name, orjson.loads(text)) for name, text in named(*deltas)
    ]


def test_two_calls_of_one_tool_stay_two_calls() -> None:
    """Also when only the end of the first one's arguments tells, and when the id is the tool's name."""
    paris = '{"city":"Paris"}'
    for more in ({}, {"index": 0}, {"index": 0, "id": ""}, {"index": None}, {"id": "weather"}):
        calls = assembled([fragment("weather", ROME, **more)], [fragment("weather", paris, **more)])
        assert [("weather", ROME), ("weather", paris)] == [call[1:] for call in calls]


@pytest.mark.parametrize("nothing", [None, "", "{}", {}, [], "null"])
@pytest.mark.parametrize("more", [{"id": "a", "index": 0}, {"index": 0}, {"id": "a"}, {}])
def test_no_arguments_become_an_empty_object(nothing: object, more: Json) -> None:
    """Clients read the arguments as JSON; they come with the end, as until then some could follow."""
    assert [("list_all", "{}")] == named([fragment("list_all", nothing, **more)])
    assert [("list_all", "{}"), ("clock", CET)] == named(
        [fragment("list_all", nothing, **more)], [fragment("clock", CET, id="b", index=1)]
    )


def test_an_empty_object_is_sent_at_once_where_nothing_else_can_follow() -> None:
    """It is the whole call of a tool without parameters; of one that has some, the true arguments may come yet."""
    assert "{}" == ToolCalls(TOOLS).take([fragment("list_all", "{}", id="a")])[0]["function"]["arguments"]
    assert "" == ToolCalls(TOOLS).take([fragment("weather", "{}", id="a")])[0]["function"]["arguments"]


def test_an_id_of_the_vendor_is_kept_and_a_missing_one_made_up() -> None:
    """The client sends it back with the result; two calls must never share one, also not in two turns."""
    ((given_id, *_), (own_id, *_)) = assembled([fragment("weather", ROME, id="a")], [fragment("clock", CET)])
    ((other, *_),) = assembled([fragment("clock", CET)])

    assert "a" == given_id
    assert own_id != other


def test_a_known_name_leaves_at_once() -> None:
    """A client shows which tool is called while the model still writes its arguments."""
    calls = ToolCalls(TOOLS)

    assert [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "weather", "arguments": ""}}
    ] == calls.take([fragment("weather", "", id="a", index=0)])


def test_fields_that_only_the_vendor_knows_stay_with_their_call() -> None:
    """Thought signatures have to come back in the next turn."""
    calls = ToolCalls()
    extra = {"google": {"thought_signature": "c2ln"}}
    sent = calls.take([fragment("weather", ROME, index=0, extra_content=extra)])
    sent += calls.take([fragment(None, None, index=0, extra_content={"more": 1})])

    assert [extra, {"more": 1}] == [each["extra_content"] for each in sent]
    assert [] == calls.end()


def test_custom_tools_keep_their_input() -> None:
    """OpenAI's tools whose input is a text: no JSON, and nothing in place of none."""
    calls = ToolCalls()
    sent = calls.take([{"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": "SEL"}}])
    sent += calls.take([{"index": 0, "custom": {"input": "ECT"}}])

    assert [
        {"index": 0, "id": "a", "type": "custom", "custom": {"name": "sql", "input": "SEL"}},
        {"index": 0, "custom": {"input": "ECT"}},
    ] == sent
    assert [] == calls.end()


@pytest.mark.parametrize(
    "deltas",
    [
        [[fragment(None, ROME, index=0)]],
        [[fragment("weather", ROME, id="a")], [fragment(None, CET, id="a")]],
        [[fragment("weather", ROME, id=f"{number}") for number in range(1001)]],
    ],
)
def test_calls_that_cannot_be_put_together_break_the_stream(deltas: list[Any]) -> None:
    """A call without a name, arguments after their end, a thousand calls: no client could run them."""
    with pytest.raises(StreamBroken):
        assembled(*deltas)


values: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab{}", max_size=3) | st.just([]) | st.just({})
)
fragments = st.fixed_dictionaries(
    {},
    optional={
        "index": values,
        "id": values,
        "type": values,
        "name": values,
        "custom": st.fixed_dictionaries({}, optional={"name": values, "input": values}),
        "function": values | st.fixed_dictionaries({}, optional={"name": values, "arguments": values}),
    },
)


@given(st.lists(values | st.lists(fragments | values, max_size=4), max_size=4))
def test_whatever_comes_is_a_call_or_a_provider_error(deltas: list[Any]) -> None:
    """What leaves always fits together: numbers without gaps, one id and one name for each."""
    calls = ToolCalls({"a": True, "b": False})
    sent = []
    with suppress(ProviderError):
        for delta in deltas:
            sent += calls.take(delta) if delta else []
        sent += calls.end()
    first: dict[int, Json] = {}
    for each in sent:
        assert ("id" in each) == (each["index"] not in first)
        first.setdefault(each["index"], each)
    assert [*range(len(first))] == [*first]
    assert len({each["id"] for each in first.values()}) <= len(first)


def choices(wire: OpenAIWire, *deltas: Json, reason: str = "stop", ends: bool = True) -> list[Json]:
    """Let the wire read these deltas and an end; return the deltas that leave."""
    head = {"index": 0, "finish_reason": None}
    chunks: list[Json] = [{"choices": [{**head, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{**head, "delta": {}, "finish_reason": reason}]})
    data = [orjson.dumps(chunk) for chunk in chunks] + ([b"[DONE]"] if ends else [])
    contents = [content for each in data for content in wire.read(each)]
    return [orjson.loads(content)[0]["delta"] for content in contents if isinstance(content, bytes)]


@pytest.mark.parametrize(
    ("deltas", "reason", "expected"),
    [
        ([{"tool_calls": [fragment("weather", ROME)]}], "stop", routerpb.FINISH_REASON_TOOL_CALL),
        ([{"tool_calls": [fragment("weather")]}], "stop", routerpb.FINISH_REASON_TOOL_CALL),
        ([{"tool_calls": [fragment("weather", ROME)]}], "tool_calls", routerpb.FINISH_REASON_TOOL_CALL),
        ([{"tool_calls": [fragment("weather", ROME)]}], "length", routerpb.FINISH_REASON_LENGTH),
        ([{"content": "Hi"}], "tool_calls", routerpb.FINISH_REASON_STOP),
        ([{"content": "Hi", "tool_calls": []}], "tool_calls", routerpb.FINISH_REASON_STOP),
        ([{"content": "Hi"}], "function_call", routerpb.FINISH_REASON_STOP),
        ([{"content": "Hi"}], "stop", routerpb.FINISH_REASON_STOP),
    ],
)
def test_the_end_is_called_by_what_was_delivered(deltas: list[Json], reason: str, expected: int) -> None:
    """Several vendors end a tool call with "stop", and some an answer without one with "tool_calls"."""
    wire = OpenAIWire(1)
    choices(wire, *deltas, reason=reason)

    assert {0: expected} == wire.answer.finish_reasons


@pytest.mark.parametrize("ends", [True, False])
def test_calls_of_before_there_were_tools_become_tool_calls(ends: bool) -> None:
    """A client that asked with tools reads no other field."""
    wire = OpenAIWire(1, TOOLS, has_functions=False)
    deltas = [{"function_call": {"name": "weather", "arguments": ""}}, {"function_call": {"arguments": ROME}}]
    (first,), (second,) = [delta["tool_calls"] for delta in choices(wire, *deltas, reason="function_call", ends=ends)]
    wire.end()

    assert {"name": "weather", "arguments": ""} == first["function"]
    assert first["id"]
    assert {"index": 0, "function": {"arguments": ROME}} == second
    assert {0: routerpb.FINISH_REASON_TOOL_CALL} == wire.answer.finish_reasons


def test_a_request_with_functions_gets_its_own_kind_of_call() -> None:
    """And no arguments are `{}` here as well."""
    wire = OpenAIWire(1)
    sent = choices(wire, {"function_call": {"name": "list_all", "arguments": ""}}, reason="function_call")

    assert [{"function_call": {"name": "list_all", "arguments": ""}}, {"function_call": {"arguments": "{}"}}] == sent
