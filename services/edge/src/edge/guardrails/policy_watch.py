"""Puts the guardrail policy on disk in force when it changes, within five seconds; a broken one changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge.guardrails.policy import NO_POLICY, Policy, PolicyError, parse_policy
from edge.metrics import Metrics
from servicekit.followed_file import FollowedFile

# Two checks see a change before it counts.
POLICY_INTERVAL_SECONDS = 1.0


class PolicyWatch:
    """Follows the policy file, if there is one."""

    def __init__(self, path: Path | None, metrics: Metrics) -> None:
        """Read the file; PolicyError when it is missing or malformed. Without a path nothing is looked for."""
        self.policy: Policy = NO_POLICY
        """The policy in force."""
        self._file: FollowedFile[Policy] | None = None
        if path is not None:
            stale = metrics.guardrails_stale
            self._file = FollowedFile(path, parse_policy, PolicyError, self._replace, stale, "guardrails")
            self.policy = self._file.first

    async def check(self) -> None:
        """Put a changed file in force if it is valid."""
        if self._file is not None:
            await self._file.check()

    def _replace(self, policy: Policy) -> Mapping[str, str]:
        self.policy = policy
        return {"policy": policy.version}
