"""How an SSE frame is written."""

from __future__ import annotations

from typing import Any

import orjson

# By the specification a line that begins with a colon is for nobody.
KEEP_ALIVE = b": keep-alive\n\n"


def frame(event: str, event_id: str, data: Any) -> bytes:
    """Return one SSE frame with a name and an id."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (event.encode(), event_id.encode(), orjson.dumps(data))
