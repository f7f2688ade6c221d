"""What is told next: the ledger read by day, days that are final moved, reports written down.

All of it in short transactions under the lock REPORTING, before anything is sent: whoever is killed
leaves either nothing or a row that says what was about to be said.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import class_row

from core.billing.stripe.reporting.compare import compare
from core.billing.stripe.reporting.given_up import give_up_untold
from core.billing.stripe.reporting.limits import REPORTABLE
from core.billing.stripe.reporting.taking_back import take_back
from core.billing.stripe.units import UNIT_NANO
from core.clock import day_of
from core.db.locks import Lock, take
from core.db.queries import queries_beside

_SQL = queries_beside(__file__)
ENDED_FOR = timedelta(hours=2)
"""By then the last invoice of a subscription that ended is there, and fetched."""
DAYS_MAX = 31
"""Added up in one statement."""
READS_MAX = 400
MOVES_MAX = 10_000

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Prepared:
    """How many days were added up anew, invoices that had not heard all, days moved; days that were told to
    a subscription that ended without invoicing them; such as the one after would bill a second time; and
    reports given up.
    """

    days: int = 0
    late: int = 0
    moved: int = 0
    ended: int = 0
    lowered: int = 0
    given_up: int = 0


def prepare(connection: Connection, now: datetime) -> Prepared:
    """Read the ledger, hold final invoices against it, and bring what is final to the open day.

    What cannot be told any more is given up first.
    """
    given_up = give_up_untold(connection, now)
    days = read_days(connection)
    late = compare(connection, now)
    moved, ended = _move_final(connection, now), _take_back_ended(connection, now)
    return Prepared(days, late, moved, ended, _lower(connection, now), given_up)


def read_days(connection: Connection) -> int:
    """Add up what the ledger has of days that were posted since; return how many days. No clock counts here."""
    days = 0
    for _ in range(READS_MAX):
        with connection.transaction():
            take(connection, Lock.REPORTING)
            row = connection.execute(_SQL["read_days"], {"limit": DAYS_MAX}).fetchone()
        assert row is not None
        days += row[0]
        if row[0] < DAYS_MAX:
            break
    return days


def make_reports(connection: Connection, now: datetime) -> int:
    """Write down the next report of each account that owes one; return how many."""
    today = day_of(now)
    values = {
        "unit": UNIT_NANO,
        "now": now,
        "today": today,
        "oldest": today - REPORTABLE,
        "ended_for": ENDED_FOR,
    }
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


def _take_back_ended(connection: Connection, now: datetime) -> int:
    """Count units as unreported again that a subscription ended without invoicing: a person decides.

    Who cancels without a last invoice leaves at Stripe what was told of the open cycle, and the next
    subscription bills from its own beginning on.
    """
    with connection.transaction():
        take(connection, Lock.REPORTING)
        values = {"ended_for": ENDED_FOR, "limit": MOVES_MAX}
        found = connection.execute(_SQL["never_invoiced"], values).fetchall()
        for account_no, day, units in found:
            memo = "on no invoice of the subscription that ended"
            take_back(connection, account_no, {day: units}, "late ended", memo, now)
    return len(found)


def _lower(connection: Connection, now: datetime) -> int:
    """Write down reports that take off a day what is billed with it already, and would be again.

    A subscription ended within the day, another began, and Stripe was told of the day before we knew: its
    last invoice has the day, what it did not count goes to the open day, and the other is to bill nothing.
    """
    values = {"unit": UNIT_NANO, "now": now, "oldest": day_of(now) - REPORTABLE}
    with connection.transaction():
        take(connection, Lock.REPORTING)
        row = connection.execute(_SQL["lower"], values).fetchone()
    assert row is not None
    return int(row[0])
