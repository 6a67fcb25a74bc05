"""The routes file as models: which public model leads to which targets, in which order.

    targets:
      NAME:                          # as `TargetEntry` declares
        provider: vllm               # a row of `vendors.py`
        model: MODEL
        base_url: http://HOST:8000/v1
        timeouts: {gap_seconds: 60}
      NAME:                          # a vendor that has no row there
        provider: openai
        vendor: acme
        model: MODEL
        base_url: https://HOST/v1
        credential_file: FILE
        auth: api-key
        quirks: {stream_options: false, answer_limit: max_tokens}
    routes:
      PUBLIC MODEL:                  # as `RouteEntry` declares; `claude-*`: any name that begins so (`names.py`)
        aliases: [NAME, NAME-*]      # what it can be called besides
        targets:                     # tried in this order; none may be listed twice
          - NAME
          - [NAME, NAME]             # equal rank: one of them is chosen, the others are its fallbacks
          - {route: PUBLIC MODEL}    # replaced by the ranks of that route, without its other settings
        hedge: {}                    # switches it on with its defaults
        economy: PUBLIC MODEL        # what is asked instead for somebody whose budget is used up
        cache: deterministic         # which of its answers the response cache may give again

Each setting is declared here, once: its key, default, bounds and meaning. Any other key is refused. Relative paths
start at the working directory of the process. The file, and its credential files, may change while the process runs:
`watch.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator
from pydantic_core import PydanticCustomError

from llm_router.target import FirstByteSeconds, Name, Quirks, StrictModel, Target, TargetSettings, Timeouts
from llm_router.vendors import PROVIDERS, Vendor

Balance = Literal["weighted", "least_latency"]
AnyT = TypeVar("AnyT")


def _known_provider(name: str) -> str:
    if name not in PROVIDERS:
        raise PydanticCustomError(
            "provider", "no provider has this name; there are {names}", {"names": _PROVIDER_NAMES}
        )
    return name


_PROVIDER_NAMES = ", ".join(PROVIDERS)
_ProviderName = Annotated[str, AfterValidator(_known_provider), WithJsonSchema({"enum": list(PROVIDERS)})]


class TargetEntry(TargetSettings):
    """A target as the file declares it."""

    provider: _ProviderName
    credential_file: Path | None = None
    """A file that contains the key, or a token, and nothing else; only engines of our own can do without."""
    ca_file: Path | None = None
    """A file with the authorities, in PEM, whose certificates this server may show, in place of all others."""

    @field_validator("base_url")
    @classmethod
    def _require_base_url(cls, base_url: str | None, info: ValidationInfo) -> str | None:
        vendor = _provider_in(info)
        if base_url is None and vendor is not None and vendor.base_url is None:
            raise PydanticCustomError("base_url", "provider '{provider}' needs a base_url", {"provider": vendor.name})
        return base_url

    @field_validator("auth", "quirks")
    @classmethod
    def _refuse_on_other_wire(cls, value: AnyT, info: ValidationInfo) -> AnyT:
        vendor = _provider_in(info)
        if vendor is None or vendor.wire == "openai" or value in (None, Quirks()):
            return value
        raise PydanticCustomError(
            "wire", "provider '{provider}' does not speak OpenAI's wire", {"provider": vendor.name}
        )

    @field_validator("timeouts")
    @classmethod
    def _default_timeouts(cls, timeouts: Timeouts, info: ValidationInfo) -> Timeouts:
        vendor = _provider_in(info)
        default = vendor.first_content_seconds if vendor is not None else None
        if default is None or "first_content_seconds" in timeouts.model_fields_set:
            return timeouts
        return timeouts.model_copy(update={"first_content_seconds": default})

    @field_validator("credential_file")
    @classmethod
    def _require_credential(cls, credential_file: Path | None, info: ValidationInfo) -> Path | None:
        vendor = _provider_in(info)
        is_needed = vendor is not None and vendor.needs_credential and info.data.get("auth") != "none"
        if credential_file is None and vendor is not None and is_needed:
            raise PydanticCustomError(
                "credential", "provider '{provider}' needs a credential_file", {"provider": vendor.name}
            )
        return credential_file


def _provider_in(info: ValidationInfo) -> Vendor | None:
    """Return the row of the provider that the entry names; None when it names none that there is."""
    return PROVIDERS.get(info.data.get("provider", ""))


class Hedge(StrictModel):
    """When a second target is asked beside a silent first one.

    It starts once the first was silent for its own 95th percentile of the time to first content, within the two bounds.
    """

    min_delay_seconds: FirstByteSeconds = 0.2
    max_delay_seconds: FirstByteSeconds = 4.0
    max_extra_ratio: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The maximum share of requests that may have a second attempt beside the first, and so cost twice."""

    @model_validator(mode="after")
    def _order_bounds(self) -> Self:
        if self.min_delay_seconds > self.max_delay_seconds:
            raise PydanticCustomError("bounds", "min_delay_seconds is greater than max_delay_seconds")
        return self


class _RouteSettings(StrictModel):
    balance: Balance = "weighted"
    """How one of several targets of equal rank is chosen."""
    hedge: Hedge | None = None
    """None: a route asks one target at a time."""
    continuation: Literal["allow", "never"] = "never"
    """Whether another target may continue an answer that broke off, even when the request does not ask for it."""
    economy: Name | None = None
    """The route that the edge asks instead when a budget is used up. None: it asks this one."""
    aliases: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    """What it can be called besides its name; the edge asks for it by its name. One may end in `*`."""
    cache: Literal["always", "deterministic", "never"] | None = None
    """Which of its answers the edge's response cache keeps and gives again: all, those that are not drawn by chance (a
    temperature above 0 without a `seed`), or none. A request may ask otherwise, but not against `never`. None: all
    at `/chat`, the deterministic ones in the contracts of vendors."""


class RouteEntry(_RouteSettings):
    """A route as the file declares it."""

    targets: Annotated[list[Any], Field(min_length=1)]
    """References to targets and routes, for `resolve.py`."""


class Route(_RouteSettings):
    """What a public model leads to."""

    name: str
    ranks: tuple[tuple[Target, ...], ...]
    """In the order in which they are tried. The targets of one rank are equal; no rank is empty, no target repeated."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """All targets in the order of the file."""
        return tuple(target for rank in self.ranks for target in rank)

    @property
    def may_continue(self) -> bool:
        """Whether answers may be continued by another target without the request asking for it."""
        return self.continuation == "allow"


Routes = Mapping[str, Route]
"""Public model -> its route, in the order of the file."""


class RoutesFile(StrictModel):
    """The whole file; its entries are validated one by one, so that a fault in one does not hide those of others."""

    targets: Annotated[dict[Name, Any], Field(min_length=1)]
    routes: Annotated[dict[Name, Any], Field(min_length=1)]
