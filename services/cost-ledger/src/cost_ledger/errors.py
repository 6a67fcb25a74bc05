"""What can go wrong in the ledger.

LedgerError
├── PoisonedEvent       a cost event that can never be recorded as it is
├── PriceBookInvalid    a price book file that does not say what things cost
├── PriceChanged        a price book that gives a recorded price other figures
└── MigrationFailed     the database could not be brought up to date
"""

from __future__ import annotations


class LedgerError(Exception):
    """The root of the ledger's own errors; the message is for the operator and holds no secret."""


class PoisonedEvent(LedgerError):
    """A cost event that can never be recorded as it is.

    `kind` is one of a closed set, for metrics: `unreadable`, `invalid`, `refused`.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class PriceBookInvalid(LedgerError):
    """A price book file that does not say what things cost."""


class PriceChanged(LedgerError):
    """A price book that gives a recorded price other figures."""


class MigrationFailed(LedgerError):
    """The database could not be brought up to date."""
