"""What a person decides about days: such as Stripe was not told, and such as were told and are on no invoice."""

from dataclasses import replace
from datetime import date, datetime
from typing import Any

import psycopg

from core.billing.stripe.bills.span import Asked
from core.billing.stripe.bills.unbilled import unbilled
from core.billing.stripe.reporting.limits import REPORTABLE
from core.billing.stripe.reporting.settle import How, Settled, settle
from core.billing.stripe.reporting.taking_back import take_back
from core.clock import day_of
from core.db.locks import Lock, take
from core.db.queries import queries_beside
from core.errors import Conflict
from core.identity.accounts import Account, find_account
from core.identity.principal import Principal

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


def settle_days(
    connection: Connection,
    principal: Principal,
    *,
    account: str,
    day: date | None,
    how: How,
    why: str,
    now: datetime,
) -> Settled:
    """Settle one day, or all that wait for a person; Conflict where none does.

    What was told of a day and is on no invoice counts as not told, then as any other that is due.
    """
    principal.require_admin("settle what Stripe was not told")
    payer = find_account(connection, account)
    take(connection, Lock.REPORTING)
    waits = _waits(connection, payer.no, how, now)
    days = _count_as_not_told(connection, payer, day, now)

    def of(which: date | None) -> Settled:
        return settle(connection, principal, account=account, day=which, how=how, why=why, now=now)

    done = [of(each) for each in days]
    if not days or (day is None and waits):
        done.append(of(day))
    together = sorted(pair for each in done for pair in each.days)
    return replace(done[0], days=tuple(together))


def _waits(connection: Connection, account_no: int, how: How, now: datetime) -> bool:
    """Say whether anything else of an account waits for a person."""
    today = day_of(now)
    values = {
        "account_no": account_no,
        "oldest": today - REPORTABLE,
        "but": None if how == "outside" else today,
    }
    row = connection.execute(_SQL["days_wait"], values).fetchone()
    assert row is not None
    return bool(row[0])


def _count_as_not_told(
    connection: Connection, payer: Account, day: date | None, now: datetime
) -> list[date]:
    """Return the days that are on no invoice, each due again with what it was told."""
    found = unbilled(connection, Asked(account_no=payer.no))
    units = {
        each: count
        for left in found
        if left.invoice_id is None
        for each, count in left.days
        if day in (None, each)
    }
    if not units:
        return []
    if connection.execute(_SQL["under_way"], {"account_no": payer.no, "days": [*units]}).rowcount:
        raise Conflict(
            f"A report of {payer.label} is under way; settle these days once its outcome is known."
            " Nothing was changed."
        )
    memo = "told, and on no invoice"
    take_back(connection, payer.no, units, "late unbilled", memo, now)
    return sorted(units)
