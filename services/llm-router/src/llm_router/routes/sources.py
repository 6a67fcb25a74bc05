"""The files that routes are read from, kept so that a change of any of them can be detected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard


class Unreadable(Exception):
    """A file cannot be read as text; the message says why and does not repeat the file's name."""


class Sources:
    """Reads each file once and compares contents later.

    Kubernetes swaps a folder's symlink to change a ConfigMap or Secret, so times and inodes of the paths say nothing.
    """

    def __init__(self, known: Mapping[Path, bytes] | None = None) -> None:
        """What is in `known` is read where a file is missing or blank."""
        self._contents: dict[Path, bytes | str] = {}
        self._known = known or {}

    def read(self, path: Path) -> str:
        """Return the text in `path`, the same at every call. Raises Unreadable when it has none."""
        if path not in self._contents:
            content = _content(path)
            self._contents[path] = content if _says_something(content) else self._known.get(path, content)
        content = self._contents[path]
        if isinstance(content, str):
            raise Unreadable(content)
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise Unreadable(f"not UTF-8 at byte {error.start}") from error

    def contents(self) -> dict[Path, bytes]:
        """Return what was read of each file that said something."""
        return {path: content for path, content in self._contents.items() if _says_something(content)}

    def have_changed(self) -> bool:
        """Return whether any file has another content than when it was read, including one that was missing then."""
        return any(_content(path) != content for path, content in self._contents.items())


def _says_something(content: bytes | str) -> TypeGuard[bytes]:
    return isinstance(content, bytes) and bool(content.strip())


def _content(path: Path) -> bytes | str:
    """Return what is in `path`, as bytes, or why nothing can be read, as text."""
    try:
        return path.read_bytes()
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError:  # a null character
        return "not the name of a file"
