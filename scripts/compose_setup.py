"""Creates the files of compose.yaml's services in its volumes: `compose_setup.py FOLDER OURS STORES`.

Each volume is a folder below FOLDER; OURS is the user of our images, STORES that of PostgreSQL's and Valkey's.

An API key and its hash for the edge, routes and the providers' keys for the router, a token that both and the ledger
share, the pepper of API keys, passwords for PostgreSQL and Valkey. What is secret is created once; routes follow
OPENAI_API_KEY and ANTHROPIC_API_KEY at each start, as with `make up`. Runs as root, which owns new volumes.
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
_SECRET, _SHARED = 0o400, 0o444


def main() -> None:
    """Create what is missing; exit with 1 and one line on failure."""
    os.umask(0o077)
    folder, our_uid, stores_uid = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    edge, router = Home(folder / "edge"), Home(folder / "router")
    try:
        ensure_development_key(edge, os.environ)
        write_routes(router, collect_vendors(router, os.environ), _MODEL_URL, None)
        _ensure_secret(folder / "rpc/token", _SECRET)
        _ensure_secret(folder / "pepper/pepper", _SECRET)
        # Read by two users, the server's and that of its callers; no other service mounts the volumes.
        _ensure_secret(folder / "postgres/password", _SHARED)
        _ensure_secret(folder / "valkey/password", _SHARED)
        for ours in ("edge", "router", "rpc", "pepper"):
            _give(folder / ours, our_uid)
        for data in ("postgres-data", "valkey-data"):
            _give_new(folder / data, stores_uid)
    except (CommandError, OSError) as error:
        sys.exit(f"compose_setup: {error}")


def _ensure_secret(file: Path, mode: int) -> None:
    """Letters and digits: Valkey's is a word of its configuration."""
    if not file.exists():
        file.write_text(secrets.token_hex(32))
    file.chmod(mode)


def _give(folder: Path, uid: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, -1)


def _give_new(folder: Path, uid: int) -> None:
    """Give the folder itself; what a server has written in it belongs to that server."""
    if folder.stat().st_uid == 0:
        os.chown(folder, uid, uid)


if __name__ == "__main__":
    main()
