"""Reports whose outcome is unknown for too long: decided by what Stripe says it has.

Of a sum meter, once Stripe may have forgotten the identifier; of either, once it takes no event of the
day any more, and a refusal would not say whether it had it, or counts nothing for a customer that was
deleted; and what was refused after a try that may have arrived. Never by a sum that may lack what the last
try brought.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.rows import class_row

from core.billing.stripe.gateway import Gateway
from core.billing.stripe.lag import LAG
from core.billing.stripe.reporting.given_up import give_up
from core.billing.stripe.reporting.limits import FORGOTTEN, REPORTABLE
from core.billing.stripe.reporting.send import LEASE_S
from core.billing.stripe.reporting.taking_back import posting_date
from core.billing.stripe.summaries import fetch_units
from core.clock import day_of
from core.db.locks import Lock, take
from core.db.queries import queries_beside
from core.errors import StripeFault, StripeRefused

_SQL = queries_beside(__file__)
DECIDED_MAX = 500
"""In one run; each asks Stripe once."""
COUNTED_AFTER = LAG + timedelta(seconds=LEASE_S)
"""From the beginning of a try until Stripe's sums have what arrived of it: a batch lasts as long as its lease."""
DAY = timedelta(days=1)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Forgotten:
    """A report that Stripe may have, with `units_before` counted of its day without it.

    One that `is_over`, of a day too old or a customer that `is_gone`, can only be given up where it was lost.
    """

    id: int
    account_no: int
    day: date
    units: int
    units_before: int
    customer: str
    meter_id: str
    tries: int
    is_over: bool
    is_gone: bool
    is_refused: bool


async def decide_forgotten(connection: Connection, gateway: Gateway, now: datetime) -> int:
    """Decide what became of them; return how many fit neither way and wait for a person.

    What cannot be asked about now is left for the next run. Of a customer that was deleted, what Stripe will not
    say, or fits neither, counts as told: what its invoice did not bill, or is on none, is taken back anyway.
    """
    values = {
        "forgotten": now - FORGOTTEN,
        "counted": now - COUNTED_AFTER,
        "oldest": day_of(now) - REPORTABLE,
        "limit": DECIDED_MAX,
    }
    with connection.cursor(row_factory=class_row(Forgotten)) as cursor:
        found = cursor.execute(_SQL["forgotten"], values).fetchall()
    undecided = 0
    for each in found:
        try:
            units = await _units(gateway, each)
        except StripeFault:
            continue
        if units == each.units != each.units_before:
            arrived(connection, each.id, each.tries, now)
        elif units == each.units_before != each.units:
            _is_lost(connection, each, now)
        elif each.is_gone:
            arrived(connection, each.id, each.tries, now)
        else:
            undecided += 1
            error = (
                f"Stripe counts {units} units for {each.day}; {each.units_before} without this"
                f" report, {each.units} with it, were expected."
            )
            connection.execute(_SQL["undecided"], {"id": each.id, "error": error})
    return undecided


async def _units(gateway: Gateway, report: Forgotten) -> int | None:
    """Return what Stripe counts of a report's day; None where it says nothing of a customer that was deleted."""
    try:
        said = await fetch_units(
            gateway,
            meter_id=report.meter_id,
            customer=report.customer,
            since=report.day,
            until=report.day + DAY,
        )
    except StripeRefused:
        if not report.is_gone:
            raise
        return None
    return said.get(report.day, 0)


def _is_lost(connection: Connection, report: Forgotten, now: datetime) -> None:
    """What was refused stays so, as its account stays parked: a person says what is done with it."""
    if report.is_refused and not report.is_over:
        connection.execute(_SQL["plainly_refused"], {"id": report.id, "tries": report.tries})
    else:
        lost(connection, report.id, report.tries, now, is_over=report.is_over)


def arrived(connection: Connection, report_id: int, tries: int, now: datetime) -> bool:
    """Take a report as accepted; False where another has it in hand, or tried it again since."""
    token = uuid4()
    with connection.transaction():
        values = {"id": report_id, "tries": tries, "token": token, "lease_s": LEASE_S}
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


def lost(
    connection: Connection, report_id: int, tries: int, now: datetime, *, is_over: bool
) -> bool:
    """Let a report be sent anew, or give it up where `is_over`; False where another has it in hand."""
    if is_over:
        with connection.transaction():
            take(connection, Lock.REPORTING)
            return bool(give_up(connection, [report_id], now))
    values = {"id": report_id, "tries": tries, "now": now}
    return bool(connection.execute(_SQL["decide_lost"], values).rowcount)
