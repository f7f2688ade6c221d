"""SQLModel on a connection that is open already: the session flushes, the owner commits.

There is one way to the database and one transaction: psycopg's. Objects are written inside it, so
that a dry run, a savepoint, a lock and the audit trail hold for them as for every plain statement.
Meant for ordinary writes, a few rows at a time; facts go by COPY and by queries.sql.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, NoReturn

import psycopg
import sqlalchemy
from psycopg.rows import TupleRow, tuple_row
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from sqlmodel import Session

Connection = psycopg.Connection[Any]

_handed: ContextVar["_Carrier"] = ContextVar("connection handed to SQLAlchemy")


class RidingSession(Session):
    """A session that cannot end the transaction: it is somebody else's."""

    def commit(self) -> NoReturn:
        raise AssertionError("the owner of the connection commits; a ride only flushes")

    def rollback(self) -> NoReturn:
        raise AssertionError("the owner of the connection rolls back; raise, or use begin_nested")


class _Carrier:
    """The connection as SQLAlchemy sees it: it may ask, and neither end nor change anything.

    psycopg refuses commit and rollback inside `transaction()`, and outside of it they would end
    what the owner began; SQLAlchemy calls both, and close, whenever a session is done.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def cursor(self) -> psycopg.Cursor[TupleRow]:
        # The owner may have rows made into anything; SQLAlchemy counts on tuples.
        return self._connection.cursor(row_factory=tuple_row)

    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def close(self) -> None: ...
    def add_notice_handler(self, _handler: object) -> None: ...

    @property
    def info(self) -> psycopg.ConnectionInfo:
        return self._connection.info

    @property
    def autocommit(self) -> bool:
        return self._connection.autocommit

    @property
    def closed(self) -> bool:
        return self._connection.closed

    @property
    def broken(self) -> bool:
        return self._connection.broken


@contextmanager
def session_on(connection: Connection) -> Iterator[Session]:
    """Lend a session inside the transaction that is open on `connection`; flush at the end.

    Tables here have no relationships: flush between a row and another that points to it.
    Errors leave as psycopg raised them, so that a caller need not know who spoke. Two threads
    share a connection no more with this than without.
    """
    try:
        with _board(connection) as line, RidingSession(line, expire_on_commit=False) as session:
            yield session
            session.flush()
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error):
            raise error.orig from None
        raise


def _board(connection: Connection) -> sqlalchemy.Connection:
    token = _handed.set(_Carrier(connection))
    try:
        return _engine().connect()
    finally:
        _handed.reset(token)


@cache
def _engine() -> Engine:
    """Make the one engine; what it learns of the server at its first ride serves them all.

    It has no address and no pool: each connection is one that was handed over. Parameters stay out
    of errors, for sealed secrets and e-mails are among them.
    """
    return create_engine(
        "postgresql+psycopg://",
        creator=_handed.get,
        poolclass=NullPool,
        pool_reset_on_return=None,
        use_native_hstore=False,
        hide_parameters=True,
    )
