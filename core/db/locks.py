"""The advisory locks, all named here, so that no two purposes share a number by accident.

One call per transaction, as a statement of its own: the next statement then gets a snapshot taken
after the lock was won (READ COMMITTED), which a lock inside a larger statement would not give. Several
statements may go one way to the server, with their values written into them: each has its own snapshot.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, LiteralString

import psycopg
from psycopg import ClientCursor
from psycopg.sql import SQL, Composed


class Lock(IntEnum):
    """Numbers of pg_advisory_xact_lock; "hop" and the purpose."""

    ATTRIBUTION = 0x686F7001
    """Shared by every store, exclusive for whatever changes who owns what."""
    POSTING = 0x686F7002
    """One poster at a time, beside the keys that would catch a second one."""
    REGISTRY = 0x686F7003
    """One cluster registered or changed at a time, so that none is there twice."""
    PEOPLE = 0x686F7004
    """One user added at a time, so that no address is given to two."""
    CLOSING = 0x686F7005
    """Shared by every post (`posting_date` of the schema takes it), exclusive for the closing of a
    month: no entry comes into a month behind its closing."""
    REPORTING = 0x686F7006
    """One decides at a time what Stripe is told next; sending is apart, under leases."""
    WEBHOOKS = 0x686F7009
    """One claim of events from outside at a time: of one subject, one event is in work."""


def take(connection: psycopg.Connection[Any], lock: Lock, *, shared: bool = False) -> None:
    """Wait (up to the session's lock_timeout) for `lock`; it ends with the transaction."""
    connection.execute(_taking(lock, shared=shared))


def take_and_ask(
    connection: psycopg.Connection[Any],
    lock: Lock,
    question: LiteralString,
    values: Mapping[str, Any],
    *,
    shared: bool = False,
) -> list[tuple[Any, ...]]:
    """Do as `take`, and return the rows of `question`, asked thereafter but on the same way."""
    return _rows_of_last(connection, _taking(lock, shared=shared) + SQL(question), values)


def try_take(
    connection: psycopg.Connection[Any],
    lock: Lock,
    *,
    then: LiteralString = "SELECT",
    values: Mapping[str, Any] | None = None,
) -> list[tuple[Any, ...]] | None:
    """Take `lock` if nobody holds it; return None where somebody does. It ends with the transaction.

    `then` are statements which run after it, ours or not, on the same way; returned are the last
    one's rows, which are worth something only where the lock is ours.
    """
    question = SQL("SELECT pg_try_advisory_xact_lock({});").format(int(lock)) + SQL(then)
    cursor = ClientCursor(connection)
    row = cursor.execute(question, values).fetchone()
    is_ours = row is not None and bool(row[0])
    return _last(cursor) if is_ours else None


def _taking(lock: Lock, *, shared: bool) -> Composed:
    word = SQL("_shared" if shared else "")
    return SQL("SELECT pg_advisory_xact_lock{}({});").format(word, int(lock))


def _rows_of_last(
    connection: psycopg.Connection[Any], question: Composed, values: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    cursor = ClientCursor(connection)
    cursor.execute(question, values)
    return _last(cursor)


def _last(cursor: ClientCursor[Any]) -> list[tuple[Any, ...]]:
    while cursor.nextset():
        pass
    return cursor.fetchall()
