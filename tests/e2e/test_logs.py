"""After everything else: what the logs of the whole stack must not hold."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from kit.front_door.edge_client import Behind, EdgeClient

pytestmark = pytest.mark.local

SERVICES = ("edge", "llm-router", "cost-ledger", "local-model")


async def test_logs_are_json_and_hold_no_prompt_answer_secret_or_traceback(
    edge: EdgeClient, behind: Behind, keys: Mapping[str, str]
) -> None:
    """Errors, cancelled requests and bad input included."""
    await edge.chat("an unmistakable prompt", model="primary-500")
    await edge.chat("an unmistakable prompt", model="all-down")
    await edge.chat("an unmistakable prompt", model="broken-malformed", system_prompt="an unmistakable system prompt")
    await edge.chat("an unmistakable prompt", model="bad-request", headers={"cache-control": "no-store"})
    await edge.post("/chat", b'{"query": "an unmistakable prompt", "colour": "an unmistakable value"}')

    assert '"all_targets_failed"' in behind.log("edge")
    for name in SERVICES:
        log = behind.log(name)
        for word in ("unmistakable", "w0 w1", "sk-provider-credential", "Traceback", *keys.values()):
            assert word not in log, (name, word)
        for key in keys.values():
            assert key.split("-", 3)[3] not in log, name


@pytest.mark.parametrize("name", ["edge", "llm-router", "cost-ledger"])
def test_every_line_is_an_object_with_time_and_event(behind: Behind, name: str) -> None:
    """A log that a machine can read throughout."""
    lines = [json.loads(line) for line in behind.log(name).splitlines()]

    assert lines
    assert all({"time", "level", "event", "service"} <= set(line) for line in lines)
