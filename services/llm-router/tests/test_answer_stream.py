"""Bytes of an answer, cut by the network as it likes: what is read does not depend on it."""

from __future__ import annotations

import pytest

from kit.router.answers import read_answer
from llm_router.errors import ProviderError, StreamBroken
from llm_router.providers.openai.wire import OpenAIWire
from llm_router.providers.provider import Content

TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":%b}]}\n\n'
FIRST, LAST = TEXT % (b"a", b"null"), TEXT % (b"b", b'"stop"')
DONE = b"data: [DONE]\n\n"
# Arguments of a call that has no name.
NAMELESS = (
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]},'
    b'"finish_reason":"tool_calls"}]}\n\n'
)


async def read(*chunks: bytes) -> tuple[list[Content], ProviderError | None]:
    """Return what was content and what failed."""
    return await read_answer(chunks, OpenAIWire(1))


def ways(*parts: bytes) -> list[list[bytes]]:
    """Return the parts by themselves, in one piece, and byte by byte."""
    whole = b"".join(parts)
    return [list(parts), [whole], [whole[i : i + 1] for i in range(len(whole))]]


@pytest.mark.parametrize("chunks", ways(FIRST, LAST, DONE, FIRST, b"data: no JSON\n\n"))
async def test_nothing_is_read_behind_the_end_marker(chunks: list[bytes]) -> None:
    """Neither content nor a fault, also when it comes in one piece with the answer."""
    assert (["a", "b"], None) == await read(*chunks)


@pytest.mark.parametrize("chunks", ways(FIRST, NAMELESS, DONE))
async def test_an_answer_that_is_unfinished_at_its_end_marker_is_broken(chunks: list[bytes]) -> None:
    """Content that came in the same piece goes out first, and does not hide the fault."""
    contents, error = await read(*chunks)

    assert ["a"] == contents
    assert isinstance(error, StreamBroken)


@pytest.mark.parametrize("chunks", ways(b" \r\n", b"\n ", FIRST, LAST, DONE))
async def test_blanks_before_the_first_event_are_no_part_of_it(chunks: list[bytes]) -> None:
    """They come from servers that keep a connection open."""
    assert (["a", "b"], None) == await read(*chunks)
