"""How a service process starts."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource
from servicekit.lifecycle import run

async def main():
    print(*resource.getrlimit(resource.RLIMIT_NOFILE))

resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
run(main)
"""


@pytest.mark.integration
def test_a_process_may_open_as_many_files_as_the_system_allows_it() -> None:
    """The soft limit is for programs that use `select`; with 1,024 an edge would be full with 768 clients."""
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True)

    assert "200 200" == result.stdout.strip()
