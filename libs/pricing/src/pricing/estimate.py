"""How many input tokens a request has, before a provider has counted them.

One rule for all vendors, made of their published figures, for limits, for the usage of an attempt that was cut off, and
for receipts that say `estimated`. The few tokens that a vendor's template adds to each message are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import orjson

from pricing.image_size import pixel_size

# English text has about four characters a token (OpenAI, "What are tokens"; Gemini, "Understand and count tokens").
# A text in a script that needs more bytes a character needs more tokens a character too, hence UTF-8 bytes.
_BYTES_PER_TOKEN = 4

# OpenAI, "Images and vision": an image of low detail has 85 tokens, and one of high detail has these as well.
_LOW_DETAIL_IMAGE_TOKENS = 85
# Anthropic, "Vision": width x height / 750; above 1568 pixels a side, or 1600 tokens, an image is scaled down first.
# OpenAI's newer models count patches of 32 x 32, 1536 at most, which comes to much the same.
_PIXELS_PER_TOKEN = 750
_MAX_IMAGE_SIDE = 1568
_MAX_IMAGE_TOKENS = 1600
# A size that is not known (a URL, an identifier, another format) counts as that of most photographs: scaled down.
_DEFAULT_IMAGE_TOKENS = _MAX_IMAGE_TOKENS

# Anthropic, "PDF support": 1,500 to 3,000 tokens of text a page, which is sent beside an image of it, and 100 pages at
# most. Counting pages would mean reading the file: 100 kB a page lies between typeset text and scans.
_TOKENS_PER_PAGE = 2_400
_BYTES_PER_PAGE = 100_000
_MAX_PAGES = 100
_DEFAULT_PAGES = 10

# OpenAI, "Managing costs" (Realtime): user audio has a token for 100 ms. WAV of 16 bits at 16 kHz has 32 kB a second,
# MP3 at 128 kbit/s has 16 kB.
_WAV_BYTES_PER_TOKEN = 3_200
_AUDIO_BYTES_PER_TOKEN = 1_600

# In a part of an unknown type, a string that looks like base64 and is longer than this is a file and not text.
_MAX_OPAQUE_CHARACTERS = 1_024
_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=\r\n")

_MAX_NESTED_CONTENTS = 4
# The types of parts, and the field in which each has its content.
_PART_FIELDS = {
    "text": "text",
    "refusal": "refusal",
    "thinking": "thinking",
    "image_url": "image_url",
    "image": "source",
    "file": "file",
    "document": "source",
    "input_audio": "input_audio",
    "tool_use": "input",
    "tool_result": "content",
}
# Wherever a part has one of these, it is text, however it looks.
_TEXT_NAMES = frozenset(
    {"text", "refusal", "thinking", "content", "reasoning", "input", "arguments", "context", "title"}
)

# Fields that no model reads. Whatever is not named counts, for a chat template may read it: those of open models and of
# gateways' extensions do.
_OPTIONS = frozenset(
    {
        *("model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k"),
        *("min_p", "n", "stop", "stop_sequences", "seed", "presence_penalty", "frequency_penalty", "logit_bias"),
        *("repetition_penalty", "logprobs", "top_logprobs", "parallel_tool_calls", "reasoning_effort", "reasoning"),
        *("thinking", "verbosity", "modalities", "audio", "web_search_options", "context_management", "container"),
        *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "cache_control"),
        *("prompt_cache_retention", "betas", "speed", "inference_geo", "diagnostics", "mcp_servers"),
    }
)
_LABELS = frozenset({"index", "type", "cache_control"})
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_TOOL_CHOICES = frozenset({"auto", "none", "required", "any"})
_MESSAGE_LABELS = _LABELS | {"annotations"}
# A signature vouches for a thought or a call; `extra_content` is where Gemini's compatible API has it.
_CALL_LABELS = _LABELS | {"extra_content"}
# Anthropic, "Citations": the cited text in an answer that is sent back has no tokens.
_PART_LABELS = _LABELS | {"signature", "citations", "detail", "caller"}
# Identifiers and file names up to this length are left out, as is what a template adds to a message.
_IDENTIFIERS = frozenset({"id", "tool_call_id", "tool_use_id", "filename"})
_MAX_IDENTIFIER_BYTES = 64


def estimate_tokens(size_bytes: int) -> int:
    """Return roughly how many tokens a text of `size_bytes` UTF-8 bytes has; at least 1 unless it is empty."""
    return -(-size_bytes // _BYTES_PER_TOKEN)


def estimate_input_tokens(embedded: str | list[Any]) -> int:
    """Return roughly how many tokens the `input` of an embeddings request has: texts estimated, token ids counted."""
    if isinstance(embedded, str):
        return estimate_tokens(_text_size(embedded))
    return sum(1 if isinstance(each, int) else estimate_input_tokens(each) for each in embedded)


def estimate_prompt_tokens(body: Mapping[str, Any]) -> int:
    """Return roughly how many input tokens a chat body has: text, tool schemas, images, files and audio.

    Reads OpenAI's chat body and the parts that are peculiar to Anthropic's. Never raises, whatever JSON `body` is.
    """
    size = 0
    for name, value in body.items():
        match name:
            case "messages" if isinstance(value, list):
                size += sum(map(_message_size, value))
            case "system":
                size += _content_size(value, 0)
            case "tools" | "functions":
                size += _json_size(value)
            case "response_format" | "output_config":
                size += _format_size(value)
            case "tool_choice" | "function_call":
                size += _choice_size(value)
            case _ if name not in _OPTIONS:
                size += _other_size(name, value)
    return estimate_tokens(size)


# Sizes below are in bytes of text: what is not text has the size of a text with as many tokens. So a prompt is rounded
# up once, and not part by part.


def _tokens_size(tokens: int) -> int:
    return tokens * _BYTES_PER_TOKEN


def _text_size(text: str) -> int:
    # A lone surrogate is valid JSON.
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _field_size(value: object) -> int:
    """Return the size of a field that should be text."""
    return _text_size(value) if isinstance(value, str) else _unknown_size(value)


def _other_size(name: str, value: object) -> int:
    """Return the size of a field that is not known: what is in it counts as text. An option is a number or a flag."""
    if name in _IDENTIFIERS:
        return _identifier_size(value)
    if isinstance(value, str):
        return _text_size(name) + _text_size(value) if value else 0
    if isinstance(value, (dict, list)) and value:
        return _text_size(name) + _unknown_size(value)
    return 0


def _identifier_size(value: object) -> int:
    size = _field_size(value)
    return size if size > _MAX_IDENTIFIER_BYTES else 0


def _format_size(form: object) -> int:
    """Return the size of the schema that an answer must have, in OpenAI's form and in Anthropic's."""
    if not isinstance(form, dict):
        return _unknown_size(form)
    size = 0
    for name, value in form.items():
        if name in {"json_schema", "format"}:
            size += _json_size(value)
        elif name not in {"type", "effort"}:
            size += _other_size(name, value)
    return size


def _choice_size(choice: object) -> int:
    if isinstance(choice, str):
        return 0 if choice in _TOOL_CHOICES else _text_size(choice)
    if not isinstance(choice, dict):
        return _unknown_size(choice)
    return sum(_other_size(name, value) for name, value in choice.items() if name != "type")


def _message_size(message: object) -> int:
    if not isinstance(message, dict):
        return _unknown_size(message)
    size = 0
    for field, value in message.items():
        match field:
            case "content":
                size += _content_size(value, 0)
            case "role":
                size += 0 if isinstance(value, str) and value in _ROLES else _field_size(value)
            case "name" | "refusal" | "reasoning_content" | "reasoning":
                size += _field_size(value)
            case "tool_calls":
                size += sum(map(_call_size, value)) if isinstance(value, list) else _unknown_size(value)
            case "function_call":
                size += _function_size(value)
            case _ if field not in _MESSAGE_LABELS:
                size += _other_size(field, value)
    return size


def _call_size(call: object) -> int:
    if not isinstance(call, dict):
        return _unknown_size(call)
    size = 0
    for field, value in call.items():
        if field in {"function", "custom"}:
            size += _function_size(value)
        elif field not in _CALL_LABELS:
            size += _other_size(field, value)
    return size


def _function_size(function: object) -> int:
    """Return the size of a called function, or of a custom tool, whose text is called `input`."""
    if not isinstance(function, dict):
        return _unknown_size(function)
    size = 0
    for field, value in function.items():
        size += _field_size(value) if field in {"name", "arguments", "input"} else _other_size(field, value)
    return size


def _content_size(content: object, depth: int) -> int:
    if isinstance(content, str):
        return _text_size(content)
    if isinstance(content, list) and depth < _MAX_NESTED_CONTENTS:
        return sum(_part_size(part, depth) for part in content)
    return _unknown_size(content)


def _part_size(part: object, depth: int) -> int:
    if not isinstance(part, dict):
        return _unknown_size(part)
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in _PART_FIELDS:
        return _unknown_size(part, may_hold_files=True)
    field = _PART_FIELDS[kind]
    size = _known_part_size(kind, part.get(field), depth)
    for name, value in part.items():
        if name == "name":
            size += _field_size(value)
        elif name != field and name not in _PART_LABELS:
            size += _other_size(name, value)
    return size


def _known_part_size(kind: str, content: object, depth: int) -> int:
    match kind:
        case "image_url" | "image":
            return _tokens_size(_image_tokens(content))
        case "file" | "document":
            return _file_size(content, depth)
        case "input_audio":
            return _tokens_size(_audio_tokens(content))
        case "tool_use":
            return _json_size(content)
        case "tool_result":
            return _content_size(content, depth + 1)
    return _field_size(content)


def _image_tokens(image: object) -> int:
    """Count the tokens of an image by its detail, else by its pixels, and never by its bytes."""
    fields = image if isinstance(image, dict) else {"url": image}
    if fields.get("detail") == "low":
        return _LOW_DETAIL_IMAGE_TOKENS
    text, start = _base64_of(fields.get("data", fields.get("url")))
    size = pixel_size(text, start) if start >= 0 else None
    if size is None:
        return _DEFAULT_IMAGE_TOKENS
    width, height = size
    scale = min(1.0, _MAX_IMAGE_SIDE / max(width, height))
    tokens = ceil(width * scale * height * scale / _PIXELS_PER_TOKEN)
    return min(max(tokens, _LOW_DETAIL_IMAGE_TOKENS), _MAX_IMAGE_TOKENS)


def _file_size(file: object, depth: int) -> int:
    """Return the size of a file: a text's own, else by the pages that a PDF of as many bytes has."""
    if not isinstance(file, dict):
        return _tokens_size(_DEFAULT_PAGES * _TOKENS_PER_PAGE)
    if file.get("type") == "text":
        return _field_size(file.get("data"))
    if file.get("type") == "content":
        return _content_size(file.get("content"), depth + 1)
    name_size = _identifier_size(file.get("filename"))
    text, start = _base64_of(file.get("data", file.get("file_data")))
    if start < 0:
        return name_size + _tokens_size(_DEFAULT_PAGES * _TOKENS_PER_PAGE)
    size_bytes = (len(text) - start) * 3 // 4
    if text.startswith("data:text/") or str(file.get("media_type")).startswith("text/"):
        return name_size + size_bytes
    pages = min(max(-(-size_bytes // _BYTES_PER_PAGE), 1), _MAX_PAGES)
    return name_size + _tokens_size(pages * _TOKENS_PER_PAGE)


def _audio_tokens(audio: object) -> int:
    if not isinstance(audio, dict):
        return 0
    text, start = _base64_of(audio.get("data"))
    size_bytes = (len(text) - start) * 3 // 4 if start >= 0 else 0
    return -(-size_bytes // (_WAV_BYTES_PER_TOKEN if audio.get("format") == "wav" else _AUDIO_BYTES_PER_TOKEN))


def _base64_of(data: object) -> tuple[str, int]:
    """Return a text and where in it base64 begins, as is or in a data URL; -1 when there is none."""
    if not isinstance(data, str):
        return "", -1
    if data.startswith("data:"):
        start = data.find(";base64,", 0, _MAX_OPAQUE_CHARACTERS)
        return data, start + len(";base64,") if start >= 0 else -1
    return data, -1 if "://" in data[:16] else 0


def _json_size(value: object) -> int:
    if not value:
        return 0
    try:
        return len(orjson.dumps(value))
    except TypeError:  # nested too deeply for orjson, half a character, a number of more than 64 bits
        return _unknown_size(value)


def _unknown_size(value: object, *, may_hold_files: bool = False) -> int:
    """Return about the size of `value` as JSON. Does not recurse.

    In the parts of a content a file as base64 counts as an image. Elsewhere a model is given text only.
    """
    size = 0
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, str):
            is_file = may_hold_files and _is_opaque(each)
            size += _tokens_size(_DEFAULT_IMAGE_TOKENS) if is_file else _text_size(each)
        elif isinstance(each, dict):
            for name, inner in each.items():
                size += _text_size(str(name))
                if name in _TEXT_NAMES and isinstance(inner, str):
                    size += _text_size(inner)
                else:
                    pending.append(inner)
        elif isinstance(each, list):
            pending.extend(each)
        elif each is not None:
            size += _BYTES_PER_TOKEN  # a number, true or false
    return size


def _is_opaque(text: str) -> bool:
    if len(text) <= _MAX_OPAQUE_CHARACTERS:
        return False
    if text.startswith("data:"):
        return True
    return _BASE64.issuperset(text[:_MAX_OPAQUE_CHARACTERS].encode("utf-8", "surrogatepass"))
