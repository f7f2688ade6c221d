"""Three ways: OpenCost's raw answers, the books, Stripe. What differs is listed, never mended.

The raw answers are held against the facts, the facts against daily rows and entries, by the checks of
the books; what entries moved into receivables is what was told, and that is held against what Stripe
says it has, and what its final invoices bill.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import psycopg

from core.books.checks import check_books
from core.books.reconcile.differences import differences
from core.clock import day_of
from core.identity.principal import Principal
from core.identity.users import find_user

OF_A_DAY: Final = {
    1: "hopsmeter collect CLUSTER --hour HOUR reads the hour again",
    3: "hopsmeter collect CLUSTER --hour HOUR, or restore the daily row",
    4: "hopsmeter books check --month MONTH; restore the entry",
}
"""The checks that hold OpenCost's answers against the books, with what a person does."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Finding:
    """One difference: where it is, of which day, what caused it, and what a person does next."""

    where: str
    email: str
    day: date | None
    cause: str
    next_step: str


@dataclass(frozen=True)
class Reconciled:
    """What differs, and in one sentence what was compared and how old Stripe's side is."""

    findings: list[Finding]
    said: str


def reconcile(
    connection: Connection,
    principal: Principal,
    now: datetime,
    *,
    since: date,
    account: str | None = None,
) -> Reconciled:
    """Compare all three since a day; of one account only what Stripe says of it."""
    principal.require_admin("compare the books with Stripe")
    only = find_user(connection, account).id if account else None
    found = [
        Finding(each.account_id, each.email, each.day, each.cause, each.next_step)
        for each in differences(connection, since)
        if only in (None, each.account_id)
    ]
    row = connection.execute(
        "SELECT count(*), count(DISTINCT account_no), min(fetched_at) FROM hopsmeter.stripe_summaries"
        " WHERE day >= %s",
        [since],
    ).fetchone()
    assert row is not None
    if only is None:
        found += _of_the_books(connection, since, now)
    if not row[0]:
        return Reconciled(found, _none_fetched(connection, since))
    days = "1 day" if row[0] == 1 else f"{row[0]} days"
    accounts = "1 account" if row[1] == 1 else f"{row[1]} accounts"
    said = f"{days} of {accounts} as fetched from {row[2]:%Y-%m-%d %H:%MZ} on."
    return Reconciled(found, said)


def _none_fetched(connection: Connection, since: date) -> str:
    """Say why there is nothing of Stripe's: of what it was never told nothing can be fetched."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM hopsmeter.stripe_reports WHERE day >= %s AND sent_at IS NOT NULL)",
        [since],
    ).fetchone()
    assert row is not None
    if row[0]:
        return "Nothing of Stripe's was fetched yet: --fetch asks it, and so does the daily job."
    return f"Nothing was told to Stripe since {since}, so it has nothing to compare."


def _of_the_books(connection: Connection, since: date, now: datetime) -> list[Finding]:
    """Return what the checks name between raw answers, facts, daily rows and entries."""
    found = []
    for month in _months(since, day_of(now)):
        for line in check_books(connection, now, month=month):
            if line.number in OF_A_DAY and not line.ok:
                found += [
                    Finding(row, "", None, line.title, OF_A_DAY[line.number])
                    for row in line.rows or (line.detail,)
                ]
    return found


def _months(since: date, today: date) -> list[str]:
    found = []
    first = since.replace(day=1)
    while first <= today:
        found.append(f"{first:%Y-%m}")
        first = (first + timedelta(days=32)).replace(day=1)
    return found
