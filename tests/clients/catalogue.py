"""The clients whose requests are recorded: their versions, how each is installed and run, and its cases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .samples import QUESTION, SYSTEM

_PROGRAMS = Path(__file__).parent / "programs"
WEATHER = ("get_weather", {"city": "Paris"})


@dataclass(frozen=True)
class Client:
    """One client, with the packages that it is."""

    name: str
    packages: tuple[str, ...]
    """The first one's version is the client's. With `@` in the middle they are npm's, with `==` PyPI's."""
    program: str = ""
    """In `programs/`: asks all its cases by itself. Empty: `cases` are commands."""
    cases: Mapping[str, Case] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The version that is recorded."""
        return self.packages[0].replace("==", "@").rsplit("@", 1)[1]

    @property
    def is_node(self) -> bool:
        """Whether npm installs it."""
        return "==" not in self.packages[0]

    def command(self, folder: Path, case: str) -> list[str]:
        """Return what runs the case, or with a program all of them, as it is installed in `folder`."""
        if not self.program:
            return [str(folder / part) if index == 0 else part for index, part in enumerate(self.cases[case].command)]
        program = str(_PROGRAMS / self.program)
        node = str(folder / "node_modules/.bin/node")
        return [node, str(folder / self.program)] if self.is_node else [str(folder / "bin/python"), program]

    def prepare(self, folder: Path) -> None:
        """Put a node program where it finds its packages."""
        if self.program and self.is_node:
            (folder / self.program).write_bytes((_PROGRAMS / self.program).read_bytes())


@dataclass(frozen=True)
class Case:
    """One run of a command, in a folder with the samples; the tool that it is made to call."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    """`{url}` stands for the address of the case."""
    call: tuple[str, dict[str, Any]] = ("", {})
    files: Mapping[str, str] = field(default_factory=dict)


def _claude(*options: str, call: tuple[str, dict[str, Any]] = ("", {})) -> Case:
    environment = {
        "ANTHROPIC_BASE_URL": "{url}",
        "ANTHROPIC_API_KEY": "{key}",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
    }
    allowed = ("--allowedTools", "Read", "--model", "{messages_model}", *options)
    return Case(("node_modules/.bin/claude", "-p", QUESTION, *allowed), environment, call)


def _opencode(model: str, *options: str, call: tuple[str, dict[str, Any]] = ("", {})) -> Case:
    model_settings = {"name": "m", "tool_call": True, "attachment": True, "reasoning": True, "temperature": True}
    settings = {
        "autoupdate": False,
        "share": "disabled",
        "provider": {
            "gateway": {
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": "{url}/v1", "apiKey": "{key}"},
                "models": {"{chat_model}": model_settings},
            },
            "anthropic": {
                "options": {"baseURL": "{url}/v1", "apiKey": "{key}"},
                "models": {"{messages_model}": model_settings},
            },
        },
    }
    offline = ("DISABLE_MODELS_FETCH", "DISABLE_DEFAULT_PLUGINS", "DISABLE_AUTOUPDATE", "DISABLE_LSP_DOWNLOAD")
    command = ("node_modules/.bin/opencode", "run", "-m", model, QUESTION, *options)
    return Case(
        command, {f"OPENCODE_{name}": "1" for name in offline}, call, files={"opencode.json": json.dumps(settings)}
    )


def _aider(model: str, *options: str) -> Case:
    environment = {
        "OPENAI_API_BASE": "{url}/v1",
        "OPENAI_API_KEY": "{key}",
        "ANTHROPIC_API_BASE": "{url}",
        "ANTHROPIC_API_KEY": "{key}",
        "AIDER_ANALYTICS": "false",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    quiet = ("--no-git", "--yes-always", "--no-show-model-warnings", "--no-check-update", "--no-pretty")
    options = (*quiet, "--no-check-model-accepts-settings", *options, "note.txt")
    return Case(("bin/aider", "--model", model, "--message", QUESTION, *options), environment)


_CLAUDE_SCHEMA = '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'

CLIENTS = (
    Client(
        "claude-code",
        ("@anthropic-ai/claude-code@2.1.332",),
        cases={
            "messages-plain": _claude(),
            "messages-system": _claude("--append-system-prompt", SYSTEM),
            "messages-tools": _claude(call=("Read", {"file_path": "{folder}/note.txt"})),
            "messages-picture": _claude(call=("Read", {"file_path": "{folder}/picture.png"})),
            "messages-document": _claude(call=("Read", {"file_path": "{folder}/page.pdf"})),
            "messages-structured": _claude(
                "--json-schema", _CLAUDE_SCHEMA, call=("StructuredOutput", {"city": "Paris"})
            ),
        },
    ),
    Client(
        "opencode",
        ("opencode-ai@1.18.33",),
        cases={
            "chat-plain": _opencode("gateway/{chat_model}"),
            "chat-tools": _opencode("gateway/{chat_model}", call=("read", {"filePath": "{folder}/note.txt"})),
            "chat-picture": _opencode("gateway/{chat_model}", "--file", "picture.png"),
            "chat-document": _opencode("gateway/{chat_model}", "--file", "page.pdf"),
            "messages-plain": _opencode("anthropic/{messages_model}"),
            "messages-tools": _opencode("anthropic/{messages_model}", call=("read", {"filePath": "{folder}/note.txt"})),
            "messages-picture": _opencode("anthropic/{messages_model}", "--file", "picture.png"),
            "messages-document": _opencode("anthropic/{messages_model}", "--file", "page.pdf"),
        },
    ),
    Client(
        "langchain",
        ("langchain-openai==1.7.4", "langchain-anthropic==1.7.10", "langgraph==1.2.22"),
        "langchain_program.py",
    ),
    Client(
        "llama-index",
        ("llama-index-llms-openai==0.8.3", "llama-index-llms-anthropic==0.12.3", "anthropic<1"),
        "llama_index_program.py",
    ),
    Client("openai-agents", ("openai-agents==0.24.0",), "openai_agents_program.py"),
    Client("pydantic-ai", ("pydantic-ai-slim[anthropic,openai]==2.68.0",), "pydantic_ai_program.py"),
    Client("anthropic-sdk", ("anthropic==2.11.0",), "anthropic_sdk_program.py"),
    Client(
        "ai-sdk",
        (
            "ai@7.0.173",
            "@ai-sdk/openai@4.0.118",
            "@ai-sdk/anthropic@4.0.105",
            "@ai-sdk/openai-compatible@3.0.92",
            "zod@4.6.7",
            "node@22",
        ),
        "ai_sdk_program.mjs",
    ),
    Client(
        "aider",
        ("aider-chat==0.86.2",),
        cases={
            "chat-plain": _aider("openai/{chat_model}"),
            "chat-whole": _aider("openai/{chat_model}", "--no-stream"),
            "chat-picture": _aider("openai/{chat_model}", "picture.png"),
            "chat-thinking": _aider("openai/{chat_model}", "--reasoning-effort", "low"),
            "messages-plain": _aider("anthropic/{messages_model}"),
            "messages-caching": _aider("anthropic/{messages_model}", "--cache-prompts"),
            "messages-picture": _aider("anthropic/{messages_model}", "picture.png"),
            "messages-thinking": _aider("anthropic/{messages_model}", "--thinking-tokens", "1024"),
        },
    ),
)
