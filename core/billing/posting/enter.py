"""Enter: what a posting changes of accounts' days becomes entries of the ledger.

The changes lie in `hopsmeter_changes`, put there by the statements that changed the daily rows, in
the same transaction. The accounts that have credits are locked first (`lock_books`), in one order, in
a statement of its own; only then are lots read.
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
    """One posting: its day and number, the day that runs, and the date on which it stands.

    `today` is its day at least: a day that is charged has begun, whatever a clock that is behind
    says, and what no longer pays it repays nothing either.
    """

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
    # Without parameters, two statements are one question.
    connection.execute(_SQL["plan_as_usual"] + _SQL["lock_books"])
    entries, reduced = _row(connection, "post_changes", turn)
    if reduced and connection.execute(_SQL["reduce_charges"], turn.values).rowcount:
        entries = _row(connection, "entries_of", turn)[0]
    return int(entries)


def enter_later_days(connection: Connection, turn: Turn) -> int:
    """Write the entries of days whose charges moved because of the turn's, and return how many.

    The turn's own day is entered by itself.
    """
    entries = 0
    for day, number, posted_on in connection.execute(_SQL["later_turns"], turn.values).fetchall():
        later = Turn(day, max(day, turn.today), number, posted_on)
        written = enter_changes(connection, later)
        connection.execute(_SQL["number_posting"], {**later.values, "entries": written})
        entries += written
    return entries


def _row(connection: Connection, name: str, turn: Turn) -> tuple[Any, ...]:
    row = connection.execute(_SQL[name], turn.values).fetchone()
    assert row is not None
    return tuple(row)
