"""How clients spell the paths of the API: what their base URL makes of them is answered, not redirected.

SDKs join a base URL and a path, and vendors put different parts of an address into one or the other: OpenAI's SDKs want
`/v1` in the base URL, Anthropic's do not, and gateways and vendors have a prefix before it. A redirect would not do:
clients do not repeat a POST on it, and would show their key to wherever it leads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SLASHES = re.compile("//+")
# What stands before the path of an endpoint in base URLs: of Azure and Groq, of DeepSeek and Cloudflare, of OpenRouter.
# `/api` counts before a version only: `/api/chat` is Ollama's, and another contract than ours.
_BASE = re.compile("(?:/openai|/anthropic|/api(?=/v1/))?(?:/v1)*(?=/)")


def spellings(path: str) -> Iterator[str]:
    """Yield what a path may mean, the likeliest first: as it is, but for slashes at its end, and with single ones."""
    bare = path.rstrip("/")
    if bare:
        yield bare
    single = _SLASHES.sub("/", bare)
    if single != bare:
        yield single


def endpoint_of(path: str) -> str:
    """Return the path under `/v1` that an SDK has meant, whatever its base URL: `/v1/v1/messages`, `/openai/models`."""
    single = _SLASHES.sub("/", path.rstrip("/"))
    return "/v1" + _BASE.sub("", single, count=1)
