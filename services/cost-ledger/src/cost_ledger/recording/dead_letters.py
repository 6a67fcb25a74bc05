"""The dead letters: entries of the stream that could not be recorded, and how they are recorded after all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from cost_ledger.errors import PoisonedEvent
from cost_ledger.prices.price_list import PriceList
from cost_ledger.recording.consumer import DEAD_LETTERS, REFUSALS
from cost_ledger.recording.event import AdmittedEvent, read_event
from cost_ledger.recording.price import price_settled
from cost_ledger.recording.repair import appended_at, repair_event
from cost_ledger.recording.store import Store
from servicekit.redis_client import RedisClient
from spillway.ledger.v1 import ledger_pb2 as ledgerpb


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter."""

    letter_id: str
    """Its id among the dead letters."""
    entry_id: str
    """The id that it had on the stream."""
    reason: str
    data: bytes

    @property
    def event(self) -> ledgerpb.CostEvent | None:
        """The event in it; None when its bytes are none."""
        try:
            return ledgerpb.CostEvent.FromString(self.data)
        except DecodeError:
            return None

    @property
    def request_id(self) -> str:
        """The request that it is about; empty when it does not say."""
        event = self.event
        kind = None if event is None else event.WhichOneof("event")
        return "" if kind is None else str(getattr(event, kind).request.request_id)


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of one dead letter."""

    outcome: str
    """`recorded`, `duplicate` (it was recorded already) or `poisoned` (it stays)."""
    changes: Sequence[str]
    """What had to be repaired."""
    reason: str = ""
    """Why it stays."""


async def read_letters(client: RedisClient, after: str, count: int) -> list[Letter]:
    """Return up to `count` letters, oldest first, that follow the id `after` (empty: the first ones). RedisError."""
    entries: Any = await client.xrange(DEAD_LETTERS, min=f"({after}" if after else "-", count=count)
    return [_letter(entry_id, fields) for entry_id, fields in entries]


async def read_letter(client: RedisClient, letter_id: str) -> Letter | None:
    """Return one letter; None when there is no such one any more. RedisError."""
    entries: Any = await client.xrange(DEAD_LETTERS, min=letter_id, max=letter_id, count=1)
    return _letter(*entries[0]) if entries else None


def _letter(letter_id: bytes, fields: dict[bytes, bytes]) -> Letter:
    own = letter_id.decode()
    return Letter(
        letter_id=own,
        entry_id=fields.get(b"entry_id", letter_id).decode(errors="replace"),
        reason=fields.get(b"reason", b"").decode(errors="replace"),
        data=fields.get(b"event", b""),
    )


class Replayer:
    """Records dead letters. Each is removed after its commit; one that is replayed twice is recorded once."""

    def __init__(self, client: RedisClient, store: Store, prices: PriceList) -> None:
        self._client = client
        self._store = store
        self._prices = prices

    async def replay(self, letter: Letter, *, may_repair: bool, dry_run: bool) -> Replay:
        """Record one letter, repaired if need be and allowed, and remove it.

        Raises what asyncpg and redis raise when a store is away; the letter is still there then.
        """
        changes: list[str] = []
        data = letter.data
        outcome = await self._try(data, dry_run=dry_run)
        if outcome.outcome == "poisoned" and may_repair and (event := letter.event) is not None:
            changes = repair_event(event, appended_at(letter.letter_id))
            if changes:
                outcome = await self._try(event.SerializeToString(), dry_run=dry_run)
        if outcome.outcome != "poisoned" and not dry_run:
            await self._client.xdel(DEAD_LETTERS, letter.letter_id)
        return Replay(outcome.outcome, changes, outcome.reason)

    async def _try(self, data: bytes, *, dry_run: bool) -> Replay:
        try:
            event = read_event(data)
        except PoisonedEvent as error:
            return Replay("poisoned", (), error.reason)
        try:
            admitted, settled = ([event], []) if isinstance(event, AdmittedEvent) else ([], [event])
            priced = [price_settled(each, await self._prices.book()) for each in settled]
            recorded = await self._store.record(admitted, priced, dry_run=dry_run)
        except REFUSALS as error:
            # The values are not quoted: they may be anything.
            return Replay("poisoned", (), f"PostgreSQL refuses it: {type(error).__name__}")
        return Replay("recorded" if recorded.admitted or recorded.settled else "duplicate", ())
