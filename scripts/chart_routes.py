"""Reads manifests from standard input and has the router read the routes among them, with credentials at hand."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import yaml

from llm_router.routes.load import RoutesError, load_routes
from llm_router.routes.sources import Sources

_CREDENTIALS = "/etc/spillway/credentials"


def main() -> None:
    """Exit with 1 and the router's own words when it would not start with them."""
    documents = [each for each in yaml.safe_load_all(sys.stdin) if each]
    [text] = [each["data"]["routes.yaml"] for each in documents if "routes.yaml" in (each.get("data") or {})]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "routes.yaml")
        path.write_text(text.replace(_CREDENTIALS, folder))
        for target in yaml.safe_load(text)["targets"].values():
            if "credential_file" in target:
                Path(folder, Path(target["credential_file"]).name).write_text("sk-none")
        try:
            load_routes(path, Sources())
        except RoutesError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
