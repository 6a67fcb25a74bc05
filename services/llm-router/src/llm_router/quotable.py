"""What a provider says, made fit to be shown to a client, logged and recorded: many quote the key that they refuse."""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from urllib.parse import quote

_KEY = "[key]"
# A shorter one is a placeholder, and would be found in any text.
_MIN_CREDENTIAL_CHARACTERS = 6
# Keys by the beginnings that vendors give them, also when most of one is asterisks; and whatever follows a scheme.
_LOOKS_LIKE_A_KEY = (
    r"(?<![A-Za-z0-9])(?:sk|rk|pk|gsk|xai|pplx|csk|hf|r8|fw|pa|tgp_v1|nvapi|ghp|gho|glpat)[-_][A-Za-z0-9_*.-]{12,}",
    r"(?<![A-Za-z0-9])(?:AIza|ya29\.)[A-Za-z0-9_*.-]{12,}",
    r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9*]{12,}",
    r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?",
    r"(?i:\b(?:bearer|basic))\s+(?=\S*[0-9*=])[A-Za-z0-9._~+/*-]{8,}=*",
)


def quotable(text: str, credential: str | None, max_characters: int) -> str:
    """Return `text` in one line of at most `max_characters`, without the credential in any form and without other keys.

    `text` may be much longer than that, but must have been cut: half a key at its end is not known for one.
    """
    cleaned = _pattern(credential).sub(_KEY, text)[:max_characters]
    if cleaned.isascii() and cleaned.isprintable():
        return cleaned
    return "".join(each if each.isprintable() else _replacement(each) for each in cleaned)


def without_keys(text: str, credential: str | None) -> str:
    """Return a name or an id of a provider's without keys."""
    return _pattern(credential).sub(_KEY, text) if text else text


def _replacement(character: str) -> str:
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"


@lru_cache(maxsize=1024)
def _pattern(credential: str | None) -> re.Pattern[str]:
    forms = _forms(credential) if credential and len(credential) >= _MIN_CREDENTIAL_CHARACTERS else []
    exact = [f"(?i:{re.escape(form)})" for form in forms]
    return re.compile("|".join([*exact, *_LOOKS_LIKE_A_KEY]))


def _forms(credential: str) -> list[str]:
    """Return the ways in which a credential is written, the longest first; base64 depends on what stands before it."""
    forms = {credential, quote(credential, safe=""), credential.encode("unicode_escape").decode()}
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + credential.encode()).decode().rstrip("=")
        # The first characters also hold bits of what stands before, and the last one may hold some of what follows.
        inner = encoded[(before * 8 + 5) // 6 : -1]
        forms |= {inner, inner.replace("+", "-").replace("/", "_")}
    return sorted(forms, key=len, reverse=True)
