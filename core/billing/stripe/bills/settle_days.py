"""What a person decides about days: such as Stripe was not told, and such as were told and are on no invoice."""

from datetime import date, datetime
from typing import Any

import psycopg

from core.billing.stripe.bills.span import Asked
from core.billing.stripe.bills.unbilled import unbilled
from core.billing.stripe.reporting.given_up import give_up_refused
from core.billing.stripe.reporting.settle import How, Settled, require_waits, settle_of, waiting
from core.billing.stripe.reporting.taking_back import take_back
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
    taken_back = _count_as_not_told(connection, payer, day, now)
    give_up_refused(connection, payer.no, day, now)
    if day is not None and not taken_back:
        require_waits(connection, payer.no, day, now)
    asked = waiting(connection, payer.no, how, now) if day is None else [day]
    days = sorted({*taken_back, *asked})
    return settle_of(connection, principal, payer, days, how, why, now, changed=taken_back)


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
