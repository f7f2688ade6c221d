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
class Turn:
    """One posting: its day and number, the day that runs, and the date on which it stands."""

    day: date
    today: date
    number: int
    posted_on: date

    @property
    def values(self) -> dict[str, Any]:
        return {
            "day": self.day,
            "today": self.today,
            "no": self.number,
            "posted_on": self.posted_on,
        }


def enter_changes(connection: Connection, turn: Turn) -> int:
    """Write the entries of one day's changes, and return how many; under the lock of posting."""
    _lock_books(connection, turn)
    entries, reduced = _row(connection, "post_changes", turn)
    if reduced and connection.execute(_SQL["reduce_charges"], turn.values).rowcount:
        entries = _row(connection, "entries_of", turn)[0]
    return int(entries)


def _lock_books(connection: Connection, turn: Turn) -> None:
    if not _row(connection, "lock_books", turn)[0]:
        connection.execute(_SQL["open_books"], turn.values)
        connection.execute(_SQL["lock_books"], turn.values)


def _row(connection: Connection, name: str, turn: Turn) -> tuple[Any, ...]:
    row = connection.execute(_SQL[name], turn.values).fetchone()
    assert row is not None
    return tuple(row)
