"""Lists of requests: their filters, where a page begins, and the statements that find its rows.

A page is read from one index, in the order of the ids, which is that of time: the narrowest index that a filter has.
The other filters are applied to its rows, in stretches of the index, for at most MAX_ROWS_READ rows a page. So a page
is cheap whatever the filters, and may be short.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from cost_ledger.reading.visible import Visible
from cost_ledger.rows import REQUEST_COLUMNS

MAX_ROWS_READ = 50_000
# Rows of the first stretch of a page and of the longest one; most pages are full after the first.
FIRST_STRETCH, MAX_STRETCH = 1_000, 20_000
BEYOND_ALL_IDS = UUID(int=(1 << 128) - 1)
# A request is admitted after its id was minted, as soon as its body is there. In old rows an id may be a client's own,
# up to five minutes off.
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
    visible: Visible | None = None

    def lowest_id(self) -> UUID:
        """Return a lower bound of the ids of the requests admitted in this time."""
        return _id_of(self.admitted_from - _ID_BEFORE) if self.admitted_from else UUID(int=0)

    def highest_id(self) -> UUID:
        """Return an id above all those of the requests admitted in this time."""
        return _id_of(self.admitted_to + _ID_AFTER) if self.admitted_to else BEYOND_ALL_IDS

    def cursor(self, request_id: UUID) -> str:
        """Return the cursor of the place below `request_id` in this list."""
        return base64.urlsafe_b64encode(request_id.bytes + self._digest(request_id)).decode()

    def place(self, cursor: str) -> UUID:
        """Return the id that a cursor of this list was made of; ValueError for any other text.

        It holds no secret: a forged one gives another page of the tenant's own list.
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
        # Filters that are not set are left out, so that cursors stay valid when this class gets another filter.
        applied = [
            (field.name, str(value)) for field in fields(self) if (value := getattr(self, field.name)) is not None
        ]
        return hashlib.blake2b(repr((request_id, applied)).encode(), digest_size=_DIGEST_BYTES).digest()


# Each has an index of (tenant, column, request_id), the narrowest first; some indexes leave out the usual values.
_INDEXED = ("client_request_id", "state", "outcome", "template", "key_id", "user_id", "requested_model")
_LEFT_OUT = {"state": ("admitted", "settled"), "outcome": ("ok",)}
_OF_REQUEST = (*_INDEXED, "cache_status")
_OF_ATTEMPT = ("provider", "target_model")


_COLUMNS = ", ".join(REQUEST_COLUMNS)


class Query(NamedTuple):
    """A statement and its arguments."""

    statement: str
    arguments: list[object]


class RequestListSql:
    """The queries for one set of filters.

    A stretch is what lies between two ids: at or above `lowest`, below `highest`.
    """

    def __init__(self, filters: RequestFilters) -> None:
        index = next((column for column in _INDEXED if _is_in_index(column, getattr(filters, column))), None)
        self._arguments: list[object] = [filters.tenant]
        self._along = "tenant = $1"
        """The condition that the index answers."""
        if index is not None:
            self._arguments.append(getattr(filters, index))
            self._along += f" AND {index} = $2"
        first = len(self._arguments) + 1
        self._lowest, self._highest, self._rows = (f"${first + number}" for number in range(3))
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
        if filters.visible is not None:
            marks = [self._filter_argument(value) for value in filters.visible]
            self._where.append(filters.visible.condition(int(marks[0].removeprefix("$"))))
        of_attempt = [
            f"a.{column} || '' = {self._filter_argument(value)}"
            for column in _OF_ATTEMPT
            if (value := getattr(filters, column)) is not None
        ]
        if of_attempt:
            # OFFSET 0 and || '' force one look-up by primary key for each row that is left. Otherwise PostgreSQL would
            # join, or search the index of providers among all rows of the provider.
            self._where.append(
                "EXISTS (SELECT FROM attempts a WHERE a.request_id = r.request_id "
                f"AND {' AND '.join(of_attempt)} OFFSET 0)"
            )

    @property
    def is_by_index_alone(self) -> bool:
        """Whether every row that the index finds is in the list."""
        return not self._where

    def end_of_stretch(self, lowest: UUID, highest: UUID, rows: int) -> Query:
        """Return the query for the lowest id of a stretch of `rows` rows of the index; no row if it has fewer.

        Its OFFSET skips within the index, and no further than a stretch is long.
        """
        statement = f"SELECT request_id FROM requests WHERE {self._stretch} OFFSET {self._rows} - 1 LIMIT 1"  # noqa: S608
        return Query(statement, [*self._arguments, lowest, highest, rows])

    def rows(self, lowest: UUID, highest: UUID, rows: int, limit: int) -> Query:
        """Return the query for up to `limit` rows of a stretch of at most `rows` rows of the index, newest first."""
        if self.is_by_index_alone:
            statement = f"SELECT {_COLUMNS} FROM requests WHERE {self._stretch} LIMIT {self._rows}"  # noqa: S608
            return Query(statement, [*self._arguments, lowest, highest, limit])
        # The inner LIMIT removes nothing: it makes PostgreSQL follow the index whatever the other filters are.
        statement = (
            f"SELECT * FROM (SELECT {_COLUMNS} FROM requests WHERE {self._stretch} LIMIT {self._rows}) r "  # noqa: S608
            f"WHERE {' AND '.join(self._where)} ORDER BY request_id DESC LIMIT {int(limit)}"
        )
        return Query(statement, [*self._arguments, lowest, highest, rows, *self._filter_arguments])

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
    """Return how many rows of the index each of a page's queries may read."""
    sizes, left = [], MAX_ROWS_READ
    size = FIRST_STRETCH
    while left > 0:
        sizes.append(min(size, left))
        left -= size
        size = min(size * 4, MAX_STRETCH)
    return sizes


def _id_of(moment: datetime) -> UUID:
    """Return the lowest UUIDv7 of a time; the lowest of all for one before 1970."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)
