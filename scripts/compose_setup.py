"""Creates the files of compose.yaml's services: `compose_setup.py UID EDGE ROUTER POSTGRES`, a folder for each.

An API key and its hash for the edge, routes and the providers' keys for the router, a password for PostgreSQL. The
API key and the password are created once; routes follow OPENAI_API_KEY and ANTHROPIC_API_KEY at each start, as with
`make up`. Edge and router run as UID.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from spillway_local.development_key import ensure_development_key
from spillway_local.home import CommandError, Home
from spillway_local.routes import collect_vendors, write_routes

_MODEL_URL = "http://local-model:8000/v1"


def main() -> None:
    """Create what is missing; exit with 1 and one line on failure."""
    uid = int(sys.argv[1])
    edge, router, postgres = (Path(argument) for argument in sys.argv[2:])
    try:
        ensure_development_key(Home(edge), os.environ)
        write_routes(Home(router), collect_vendors(Home(router), os.environ), _MODEL_URL, None)
        _ensure_password(postgres / "password")
        for folder in (edge, router):
            _give(folder, uid)
    except (CommandError, OSError) as error:
        sys.exit(f"compose_setup: {error}")


def _ensure_password(file: Path) -> None:
    """Readable by two users, PostgreSQL's and the ledger's; no other service mounts the volume."""
    if not file.exists():
        file.write_text(secrets.token_urlsafe(32))
        file.chmod(0o444)


def _give(folder: Path, uid: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, -1)


if __name__ == "__main__":
    main()
