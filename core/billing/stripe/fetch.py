"""Fetch what Stripe says it has of each account's days, and keep it beside what we told it."""

import asyncio
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import class_row

from core.billing.stripe.gateway import Gateway
from core.billing.stripe.moments import ahead_of, right
from core.billing.stripe.summaries import fetch_units
from core.clock import DAY, day_of
from core.db.queries import queries_beside
from core.errors import StripeAway, StripeFault, StripeRefused, StripeStopped

_SQL = queries_beside(__file__)
LOOK_BACK = timedelta(days=70)
"""Two months and the grace of an invoice: what is older has been compared, and is final."""
BATCH = 200
AWAY_MAX = 5
"""Accounts that could not be asked in a batch, after which Stripe is left alone."""

Connection = psycopg.Connection[Any]


@dataclass
class Fetched:
    """How many accounts were asked about, and why others could not be."""

    accounts: int = 0
    away: int = 0
    refused: int = 0
    stopped: StripeStopped | None = None


@dataclass(frozen=True)
class _Customer:
    account_no: int
    customer: str
    meter_id: str
    first_day: date


def fetched_since(connection: Connection, at: datetime) -> bool:
    """Say whether anything of Stripe's was fetched in the day since then.

    What a clock that was ahead left of a moment to come does not count.
    """
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM hopsmeter.stripe_summaries"
        " WHERE fetched_at > %s AND fetched_at <= %s)",
        [at, ahead_of(at + DAY)],
    ).fetchone()
    return row is not None and bool(row[0])


async def fetch_summaries(
    connection: Connection, gateway: Gateway, now: datetime, *, account_no: int | None = None
) -> Fetched:
    """Fetch the sums of every linked account, or of one, from its first reported day on."""
    now = right(now, gateway.time)
    since = day_of(now) - LOOK_BACK
    values = {"since": since, "account_no": account_no}
    with connection.cursor(row_factory=class_row(_Customer)) as cursor:
        customers = cursor.execute(_SQL["customers_to_compare"], values).fetchall()
    done = Fetched()
    for start in range(0, len(customers), BATCH):
        batch = customers[start : start + BATCH]
        said = await asyncio.gather(*(_one(gateway, each, since, now) for each in batch))
        away = 0
        for each, answer in zip(batch, said, strict=True):
            if isinstance(answer, dict):
                _keep(connection, each, max(since, each.first_day), answer, now)
                done.accounts += 1
            elif isinstance(answer, StripeStopped):
                done.stopped = answer
            else:
                away += isinstance(answer, StripeAway)
                done.refused += isinstance(answer, StripeRefused)
        done.away += away
        if done.stopped or away >= AWAY_MAX:
            break
    return done


async def _one(
    gateway: Gateway, each: _Customer, since: date, now: datetime
) -> "dict[date, int] | StripeFault":
    try:
        return await fetch_units(
            gateway,
            meter_id=each.meter_id,
            customer=each.customer,
            since=max(since, each.first_day),
            until=day_of(now) + timedelta(days=1),
        )
    except StripeFault as fault:
        return fault


def _keep(
    connection: Connection, each: _Customer, since: date, said: dict[date, int], now: datetime
) -> None:
    """Write down what was said; a day that was told and is not listed has nothing at Stripe.

    What was told to a customer before stays as it was fetched last: this one cannot say.
    """
    values = {
        "account_no": each.account_no,
        "customer": each.customer,
        "days": list(said),
        "units": list(said.values()),
        "since": since,
        "now": now,
    }
    connection.execute(_SQL["keep_summaries"], values)
