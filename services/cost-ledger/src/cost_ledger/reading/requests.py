"""Lists of requests: what they are filtered by, where a page begins, and the statements that find its rows.

A page is found from one index, in the order of the ids, which is that of time. The index is the narrowest one that a
filter has; what other filters let through is looked at row by row, in stretches of the index, and no further than
MOST_LOOKED_AT rows for one page. So a page costs little whatever is asked for, and may be short.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from uuid import UUID

MOST_LOOKED_AT = 50_000
# Rows of the first stretch of a page and of the longest one; most pages are full after the first.
FIRST_STRETCH, LONGEST_STRETCH = 1_000, 20_000
BEYOND_ALL_IDS = UUID(int=(1 << 128) - 1)
# A request is admitted after its id was minted, as soon as its body is there. A client's own id may be up to five
# minutes off (`edge/http/accept.py`).
_ID_BEFORE, _ID_AFTER = timedelta(hours=1), timedelta(minutes=6)
_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFilters:
    """Which requests of one tenant are listed; None: any. Times are [from, to)."""

    tenant: str
    client_request_id: str | None = None
    state: str | None = None
    outcome: str | None = None
    template: str | None = None
    key_id: str | None = None
    user_id: str | None = None
    requested_model: str | None = None
    cache_status: str | None = None
    provider: str | None = None
    target_model: str | None = None
    admitted_from: datetime | None = None
    admitted_to: datetime | None = None

    def lowest_id(self) -> UUID:
        """Return an id that no request of the time asked for is below."""
        return _id_of(self.admitted_from - _ID_BEFORE) if self.admitted_from else UUID(int=0)

    def highest_id(self) -> UUID:
        """Return an id that all requests of the time asked for are below."""
        return _id_of(self.admitted_to + _ID_AFTER) if self.admitted_to else BEYOND_ALL_IDS

    def cursor(self, request_id: UUID) -> str:
        """Return what names the place below `request_id` in this list."""
        return base64.urlsafe_b64encode(request_id.bytes + self._digest(request_id)).decode()

    def place(self, cursor: str) -> UUID:
        """Return the id that a cursor of this list was made of; ValueError for any other text.

        No secret is in it: who forges one gets nothing but another page of the tenant's own list.
        """
        try:
            data = base64.b64decode(cursor, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("not a cursor") from error
        request_id, digest = data[:16], data[16:]
        if len(request_id) != 16 or digest != self._digest(UUID(bytes=request_id)):
            raise ValueError("not a cursor of this list")
        return UUID(bytes=request_id)

    def _digest(self, request_id: UUID) -> bytes:
        # Filters that are not set are left out: one that is added to this class leaves the cursors valid.
        asked = [(field.name, str(value)) for field in fields(self) if (value := getattr(self, field.name)) is not None]
        return hashlib.blake2b(repr((request_id, asked)).encode(), digest_size=_DIGEST_BYTES).digest()


# Each has an index of (tenant, column, request_id); some leave the usual values out. The narrowest first.
_INDEXED = ("client_request_id", "state", "outcome", "template", "key_id", "user_id", "requested_model")
_LEFT_OUT = {"state": ("admitted", "settled"), "outcome": ("ok",)}
_OF_REQUEST = (*_INDEXED, "cache_status")
_OF_ATTEMPT = ("provider", "target_model")


class RequestListSql:
    """The statements for one set of filters, each with its arguments.

    A stretch is what lies between two ids: at or above `lowest`, below `highest`.
    """

    def __init__(self, filters: RequestFilters) -> None:
        index = next((column for column in _INDEXED if _is_in_index(column, getattr(filters, column))), None)
        self._arguments: list[object] = [filters.tenant]
        self._along = "tenant = $1"
        """What the index gives."""
        if index is not None:
            self._arguments.append(getattr(filters, index))
            self._along += f" AND {index} = $2"
        first = len(self._arguments) + 1
        self._lowest, self._highest, self._most = (f"${first + number}" for number in range(3))
        self._filter_arguments: list[object] = []
        self._where = [
            f"{column} = {self._filter_argument(value)}"
            for column in _OF_REQUEST
            if column != index and (value := getattr(filters, column)) is not None
        ]
        if filters.admitted_from is not None:
            self._where.append(f"admitted_at >= {self._filter_argument(filters.admitted_from)}")
        if filters.admitted_to is not None:
            self._where.append(f"admitted_at < {self._filter_argument(filters.admitted_to)}")
        of_attempt = [
            f"a.{column} || '' = {self._filter_argument(value)}"
            for column in _OF_ATTEMPT
            if (value := getattr(filters, column)) is not None
        ]
        if of_attempt:
            # OFFSET 0 and || '': a look into the primary key for each row that is left. PostgreSQL would else join, or
            # go by the index of providers, and read each row's attempts among all of the provider.
            self._where.append(
                "EXISTS (SELECT FROM attempts a WHERE a.request_id = r.request_id "
                f"AND {' AND '.join(of_attempt)} OFFSET 0)"
            )

    @property
    def is_by_index_alone(self) -> bool:
        """Tell whether every row of the index is one of the list."""
        return not self._where

    def end_of_stretch(self, lowest: UUID, highest: UUID, rows: int) -> tuple[str, list[object]]:
        """Return the question for the lowest id of a stretch with so many rows of the index; no answer: it has fewer.

        Its OFFSET skips within the index, and no further than a stretch is long.
        """
        statement = f"SELECT request_id FROM requests WHERE {self._stretch} OFFSET {self._most} - 1 LIMIT 1"  # noqa: S608
        return statement, [*self._arguments, lowest, highest, rows]

    def rows(self, lowest: UUID, highest: UUID, rows: int, most: int) -> tuple[str, list[object]]:
        """Return the question for `most` rows of a stretch of at most `rows` rows of the index, newest first."""
        if self.is_by_index_alone:
            statement = f"SELECT * FROM requests WHERE {self._stretch} LIMIT {self._most}"  # noqa: S608
            return statement, [*self._arguments, lowest, highest, most]
        # The inner LIMIT takes nothing away. It makes PostgreSQL go along the index, whatever else is asked for.
        statement = (
            f"SELECT * FROM (SELECT * FROM requests WHERE {self._stretch} LIMIT {self._most}) r "  # noqa: S608
            f"WHERE {' AND '.join(self._where)} ORDER BY request_id DESC LIMIT {int(most)}"
        )
        return statement, [*self._arguments, lowest, highest, rows, *self._filter_arguments]

    @property
    def _stretch(self) -> str:
        between = f"request_id >= {self._lowest} AND request_id < {self._highest}"
        return f"{self._along} AND {between} ORDER BY request_id DESC"

    def _filter_argument(self, value: object) -> str:
        self._filter_arguments.append(value)
        return f"${len(self._arguments) + 3 + len(self._filter_arguments)}"


def _is_in_index(column: str, value: str | None) -> bool:
    return value is not None and value not in _LEFT_OUT.get(column, ())


def stretches() -> Sequence[int]:
    """Return how many rows of the index are looked at in each turn for one page."""
    sizes, left = [], MOST_LOOKED_AT
    size = FIRST_STRETCH
    while left > 0:
        sizes.append(min(size, left))
        left -= size
        size = min(size * 4, LONGEST_STRETCH)
    return sizes


def _id_of(moment: datetime) -> UUID:
    """Return the lowest UUIDv7 of a time; the lowest of all for one before 1970."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)
