"""What is told next: the ledger read by day, days that are final moved, reports written down.

All of it in short transactions under the lock REPORTING, before anything is sent: whoever is killed
leaves either nothing or a row that says what was about to be said.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import class_row

from core.billing.stripe.units import UNIT_NANO
from core.clock import day_of
from core.db.locks import Lock, take
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)
REPORTABLE = timedelta(days=34)
"""Stripe takes events of the last 35 days; a day less, since a run may last over midnight."""
DAYS_MAX = 31
"""Added up in one statement."""
READS_MAX = 400
MOVES_MAX = 10_000
INVOICES_MAX = 10_000

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Prepared:
    """How many days were added up anew, units taken back that came too late, and days moved."""

    days: int = 0
    late_units: int = 0
    moved: int = 0


def prepare(connection: Connection, now: datetime) -> Prepared:
    """Read the ledger, hold final invoices against it, and bring what is final to the open day."""
    days = 0
    for _ in range(READS_MAX):
        with connection.transaction():
            take(connection, Lock.REPORTING)
            row = connection.execute(_SQL["read_days"], {"limit": DAYS_MAX}).fetchone()
        assert row is not None
        days += row[0]
        if row[0] < DAYS_MAX:
            break
    return Prepared(days, _compare(connection, now), _move_final(connection, now))


def make_reports(connection: Connection, now: datetime) -> int:
    """Write down the next report of each account that owes one; return how many."""
    today = day_of(now)
    values = {"unit": UNIT_NANO, "now": now, "today": today, "oldest": today - REPORTABLE}
    with connection.transaction():
        take(connection, Lock.REPORTING)
        row = connection.execute(_SQL["make_reports"], values).fetchone()
    assert row is not None
    return int(row[0])


@dataclass(frozen=True)
class _Final:
    account_no: int
    day: date
    due_nano: int
    posted_nano: int
    seq: int
    invoice_id: str
    open_nano: int


def _move_final(connection: Connection, now: datetime) -> int:
    """Take what is owed of days on final invoices to the open day.

    One that would bring the open cycle below zero, where Stripe bills nothing, waits.
    """
    today = day_of(now)
    moved = 0
    with connection.transaction():
        take(connection, Lock.REPORTING)
        with connection.cursor(row_factory=class_row(_Final)) as cursor:
            values = {"oldest": today - REPORTABLE, "today": today, "limit": MOVES_MAX}
            found = cursor.execute(_SQL["final_due"], values).fetchall()
        left: dict[int, int] = {}
        for each in found:
            room = left.setdefault(each.account_no, each.open_nano)
            if room + each.due_nano < 0:
                continue
            left[each.account_no] = room + each.due_nano
            move = {
                "account_no": each.account_no,
                "from_day": each.day,
                "to_day": today,
                "amount_nano": each.due_nano,
                "kind": "final",
                "ref": f"final {each.day} {each.posted_nano} {each.seq} {today}",
                "invoice_id": each.invoice_id,
                "by": "daemon",
                "why": f"{each.day} is on invoice {each.invoice_id}, which is final",
            }
            connection.execute(_SQL["move"], move)
            moved += 1
    return moved


@dataclass(frozen=True)
class _Counted:
    day: date
    units: int
    snapshot_nano: int
    seq: int
    ended_at: datetime | None
    meter: str
    unit_nano: int
    remainder_nano: int
    entry_id: int | None


def _compare(connection: Connection, now: datetime) -> int:
    """Hold each final invoice's quantity against what is counted for its days, once."""
    late = 0
    with connection.transaction():
        take(connection, Lock.REPORTING)
        found = connection.execute(_SQL["to_compare"], {"limit": INVOICES_MAX}).fetchall()
        for invoice_id, account_no, units, since, until in found:
            values = {"account_no": account_no, "since": since, "until": until}
            with connection.cursor(row_factory=class_row(_Counted)) as cursor:
                days = cursor.execute(_SQL["counted"], values).fetchall()
            for each, part in too_late([each.units for each in days], units):
                _take_back(connection, account_no, days[each], part, invoice_id, now)
                late += part
            connection.execute(_SQL["compared"], {"id": invoice_id, "now": now})
    return late


def too_late(counted: list[int], billed: int) -> list[tuple[int, int]]:
    """Return which of the days, the one accepted last first, came too late, and with how many units.

    More was counted than billed: the last ones were not heard in time. Less than nothing was counted
    and nothing billed: Stripe bills no less than nothing, and the first day keeps what is below.
    Less was counted than billed, for any other reason: that is for a person, nothing is taken back.
    """
    excess = sum(counted) - billed
    if excess < 0:
        return [(0, excess)] if billed == 0 and counted else []
    found: list[tuple[int, int]] = []
    for place, units in enumerate(counted):
        part = min(units, excess)
        if part > 0:
            found.append((place, part))
            excess -= part
    return found


def _take_back(
    connection: Connection,
    account_no: int,
    day: _Counted,
    units: int,
    invoice_id: str,
    now: datetime,
) -> None:
    today = day_of(now)
    ref = f"late {invoice_id} {day.day} {day.seq + 1}"
    values = {
        "account_no": account_no,
        "day": day.day,
        "late": units,
        "unit": day.unit_nano,
        "remainder": day.remainder_nano,
        "meter": day.meter,
        "ref": ref,
        "invoice_id": invoice_id,
        "reverses": day.entry_id,
        "posted_on": posting_date(connection, today),
        "now": now,
    }
    connection.execute(_SQL["take_back"], values)


def posting_date(connection: Connection, today: date) -> date:
    """Return the date on which what is posted today stands."""
    row = connection.execute("SELECT hopsmeter.posting_date(%s, %s)", [today, today]).fetchone()
    assert row is not None
    on: date = row[0]
    return on
