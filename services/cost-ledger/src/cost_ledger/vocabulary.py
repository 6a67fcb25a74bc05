"""How the tables spell what the contracts carry: the glossary's words for enums, a client's own ids."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import EnumDescriptor

from spillway.ledger.v1 import ledger_pb2 as ledgerpb
from spillway.router.v1 import router_pb2 as routerpb

MAX_CLIENT_REQUEST_ID = 200


class Vocabulary:
    """Both ways between an enum's numbers and its words; the unspecified value is the empty word."""

    def __init__(self, enum: EnumDescriptor, prefix: str) -> None:
        """`prefix` is what each value's name in the .proto starts with, e.g. `OUTCOME_`."""
        self._name = enum.name
        self._words = {value.number: value.name.removeprefix(prefix).lower() for value in enum.values}
        self._words[0] = ""
        self._numbers = {word: number for number, word in self._words.items()}

    def word(self, number: int) -> str:
        """Return the word for `number`; ValueError when this version of the contract has no such value."""
        try:
            return self._words[number]
        except KeyError:
            raise ValueError(f"{self._name} has no value {number}") from None

    def number(self, word: str) -> Any:
        """Return the number of `word`, which `word()` has returned; its type is that of the enum."""
        return self._numbers[word]


def client_request_id(text: str) -> str | None:
    """Return the id as it is recorded and searched for: no longer than allowed, without NUL; None when empty."""
    return text[:MAX_CLIENT_REQUEST_ID].replace("\0", "\N{REPLACEMENT CHARACTER}") or None


OUTCOME = Vocabulary(routerpb.Outcome.DESCRIPTOR, "OUTCOME_")
FINISH_REASON = Vocabulary(routerpb.FinishReason.DESCRIPTOR, "FINISH_REASON_")
USAGE_SOURCE = Vocabulary(routerpb.UsageSource.DESCRIPTOR, "USAGE_SOURCE_")
CACHE_STATUS = Vocabulary(ledgerpb.CacheStatus.DESCRIPTOR, "CACHE_STATUS_")
REQUEST_STATE = Vocabulary(ledgerpb.RequestState.DESCRIPTOR, "REQUEST_STATE_")
