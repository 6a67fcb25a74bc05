"""The fast part of fuzzing: the kept inputs, and many more made of them, always the same ones; then `make fuzz`."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from structlog.testing import capture_logs

from .catalogue import NAMES, corpus_of, target_of
from .mutation import Mutator

_INPUTS = 500


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Print no log lines: the inputs are full of faults."""
    with capture_logs():
        yield


@pytest.mark.parametrize("name", NAMES)
def test_kept_inputs_have_a_promised_result(name: str) -> None:
    """Among them is each one that has ever found a fault."""
    target, corpus = target_of(name), corpus_of(name)
    assert corpus
    for data in corpus:
        target.check(data)


@pytest.mark.parametrize("name", NAMES)
def test_changed_inputs_have_a_promised_result(name: str) -> None:
    """Five hundred changes of the kept ones."""
    target = target_of(name)
    for data in Mutator(target.mutate, corpus_of(name)).inputs(Random(14), _INPUTS):
        target.check(data)
