"""The routes of the front-door tests: which faults a request meets, by the model it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kit.decision_table import table_routes

# What the price book of the tests knows; the name is the whole model name of the target.
HAPPY = "ok?chunks=10&interval_ms=100&prompt_tokens=1000&cached=400&reasoning=7&test=happy"
LONG = "ok?chunks=300&prompt_tokens=2000&test=long"
VECTORS = "ok?prompt_tokens=1000&dimensions=256&test=vectors"
CLAUDE = "ok?prompt_tokens=500&cached=100&cache_write=50&test=claude"

# Half a second, and half a minute: shorter and longer than the edge goes on without its client.
BRIEF = "ok?chunks=12&interval_ms=50&test=brief"
LENGTHY = "ok?chunks=600&interval_ms=50&test=lengthy"

LOCAL = ("local", "smollm2-135m-instruct")

# Public model -> targets as (provider, model at the fault provider). `!` in front: the target's timers are short.
ROUTES: Mapping[str, Sequence[tuple[str, str]]] = {
    "default": [("openai", "ok?test=default"), ("anthropic", "ok?test=default-next"), LOCAL],
    "happy": [("openai", HAPPY)],
    "long": [("openai", LONG)],
    "claude": [("anthropic", CLAUDE)],
    "cached": [("openai", "ok?test=cached")],
    "other": [("openai", "ok?test=other")],
    "rich": [("openai", "ok?test=rich")],
    "flood": [("openai", f"ok?chunks=20000&interval_ms=1&text={'x' * 140}&test=flood")],
    "brief": [("openai", BRIEF)],
    "lengthy": [("openai", LENGTHY)],
    "slow": [("openai", "ok?chunks=50&interval_ms=100&test=slow")],
    "late": [("openai", "slow-first?seconds=1&test=late")],
    "tools": [("openai", "tool-call?test=tools")],
    "tools-claude": [("anthropic", "tool-call?test=tools-claude")],
    "filtered": [("openai", "content-filter?test=filtered")],
    **{
        f"primary-{fault}": [
            ("openai", f"{model}&test=primary-{fault}"),
            ("anthropic", f"ok?test=primary-{fault}-next"),
        ]
        for fault, model in {
            "429": "status-429?",
            "429-retry-after": "status-429?retry_after=30",
            "500": "status-500?",
            "503": "status-503?",
            "quota": "insufficient-quota?",
            "reset": "reset?",
            "silence": "!silence?",
        }.items()
    },
    "primary-refused": [("refused", "nobody-listens"), ("anthropic", "ok?test=primary-refused-next")],
    "both-down": [("openai", "status-500?test=both-down-1"), ("anthropic", "status-529?test=both-down-2"), LOCAL],
    "all-down": [("openai", "status-500?test=all-down-1"), ("anthropic", "status-503?test=all-down-2")],
    # Asked so seldom that its breakers stay closed, also when the tests begin anew.
    "none-answers": [("openai", "status-500?test=none-answers-1"), ("anthropic", "status-503?test=none-answers-2")],
    "all-limited": [("openai", "status-429?retry_after=7&test=all-limited")],
    "bad-request": [("openai", "status-400?test=bad-request"), ("anthropic", "ok?test=never")],
    "too-long": [("openai", "context-too-long?test=too-long")],
    **{
        f"broken-{fault}": [("openai", f"{model}&test=broken-{fault}"), ("anthropic", "ok?test=never")]
        for fault, model in {
            "cut": "cut?after=3",
            "stall": "!stall?after=3",
            "malformed": "malformed?after=3",
            "missing-end": "missing-end?",
            "unknown-finish": "unknown-finish?",
            "error-frame": "error-frame?after=3",
        }.items()
    },
    # Nobody else answers, so it is asked however often it has failed.
    "cut-alone": [("openai", "cut?after=3&test=cut-alone")],
    "vectors": [("openai", VECTORS)],
    # For requests that nobody wrote: made from the OpenAPI document.
    "document-ok": [("openai", "ok?test=document-ok")],
    "document-claude": [("anthropic", "ok?test=document-claude")],
    "document-tools": [("openai", "tool-call?test=document-tools")],
    "document-down": [("openai", "status-500?test=document-down")],
    "document-limited": [("openai", "status-429?retry_after=7&test=document-limited")],
    "document-refused": [("openai", "status-400?test=document-refused")],
    "document-cut": [("openai", "cut?after=3&test=document-cut")],
    "org/vectors": [("openai", "floats?dimensions=1536&test=vectors-large")],
    "vectors-unpriced": [("openai", "no-usage?test=vectors-unpriced")],
    "vectors-slow": [("openai", "slow-first?seconds=2&test=vectors-slow")],
    # Targets of one model: the first call of it fails, so the second target answers.
    "vectors-fallback": [
        ("anthropic", "ok?test=never"),
        ("openai", "flaky?fault=wrong-count&test=vectors-fallback"),
        ("openai", "flaky?fault=wrong-count&test=vectors-fallback"),
    ],
    "vectors-down": [("openai", "status-500?test=vectors-down"), ("openai", "ok?test=never")],
    "vectors-limited": [("openai", "status-429?retry_after=7&test=vectors-limited")],
    "vectors-claude": [("anthropic", "ok?test=never")],
    # For looking at what arrives at either vendor, and for saying what either one answers.
    "echo-openai": [("openai", "ok?test=echo-openai")],
    "echo-claude": [("anthropic", "ok?test=echo-claude")],
    "echo-vllm": [("vllm", "ok?test=echo-vllm")],
    "script-openai": [("openai", "script?test=script-openai")],
    "script-claude": [("anthropic", "script?test=script-claude")],
    "openai-then-claude": [("openai", "ok?test=otc-openai"), ("anthropic", "ok?test=otc-claude")],
    "claude-then-openai": [("anthropic", "ok?test=cto-claude"), ("openai", "ok?test=cto-openai")],
    "claude-down": [("anthropic", "status-529?test=claude-down"), ("openai", "ok?test=claude-down-next")],
    "openai-down": [("openai", "status-503?test=openai-down"), ("anthropic", "ok?test=openai-down-next")],
    "callers-error": [("openai", "status-400?test=callers-error")],
    "claude-cut": [("anthropic", "cut?after=3&test=claude-cut"), ("openai", "ok?test=never")],
    "claude-tools-down": [("anthropic", "status-500?test=ctd"), ("openai", "tool-call?test=ctd-next")],
    **table_routes(),
    "carried-on": [
        ("openai", "cut?chunks=30&after=20&test=carried-1"),
        ("anthropic", "ok?first=10&chunks=20&interval_ms=5&test=carried-2"),
    ],
    "hedged": [("openai", "silence?test=hedged-1"), ("anthropic", "ok?test=hedged-2")],
    "unpriced": [("openai", "ok?test=unpriced")],
    "local": [LOCAL],
    # Models that have more names than one, and routes that say which of their answers are kept.
    "named": [("openai", "ok?test=named")],
    "wild-*": [("openai", "ok?test=wild")],
    "wild-vectors-*": [("openai", "ok?dimensions=256&test=wild-vectors")],
    "kept-always": [("openai", "ok?test=kept-always")],
    "kept-never": [("openai", "ok?test=kept-never")],
}

# What stands in a route besides its targets.
OPTIONS: Mapping[str, Mapping[str, object]] = {
    "rich": {"economy": "other"},
    "named": {"aliases": ["named-2024-11-20", "named-preview-*"]},
    "kept-always": {"cache": "always"},
    "kept-never": {"cache": "never"},
    "hedged": {"hedge": {"min_delay_seconds": 0.1, "max_delay_seconds": 0.3, "max_extra_ratio": 1.0}},
}


def routes_file(
    routes: Mapping[str, Sequence[tuple[str, str]]],
    provider_url: str,
    credential_file: str,
    local_model_url: str = "${LOCAL_MODEL_URL}",
) -> dict[str, object]:
    """Return the routes file that plays `routes` with the fault provider; `${LOCAL_MODEL_URL}` is filled in by `up`."""
    targets: dict[str, object] = {}
    names: dict[str, object] = {}
    for route, members in routes.items():
        targets_of_route = [f"{route}-{number}" for number in range(1, len(members) + 1)]
        names[route] = {"targets": targets_of_route, **OPTIONS.get(route, {})}
        for number, (provider, model) in enumerate(members, 1):
            targets[f"{route}-{number}"] = _target(provider, model, provider_url, credential_file, local_model_url)
    return {"targets": targets, "routes": names}


def _target(
    provider: str, model: str, provider_url: str, credential_file: str, local_model_url: str
) -> dict[str, object]:
    if provider == "local":
        timeouts = {"first_content_seconds": 30}
        return {"provider": "vllm", "model": model, "base_url": local_model_url, "timeouts": timeouts}
    if provider == "refused":
        return {"provider": "vllm", "model": model, "base_url": "http://127.0.0.1:9/v1"}
    base_url = provider_url if provider == "anthropic" else f"{provider_url}/v1"
    target: dict[str, object] = {"provider": provider, "model": model.removeprefix("!"), "base_url": base_url}
    if model.startswith("!"):
        target["timeouts"] = {"first_content_seconds": 1.0, "gap_seconds": 1.0}
    return {**target, "credential_file": credential_file}
