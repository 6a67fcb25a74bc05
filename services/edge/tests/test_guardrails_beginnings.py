"""What may still become a match waits, all else goes out at once."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
import re2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.guardrails.answers.output import Checked, OutputGuard
from edge.guardrails.policy import Action, RuleInForce
from edge.guardrails.rules import commands, injection, pii, secrets
from edge.guardrails.rules.beginnings import Beginnings, beginnings_of
from edge.guardrails.rules.detector import PatternError, PatternRule

RULES = (*pii.RULES, *secrets.RULES, *commands.RULES, *injection.RULES)
PATTERNS = [(f"{rule.name}-{number}", pattern) for rule in RULES for number, pattern in enumerate(rule.patterns)]
BEFORE = b"so: "
# Of texts that nobody would call a beginning of anything.
PROSE = "The capital of France is Paris. It lies on the Seine, and has been a capital for a thousand years. "


def python_of(pattern: str) -> str:
    """Write a pattern of RE2 as one of Python's, which knows no classes of Unicode."""
    text = pattern.replace(r"\pL", "a-zA-Z").replace(r"\pN", "0-9")
    return re.sub(r"(?<!\[)a-zA-Z(?![^\[]*\])", "[a-zA-Z]", text)


@pytest.mark.parametrize("pattern", [pattern for _, pattern in PATTERNS], ids=[name for name, _ in PATTERNS])
def test_every_beginning_of_every_match_is_one(pattern: str) -> None:
    """However long it is so far, and with any words before it; the whole match too, for more may follow."""
    found = Beginnings([pattern])

    @settings(max_examples=5, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.from_regex(re.compile(python_of(pattern), re.ASCII), fullmatch=True))
    def check(example: str) -> None:
        encoded = BEFORE + example.encode()
        match = re2.compile(pattern).search(encoded)
        if match is None or match.start() < len(BEFORE):  # begins with what stands before it
            return
        assert found.may_match(encoded)
        for end in range(match.start() + 1, match.end() + 1):
            if b"\xc0" > encoded[end : end + 1] >= b"\x80":
                continue
            assert found.first(encoded[:end]) <= match.start(), encoded[:end]
        followed = encoded[: match.end()] + b"."
        behind = re2.compile(pattern).search(followed)
        if behind is not None and behind.start() == match.start():  # it needs no end of the text
            assert found.first(followed) <= match.start()

    check()


@pytest.mark.parametrize(
    ("pattern", "beginnings", "others"),
    [
        ("abc", ["", "a", "ab", "abc"], ["b", "ac", "abcd"]),
        ("ab|cd", ["a", "c", "ab", "cd"], ["ad", "b"]),
        ("a{2,3}b", ["a", "aa", "aaa", "aaab"], ["aaaa", "ab"]),
        ("(?:ab){2,}c", ["a", "ab", "aba", "ababab", "ababc"], ["abb", "abc"]),
        ("a*b+c?", ["aaa", "abbb", "bc", ""], ["ca", "abcc"]),
        ("(?i)ab(?-i:c)", ["A", "aB", "ABc"], ["ABC"]),
        ("x(?i)y|z", ["x", "xY", "Z"], ["X", "xZ"]),
        ("(?:a(?i)b)c|(?i)d(?s).", ["aB", "aBc", "D", "d\n"], ["aBC", "A"]),
        (r"[^\]a]\[b]", ["c", "c[", "c[b]"], ["a", "]"]),
        (r"[]x]+\d{1,2}\x{41}", ["]x", "x1", "x12A"], ["x123"]),
        (r"\bfoo\b-", ["fo", "foo", "foo-"], ["foob"]),
        (r"(?P<n>a)(b)", ["a", "ab"], ["b"]),
        (r"\pL\p{Lu}é", ["q", "qQ", "qQé"], ["qq"]),
        ("a{0}b{x}", ["b", "b{", "b{x}"], ["a"]),
    ],
)
def test_beginnings_of_what_a_pattern_can_say(pattern: str, beginnings: Sequence[str], others: Sequence[str]) -> None:
    """Alternatives, repeats, flags, classes, places, groups."""
    begun = re2.compile(f"(?:{beginnings_of(pattern)})")

    assert beginnings == [text for text in beginnings if begun.fullmatch(text)]
    assert [] == [text for text in others if begun.fullmatch(text)]


@pytest.mark.parametrize("pattern", [r"\Qa.b\E", "(a", "a)", "[a", r"\x{41", "a\\", r"\q"])
def test_what_is_not_known_is_said(pattern: str) -> None:
    """Rules with such a pattern are looked at as if anything could be a beginning."""
    with pytest.raises(PatternError):
        beginnings_of(pattern)


def passed(
    pieces: Sequence[str], rules: Sequence[PatternRule], action: Action = Action.REDACT
) -> list[list[str | bytes]]:
    """Return what leaves the stage with each piece, and with the end."""
    stage = OutputGuard([RuleInForce(rule, action) for rule in rules], Checked())
    return [*(stage.take([piece]) for piece in pieces), stage.end()]


def test_an_answer_goes_out_a_word_behind() -> None:
    """With all rules for answers on, no word waits for more than the next one."""
    words = [f" {word}" for word in (PROSE * 5).split()]
    out = passed(words, (*pii.RULES, *secrets.RULES, *commands.RULES))

    sent = 0
    for number, each in enumerate(out[:-1]):
        sent += len(each)
        assert sent >= number, words[number]
    assert "".join(words) == "".join(str(chunk) for each in out for chunk in each)


def test_what_may_become_a_match_waits_and_is_given_up_in_time() -> None:
    """From its beginning on, until it is none, and no longer than the longest match that is held back."""
    rule = PatternRule("code", "custom", [r"code:[a-z ]*!"])
    out = passed(["It is ", "co", "de:", "a b c", "?", " And ", "cod", "a" * 10], [rule])
    assert [["It is "], [], [], [], ["co", "de:", "a b c", "?"], [" And "], [], ["cod", "a" * 10], []] == out

    words = passed(["code:", *["x "] * 400], [rule])
    assert [] == [chunk for each in words[:128] for chunk in each]
    assert ["code:"] == words[128]


def test_a_rule_whose_beginnings_are_not_known_is_held_back_as_a_whole() -> None:
    """Nothing of its matches goes out either."""
    rule = PatternRule("quoted", "custom", [r"\Qa.b\E\d+"])
    out = passed([*["word "] * 100, "a.", "b12", *[" word"] * 100], [rule])

    assert [] == [chunk for each in out[:50] for chunk in each]
    assert "a.b12" not in "".join(str(chunk) for each in out for chunk in each)
