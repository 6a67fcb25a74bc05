"""Any value in any field of any request: the ledger answers, or says that its sender made a mistake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kit.ledger.process import LedgerProcess, running_ledger
from spillway.ledger.v1 import ledger_pb2 as ledgerpb

TEXTS = (
    "",
    "\0",
    "x" * 1_000_000,
    "\U0010ffff\u202e",
    "'; DROP TABLE requests; --",
    "%",
    "2026-02-30",
    "2026-01-01T00:00",
)
NUMBERS = (0, 1, 2**31 - 1)
MOMENTS = (
    Timestamp(), Timestamp(seconds=-(2**62)), Timestamp(seconds=2**62), Timestamp(seconds=-1, nanos=-1),
    Timestamp(nanos=2**31 - 1), Timestamp(seconds=253_402_300_799), Timestamp(seconds=-62_135_596_801),
)  # fmt: skip
GOOD: dict[str, dict[str, object]] = {
    "GetSpend": {"tenant": "acme", "from_day": "2026-07-01", "to_day": "2026-07-02"},
    "GetRequest": {"tenant": "acme", "request_id": "0198c9c0-0000-7000-8000-000000000000"},
    "ListRequests": {"tenant": "acme"},
}
METHODS: Sequence[MethodDescriptor] = ledgerpb.DESCRIPTOR.services_by_name["LedgerService"].methods
FIELDS = [(method, field) for method in METHODS for field in method.input_type.fields]


@pytest.fixture(scope="module", name="ledger")
async def _ledger(
    database_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LedgerProcess]:
    folder: Path = tmp_path_factory.mktemp("ledger")
    async with running_ledger(folder, database_url, redis_url) as ledger:
        yield ledger


def values(field: FieldDescriptor) -> Iterator[object]:
    """Return values of the field's type, and for an enum also some that it does not have."""
    each: tuple[Any, ...]
    if field.type == FieldDescriptor.TYPE_STRING:
        each = TEXTS
    elif field.message_type is ledgerpb.Visible.DESCRIPTOR:
        each = tuple(ledgerpb.Visible(**{name: text}) for name in ("tenant", "user", "team") for text in TEXTS)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        each = MOMENTS
    else:
        each = NUMBERS + ((2**32 - 1,) if field.type == FieldDescriptor.TYPE_UINT32 else (-1, 99))
    yield from ([value] * count for value in each for count in (1, 2, 1000)) if field.is_repeated else each


@pytest.mark.integration
@pytest.mark.parametrize(("method", "field"), FIELDS, ids=[f"{method.name}.{field.name}" for method, field in FIELDS])
async def test_any_value_in_any_field(ledger: LedgerProcess, method: MethodDescriptor, field: FieldDescriptor) -> None:
    """Nothing crashes, and no statement is made of it."""
    request_class: type[Message] = getattr(ledgerpb, method.input_type.name)
    for value in values(field):
        request = request_class(**(GOOD.get(method.name, {}) | {field.name: value}))
        status = grpc.StatusCode.OK
        try:
            await getattr(ledger.stub, method.name)(request, timeout=20.0)
        except grpc.aio.AioRpcError as error:
            status = error.code()
        allowed = {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
        assert status in allowed, (str(value)[:80], status)
    unexpected = [line for line in ledger.log_lines() if line.get("level") in {"error", "critical"}]
    assert not unexpected


@pytest.mark.integration
async def test_what_is_no_message(ledger: LedgerProcess) -> None:
    """It is refused as its sender's mistake, and the next question is answered."""
    for method in METHODS:
        call: Any = ledger.channel.unary_unary(f"/spillway.ledger.v1.LedgerService/{method.name}")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"\xff" * 100, timeout=10.0)
        assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()
    assert await ledger.stub.GetPriceBook(ledgerpb.GetPriceBookRequest(), timeout=10.0)
