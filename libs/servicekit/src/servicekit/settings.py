"""Settings from environment variables, read once at the start and validated."""

from __future__ import annotations

import os
import sys
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load_settings(settings_class: type[SettingsT]) -> SettingsT:
    """Read `settings_class` from the environment; on a bad or unknown variable print one line each and exit with 2.

    Unknown means: the variable has the class's `env_prefix` and names none of its fields, most likely a typo.
    """
    prefix = settings_class.model_config.get("env_prefix", "")
    known = {(prefix + name).upper() for name in settings_class.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(prefix) and name not in known)
    problems = [f"{name}: no such setting; known are {', '.join(sorted(known))}" for name in unknown]
    try:
        settings = settings_class()
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False, include_context=False):
            name = (prefix + "_".join(str(part) for part in detail["loc"])).upper()
            problems.append(f"{name}: {detail['msg']}")
    if problems:
        for problem in problems:
            print(f"settings: {problem}", file=sys.stderr)  # noqa: T201 - before logs are configured
        sys.exit(2)
    return settings
