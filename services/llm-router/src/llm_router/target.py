"""A target: one callable place."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache
from typing import Annotated

import httpx2
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from llm_router.vendors import PROVIDERS, AnswerLimit, Auth, Vendor, vendor_of

# Each is recorded with every request; PostgreSQL takes no NUL.
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
# A person who waits must not see nothing happen for longer than this.
FirstByteSeconds = Annotated[float, Field(gt=0, le=30)]
# Models are known that think in silence for a quarter of an hour.
SilenceSeconds = Annotated[float, Field(gt=0, le=900)]
_Seconds = Annotated[float, Field(gt=0, le=3600)]


def _checked_address(url: str) -> str:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL:
        parsed = httpx2.URL("")
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise PydanticCustomError("address", "expected an address such as https://host:8000/v1")
    return url


class StrictModel(BaseModel):
    """A value that never changes and has no other keys than the declared ones."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Timeouts(StrictModel):
    """The timers of a target. The defaults fit a person who waits."""

    connect_seconds: FirstByteSeconds = 2.0
    first_content_seconds: SilenceSeconds = 8.0
    """From the start of the attempt to its first content; a role, a ping or usage is not content. A provider may have a
    default of its own: 30 for `vllm`."""
    thinking_seconds: SilenceSeconds = 120.0
    """As long as that and `gap_seconds` are at least when the model is to think: the request asks for it, or the target
    has `thinks`."""
    gap_seconds: _Seconds = 20.0
    """Between two chunks of content."""
    stream_seconds: _Seconds = 1800.0
    """From the start of the attempt to its end."""

    def when_thinking(self) -> Timeouts:
        """Return these timers with the patience for a model that thinks in silence."""
        return self.model_copy(
            update={
                "first_content_seconds": max(self.first_content_seconds, self.thinking_seconds),
                "gap_seconds": max(self.gap_seconds, self.thinking_seconds),
            }
        )


class Quirks(StrictModel):
    """In what a server on OpenAI's wire differs from its row in `vendors.py`; null: it does not."""

    answer_limit: AnswerLimit | None = None
    """The one name that it knows for the most tokens of an answer."""
    stream_options: bool | None = None
    """Whether it knows this field. Without it usage is what the server tells unasked, else an estimate."""
    base64_vectors: bool | None = None
    """Whether embeddings may be asked for as base64; otherwise they come as decimal numbers."""
    reasoning_is_beside: bool | None = None
    """Whether its `completion_tokens` leave reasoning out, where `total_tokens` does not show it."""


_NO_QUIRKS = Quirks()


class TargetSettings(StrictModel):
    """What a target and its entry in the routes file have in common."""

    provider: str
    """Who is asked: a row of `vendors.py`, which says how. `openai` is any server on OpenAI's wire, `anthropic` any on
    Anthropic's, `vllm` any engine of our own on OpenAI's."""
    model: Name
    """The model's name at the provider; at Azure that of the deployment."""
    base_url: Annotated[str, AfterValidator(_checked_address)] | None = None
    """The default is the vendor's own address; engines of our own, `azure` and `bedrock` have none."""
    auth: Auth | None = None
    """How the credential is sent on OpenAI's wire: `bearer`, `api-key` (a header) or `none`. The default is the
    provider's: `api-key` at Azure, where a token of Entra ID needs `bearer`."""
    quirks: Quirks = _NO_QUIRKS
    """In what the server differs from what its provider or vendor is known for; only on OpenAI's wire."""
    images: bool = True
    """Whether the model takes pictures. Requests with pictures pass over a target that does not."""
    tools: bool = True
    """Whether the server takes tools: vLLM does not without a parser for its model's calls."""
    context_tokens: Annotated[int, Field(gt=0)] | None = None
    """The maximum of prompt and answer together; None when it is not known."""
    vendor: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,39}$")] | None = None
    """Who runs it and sends the bill, where the host of `base_url` does not tell: `xai` behind a proxy. By this name
    usage is counted (`vendors.py`), recorded and priced."""
    weight: Annotated[float, Field(gt=0, le=1_000_000)] = 1.0
    """Its share among targets of equal rank."""
    timeouts: Timeouts = Timeouts()
    thinks: bool = False
    """Whether this model thinks before it answers although the request does not ask for it, so that its silence is
    borne for `timeouts.thinking_seconds`."""
    may_omit_end: bool = False
    """Whether this server is known to keep the connection open after a finish reason without an end marker. Then ten
    seconds of silence after the finish reason are the end of the answer; otherwise they are a failure."""


# Enough to tell the credentials of a target from one another, and too few to find one by.
_FINGERPRINT_CHARACTERS = 8


class Target(TargetSettings):
    """One callable place: provider, model, address and credential. Equal when all of its settings are."""

    name: str
    credential: str | None = Field(default=None, repr=False)
    """The content of the credential file."""
    authorities: str | None = Field(default=None, repr=False)
    """Whose certificates its server may show, in PEM; None: those that all targets may."""

    @property
    def fingerprint(self) -> str:
        """Changes with where calls go and with which credential: what was learned of refusals before then is void."""
        facts = [self.provider, self.model, str(self.base_url), self.credential or ""]
        if self.auth is not None:
            facts.append(self.auth)
        return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:_FINGERPRINT_CHARACTERS]

    @property
    def billed_by(self) -> Vendor:
        """Who runs it, with its quirks; the vendor's name is the `provider` of all records."""
        vendor = vendor_of(self.provider, self.base_url, self.vendor)
        return vendor if self.quirks == _NO_QUIRKS else _with_quirks(vendor, self.quirks)

    @property
    def is_of_known_vendor(self) -> bool:
        """Whether it is known who runs it; `openai` at an address of its own may be anybody on OpenAI's wire."""
        is_anybody = self.provider == "openai" and self.vendor is None and self.base_url is not None
        return not is_anybody or vendor_of("", self.base_url, None).name != ""

    @property
    def sends_credential_as(self) -> Auth:
        """How its credential is sent; not at all when it has none."""
        return "none" if self.credential is None else self.auth or PROVIDERS[self.provider].auth


@lru_cache(maxsize=1024)
def _with_quirks(vendor: Vendor, quirks: Quirks) -> Vendor:
    return replace(vendor, **quirks.model_dump(exclude_none=True))
