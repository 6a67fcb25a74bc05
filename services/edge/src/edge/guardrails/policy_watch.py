"""Puts the guardrail policy on disk in force when it changes, within five seconds; a broken one changes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from edge.guardrails.policy import NO_POLICY, Policy, PolicyError, parse_policy, read_policy_file
from edge.metrics import Metrics

log = structlog.get_logger()

# Two checks see a change before it counts.
POLICY_INTERVAL_SECONDS = 1.0


class PolicyWatch:
    """Compares the policy file with the one in force, by content: a ConfigMap is replaced behind a symlink."""

    def __init__(self, path: Path | None, metrics: Metrics) -> None:
        """Read the file; PolicyError when it is missing or malformed. Without a path nothing is looked for."""
        self._path = path
        self._metrics = metrics
        content = b"" if path is None else read_policy_file(path)
        self._in_force: bytes | str = content
        self._seen: bytes | str = content
        self._refused: bytes | str | None = None
        self.policy: Policy = NO_POLICY if path is None else parse_policy(path, content)
        """The policy in force."""

    async def check(self) -> None:
        """Put a changed file in force if it is valid; if not, log that once and keep the policy in force.

        It must be the same at two checks: an editor may write it piece by piece.
        """
        if self._path is None:
            return
        found = await asyncio.to_thread(self._read, self._path)
        has_settled, self._seen = found == self._seen, found
        if not has_settled or found == self._refused:
            return
        if found == self._in_force:
            self._refused = None
            self._metrics.guardrails_stale.set(0)
            return
        try:
            policy = await asyncio.to_thread(self._parse, self._path, found)
        except PolicyError as error:
            self._refused = found
            self._metrics.guardrails_stale.set(1)
            log.error("guardrails_refused", reason=str(error))  # noqa: TRY400 - one line, for a person
            return
        self.policy, self._in_force, self._refused = policy, found, None
        self._metrics.guardrails_stale.set(0)
        log.info("guardrails_reloaded", policy=policy.version)

    def _parse(self, path: Path, found: bytes | str) -> Policy:
        if isinstance(found, str):
            raise PolicyError(found)
        return parse_policy(path, found)

    def _read(self, path: Path) -> bytes | str:
        """Return what is in the file, as bytes, or why nothing can be read, as text."""
        try:
            return read_policy_file(path)
        except PolicyError as error:
            return str(error)
