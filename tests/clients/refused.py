"""Requests that are not answered, with the field that the refusal names."""

from __future__ import annotations

from collections.abc import Mapping

# Anthropic's SDK asks for a thread first, and without one when it is told that there are none.
BY_EVERY_TARGET: Mapping[str, str] = {"anthropic-sdk: messages-tools": "thread"}
# The other vendor has no word for it, and without it the answer would be another one.
BY_THE_OTHER_VENDOR: Mapping[str, str] = {"langchain: messages-temperature": "top_k"}
