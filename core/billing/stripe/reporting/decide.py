"""Reports whose outcome is unknown for too long: decided by what Stripe says it has.

Of a sum meter, once Stripe may have forgotten the identifier; of either, once it takes no event of the
day any more, and a refusal would not say whether it had it.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.rows import class_row

from core.billing.stripe.gateway import Gateway
from core.billing.stripe.reporting.given_up import give_up
from core.billing.stripe.reporting.limits import FORGOTTEN, REPORTABLE
from core.billing.stripe.reporting.send import LEASE_S
from core.billing.stripe.reporting.taking_back import posting_date
from core.billing.stripe.summaries import fetch_units
from core.clock import day_of
from core.db.locks import Lock, take
from core.db.queries import queries_beside
from core.errors import StripeFault

_SQL = queries_beside(__file__)
DECIDED_MAX = 500
"""In one run; each asks Stripe once."""
DAY = timedelta(days=1)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Forgotten:
    """A report that Stripe may have, with `units_before` counted of its day without it.

    One that `is_old` can only be given up where it was lost.
    """

    id: int
    account_no: int
    day: date
    units: int
    units_before: int
    customer: str
    meter_id: str
    is_old: bool


async def decide_forgotten(connection: Connection, gateway: Gateway, now: datetime) -> int:
    """Decide what became of them; return how many fit neither way and wait for a person.

    What cannot be asked about now is left for the next run.
    """
    values = {
        "forgotten": now - FORGOTTEN,
        "oldest": day_of(now) - REPORTABLE,
        "limit": DECIDED_MAX,
    }
    with connection.cursor(row_factory=class_row(Forgotten)) as cursor:
        found = cursor.execute(_SQL["forgotten"], values).fetchall()
    undecided = 0
    for each in found:
        try:
            said = await fetch_units(
                gateway,
                meter_id=each.meter_id,
                customer=each.customer,
                since=each.day,
                until=each.day + DAY,
            )
        except StripeFault:
            continue
        units = said.get(each.day, 0)
        if units == each.units:
            arrived(connection, each.id, now)
        elif units == each.units_before:
            lost(connection, each.id, now, is_over=each.is_old)
        else:
            undecided += 1
            error = (
                f"Stripe counts {units} units for {each.day}; {each.units_before} without this"
                f" report, {each.units} with it, were expected."
            )
            connection.execute(_SQL["undecided"], {"id": each.id, "error": error})
    return undecided


def arrived(connection: Connection, report_id: int, now: datetime) -> bool:
    """Take a report as accepted; False where another has it in hand."""
    token = uuid4()
    with connection.transaction():
        values = {"id": report_id, "token": token, "lease_s": LEASE_S}
        if not connection.execute(_SQL["decide_arrived"], values).rowcount:
            return False
        accepted = {
            "ids": [report_id],
            "token": token,
            "now": now,
            "posted_on": posting_date(connection, day_of(now)),
        }
        connection.execute(_SQL["accept_reports"], accepted)
    return True


def lost(connection: Connection, report_id: int, now: datetime, *, is_over: bool = False) -> bool:
    """Let a report be sent anew, or give it up where `is_over`; False where another has it in hand."""
    if is_over:
        with connection.transaction():
            take(connection, Lock.REPORTING)
            return bool(give_up(connection, [report_id], now))
    return bool(connection.execute(_SQL["decide_lost"], {"id": report_id, "now": now}).rowcount)
