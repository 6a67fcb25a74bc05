"""What tells who somebody is: addresses of mail, telephones and machines, cards, accounts, numbers of the state."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence

from edge.guardrails.rules.detector import PatternRule, in_middle_of_word

# Longer endings than two letters of which there are files and attributes too: only those that mail uses.
_TOP_LEVELS = frozenset(
    b"com org net edu gov mil int info biz name pro mobi coop aero museum app dev page cloud online site shop store"
    b" tech blog email live news wiki xyz club world zone agency digital design studio systems software solutions group"
    b" photography technology consulting energy media social network team work life today video games events travel"
    b" restaurant church community international solar software support services center training ventures partners"
    b" capital fund insurance clinic dental doctor hospital care church house homes land properties gmbh ltd inc"
    b" wien koeln hamburg bayern swiss scot cat kiwi ninja guru love ink press news art gallery fashion style"
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
_DIGITS = re.compile(rb"\d+")
# What has four numbers as well: said to be a version or a place in a text, or behind the name of a program.
_VERSION = re.compile(
    rb"(?i)\b(?:version|release|ver|build|rev(?:ision)?|firmware|driver|package|hotfix|section|chapter|clause|article"
    rb"|paragraph|oid|snmp|v)[.:=]? ?$"
)
_PROGRAM = re.compile(
    rb"(?i)(?:[a-z][\w+]*-|\b(?:firefox|chrome|chromium|safari|edge|opera|java|jdk|jre|dotnet|\.net|node|python|ruby|php"
    rb"|perl|log4j|nginx|apache|openssl|tomcat|windows|macos|ios|android|kernel|plugin|sdk|bios|office|acrobat)[ /]v?)$"
)
_BEHIND_VERSION = re.compile(rb"\.\d|[-.][A-Za-z]+\d|[-.](?:jar|zip|tar|whl|deb|rpm|exe|dll|msi|gz|tgz)\b")
_FAR = 24
# Numbers of goods and parcels, which are as long as those of cards and have check digits of their own; the beginning of
# a reference of a bank. "Order" alone says nothing: people write the card beside it.
_NO_CARD = re.compile(
    rb"(?i)(?:\b(?:(?:isbn|ean|gtin|upc)(?:-?1[0-4])?|imei|barcode)(?:[- ](?:number|no|nr|code))?[.:#]* ?"
    rb"|\b(?:tracking|parcel|shipment|order|invoice|serial)[- ]?(?:number|no|nr|code|id)[.:#]* ?|\b[a-z]{2}\d\d )$"
)
_LEAST_CARD_IN_GROUPS = 14
_FIRST_GROUP = 4
_CARD_GROUPS = ([4, 4, 4, 4, 3], [4, 4, 4, 4], [4, 6, 5], [4, 6, 4])
_DATE = re.compile(rb"(?:19|20)\d\d([-./])(?:0?[1-9]|1[0-2])\1\d{1,2}|\d{1,2}([-./])\d{1,2}\2(?:19|20)\d\d")
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
    for number in (groups, *_grouped(groups)):
        begin, last = number[0][0], number[-1][1]
        if _is_card(b"".join(text[left:right] for left, right in number)):
            return None if _NO_CARD.search(text, max(begin - _FAR, 0), begin) else (begin, last)
    return None


def _grouped(groups: Sequence[tuple[int, int]]) -> Iterator[Sequence[tuple[int, int]]]:
    """Return what is grouped as on a card: among other numbers anything else is a coincidence."""
    lengths = [right - left for left, right in groups]
    for first, length in enumerate(lengths):
        if length >= _LEAST_CARD_IN_GROUPS:
            yield groups[first : first + 1]
        elif length == _FIRST_GROUP:
            for shape in _CARD_GROUPS:
                if lengths[first : first + len(shape)] == shape:
                    yield groups[first : first + len(shape)]


def _is_card(digits: bytes) -> bool:
    return any(first.match(digits) and len(digits) in lengths for first, lengths in _CARDS) and has_luhn(digits)


def _iban(text: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Take as much as an account's number of the country has: words may follow in capital letters."""
    signs = _IBAN_LENGTHS.get(text[start : start + 2].upper())
    place = start
    number = b""
    while signs is not None and place < end and len(number) < signs:
        number += text[place : place + 1].strip(b" -")
        place += 1
    if signs is None or len(number) != signs or in_middle_of_word(text, start, place):
        return None
    moved = (number[4:] + number[:4]).decode().upper()
    return (start, place) if int("".join(str(int(sign, 36)) for sign in moved)) % 97 == 1 else None


def _ssn(text: bytes, start: int, end: int) -> tuple[int, int] | None:
    digits = b"".join(_DIGITS.findall(text[start:end]))
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    if area in {b"000", b"666"} or area >= b"900" or group == b"00" or serial == b"0000":
        return None
    return None if in_middle_of_word(text, start, end, b"-/") else (start, end)


def _ip(text: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Take addresses that lead somewhere: neither versions of programs nor this machine itself."""
    while end > start and text[end - 1 : end] in b".:":
        if text[end - 2 : end] == b"::":
            break
        end -= 1
    if in_middle_of_word(text, start, end, b".-:", behind=b""):
        return None
    try:
        address = ipaddress.ip_address(text[start:end].decode())
    except ValueError:
        return None
    if address.is_loopback or address.is_unspecified:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        # Names in C++ are joined like that.
        return (start, end) if _DIGITS.search(text, start, end) else None
    return None if _is_version(text, start, end, address) else (start, end)


def _is_version(text: bytes, start: int, end: int, address: ipaddress.IPv4Address) -> bool:
    """Tell whether the words around four numbers make them a version or a place in a text."""
    before = max(start - _FAR, 0)
    if _VERSION.search(text, before, start):
        return True
    # A private address behind the name of a program is where it listens; with a number behind it, that is a port.
    if address.is_private:
        return False
    return _BEHIND_VERSION.match(text, end) is not None or _PROGRAM.search(text, before, start) is not None


def _phone(text: bytes, start: int, end: int) -> tuple[int, int] | None:
    number = text[start:end]
    is_part = not number.startswith(b"+") and text[end : end + 1] == b"-" and text[end + 1 : end + 2].isalpha()
    if is_part or _DATE.match(number):
        return None
    # Groups of digits before it make it the end of something longer.
    if number.startswith(b"00") and text[max(start - 2, 0) : start - 1].isdigit():
        return None
    digits = b"".join(_DIGITS.findall(number.partition(b"x")[0]))
    if not _LEAST_PHONE_DIGITS <= len(digits) <= _MOST_PHONE_DIGITS or len(set(digits)) < 3:
        return None
    if in_middle_of_word(text, start, end, b"-/+=.", behind=b"+="):
        return None
    return start, end


RULES = (
    PatternRule(
        "email",
        "pii",
        [r"[\pL\pN._%+'\-]+@(?:[\pL\pN\-]+\.)+[A-Za-z]{2,24}\b"],
        version=2,
        refine=_email,
    ),
    PatternRule(
        "card",
        "pii",
        [r"\b\d(?:[ \-]?\d){11,22}\b", r"\b\d{4}(?:\.\d{4}){3}\b"],
        version=2,
        refine=_card,
    ),
    PatternRule("iban", "pii", [r"\b[A-Za-z]{2}\d{2}(?:[ \-]?[A-Za-z0-9]){11,30}"], version=2, refine=_iban),
    PatternRule(
        "ssn",
        "pii",
        [
            r"\b\d{3}-\d{2}-\d{4}\b",
            r"\b\d{3} \d{2} \d{4}\b",
            r"(?i)\b(?:ssn|social security)(?:\s?(?:number|no\.?|is|:|#|=))*\s{0,2}(\d{9})\b",
        ],
        version=2,
        refine=_ssn,
        score=0.9,
    ),
    PatternRule(
        "ip",
        "pii",
        [
            r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b",
            r"\b(?:[0-9A-Fa-f]{1,4}:){1,7}(?::?[0-9A-Fa-f]{1,4}){1,7}\b",
            r"(?i)::ffff:(?:\d{1,3}\.){3}\d{1,3}\b",
        ],
        version=2,
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
            # abroad, as it is dialled in most countries
            r"\b00[1-9]\d{0,2}[ .\-/](?:\(0\) ?)?\d(?:[ .\-/]?\d){6,11}\b",
            # where the text says so
            r"(?i)\b(?:phone|telephone|tel|mobile|mob|ph|cell(?:phone)?|fax|whatsapp"
            r"|(?:call|text|ring|reach) (?:me|us) (?:at|on)|(?:contact|my|our) number"
            r"|telefon(?:nummer)?|mobil(?:nummer)?|handy(?:nummer)?"
            r"|t[ée]l|t[ée]l[ée]phone|portable|m[óo]vil|tel[ée]fono|telefone|celular|telem[óo]vel|cellulare|telefoon)\b\.?"
            r"(?: ?\([A-Za-z]{1,10}\))?(?:\s?(?:number|no\.?|nr\.?|is|ist|est|es|at|on|:|#|=))*"
            r"[:\s]{0,3}(\(?\+?\d(?:[ .\-/()]{0,2}\d){6,14})\b",
            # where it says so in another script, in which RE2 knows no ends of words
            r"(?i)(?:телефона?|тел\.|電話|电话|手机|手機|携帯|전화|휴대폰|هاتف|फ़ोन)(?:番号|号码|號碼|号|번호)?[.:\s]{0,3}"
            r"(\(?\+?\d(?:[ .\-/()]{0,2}\d){6,14})\b",
        ],
        version=2,
        refine=_phone,
        score=0.8,
    ),
)
"""Of kind `pii`."""
