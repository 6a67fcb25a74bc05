"""A body that is on its way to a target: from the request to the head of a good reply, or to why there is none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx2
import orjson

from llm_router.errors import (
    ConnectionStale,
    ProviderError,
    ProviderUnavailable,
    RequestRejected,
    TargetUnreachable,
)
from llm_router.providers.chat_body import Json
from llm_router.providers.http.client import ProviderHttpClient
from llm_router.providers.http.form import SdkForm
from llm_router.providers.http.transport import DRAINING, WAS_KEPT, KeptConnectionLost
from llm_router.providers.refusal import read_refusal
from servicekit.lenient_json import loads


@asynccontextmanager
async def posted(
    client: ProviderHttpClient, form: SdkForm, body: Json, headers: Sequence[tuple[bytes, bytes]] = ()
) -> AsyncIterator[httpx2.Response]:
    """Send `body` and enter once the head of a good reply is there; ProviderError when it is none.

    Leaving closes the connection unless the reply was read to its end.
    """
    try:
        encoded = orjson.dumps(body)
    except TypeError as error:  # the translation has made a body deeper that was as deep as it may be
        raise RequestRejected("the body is nested too deeply") from error
    try:
        response = await client.post(await form.get(), encoded, headers)
    except KeptConnectionLost as error:
        raise ConnectionStale("a kept connection was closed before an answer began") from error
    except httpx2.ProxyError as error:
        raise TargetUnreachable(str(error)) from error
    except httpx2.HTTPError as error:
        raise TargetUnreachable("the connection failed before an answer began") from error
    if not response.is_success:
        raise _refusal_of(response)
    try:
        yield response
    finally:
        await response.aclose()


def _refusal_of(response: httpx2.Response) -> ProviderError:
    try:
        body = loads(response.content)
    except ValueError:
        body = None
    error = read_refusal(response.status_code, body, response.headers)
    if isinstance(error, ProviderUnavailable) and error.http_status in DRAINING and response.extensions[WAS_KEPT]:
        return ConnectionStale(f"a kept connection answered {error.http_status}", http_status=error.http_status)
    return error
