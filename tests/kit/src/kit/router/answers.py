"""Reads the bytes of an answer as the chain does, without a connection."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import httpx2

from llm_router.errors import ProviderError
from llm_router.providers.http.metronome import Metronome
from llm_router.providers.http.pace import FruitlessReading
from llm_router.providers.http.reply import Reply
from llm_router.providers.http.transport import REPLY
from llm_router.providers.provider import AnswerStream, Content, Wire


async def read_answer(chunks: Sequence[bytes], wire: Wire) -> tuple[list[Content], ProviderError | None]:
    """Read these chunks up to the end marker; return their content, and what went wrong if something did."""
    reply = Reply(asyncio.Transport(), Metronome(0.0), FruitlessReading())
    stream = AnswerStream(httpx2.Response(200, stream=reply, extensions={REPLY: reply}), wire, "")
    waiting = iter(chunks)
    contents: list[Content] = []
    try:
        while not stream.answer.has_ended:
            chunk = next(waiting, None)
            if chunk is None:
                reply.end()
            else:
                reply.add(chunk)
            more = await stream.read(math.inf)
            if more is None:
                break
            contents += more
    except ProviderError as error:
        return contents, error
    return contents, None
