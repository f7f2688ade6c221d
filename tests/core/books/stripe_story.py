"""A month with Stripe, told once: all that the proof of it is about, and then each of it can be corrupted."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from stripe import RequestsClient, StripeClient

from core.books.checks import check_books
from core.books.lines import CheckLine
from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from tests import factories
from tests.core.billing.stripe.reporting.till import START, Till
from tests.database import Connection, Database


@dataclass(frozen=True)
class Told:
    """When the story ended, and who was in it."""

    now: datetime
    anna: factories.User
    bert: factories.User
    cara: factories.User
    dora: factories.User


def month(database: Database) -> Told:
    """March and its invoices.

    anna is on the daily meter, with a correction and units that came too late for her invoice; bert
    on the sum meter, with arrears settled by hand; cara is not linked; of dora usage from before her
    subscription was settled.
    """
    clock = WorldClock(START)
    http = RequestsClient(timeout=10.0)
    try:
        with StripeWorld(now=clock, seed=7) as stripe:
            addresses = stripe.base_addresses
            client = StripeClient(stripe.api_key, base_addresses=addresses, http_client=http)  # type: ignore[arg-type]  # a TypedDict of the same four names
            return _tell(Till(database.connect(), stripe, clock, client))
    finally:
        http.close()  # type: ignore[no-untyped-call]  # the SDK has no annotation there


def _tell(till: Till) -> Told:
    anna, bert = till.account("anna"), till.account("bert", meter="sum")
    cara = factories.add_user(till.connection, "cara@example.test")
    till.connection.execute("UPDATE hopsmeter.users SET currency = 'USD' WHERE no = %s", [cara.no])
    for user in (anna, bert):
        till.charge(user, till.day(0), 1_000_600)
        till.charge(user, till.day(1), 2_000_600)
    till.at(2)
    till.run()
    till.charge(anna, till.day(0), -1_000_400)
    till.charge(bert, till.day(0), 5_000)
    till.charge(cara, till.day(1), 700)
    till.at(2, 2)
    till.run()
    till.at(3, 12)
    dora = till.account("dora")
    till.charge(dora, till.day(2), 5_000)
    till.charge(dora, till.day(3), 1_000)
    by_hand(till.connection, bert, 3_000, till)
    till.at(4)
    till.run()
    till.settle(dora, "outside")
    _end(till, anna)
    fetched(till, (anna, bert, dora))
    return Told(till.now, anna, bert, cara, dora)


def _end(till: Till, anna: factories.User) -> None:
    """Its last days: some of it comes after the invoice was final, and nobody told us yet."""
    till.charge(anna, till.day(29), 2_000)
    till.charge(anna, till.day(30), 5_000)
    till.at(31, 0.5)
    till.run()
    till.charge(anna, till.day(30), 1_000)
    till.at(31, 5)
    till.tell()
    till.run()
    till.later(hours=2)
    till.run()
    till.later(hours=2)


def fetched(till: Till, users: Iterable[factories.User]) -> None:
    """Keep what Stripe says it has, as reconciliation does."""
    days = till.connection.execute("SELECT DISTINCT day FROM hopsmeter.stripe_days").fetchall()
    for user in users:
        for (day,) in days:
            if units := till.told(user, (day - till.day(0)).days):
                till.connection.execute(
                    "INSERT INTO hopsmeter.stripe_summaries VALUES (%s, %s, %s, %s)",
                    [user.no, day, units, till.now],
                )


def by_hand(connection: Connection, user: factories.User, nano: int, till: Till) -> None:
    """Move arrears to the receivable, as an admin does for who left prepaid."""
    connection.execute(
        "SELECT hopsmeter.write_entry(%s, 3::smallint, 2::smallint, %s, %s, NULL, NULL, %s, '', NULL)",
        [user.no, nano, till.now.date(), f"settled {till.now} {nano}"],
    )


def proved(connection: Connection, now: datetime, **how: Any) -> dict[int, CheckLine]:
    """Return the two lines that are about Stripe."""
    return {
        each.number: each for each in check_books(connection, now, **how) if each.number in (6, 8)
    }


def owner_without_triggers(database: Database) -> Connection:
    """Whom nothing holds back but the constraints of a row."""
    return psycopg.connect(
        database.superuser_url,
        autocommit=True,
        options="-c search_path=hopsmeter -c session_replication_role=replica",
    )
