"""Commands that destroy a machine or hand it over, for answers that somebody, or an agent, may run."""

from __future__ import annotations

from edge.guardrails.rules.detector import PatternRule

_ROOTS = r"(?:/(?:bin|boot|dev|etc|home|lib|opt|root|sbin|srv|sys|usr|var)?|~|\$HOME|\$\{HOME\})"

RULES = (
    PatternRule(
        "delete_everything",
        "commands",
        [
            r"\brm\s+(?:-{1,2}[a-z-]+\s+)*(?:-[a-zA-Z]*(?:[rR][a-zA-Z]*f|f[a-zA-Z]*[rR])[a-zA-Z]*|-[rR]\s+-f|-f\s+-[rR]"
            rf"|--recursive\s+--force|--force\s+--recursive)\s+(?:-{{1,2}}[a-z-]+\s+)*[\"']?{_ROOTS}/?\*?[\"']?(?:[\s;&|\"'`)]|$)",
            r"(?i)\b(?:del|erase|rd|rmdir)\s+(?:/[sqf]\s+)+[\"']?[c-z]:\\",
            r"(?i)\bremove-item\s+[^\n]{0,80}[\"']?[c-z]:\\[\"'*]?[^\n]{0,20}-recurse[^\n]{0,20}-force",
            r"\bchmod\s+-R\s+0?777\s+/(?:\s|$)",
        ],
    ),
    PatternRule(
        "overwrite_disk",
        "commands",
        [
            r"\bdd\s+[^\n]{0,100}of=/dev/(?:sd|hd|nvme|vd|xvd|mmcblk|disk)",
            r"\b(?:mkfs(?:\.\w+)?|wipefs|shred)\s+[^\n]{0,60}/dev/(?:sd|hd|nvme|vd|xvd|mmcblk|disk)",
            r">\s*/dev/(?:sd[a-z]|hd[a-z]|nvme\d|vd[a-z]|mmcblk\d)",
            r"(?i)\bformat\s+[c-z]:(?:\s+/|\s*[\r\n]|$)",
        ],
    ),
    PatternRule("fork_bomb", "commands", [r":\s*\(\s*\)\s*\{\s*:\s*\|\s*:\s*&\s*\}\s*;\s*:"]),
    PatternRule(
        "reverse_shell",
        "commands",
        [
            r"\b(?:ba|z|k)?sh\s+-i\s*(?:>&|&>|<>)\s*/dev/(?:tcp|udp)/",
            r"\bnc(?:at)?\s+[^\n]{0,60}-[a-z]*[ec]\s+(?:/bin/)?(?:ba|z)?sh\b",
        ],
    ),
    PatternRule(
        "pipe_to_shell",
        "commands",
        [r"\b(?:curl|wget)\s+[^\n|;]{1,150}\|\s*(?:sudo\s+(?:-\w+\s+)?)?(?:ba|z|k|da)?sh\b"],
    ),
    PatternRule("drop_database", "commands", [r"(?i)\bdrop\s+(?:database|schema)\s+(?:if\s+exists\s+)?[\w\"'`\[]+"]),
)
"""Of kind `commands`, for answers."""
