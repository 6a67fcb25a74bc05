"""Token counts: unknown is not zero, on the wire and off it."""

from __future__ import annotations

import pytest

from pricing.usage import Usage
from spillway.router.v1 import router_pb2 as routerpb


@pytest.mark.parametrize(
    "usage",
    [Usage(), Usage(0, 0, 0, 0, 0), Usage(12, 8), Usage(12, None, 0), Usage(10**12, 1, 2, 3, 4)],
)
def test_usage_survives_the_wire(usage: Usage) -> None:
    """Also the difference between a count of zero and a count that is absent."""
    assert usage == Usage.from_proto(routerpb.Usage.FromString(usage.to_proto().SerializeToString()))


def test_a_count_that_is_absent_is_none_and_one_of_zero_is_zero() -> None:
    """A provider that says nothing of its cache has not said that it read nothing."""
    usage = Usage.from_proto(routerpb.Usage(input_tokens=0))

    assert 0 == usage.input_tokens
    assert usage.output_tokens is None
    assert not Usage().to_proto().HasField("input_tokens")
    assert Usage(0).to_proto().HasField("input_tokens")
