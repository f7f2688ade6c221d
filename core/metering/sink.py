"""The COPY into allocations: opened by what is written, ended early, left for a question.

PostgreSQL puts rows of a binary COPY into the table a thousand at a time, or at its end; until then it
only reads them. So an answer of a thousand rows would be put in after all of it was read here, while
we wait. Therefore a COPY can be ended early: the server puts in what it has while we read on,
and what came of it is asked for when the next one begins.
"""

from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import generators
from psycopg.abc import PQGen
from psycopg.copy import LibpqWriter
from psycopg.pq.abc import PGconn
from psycopg.waiting import Wait

from core.metering.pack import COPY_COLUMNS, HEADER, TRAILER

SERVER_ROWS = 1000
"""Rows that the server reads before it puts them in: MAX_BUFFERED_TUPLES of its copyfrom.c."""
ROWS_MIN = 200
PARTS_LEFT_MAX = 3
"""A COPY of fewer rows, or of less than this part of those that are left, is not worth what it costs,
a third of a millisecond."""
_COPY = f"COPY hopsmeter.allocations ({COPY_COLUMNS}) FROM STDIN (FORMAT BINARY)"

Connection = psycopg.Connection[Any]


class Sink:
    """A COPY into allocations that opens with what is written, and can be left for a question."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stack = ExitStack()
        self._copy: psycopg.Copy | None = None
        self._writer: _Writer | None = None
        self._rows = 0

    def write(self, records: bytes, rows: int, *, left: int = 0) -> None:
        """Write records of so many rows; about so many are `left`."""
        if self._copy is None:
            self.pause()
            cursor = self._stack.enter_context(self._connection.cursor())
            self._writer = _Writer(cursor)
            self._copy = self._stack.enter_context(cursor.copy(_COPY, writer=self._writer))
            self._copy.write(HEADER)
            self._rows = 0
        self._copy.write(records)
        self._rows += rows
        if self._rows % SERVER_ROWS >= max(left // PARTS_LEFT_MAX, ROWS_MIN):
            self._end()

    def pause(self) -> None:
        """End the COPY under way, so that the connection can be asked something."""
        self._end()
        self._stack.close()

    def _end(self) -> None:
        if self._copy is not None and self._writer is not None:
            self._copy.write(TRAILER)
            self._writer.end()
            self._copy = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if error is None:
            self.pause()
        self._stack.__exit__(kind, error, where)


class _Writer(LibpqWriter):
    """Can tell the server that this was all, before anybody asks what came of it."""

    _is_over = False

    def end(self) -> None:
        self.connection.wait(_send_end(self._pgconn))
        self._is_over = True

    def finish(self, exc: BaseException | None = None) -> None:
        if not self._is_over:
            super().finish(exc)
            return
        (result,) = self.connection.wait(generators.fetch_many(self._pgconn))
        if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(result)


def _send_end(pgconn: PGconn) -> PQGen[None]:
    """Do what psycopg does at the end of a COPY, but for waiting for the result."""
    while pgconn.put_copy_end() == 0:
        while not (yield Wait.W):
            continue
    while pgconn.flush() != 0:
        while not (yield Wait.W):
            continue
