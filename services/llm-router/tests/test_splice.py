"""An answer is continued without a gap and without a repetition, or not at all."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.errors import SpliceNotFound
from llm_router.providers.provider import Content
from llm_router.strategies.splice import Splice, anchor_of

FIRST = "The river rises in the hills behind the town, and runs for forty miles before it reaches the "
REST = "sea. On the way it passes three mills."


def joined(delivered: str, following: str, *, step: int = 7) -> str:
    """Return what a reader gets of `following`, cut into pieces of `step`, behind `delivered`."""
    splice = Splice(delivered)
    parts = [following[start : start + step] for start in range(0, len(following), step)]
    texts = [text for part in parts for text in splice.join([part])]
    splice.require()
    return delivered + "".join(str(text) for text in texts)


@pytest.mark.parametrize("step", [1, 2, 5, 40, 1000])
@pytest.mark.parametrize(
    "lead",
    ["", "Of course. ", "Here is the rest:\n\n", "<<<", "... "],
)
def test_repeated_words_are_left_out(lead: str, step: int) -> None:
    """However the words are cut, and whatever stands before the anchor."""
    following = lead + anchor_of(FIRST) + REST

    assert FIRST + REST == joined(FIRST, following, step=step)


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_answer_repeated_from_its_beginning_is_joined_too(step: int) -> None:
    """However long the first part was."""
    long = FIRST * 20

    assert long + REST == joined(long, long + REST, step=step)


@pytest.mark.parametrize("step", [1, 4, 1000])
def test_blanks_and_line_breaks_need_not_be_the_same(step: int) -> None:
    """Models change them."""
    delivered = "One line.\n\nAnother  line\tthat goes"
    following = "One line. Another line\nthat goes on and on."

    assert delivered + " on and on." == joined(delivered, following, step=step)


def test_cut_in_the_middle_of_a_word_is_joined_in_the_middle_of_the_word() -> None:
    """The rest of the word follows without a blank."""
    assert "The capital of France is Paris." == joined("The capital of France is Pa", "The capital of France is Paris.")


def test_blank_that_was_delivered_is_not_delivered_again() -> None:
    """There are neither two blanks nor none."""
    assert "one two three" == joined("one two ", "one two three")
    assert "one two three" == joined("one two", "one two three")


def test_repeated_words_inside_the_answer_are_no_match() -> None:
    """When the answer is repeated from the beginning, the first likeness is not the place."""
    delivered = "ha " * 60

    assert delivered + "end" == joined(delivered, delivered + "end", step=3)


def test_answer_to_another_question_is_not_joined() -> None:
    """There is no place to join it."""
    with pytest.raises(SpliceNotFound):
        joined(FIRST, "I am sorry, I can not help with that. " * 20)


def test_answer_that_ends_before_the_repetition_is_not_joined() -> None:
    """Also when it is short."""
    with pytest.raises(SpliceNotFound):
        joined(FIRST, "sea.")


def test_nothing_more_to_say_is_a_whole_answer() -> None:
    """The first answer was cut after its last word."""
    assert FIRST == joined(FIRST, anchor_of(FIRST))


def test_thoughts_before_the_repetition_are_left_out() -> None:
    """The reader has seen thoughts already; what follows the repetition is passed on."""
    thought: Content = b'[{"index":0,"delta":{"reasoning_content":"hm"}}]'
    splice = Splice("one two three")

    assert [] == splice.join([thought, "one two "])
    assert [" four", thought] == splice.join(["three four", thought])


def test_with_nothing_delivered_everything_is_new() -> None:
    """Only thoughts had come."""
    assert ["x"] == Splice("").join(["x"])


def test_anchor_begins_with_a_word() -> None:
    """Half a word at its beginning would be hard to repeat."""
    assert "for forty miles before it reaches the " == anchor_of(FIRST)
    assert "short" == anchor_of("short")
    assert "x" * 40 == anchor_of("x" * 100)


WORDS = st.lists(st.text(alphabet="abcé\U0001f600.,-", min_size=1, max_size=8), min_size=1, max_size=60)


@given(words=WORDS, cut=st.floats(0, 1), seed=st.integers())
def test_any_repeated_text_is_joined_without_loss(words: list[str], cut: float, seed: int) -> None:
    """Any text, cut anywhere and repeated in any pieces, comes out whole."""
    whole = " ".join(words)
    delivered = whole[: int(cut * len(whole))]
    splice, rng, position, texts = Splice(delivered), random.Random(seed), 0, []
    while position < len(whole):
        size = rng.randint(1, 9)
        texts += splice.join([whole[position : position + size]])
        position += size
    splice.require()

    assert whole == delivered + "".join(str(text) for text in texts)
