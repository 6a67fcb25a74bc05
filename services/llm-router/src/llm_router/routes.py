"""Targets and routes: the file that says which public model leads to which targets, in which order.

targets:
  NAME: {provider: openai|anthropic|vllm, model: ..., base_url: ..., credential_file: ...,
         context_tokens: ..., timeouts: {connect_seconds, first_content_seconds, gap_seconds}}
routes:
  PUBLIC MODEL: {targets: [NAME, ...]}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Name = Annotated[str, Field(min_length=1, max_length=200)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Path_ = tuple[str | int, ...]


class RoutesError(Exception):
    """The file cannot be used; the text names file, line and reason for each fault, one a line."""


class Timeouts(BaseModel):
    """The three timers of a target. The defaults fit a person who waits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect_seconds: Seconds = 2.0
    first_content_seconds: Seconds = 8.0
    """From the start of the attempt to its first content; a role, a ping or usage is not content."""
    gap_seconds: Seconds = 20.0
    """Between two chunks of content."""


class _TargetEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: Literal["openai", "anthropic", "vllm"]
    model: Name
    base_url: Annotated[str, Field(pattern=r"^https?://[^/]+")] | None = None
    credential_file: Path | None = None
    context_tokens: Annotated[int, Field(gt=0)] | None = None
    timeouts: Timeouts = Timeouts()


class _RouteEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: Annotated[list[Name], Field(min_length=1)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: Annotated[dict[Name, _TargetEntry], Field(min_length=1)]
    routes: Annotated[dict[Name, _RouteEntry], Field(min_length=1)]


@dataclass(frozen=True)
class Target:
    """One callable place: provider, model, address and credential."""

    name: str
    provider: Literal["openai", "anthropic", "vllm"]
    model: str
    base_url: str | None
    credential: str | None
    context_tokens: int | None
    timeouts: Timeouts

    def __repr__(self) -> str:
        """Leave the credential out, wherever this may be printed."""
        return f"Target({self.name!r}, {self.provider!r}, {self.model!r})"


Routes = Mapping[str, tuple[Target, ...]]


def load_routes(path: Path) -> Routes:
    """Read the routes in `path`: public model -> targets in order. RoutesError when anything in it is wrong."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise RoutesError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RoutesError(f"{path}: not UTF-8 at byte {error.start}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RoutesError(f"{path}:{line}: not YAML: {error.problem}") from error
    if root is None:
        raise RoutesError(f"{path}:1: the file is empty; it needs 'targets' and 'routes'")
    lines: dict[Path_, int] = {}
    faults: list[tuple[int, str]] = []
    data = _plain(root, (), lines, faults)
    try:
        file = _File.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        faults += [(_line_of(lines, detail["loc"]), f"{_dotted(detail['loc'])}: {detail['msg']}") for detail in details]
        raise _routes_error(path, faults) from error
    targets = {name: _target(name, entry, lines, faults) for name, entry in file.targets.items()}
    routes = {name: _route(name, entry, targets, lines, faults) for name, entry in file.routes.items()}
    if faults:
        raise _routes_error(path, faults)
    return routes


def _plain(node: yaml.Node, path: Path_, lines: dict[Path_, int], faults: list[tuple[int, str]]) -> Any:
    """Turn a YAML node into plain data, noting the line of each part and every name that is given twice."""
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in mapping:
                faults.append((line, f"{_dotted((*path, key))}: given twice"))
            mapping[key] = _plain(value_node, (*path, key), lines, faults)
            lines[(*path, key)] = line
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*path, index), lines, faults) for index, child in enumerate(node.value)]
    return yaml.SafeLoader("").construct_object(node)


def _target(name: str, entry: _TargetEntry, lines: dict[Path_, int], faults: list[tuple[int, str]]) -> Target:
    where = ("targets", name)
    if entry.provider == "vllm" and entry.base_url is None:
        faults.append((_line_of(lines, where), f"{_dotted(where)}: provider 'vllm' needs a base_url"))
    if entry.provider != "vllm" and entry.credential_file is None:
        faults.append(
            (_line_of(lines, where), f"{_dotted(where)}: provider {entry.provider!r} needs a credential_file")
        )
    return Target(
        name=name,
        provider=entry.provider,
        model=entry.model,
        base_url=entry.base_url,
        credential=_credential(name, entry.credential_file, lines, faults),
        context_tokens=entry.context_tokens,
        timeouts=entry.timeouts,
    )


def _credential(name: str, path: Path | None, lines: dict[Path_, int], faults: list[tuple[int, str]]) -> str | None:
    if path is None:
        return None
    where = ("targets", name, "credential_file")
    try:
        credential = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        faults.append((_line_of(lines, where), f"{_dotted(where)}: {path}: {reason}"))
        return None
    if not credential:
        faults.append((_line_of(lines, where), f"{_dotted(where)}: {path}: the file is empty"))
    return credential


def _route(
    name: str,
    entry: _RouteEntry,
    targets: Mapping[str, Target],
    lines: dict[Path_, int],
    faults: list[tuple[int, str]],
) -> tuple[Target, ...]:
    for index, target in enumerate(entry.targets):
        where = ("routes", name, "targets", index)
        if target not in targets:
            known = ", ".join(sorted(targets))
            faults.append((_line_of(lines, where), f"{_dotted(where)}: no target {target!r}; there are {known}"))
        if target in entry.targets[:index]:
            faults.append((_line_of(lines, where), f"{_dotted(where)}: target {target!r} stands in this route twice"))
    return tuple(targets[target] for target in entry.targets if target in targets)


def _line_of(lines: Mapping[Path_, int], where: Path_) -> int:
    """Return the line of the innermost part of `where` that stands in the file."""
    for length in range(len(where), -1, -1):
        if where[:length] in lines:
            return lines[where[:length]]
    return 1


def _dotted(where: Path_) -> str:
    return ".".join(str(part) for part in where) or "the file"


def _routes_error(path: Path, faults: list[tuple[int, str]]) -> RoutesError:
    return RoutesError("\n".join(f"{path}:{line}: {reason}" for line, reason in sorted(faults)))
