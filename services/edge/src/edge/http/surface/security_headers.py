"""What browsers are told about every answer."""

from __future__ import annotations

import base64
import hashlib
import re

# Of each answer, also to what was no request.
ALWAYS = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
]
STRICT_TRANSPORT_SECURITY = {"strict-transport-security": "max-age=31536000"}
"""For a year; told over TLS only."""
DATA_POLICY = {"content-security-policy": "default-src 'none'; frame-ancestors 'none'"}
"""An answer is data: opened as a page it loads and runs nothing."""
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def page_policy(html: str) -> dict[str, str]:
    """Return the policy of a page of ours: all of it comes from here, and only the scripts that it has are run."""
    digests = (hashlib.sha256(script.encode()).digest() for script in _INLINE_SCRIPT.findall(html))
    scripts = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    policy = (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {"content-security-policy": policy}
