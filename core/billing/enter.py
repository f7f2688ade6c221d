"""Enter: what a posting changes of accounts' days becomes entries of the ledger.

The changes lie in `hopsmeter_changes`, put there by the statements that changed the daily rows, in
the same transaction. The books they touch are locked first, in one order, in a statement of its own;
only then are lots read.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg

from core.db.queries import queries_beside

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Entered:
    """The number of a day's posting, and how many entries it wrote."""

    number: int
    entries: int


def enter_changes(connection: Connection, day: date, today: date) -> Entered:
    """Write the entries of one day's changes; the caller holds the lock of posting."""
    # A day that is charged has begun, whatever a clock that is behind says: what no longer pays it
    # repays nothing either.
    values: dict[str, Any] = {"day": day, "today": max(day, today)}
    values["no"] = _one(connection, "next_posting", values)
    values["posted_on"] = _one(connection, "posting_date", values)
    connection.execute(_SQL["open_books"], values)
    connection.execute(_SQL["lock_books"], values)
    entries = _one(connection, "post_changes", values)
    if connection.execute(_SQL["reduce_charges"], values).rowcount:
        entries = _one(connection, "entries_of", values)
    return Entered(values["no"], entries)


def _one(connection: Connection, name: str, values: dict[str, Any]) -> Any:
    row = connection.execute(_SQL[name], values).fetchone()
    assert row is not None
    return row[0]
