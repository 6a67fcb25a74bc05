"""What opens doors: keys and tokens of the common vendors, by the shapes that these give them, and private keys."""

from __future__ import annotations

import math
import re

from edge.guardrails.rules.detector import PatternRule

_LEAST_BITS = 2.5


def _random(text: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Leave out examples: `sk-xxxxxxxx...` and the like have few different signs."""
    found = text[start:end]
    counts = [found.count(sign) for sign in set(found)]
    bits = -sum(count / len(found) * math.log2(count / len(found)) for count in counts)
    return (start, end) if bits >= _LEAST_BITS else None


_PLAIN_PASSWORD = re.compile(rb"(?i)^(?:pass(?:word|wd)?|pw|secret|\$.*|\{.*|<.*|%.*|\*+|x+|\.+)$")


def _password(text: bytes, start: int, end: int) -> tuple[int, int] | None:
    return None if _PLAIN_PASSWORD.match(text[start:end]) else (start, end)


def _key(name: str, *patterns: str) -> PatternRule:
    return PatternRule(name, "secrets", patterns, refine=_random)


RULES = (
    PatternRule(
        "private_key",
        "secrets",
        [
            # also one that is cut off
            r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:[A-Za-z0-9+/=\s\\:,.\-]*"
            r"-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----|(?:(?:\\[nr]|\s)*[A-Za-z0-9+/=]{20,})+)",
        ],
    ),
    _key("openai_key", r"\bsk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_\-]{20,}", r"\bsk-[A-Za-z0-9]{32,64}\b"),
    _key("anthropic_key", r"\bsk-ant-[a-z]{2,10}\d{2}-[A-Za-z0-9_\-]{20,}"),
    _key("openrouter_key", r"\bsk-or-v1-[0-9a-f]{64}\b"),
    _key("spillway_key", r"\bsk-spillway-[A-Za-z0-9]{4,64}-[A-Za-z0-9_\-]{16,}"),
    _key("aws_key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    _key("aws_secret", r"(?i)aws.{0,20}secret.{0,20}[\"'=: ]{1,4}([A-Za-z0-9/+]{40})\b"),
    _key("google_key", r"\bAIza[0-9A-Za-z_\-]{35}", r"\bGOCSPX-[0-9A-Za-z_\-]{28}", r"\bya29\.[0-9A-Za-z_\-]{30,}"),
    _key("azure_key", r"\bAccountKey=([A-Za-z0-9+/]{86}==)"),
    _key("github_token", r"\bgh[pousr]_[A-Za-z0-9]{36,}\b", r"\bgithub_pat_[A-Za-z0-9_]{60,}\b"),
    _key("gitlab_token", r"\bgl(?:pat|dt|rt|ptt|cbt|soat|agent)-[A-Za-z0-9_\-]{20,64}"),
    _key(
        "slack_token",
        r"\bxox[abposre](?:\.xox[bp])?-(?:\d{1,13}-){0,3}[A-Za-z0-9\-]{10,}",
        r"\bxapp-\d-[A-Z0-9]{8,16}-\d{8,16}-[a-f0-9]{32,}\b",
        r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9+/]{40,60}",
    ),
    _key("stripe_key", r"\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}\b", r"\bwhsec_[A-Za-z0-9+/=]{24,64}"),
    _key("huggingface_token", r"\bhf_[A-Za-z0-9]{30,64}\b"),
    _key("npm_token", r"\bnpm_[A-Za-z0-9]{36}\b"),
    _key("pypi_token", r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_\-]{50,}"),
    _key("sendgrid_key", r"\bSG\.[A-Za-z0-9_\-]{20,24}\.[A-Za-z0-9_\-]{39,50}"),
    _key("twilio_key", r"\b(?:SK|AC)[0-9a-f]{32}\b"),
    _key("telegram_token", r"\b\d{8,10}:AA[A-Za-z0-9_\-]{33}\b"),
    _key("digitalocean_token", r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
    _key("databricks_token", r"\bdapi[a-f0-9]{32}(?:-\d)?\b"),
    _key("vault_token", r"\bhv[sbr]\.[A-Za-z0-9_\-]{24,}"),
    _key("jwt", r"\beyJ[A-Za-z0-9_\-]{10,}\.eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{20,}"),
    PatternRule(
        "url_password",
        "secrets",
        [r"\b[a-z][a-z0-9+.\-]+://[^\s:/@'\"<>]+:([^\s/@'\"<>]{3,})@[A-Za-z0-9\[]"],
        refine=_password,
        score=0.9,
    ),
)
"""Of kind `secrets`."""
