"""The shipped rules with shorter times, so that a day of them passes within the hour. Nothing else is changed."""

from __future__ import annotations

import re
from typing import Any

# What is a month for the rules is a day here.
FACTOR = 30
# Some scrapes must fit into a window, some evaluations into a `for`.
_MIN_WINDOW_SECONDS = 20
_MIN_FOR_SECONDS, _MAX_FOR_SECONDS = 4, 60
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?<=\[)(\d+)([smhd])(?=[\]:])|(?<=offset )(\d+)([smhd])\b")
# Between the moments of a subquery.
_STEP = re.compile(r"(?<=:)(\d+)([smhd])(?=\])")


def shortened(document: dict[str, Any]) -> dict[str, Any]:
    """Return a file of rules whose windows, offsets and waiting times are 30 times as short, within bounds.

    A window has 20 s at least, a step of a subquery one; an alert waits for 4 to 60 s. Names of recorded series keep
    their windows of before.
    """
    groups = [{**group, "rules": [_rule(rule) for rule in group["rules"]]} for group in document["groups"]]
    return {"groups": groups}


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    short = {**rule, "expr": _STEP.sub(_step, _DURATION.sub(_window, rule["expr"]))}
    if "for" in rule:
        match = re.fullmatch(r"(\d+)([smhd])", rule["for"])
        assert match, rule["for"]
        seconds = _seconds(match[1], match[2]) // FACTOR
        short["for"] = f"{min(max(seconds, _MIN_FOR_SECONDS), _MAX_FOR_SECONDS)}s"
    return short


def _window(match: re.Match[str]) -> str:
    seconds = _seconds(match[1] or match[3], match[2] or match[4]) // FACTOR
    return f"{max(seconds, _MIN_WINDOW_SECONDS)}s"


def _step(match: re.Match[str]) -> str:
    return f"{max(_seconds(match[1], match[2]) // FACTOR, 1)}s"


def _seconds(number: str, unit: str) -> int:
    return int(number) * _UNITS[unit]
