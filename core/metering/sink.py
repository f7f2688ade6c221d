"""The COPYs into allocations: announced together, opened by themselves, each ended early.

PostgreSQL puts rows of a binary COPY into the table a thousand at a time, or at its end; until then it
only reads them. So an answer of a thousand rows would be put in after all of it was read here, while
we wait. Therefore a COPY is ended early: the server puts in what it has while we read on, and what
came of it is asked for when the next one takes its place. And since 17 the server walks over all rows
that it has gathered for each that it adds, so a thousand at once cost more than twice five hundred.

To open a COPY and wait for the answer costs as much as putting in a hundred rows. So those of a store
are one question, put before the first answer is read: the server opens the first while we read, and
each other one when that before it has ended. One that finds nothing left to take takes nothing.
"""

from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import generators
from psycopg.abc import PQGen
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Wait

from core.metering.pack import COPY_COLUMNS, HEADER, TRAILER

SERVER_ROWS = 1000
"""Rows that the server reads before it puts them in: MAX_BUFFERED_TUPLES of its copyfrom.c."""
ROWS_MIN = 200
PARTS_LEFT_MAX = 3
"""A COPY of fewer rows, or of less than this part of those that are left, is not worth what it costs,
a third of a millisecond."""
ROWS_OF_ONE = 256
COPIES_MAX = 3
PIECE_BYTES = 256 * 1024
UNSENT_BYTES_MAX = 1024 * 1024
"""What libpq is handed at once, which is more than a block of a stream, and holds before we wait for
the server: it never gives back what it grew by, and the server takes in each piece as a whole."""
_COPY = f"COPY hopsmeter.allocations ({COPY_COLUMNS}) FROM STDIN (FORMAT BINARY);".encode()
_ABANDONED = b"given up by hopsmeter"

Connection = psycopg.Connection[Any]


class Sink:
    """Takes records for about so many rows; can be left for a question."""

    def __init__(self, connection: Connection, rows: int = 0) -> None:
        self._connection, self._pgconn = connection, connection.pgconn
        self._copies = max(1, min(rows // ROWS_OF_ONE, COPIES_MAX))
        self._waiting = 0
        """COPYs that were announced and did not end."""
        self._is_open = False
        """The first of them takes records."""
        self._rows = 0
        self._unsent_bytes = 0

    def write(self, records: bytes, rows: int, *, left: int = 0) -> None:
        """Write records of so many rows; about so many are `left`."""
        if not self._waiting:
            self._announce(1)
        self._put(records)
        self._rows += rows
        if self._waiting > 1 and self._rows % SERVER_ROWS >= max(left // PARTS_LEFT_MAX, ROWS_MIN):
            self._end()

    def pause(self) -> None:
        """End all COPYs, so that the connection can be asked something."""
        while self._waiting:
            self._put()
            self._end()
        self._require_done(self._wait(generators.fetch_many(self._pgconn)))

    def __enter__(self) -> Self:
        self._announce(self._copies)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if error is None:
            self.pause()
        elif self._pgconn.status == psycopg.pq.ConnStatus.OK:
            self._wait(_abandon(self._pgconn, is_open=self._is_open))

    def _announce(self, copies: int) -> None:
        self._pgconn.send_query(_COPY * copies)
        self._wait(generators.send(self._pgconn))
        self._waiting, self._is_open, self._rows = copies, False, 0

    def _put(self, records: bytes = b"") -> None:
        if not self._is_open:
            self._require_done(self._wait(generators.fetch_many(self._pgconn)))
            self._is_open = True
            records = HEADER + records
        for start in range(0, len(records), PIECE_BYTES):
            piece = records[start : start + PIECE_BYTES]
            self._unsent_bytes += len(piece)
            is_much = self._unsent_bytes >= UNSENT_BYTES_MAX
            self._wait(generators.copy_to(self._pgconn, piece, flush=is_much))
            if is_much:
                self._unsent_bytes = 0

    def _end(self) -> None:
        self._wait(generators.copy_to(self._pgconn, TRAILER, flush=False))
        self._wait(_send_end(self._pgconn))
        self._waiting -= 1
        self._is_open, self._rows, self._unsent_bytes = False, 0, 0

    def _require_done(self, results: list[PGresult]) -> None:
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(result)

    def _wait(self, what: PQGen[Any]) -> Any:
        return self._connection.wait(what)


def _send_end(pgconn: PGconn, refusal: bytes | None = None) -> PQGen[None]:
    """Do what psycopg does at the end of a COPY, but for waiting for the result."""
    while pgconn.put_copy_end(refusal) == 0:
        while not (yield Wait.W):
            continue
    while pgconn.flush() != 0:
        while not (yield Wait.W):
            continue


def _abandon(pgconn: PGconn, *, is_open: bool) -> PQGen[None]:
    """Let the server refuse what was written, and those that were announced with it."""
    if not is_open:
        results = yield from generators.fetch_many(pgconn)
        is_open = bool(results) and results[-1].status == ExecStatus.COPY_IN
    if is_open:
        yield from _send_end(pgconn, _ABANDONED)
        yield from generators.fetch_many(pgconn)
