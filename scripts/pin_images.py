"""Writes the digests of the images that are not ours: `pin_images.py FOLDER`, to images.env and images-values.yaml.

A tag names another image tomorrow; a digest never does. images.env is for Compose (`docker compose --env-file
images.env`) and has the base of our images too; images-values.yaml is for the chart (`helm install --values`). Docker
asks the registries.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_COMPOSE_DEFAULT = re.compile(r"\$\{(BASE_IMAGE|\w+_IMAGE):-([^}]+)\}")


def main() -> None:
    """Look up each image; exit with 1 and one line when one cannot be, and write nothing."""
    folder = Path(sys.argv[1])
    try:
        variables = {
            name: f"{image}@{_digest_of(image)}"
            for name, image in dict(_COMPOSE_DEFAULT.findall((ROOT / "compose.yaml").read_text())).items()
        }
        values = {
            name: {"image": {"digest": _digest_of(f"{image['repository']}:{image['tag']}")}}
            for name, image in _chart_images().items()
        }
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        sys.exit(f"pin_images: {error}")
    (folder / "images.env").write_text("".join(f"{name}={image}\n" for name, image in variables.items()))
    (folder / "images-values.yaml").write_text(yaml.safe_dump(values))


def _chart_images() -> dict[str, dict[str, str]]:
    """Return the images in the chart's values that have a tag: ours have the chart's version."""
    values = yaml.safe_load((ROOT / "charts/spillway/values.yaml").read_text())
    images = {name: part["image"] for name, part in values.items() if isinstance(part, dict) and "image" in part}
    return {name: image for name, image in images.items() if image["tag"]}


def _digest_of(image: str) -> str:
    """Return the digest of the list of all platforms' images; ValueError when docker names none."""
    command = ["docker", "buildx", "imagetools", "inspect", image, "--format", "{{.Manifest.Digest}}"]
    looked_up = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    digest = looked_up.stdout.strip()
    if looked_up.returncode != 0 or not _DIGEST.fullmatch(digest):
        reason = (looked_up.stderr.strip() or digest or "no answer").splitlines()[-1]
        raise ValueError(f"{image}: {reason}")
    return digest


if __name__ == "__main__":
    main()
