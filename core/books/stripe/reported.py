"""What of an account's days was told to Stripe, and what was taken from them to others."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row

from core.billing.stripe.lag import LAG
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Report:
    """One thing said to Stripe about a day, or taken back: up to `units`, of `unit_nano` each."""

    day: date
    seq: int
    meter: str
    state: str
    units_before: int
    units: int
    unit_nano: int
    snapshot_nano: int
    remainder_nano: int
    """What was left under a unit, and carried to the next report of the account."""
    identifier: str
    made_at: datetime
    sent_at: datetime | None
    ended_at: datetime | None
    entry_id: int | None
    error: str

    @property
    def told_nano(self) -> int:
        return (self.units - self.units_before) * self.unit_nano


@dataclass(frozen=True)
class DayMove:
    """What was taken from one day to another, or settled by hand (no day to go to)."""

    id: int
    from_day: date
    to_day: date | None
    amount_nano: int
    kind: str
    """final, late, by hand or settled."""
    invoice_id: str | None
    entry_id: int | None
    at: datetime
    by: str
    why: str


@dataclass(frozen=True)
class ReportedDay:
    """A day of an account as Stripe was told of it; `due_nano` was not told, nor settled."""

    day: date
    posted_nano: int
    moved_nano: int
    snapshot_nano: int
    due_nano: int
    units: int
    said_units: int | None
    """What Stripe said it has, when it was asked last; None: never asked."""
    fetched_at: datetime | None
    invoice_id: str | None
    """The final invoice that the day is on."""
    reports: tuple[Report, ...]
    moves: tuple[DayMove, ...]

    @property
    def asked_before(self) -> bool:
        """Whether Stripe was asked when it may not have counted yet what it accepted last."""
        ended = [
            each.ended_at
            for each in self.reports
            if each.ended_at and each.sent_at and each.state in ("accepted", "superseded")
        ]
        return bool(self.fetched_at and ended and self.fetched_at < max(ended) + LAG)


def reported_days(
    connection: Connection, account_no: int, first: date, after: date
) -> tuple[ReportedDay, ...]:
    """Return the days in [first, after) of which something was posted to the receivable, or moved."""
    values = {"account_no": account_no, "first": first, "after": after}
    with connection.cursor(row_factory=class_row(Report)) as cursor:
        reports = cursor.execute(_SQL["reports_of_days"], values).fetchall()
    with connection.cursor(row_factory=class_row(DayMove)) as moves_cursor:
        moves = moves_cursor.execute(_SQL["moves_of_days"], values).fetchall()
    with connection.cursor(row_factory=dict_row) as named:
        rows = named.execute(_SQL["reported_days"], values).fetchall()
    return tuple(
        ReportedDay(
            **row,
            reports=tuple(each for each in reports if each.day == row["day"]),
            moves=tuple(each for each in moves if row["day"] in (each.from_day, each.to_day)),
        )
        for row in rows
    )


def report_of(connection: Connection, entry: int) -> Report | None:
    """Return the report that an entry is of."""
    with connection.cursor(row_factory=class_row(Report)) as cursor:
        return cursor.execute(_SQL["report_of_entry"], {"entry": entry}).fetchone()


def settled_by(connection: Connection, entry: int) -> DayMove | None:
    """Return what was settled by hand with an entry."""
    with connection.cursor(row_factory=class_row(DayMove)) as cursor:
        return cursor.execute(_SQL["move_of_entry"], {"entry": entry}).fetchone()
