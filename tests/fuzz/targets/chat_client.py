"""`spillway chat`: whatever a server answers, an answer or a sentence that says that it is incomplete."""

from __future__ import annotations

import io

from spillway_local.chat import AnswerIncomplete, print_answer

from ..mutation import in_events
from ..target import Target, ways_to_cut


def check(data: bytes) -> None:
    """The output is the same however the bytes are cut."""
    outputs = []
    for chunks in ways_to_cut(data):
        out = io.StringIO()
        try:
            print_answer(chunks, out)
        except AnswerIncomplete as error:
            str(error)
        outputs.append(out.getvalue())
    first, *others = outputs
    for other in others:
        assert first == other


TARGETS = [Target("chat_client", check, in_events)]
