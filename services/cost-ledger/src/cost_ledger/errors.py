"""The ledger's errors.

LedgerError
├── PoisonedEvent       a cost event that can never be recorded as it is
├── PriceBookInvalid    a price book file with faults
├── ImportRefused       a price book that must not be imported as it is
│   ├── PriceChanged    it gives a recorded price other figures
│   ├── PriceGap        it would leave a model without a price
│   └── PricesBackdated it would change what recorded attempts cost
├── UsageExportInvalid  a provider's usage export that cannot be compared
├── CommandRefused      an operator's command that cannot be run as it was given
├── MigrationFailed     a database that could not be brought up to date
└── AccountError        what cannot be done with a tenant, team, user, key, budget or capture
    ├── FieldInvalid        a field holds what it may not
    ├── AccountUnknown      there is none
    ├── AccountExists       it is there already
    └── AccountStateForbids as things are
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime


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
    """A price book file with faults, each of which names file, line and reason."""

    def __init__(self, faults: Sequence[str]) -> None:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        super().__init__(faults[0] + more)
        self.faults = faults


class ImportRefused(LedgerError):
    """A price book that must not be imported as it is, because of `price_versions`."""

    def __init__(self, price_versions: Sequence[str], reason: str) -> None:
        super().__init__(f"{', '.join(price_versions)} {reason}")
        self.price_versions = price_versions


class PriceChanged(ImportRefused):
    """A price book that gives a recorded price other figures."""

    def __init__(self, price_versions: Sequence[str]) -> None:
        verb = "is" if len(price_versions) == 1 else "are"
        super().__init__(
            price_versions,
            f"{verb} recorded with other figures; a price change is a new entry with a later effective_from",
        )


class PriceGap(ImportRefused):
    """A price book that would leave a model without a price."""

    def __init__(self, price_version: str, moment: datetime) -> None:
        super().__init__(
            [price_version],
            f"holds on {moment:%Y-%m-%d} and after the import nothing would; add the price that holds from then on, "
            "or give this one its effective_to if its model is no longer sold",
        )


class PricesBackdated(ImportRefused):
    """A price book that would change what recorded attempts cost."""

    def __init__(self, price_versions: Sequence[str], attempts: int) -> None:
        super().__init__(
            list(dict.fromkeys(price_versions)),
            f"would change what {attempts:,} recorded attempts cost; if that is meant, import with --backdate "
            "and then run reprice",
        )


class UsageExportInvalid(LedgerError):
    """A provider's usage export that cannot be compared; the first of `count` faults, each with its place."""

    def __init__(self, faults: Sequence[str], count: int) -> None:
        super().__init__(faults[0])
        self.faults = faults
        self.count = count


class CommandRefused(LedgerError):
    """An operator's command that cannot be run as it was given."""


class MigrationFailed(LedgerError):
    """A database that could not be brought up to date, or is not."""


class AccountError(LedgerError):
    """What cannot be done with a tenant, team, user or key; the message is for the caller."""


class FieldInvalid(AccountError):
    """A field holds what it may not."""


class AccountUnknown(AccountError):
    """There is no such tenant, team, user or key."""


class AccountExists(AccountError):
    """It is there already."""


class AccountStateForbids(AccountError):
    """It cannot be done as things are."""
