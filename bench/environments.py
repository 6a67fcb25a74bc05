"""The environments of the subjects that are not ours: made once from hashed locks, kept in a cache folder."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

_LOCKS = Path(__file__).parents[1] / "locks"
_READY = ".ready"


class NotInstalled(Exception):
    """A subject's packages cannot be installed here."""


def environment_of(package: str) -> Path:
    """Return the folder with the environment of `locks/bench-PACKAGE.txt`, made if it is not there yet."""
    lock = _lock_of(package)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spillway-bench"
    folder = cache / f"{package}-{hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:12]}"
    if (folder / _READY).exists():
        return folder
    sys.stdout.write(f"bench: installing {package} into {folder}\n")
    sys.stdout.flush()
    shutil.rmtree(folder, ignore_errors=True)
    cache.mkdir(parents=True, exist_ok=True)
    uv = str(Path(sys.executable).parent / "uv")
    own = {**os.environ, "VIRTUAL_ENV": str(folder)}
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
        [uv, "pip", "sync", "--quiet", "--require-hashes", str(lock)],
    ):
        done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotInstalled(f"{package}: {done.stderr.strip().splitlines()[-1:]}")
    (folder / _READY).touch()
    return folder


def version_of(package: str, distribution: str) -> str:
    """Return the version that the lock has of a distribution."""
    found = re.search(rf"^{re.escape(distribution)}==([^ ;\\]+)", _lock_of(package).read_text(), re.MULTILINE)
    if found is None:
        raise NotInstalled(f"{_lock_of(package)} has no {distribution}")
    return found[1]


def _lock_of(package: str) -> Path:
    return _LOCKS / f"bench-{package}.txt"
