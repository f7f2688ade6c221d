"""A transaction that begins with a question: BEGIN, and what is asked first, on one way to the server."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]


@contextmanager
def beginning_with(connection: Connection, first: bytes) -> Iterator[psycopg.Cursor[Any]]:
    """Hold a transaction on an autocommit connection that is in none; give the cursor of `first`.

    `first` are statements without parameters; the cursor stands at the answer of the first of them. As with
    `connection.transaction()`, an exception rolls everything back and passes on.
    """
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    try:
        cursor = connection.execute(b"BEGIN; " + first)
        cursor.nextset()
        yield cursor
    except BaseException:
        # Of a connection that is lost the server has rolled back by itself.
        with suppress(psycopg.Error):
            connection.rollback()
        raise
    connection.commit()
