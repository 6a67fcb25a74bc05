"""YAML as plain data, with the line number of each of its parts."""

from __future__ import annotations

from typing import Any

import yaml

Where = tuple[str | int, ...]
"""The path to a part: names in mappings and indexes in lists, outermost first."""


class NotYaml(Exception):
    """The text cannot be read as one YAML document; `line` is where the parser stopped."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


class LinedYaml:
    """One document. Keys are always strings; values have the types that YAML gives them."""

    def __init__(self, text: str) -> None:
        """Read `text`; NotYaml when that is not possible."""
        self.faults: list[tuple[Where, int, str]] = []
        """Path, line and reason of each error in a document that can be parsed, such as a duplicate key."""
        self._lines: dict[Where, int] = {(): 1}
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.data: Any = None if root is None else self._plain(root, ())
        except yaml.MarkedYAMLError as error:
            raise NotYaml(error.problem_mark.line + 1 if error.problem_mark else 1, str(error.problem)) from error
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise NotYaml(line, f"character {error.character:#04x} is not allowed") from error
        except RecursionError as error:
            raise NotYaml(1, "nested too deeply, or an alias contains itself") from error

    def line_of(self, where: Where) -> int:
        """Return the line of the innermost part of `where` that is in the document."""
        return next(self._lines[where[:n]] for n in range(len(where), -1, -1) if where[:n] in self._lines)

    def _plain(self, node: yaml.Node, where: Where) -> Any:
        self._lines[where] = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, where)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(child, (*where, index)) for index, child in enumerate(node.value)]
        try:
            return yaml.SafeLoader("").construct_object(node)
        except ValueError:  # 2026-02-30, !!int x
            self.faults.append((where, node.start_mark.line + 1, "YAML cannot make a value of it; put it in quotes"))
            return None

    def _mapping(self, node: yaml.MappingNode, where: Where) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in mapping:
                self.faults.append(((*where, key), line, "given twice"))
            mapping[key] = self._plain(value_node, (*where, key))
            self._lines[(*where, key)] = line
        return mapping
