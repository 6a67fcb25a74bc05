"""The API key of the developer who runs the system."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

from spillway_local.home import CommandError, Home, write_secret


def ensure_development_key(home: Home, environment: Mapping[str, str]) -> None:
    """Create one API key for the developer at the first start; its plain text is only in its own file."""
    if home.keys_file.exists() and home.development_key_file.exists():
        return
    owner = ["--tenant", "local", "--user", "developer", "--tier", "standard"]
    made = subprocess.run(
        [sys.executable, "-m", "edge.guard.keys", "add", str(home.keys_file), *owner],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=30,
    )
    if made.returncode != 0:
        raise CommandError(f"cannot create an API key: {(made.stderr.strip() or 'no reason given').splitlines()[-1]}")
    write_secret(home.development_key_file, made.stdout.strip())
