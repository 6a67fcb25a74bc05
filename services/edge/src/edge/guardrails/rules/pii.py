"""What tells who somebody is: addresses of mail, telephones and machines, cards, accounts, numbers of the state."""

from __future__ import annotations

import ipaddress
import re

from edge.guardrails.rules.detector import PatternRule, in_middle_of_word

# Longer endings than two letters of which there are files and attributes too: only those that mail uses.
_TOP_LEVELS = frozenset(
    b"com org net edu gov mil int info biz name pro mobi coop aero museum app dev page cloud online site shop store"
    b" tech blog email live news wiki xyz club world zone agency digital design studio systems software solutions group"
    b" company global health law bank finance lawyer doctor academy school university eu asia africa berlin london"
    b" paris tokyo nyc amsterdam example test invalid".split()
)
_NOBODY = frozenset({b"git", b"noreply", b"no-reply"})
# The length of an account's number by country; see the registry of ISO 13616.
_IBAN_LENGTHS = {
    country: int(length)
    for country, length in (
        entry.split(b":")
        for entry in (
            b"AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BI:27 BR:29 BY:28 CH:21 CR:22 CY:28"
            b" CZ:24 DE:22 DJ:27 DK:18 DO:28 EE:20 EG:29 ES:24 FI:18 FK:18 FO:18 FR:27 GB:22 GE:22 GI:23"
            b" GL:18 GR:27 GT:28 HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32"
            b" LI:21 LT:20 LU:20 LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 MN:20 MR:27 MT:31 MU:30 NI:28 NL:18"
            b" NO:15 OM:23 PK:24 PL:28 PS:29 PT:25 QA:29 RO:24 RS:22 RU:33 SA:24 SC:31 SD:18 SE:24 SI:19"
            b" SK:24 SM:27 SO:23 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20 YE:30"
        ).split()
    )
}
_MOST_IBAN_SIGNS = 34
# Issuers by the first digits, with the lengths of their numbers.
_CARDS = (
    (re.compile(rb"4"), {13, 16, 19}),
    (re.compile(rb"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), {16}),
    (re.compile(rb"3[47]"), {15}),
    (re.compile(rb"6011|64[4-9]|65"), {16, 19}),
    (re.compile(rb"30[0-5]|3[689]"), {14, 16}),
    (re.compile(rb"35"), {16}),
    (re.compile(rb"2131|1800"), {15}),
    (re.compile(rb"62"), {16, 17, 18, 19}),
    (re.compile(rb"50|5[6-8]|6[0-9]"), {12, 13, 15, 16, 18, 19}),
)
_LEAST_CARD_DIGITS, _MOST_CARD_DIGITS = 12, 19
_DIGITS = re.compile(rb"\d+")
# What has four numbers as well.
_VERSION = re.compile(rb"(?i)\b(?:version|release|ver|build|v)\.?:? ?$")
_LEAST_PHONE_DIGITS, _MOST_PHONE_DIGITS = 7, 15


def has_luhn(digits: bytes) -> bool:
    """Tell whether the last digit of a card's number fits the others."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = digit - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def _email(text: bytes, start: int, end: int) -> tuple[int, int] | None:
    local, _, domain = text[start:end].partition(b"@")
    top_level = domain.rpartition(b".")[2].lower()
    if local.lower() in _NOBODY or (len(top_level) > 2 and top_level not in _TOP_LEVELS):
        return None
    stripped = local.lstrip(b".'-")
    return (end - len(stripped) - 1 - len(domain), end) if stripped else None


def _card(text: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Find a card among groups of digits: numbers beside it may look like a part of it."""
    if in_middle_of_word(text, start, end, b"-.") and text[end : end + 2].strip(b" \n\r\t") != b".":
        return None
    groups = [match.span() for match in _DIGITS.finditer(text, start, end)]
    for first in range(len(groups)):
        digits = b""
        for left, right in groups[first:]:
            digits += text[left:right]
            if len(digits) > _MOST_CARD_DIGITS:
                break
            if len(digits) >= _LEAST_CARD_DIGITS and _is_card(digits):
                return groups[first][0], right
    return None


def _is_card(digits: bytes) -> bool:
    return any(first.match(digits) and len(digits) in lengths for first, lengths in _CARDS) and has_luhn(digits)


def _iban(text: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Take as much as an account's number of the country has: words may follow in capital letters."""
    signs = _IBAN_LENGTHS.get(text[start : start + 2].upper())
    place = start
    number = b""
    while signs is not None and place < end and len(number) < signs:
        number += text[place : place + 1].strip()
        place += 1
    if signs is None or len(number) != signs or in_middle_of_word(text, start, place):
        return None
    moved = (number[4:] + number[:4]).decode().upper()
    return (start, place) if int("".join(str(int(sign, 36)) for sign in moved)) % 97 == 1 else None


def _ssn(text: bytes, start: int, end: int) -> tuple[int, int] | None:
    area, group, serial = _DIGITS.findall(text[start:end])
    if area in {b"000", b"666"} or area >= b"900" or group == b"00" or serial == b"0000":
        return None
    return None if in_middle_of_word(text, start, end, b"-/") else (start, end)


def _ip(text: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Take addresses that lead somewhere: neither versions of programs nor this machine itself."""
    while end > start and text[end - 1 : end] in b".:":
        if text[end - 2 : end] == b"::":
            break
        end -= 1
    if in_middle_of_word(text, start, end, b".-:") and text[end : end + 1] not in {b":", b".", b"-"}:
        return None
    try:
        address = ipaddress.ip_address(text[start:end].decode())
    except ValueError:
        return None
    if address.is_loopback or address.is_unspecified or _VERSION.search(text[max(start - 12, 0) : start]):
        return None
    return start, end


def _phone(text: bytes, start: int, end: int) -> tuple[int, int] | None:
    digits = b"".join(_DIGITS.findall(text[start:end].partition(b"x")[0]))
    if not _LEAST_PHONE_DIGITS <= len(digits) <= _MOST_PHONE_DIGITS or len(set(digits)) < 3:
        return None
    if in_middle_of_word(text, start, end, b"-/+=.") and text[end : end + 1] not in {b".", b"-", b"/"}:
        return None
    return start, end


RULES = (
    PatternRule(
        "email",
        "pii",
        [r"[\pL\pN._%+'\-]+@(?:[\pL\pN\-]+\.)+[A-Za-z]{2,24}\b"],
        refine=_email,
    ),
    PatternRule("card", "pii", [r"\b\d(?:[ \-]?\d){11,22}\b"], refine=_card),
    PatternRule("iban", "pii", [r"\b[A-Za-z]{2}\d{2}(?:[ ]?[A-Za-z0-9]){11,30}"], refine=_iban),
    PatternRule("ssn", "pii", [r"\b\d{3}-\d{2}-\d{4}\b", r"\b\d{3} \d{2} \d{4}\b"], refine=_ssn, score=0.9),
    PatternRule(
        "ip",
        "pii",
        [
            r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b",
            r"\b(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,7}\b",
        ],
        refine=_ip,
        score=0.9,
    ),
    PatternRule(
        "phone",
        "pii",
        [
            # with the code of a country
            r"\+\d{1,3}[ .\-]?(?:\(0?\d{0,4}\)[ .\-]?)?\d(?:[ .\-/]?\d){5,12}(?:x\d{1,6})?\b",
            # of North America
            r"(?:\b(?:00)?1[-. ])?(?:\([2-9]\d{2}\) ?|\b[2-9]\d{2}[-.])[2-9]\d{2}[-. ]\d{4}"
            r"(?: ?(?:x|ext\.?) ?\d{1,6})?\b",
            # where the text says so
            r"(?i)\b(?:phone|telephone|tel|mobile|cell(?:phone)?|fax|whatsapp|call me (?:at|on)|reach me (?:at|on)"
            r"|telefon(?:nummer)?|handynummer|t[ée]l[ée]phone|m[óo]vil|tel[ée]fono|cellulare|telefoon)\b"
            r"(?:\s?(?:number|no\.?|nr\.?|is|at|on|:|#|=))*[:\s]{0,3}(\(?\+?\d(?:[ .\-/()]{0,2}\d){6,14})\b",
        ],
        refine=_phone,
        score=0.8,
    ),
)
"""Of kind `pii`."""
