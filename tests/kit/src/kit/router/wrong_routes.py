"""Routes files that are refused: text, and the line and reason of each fault."""

from __future__ import annotations

from collections.abc import Mapping

_TARGET = "{provider: vllm, model: m, base_url: 'http://127.0.0.1:9/v1'}"

WRONG_ROUTES: Mapping[str, tuple[str, list[str]]] = {
    "unknown target": (
        f"targets:\n  a: {_TARGET}\nroutes:\n  m:\n    targets:\n      - a\n      - b\n",
        ["7: routes.m.targets.1: no target 'b'; there are a"],
    ),
    "cycle": (
        f"targets:\n  a: {_TARGET}\nroutes:\n  m: {{targets: [{{route: n}}]}}\n  n: {{targets: [{{route: m}}]}}\n",
        ["5: routes.n.targets.0: the routes include each other in a cycle: m -> n -> m"],
    ),
    "economy that is no other route": (
        f"targets:\n  a: {_TARGET}\nroutes:\n  m: {{targets: [a], economy: x}}\n  n: {{targets: [a], economy: n}}\n",
        [
            "4: routes.m.economy: 'x' is no other route; there are n",
            "5: routes.n.economy: 'n' is no other route; there are m",
        ],
    ),
    "missing credential": (
        "targets:\n  a:\n    provider: openai\n    model: m\n    credential_file: /no/such/key\nroutes:\n"
        "  m: {targets: [a]}\n",
        ["5: targets.a.credential_file: /no/such/key: No such file or directory"],
    ),
    "two targets of one name": (
        f"targets:\n  a: {_TARGET}\n  b: {_TARGET}\n  a: {_TARGET}\nroutes:\n  m: {{targets: [a, b]}}\n",
        ["4: targets.a: given twice"],
    ),
    "zero timers": (
        "targets:\n  a:\n    provider: vllm\n    model: m\n    base_url: http://127.0.0.1:9/v1\n    timeouts:\n"
        "      connect_seconds: 0\n      first_content_seconds: 0\n      gap_seconds: 0\n      stream_seconds: 0\n"
        "routes:\n  m: {targets: [a]}\n",
        [
            f"{line}: targets.a.timeouts.{name}_seconds: Input should be greater than 0"
            for line, name in enumerate(("connect", "first_content", "gap", "stream"), 7)
        ],
    ),
    "empty": ("", ["1: the file is empty; it needs 'targets' and 'routes'"]),
    "no YAML": ("targets: [", ["1: not YAML: "]),
}
