"""An account's day: what was entered of it, what its hours are charged, and what replaced what."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from core.books.completeness import ClusterHours, clusters_of, hours_of
from core.books.entries.entry import Line, entries_of_day
from core.books.readers import readable_payer
from core.books.stripe.reported import ReportedDay, reported_days
from core.books.words import REVENUE
from core.clock import day_start
from core.db.queries import queries_beside
from core.identity.principal import Principal

_SQL = queries_beside(__file__)

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class HourCharge:
    """What one namespace is charged for one hour, by which plan, and the answer that says so."""

    cluster: str
    namespace: str
    project: str
    hour: datetime
    user_id: str
    plan: str
    cost_nano: int
    charge_nano: int
    revision: int
    state: str
    raw_sha256: str | None
    is_posted: bool
    is_pending: bool
    """Stored, or changed, since its last posting."""


@dataclass(frozen=True)
class Replaced:
    """A revision that was replaced: what it said, when and why it went."""

    cluster: str
    namespace: str
    hour: datetime
    revision: int
    account: str | None
    plan: str | None
    cost_nano: int
    charge_nano: int | None
    replaced_at: datetime
    why: str
    raw_sha256: str | None


@dataclass(frozen=True)
class AccountDay:
    """One account's day; money in nano-units of `currency`."""

    account: str
    email: str
    currency: str
    day: date
    entries: tuple[Line, ...]
    charges: tuple[HourCharge, ...]
    replaced: tuple[Replaced, ...]
    hours: tuple[ClusterHours, ...]
    """Of the account's clusters: which hours of the day are not in the books, or not settled."""
    told: ReportedDay | None = None
    """What of it was told to Stripe; None while nothing of it is owed, or Stripe not set up."""

    @property
    def entered_nano(self) -> int:
        """What was charged by all postings together."""
        return -sum(each.amount_nano for each in self.entries if each.contra == REVENUE)

    @property
    def charged_nano(self) -> int:
        return sum(each.charge_nano for each in self.charges)

    @property
    def is_pending(self) -> bool:
        return any(each.is_pending for each in self.charges)


def explain_day(
    connection: Connection, principal: Principal, account: str, day: date, newest: datetime
) -> AccountDay:
    """Explain what an account (id or e-mail) was charged for a day."""
    payer = readable_payer(connection, principal, account)
    values = {"account_no": payer.no, "day": day}
    first, after = day_start(day), day_start(day + timedelta(days=1))
    mine = clusters_of(connection, [payer.no], first, after)[payer.no]
    hours = hours_of(connection, first, after, newest)
    told = reported_days(connection, payer.no, day, day + timedelta(days=1))
    return AccountDay(
        payer.id,
        payer.email,
        payer.currency,
        day,
        entries_of_day(connection, payer.no, day),
        tuple(HourCharge(**row) for row in _rows(connection, "charges_of_day", values)),
        tuple(Replaced(**row) for row in _rows(connection, "replaced_of_day", values)),
        tuple(each for each in hours if each.cluster in mine),
        told[0] if told else None,
    )


def _rows(connection: Connection, name: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_SQL[name], values).fetchall()
    for row in rows:
        row["raw_sha256"] = row["raw_sha256"].hex() if row["raw_sha256"] else None
    return rows
