"""The routes of the local system: the vendors with a key, then the model on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from spillway_local.home import CommandError, Home, write_secret

_FOLLOW_INTERVAL_SECONDS = 1.0
_LOCAL = "local-smollm2"
_LOCAL_MODEL = "smollm2-135m-instruct"
# Small and large models; those of one row are each other's fallback.
_COUNTERPARTS = (
    (("openai", "gpt-6-luna"), ("anthropic", "claude-haiku-5-5")),
    (("openai", "gpt-6-sol"), ("anthropic", "claude-sonnet-5-5")),
)
# Vectors of different models cannot be mixed: the route has no fallback.
_EMBEDDING_MODEL = "text-embedding-3-small"


@dataclass(frozen=True)
class Vendor:
    """A provider whose key the user has: the file with the key, and its address unless it is the default."""

    provider: str
    credential_file: Path
    base_url: str | None


def collect_vendors(home: Home, environment: Mapping[str, str]) -> list[Vendor]:
    """Write OPENAI_API_KEY and ANTHROPIC_API_KEY to files only the owner can read; delete those no longer set."""
    folder = home.path / "credentials"
    folder.mkdir(mode=0o700, exist_ok=True)
    vendors = []
    for provider in ("openai", "anthropic"):
        file = folder / provider
        key = environment.get(f"{provider.upper()}_API_KEY", "").strip()
        if key:
            write_secret(file, key)
            vendors.append(Vendor(provider, file, environment.get(f"{provider.upper()}_BASE_URL") or None))
        else:
            file.unlink(missing_ok=True)
    return vendors


def render_routes(vendors: list[Vendor], local_model_url: str) -> dict[str, Any]:
    """Return the routes file as data: `default`, a route per vendor's model, OpenAI's embeddings, the local model."""
    known = {vendor.provider: vendor for vendor in vendors}
    targets: dict[str, Any] = {}
    routes: dict[str, Any] = {"default": {}}
    for row in _COUNTERPARTS:
        chain = [(provider, model) for provider, model in row if provider in known]
        economy = {} if row is _COUNTERPARTS[0] else {"economy": "default"}
        for provider, model in chain:
            targets[f"{provider}-{model}"] = _vendor_target(known[provider], model)
            others = [f"{p}-{m}" for p, m in chain if m != model]
            routes[model] = {"targets": [f"{provider}-{model}", *others, _LOCAL], **economy}
    small = [f"{provider}-{model}" for provider, model in _COUNTERPARTS[0] if provider in known]
    routes["default"] = {"targets": [*small, _LOCAL]}
    if "openai" in known:
        targets[f"openai-{_EMBEDDING_MODEL}"] = _vendor_target(known["openai"], _EMBEDDING_MODEL)
        routes[_EMBEDDING_MODEL] = {"targets": [f"openai-{_EMBEDDING_MODEL}"]}
    routes[_LOCAL_MODEL] = {"targets": [_LOCAL]}
    targets[_LOCAL] = {
        "provider": "vllm",
        "model": _LOCAL_MODEL,
        "base_url": local_model_url,
        "context_tokens": 2048,
        "images": False,
    }
    return {"targets": targets, "routes": routes}


def write_routes(home: Home, vendors: list[Vendor], local_model_url: str, custom_routes: Path | None) -> Path:
    """Write the routes of this run and return their file.

    `custom_routes` is a file of the user, in which `${LOCAL_MODEL_URL}` stands for the local model's address, which
    changes with each start. CommandError when it cannot be read.
    """
    if custom_routes is None:
        text = yaml.safe_dump(render_routes(vendors, local_model_url), sort_keys=False)
    else:
        text = _read_custom(custom_routes, local_model_url)
    _replace(home.routes_file, text)
    return home.routes_file


async def follow_routes(home: Home, local_model_url: str, custom_routes: Path) -> None:
    """Write the routes anew whenever the user's file changes, until cancelled; the router takes them or says why not.

    A file that cannot be read, as while it is being replaced, changes nothing; nor does a change of what it has become
    in the home.
    """
    known = home.routes_file.read_text()
    while True:
        await asyncio.sleep(_FOLLOW_INTERVAL_SECONDS)
        with suppress(CommandError, OSError):
            text = _read_custom(custom_routes, local_model_url)
            if text != known:
                _replace(home.routes_file, text)
                known = text


def _read_custom(custom_routes: Path, local_model_url: str) -> str:
    try:
        return Template(custom_routes.read_text()).safe_substitute(LOCAL_MODEL_URL=local_model_url)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read the routes file {custom_routes}: {error}") from error


def _replace(routes_file: Path, text: str) -> None:
    """At once: the router reads it while it runs."""
    new = routes_file.with_suffix(".new")
    write_secret(new, text)
    new.replace(routes_file)


def _vendor_target(vendor: Vendor, model: str) -> dict[str, Any]:
    return {
        "provider": vendor.provider,
        "model": model,
        **({"base_url": vendor.base_url} if vendor.base_url else {}),
        "credential_file": str(vendor.credential_file),
    }
