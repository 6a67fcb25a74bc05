"""What a request needs of a target, and what the routes file says that a target does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llm_router.errors import TargetUnable
from llm_router.failures import unable
from llm_router.target import Target

_PICTURES = frozenset({"image_url", "input_image", "image"})


def able_targets(targets: Sequence[Target], body: dict[str, Any]) -> list[Target]:
    """Return those of `targets` that are said to have what `body`, an OpenAI chat body, needs, in the same order.

    The others are not asked: nothing of them is spent, counted or recorded. CompletionFailed when none is left.
    """
    able, failures = list[Target](), list[tuple[str, TargetUnable]]()
    for target in targets:
        error = _inability(target, body)
        if error is None:
            able.append(target)
        else:
            failures.append((target.name, error))
    if not able:
        raise unable(failures)
    return able


def _inability(target: Target, body: dict[str, Any]) -> TargetUnable | None:
    if not target.tools and (body.get("tools") or body.get("functions")):
        return TargetUnable("it takes no tools", param="tools")
    if not target.images and _has_pictures(body):
        return TargetUnable("it takes no pictures", param="messages")
    return None


def _has_pictures(body: dict[str, Any]) -> bool:
    contents = [message.get("content") for message in body["messages"] if isinstance(message, dict)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(isinstance(part, dict) and str(part.get("type")) in _PICTURES for part in parts)
