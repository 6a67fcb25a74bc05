"""What tries to talk a model out of its instructions, by the words of such attempts; words do not tell them all."""

# ruff: noqa: RUF001 - other languages have other letters

from __future__ import annotations

from edge.guardrails.rules.detector import PatternRule

_BEFORE = r"(?:previous|prior|preceding|above|earlier|foregoing|original|initial|existing|former|past|given)"
_ORDERS = r"(?:instructions?|directions?|directives?|guidelines|commands?|orders|prompts?|rules|training|programming)"
_IGNORE = r"(?:ignore|disregard|forget|override|bypass|neglect|discard|abandon|overlook)"
_OF_MODEL = r"(?:system|initial|original|hidden|secret|internal|developer|pre-?)"

_QUOTES = (b'"', b"'", b"`", "“".encode(), "„".encode(), "«".encode(), "‘".encode())


def _unquoted(text: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Leave out what is quoted: people ask what such a sentence does."""
    return None if text[max(start - 3, 0) : start].endswith(_QUOTES) else (start, end)


RULES = (
    PatternRule(
        "ignore_instructions",
        "injection",
        [
            rf"(?i)\b{_IGNORE}\s+(?:(?:about|all|any|every|each|of|the|these|those|your|my|our|its|other|and|previously"
            rf"|everything|anything)\s+){{0,5}}(?:{_BEFORE}(?:ly)?\s+(?:and\s+\w+\s+)?){{1,2}}(?:(?:system|safety|user|content|your|the|given|of|from)\s+){{0,2}}{_ORDERS}\b",
            rf"(?i)\b{_IGNORE}\s+(?:all\s+)?(?:of\s+)?(?:the\s+|your\s+)?{_ORDERS}\s+(?:that\s+)?(?:you\s+"
            r"(?:were|have|had|got|received|learned|are)|(?:given|provided|stated|listed|mentioned|from)\s+"
            r"(?:above|before|earlier|previously|to you))",
            r"(?i)\b(?:ignore|disregard|forget)\s+(?:all\s+|everything\s+)(?:of\s+)?(?:that\s+|what\s+)?(?:(?:was|came"
            r"|has been|have been|is|you were)\s+)?(?:said\s+|told\s+|written\s+|stated\s+)?(?:above|before this"
            r"|before that|so far|up to now|previously)\b",
            rf"(?i)\bdo\s+not\s+(?:follow|obey|listen\s+to)\s+(?:any\s+|the\s+|your\s+|all\s+)?{_BEFORE}\s+"
            rf"(?:{_ORDERS}|information)\b",
            # Dutch, Polish, Russian, Chinese, Japanese
            r"(?i)\b(?:negeer|vergeet)\s+(?:alle\s+|de\s+|je\s+){0,3}(?:eerdere|vorige|voorgaande|bovenstaande)\s+"
            r"(?:instructies|opdrachten|regels)",
            r"(?i)\b(?:zignoruj|zapomnij)\s+(?:o\s+)?(?:wszystkie\s+|wszystkich\s+)?(?:poprzednie|poprzednich|powy\pL+)\s+"
            r"(?:instrukcje|instrukcjach|polecenia|poleceniach|zasady)",
            r"(?i)(?:игнорируй|проигнорируй|забудь)\pL*\s+(?:обо?\s+)?(?:все\s+|всех\s+)?(?:предыдущ|прежн|вышеуказанн)\pL+\s+"
            r"(?:инструкци|указани|правил|команд)\pL*",
            r"(?:忽略|無視|无视|忘记|忘掉).{0,6}(?:之前|以上|先前|前面|上面).{0,4}(?:指令|指示|提示|规则|規則)",
            r"(?:これまで|以前|上記|前)の.{0,6}(?:指示|命令|ルール).{0,6}(?:無視|忘れ)",
            # German, French, Spanish, Italian, Portuguese
            r"(?i)\b(?:ignorier\w*|vergiss|missachte)\s+(?:alle\s+|bitte\s+|die\s+|deine\s+|meine\s+){0,3}(?:vorherigen"
            r"|bisherigen|vorigen|obigen|fr[üu]heren)\s+(?:anweisungen|instruktionen|befehle|regeln|vorgaben)",
            r"(?i)\b(?:ignore[rz]?|oublie[rz]?|ne\s+tiens\s+pas\s+compte\s+des?)\s+(?:toutes?\s+|tous\s+|les\s+|tes\s+|vos\s+)"
            r"{0,3}(?:instructions|consignes|directives|r[èe]gles)\s+(?:pr[ée]c[ée]dentes|ant[ée]rieures|ci-dessus)",
            r"(?i)\b(?:ignora|olvida|ignore|esque[cç]a|dimentica)\s+(?:todas?\s+|tutte\s+|las\s+|as\s+|le\s+|tus\s+|suas\s+)"
            r"{0,3}(?:instrucciones|instru[çc][õo]es|istruzioni|[óo]rdenes|regras|reglas)\s+(?:anteriores|previas|previe"
            r"|precedenti|de\s+arriba)",
        ],
        refine=_unquoted,
        score=0.9,
    ),
    PatternRule(
        "reveal_prompt",
        "injection",
        [
            rf"(?i)\b(?:reveal|print|show|output|repeat|display|tell|give|send|leak|dump|share|write\s+(?:out|down)|recite"
            rf"|return|expose|disclose)\s+(?:(?:me|us|out|back|verbatim|exactly|to|with)\s+){{0,3}}(?:(?:all|the|your|full"
            rf"|entire|complete|exact|whole|of|text)\s+){{0,5}}(?:your\s+)(?:\w+\s+)?{_OF_MODEL}\s+"
            r"(?:prompt|instructions?|message|configuration|directives?|rules)\b",
            r"(?i)\b(?:repeat|print|output|recite|copy)\s+(?:(?:back|out|verbatim|exactly|all|everything|the|of|words|text"
            r"|instructions?|sentences|prompt|message)\s+){1,6}above\s+(?:this|starting|verbatim|as|in|word|into|exactly)\b",
            r"(?i)\b(?:what|which)\s+(?:is|are|was|were)\s+(?:the\s+(?:exact\s+|full\s+|verbatim\s+)?(?:text|wording|contents?)"
            r"\s+of\s+)your\s+(?:system|initial|hidden|secret)\s+(?:prompt|instructions?|message)\b",
        ],
        score=0.8,
    ),
    PatternRule(
        "fake_role",
        "injection",
        [
            r"<\|(?:im_start|start_header_id)\|>\s*(?:system|assistant)|<\|(?:system|assistant)\|>",
            r"(?i)\[/?INST\]\s*<<SYS>>",
            r"(?i)(?:^|\n)\s*\[?(?:system|admin(?:istrator)?|developer)\s+(?:override|update|alert|notice)\]?\s*:"
            r"\s*(?:you|all|ignore|disregard|the\s+(?:previous|above)|new\s+instructions)",
            r"(?i)\b(?:end|start)\s+of\s+(?:system|user)\s+(?:prompt|input|message|instructions)\b[^\n]{0,40}\n"
            r"[^\n]{0,200}(?:ignore|new\s+instructions|repeat|you\s+(?:are\s+now|must))",
        ],
        score=0.8,
    ),
    PatternRule(
        "jailbreak",
        "injection",
        [
            r"(?i)\b(?:do|does|doing)\s+anything\s+now\b",
            r"(?i)\byou\s+(?:are|will\s+be|must\s+act\s+as|act\s+as|become|'re)\s+(?:now\s+|going\s+to\s+(?:act|be)\s+(?:as\s+)?)?"
            r"(?:a\s+|an\s+|called\s+|the\s+)?[\"'“]?(?:DAN|STAN|DUDE|AIM|BetterDAN|EvilBOT|DevMode|jailbroken)\b",
            r"(?i)\b(?:DAN|developer|jailbreak|god|unrestricted|opposite|evil|APOPHIS|admin)\s+mode\s+"
            r"(?:(?:is|now|has\s+been)\s+){0,2}(?:enabled|activated|unlocked|output)",
            r"(?i)\b(?:without|no|free\s+(?:of|from))\s+(?:any\s+|all\s+)?(?:ethical|moral)(?:\s*(?:,|or|and|/)\s*\w+){0,3}\s+"
            r"(?:guidelines|restrictions|constraints|limitations|filters?|boundaries|rules)\b[^\n]{0,200}"
            r"\b(?:you|respond|answer|reply|never\s+refuse)\b",
            r"(?i)\b(?:you|chatgpt|it|he|she)\s+(?:has|have|can|will|must)\s+(?:been\s+)?(?:broken?\s+free|freed)\s+(?:of|from)\s+"
            r"(?:the\s+|all\s+)?(?:typical\s+)?(?:confines|restrictions|rules|limits|limitations)",
            r"(?i)\b(?:never|not|cannot)\s+(?:say|says|refuse|reply|respond)[^\n.]{0,60}(?:as\s+an\s+AI\b|I\s+can(?:no|')t|"
            r"I'm\s+sorry|I\s+apologi[sz]e)[^\n]{0,400}(?:stay\s+in\s+character|no\s+matter|regardless|unfiltered|amoral)",
            r"(?i)\bstay\s+in\s+(?:DAN|character\s+as\s+DAN|DAN\s+mode)\b",
        ],
        score=0.9,
    ),
)
"""Of kind `injection`."""
