"""Accounts whose receivable is told to a Stripe on loopback; what is charged is entered straight."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import psycopg
import pytest
from stripe import Invoice, RequestsClient, StripeClient

from core.billing.stripe.gateway import Door
from core.billing.stripe.reporting.run import Reported, report
from core.billing.stripe.reporting.send import Sent
from core.billing.stripe.reporting.settle import How, Settled, settle
from core.clock import day_of
from core.secret import Secret
from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from tests import factories
from tests.core.metering.site import ADMIN
from tests.database import Database
from tests.sandbox.stripe.shop import Shop

UNIT = 1_000
METERS = ("daily", pytest.param("sum", marks=pytest.mark.long))
"""What takes months with each kind of meter takes them with the second one in `make test-full` only."""
T = TypeVar("T", bound="Till")
START = datetime(2026, 3, 1, 0, 0, 30, tzinfo=UTC)

Connection = psycopg.Connection[Any]


def charge(
    connection: Connection, now: datetime, user: factories.User, day: date, nano: int
) -> None:
    """Let a posting of a day move an amount into an account's receivable, or out of it."""
    with connection.transaction():
        row = connection.execute(
            "SELECT coalesce(max(no), 0) + 1 FROM hopsmeter.postings WHERE day = %s", [day]
        ).fetchone()
        assert row is not None
        connection.execute(
            "INSERT INTO hopsmeter.postings (day, no, entries) VALUES (%s, %s, 1)", [day, row[0]]
        )
        connection.execute(
            "SELECT hopsmeter.write_entry(%s, 2::smallint, 11::smallint, %s,"
            " hopsmeter.posting_date(%s, %s), %s, %s, NULL, NULL, NULL)",
            [user.no, -nano, day, day_of(now), day, row[0]],
        )


@dataclass
class Till:
    """`charge` what an account owes of a day, `run` what the hourly job does, look at both sides."""

    connection: Connection
    stripe: StripeWorld
    clock: WorldClock
    client: StripeClient
    meter: str = "daily"
    posted: dict[date, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shops = {
            kind: Shop(self.client, self.clock, window, event_name=f"hopsmeter_{kind}")
            for kind, window in (("daily", "day"), ("sum", None))
        }
        for kind, shop in self.shops.items():
            self.connection.execute(
                "INSERT INTO hopsmeter.stripe_meters (kind, meter_id, event_name, product_id)"
                " VALUES (%s, %s, %s, 'prod')",
                [kind, shop.meter, shop.event_name],
            )

    @property
    def now(self) -> datetime:
        return self.clock()

    def day(self, number: int) -> date:
        return day_of(START) + timedelta(days=number)

    def later(self, **by: float) -> None:
        self.clock.advance(timedelta(**by))
        self.stripe.catch_up()

    def at(self, number: int, hour: float = 1) -> None:
        """Let it be an hour of a day."""
        aim = datetime.combine(self.day(number), datetime.min.time(), UTC) + timedelta(hours=hour)
        assert aim >= self.now
        self.later(seconds=(aim - self.now).total_seconds())

    # ── accounts ────────────────────────────────────────────────────────────────────────────

    def account(self, name: str = "anna", *, meter: str | None = None) -> factories.User:
        user = factories.add_user(self.connection, f"{name}@example.test")
        self.connection.execute(
            "UPDATE hopsmeter.users SET currency = 'USD' WHERE no = %s", [user.no]
        )
        self.link(user, meter or self.meter)
        return user

    def link(self, user: factories.User, meter: str) -> None:
        shop = self.shops[meter]
        customer = shop.customer()
        subscription = shop.subscribe(customer)
        self.stripe.people.add_card(customer)
        self.connection.execute(
            "UPDATE hopsmeter.users SET stripe_customer_id = %s, stripe_subscription_id = %s"
            " WHERE no = %s",
            [customer, subscription.id, user.no],
        )
        self.connection.execute(
            "INSERT INTO hopsmeter.stripe_accounts (account_no, meter, billed_from, has_card)"
            " VALUES (%s, %s, %s, true) ON CONFLICT (account_no) DO UPDATE SET"
            " billed_from = excluded.billed_from, ended_since = NULL",
            [user.no, meter, datetime.fromtimestamp(subscription.start_date, UTC)],
        )

    def customer(self, user: factories.User) -> str:
        return str(self.value("SELECT stripe_customer_id FROM users WHERE no = %s", user.no))

    # ── what is owed ────────────────────────────────────────────────────────────────────────

    def charge(self, user: factories.User, day: date, nano: int) -> None:
        charge(self.connection, self.now, user, day, nano)

    # ── what is done ────────────────────────────────────────────────────────────────────────

    def run(self) -> Sent:
        """What the job does each hour."""
        self.fetch_invoices()
        return self.tell().sent

    def tell(self) -> Reported:
        """The same, but for what is to be known of invoices."""
        door = Door(self.stripe.url, Secret(self.stripe.api_key))
        return asyncio.run(report(self.connection, door, self.clock))

    def settle(self, user: factories.User, how: How, day: date | None = None) -> Settled:
        with self.connection.transaction():
            return settle(
                self.connection,
                ADMIN,
                account=user.id,
                day=day,
                how=how,
                why="agreed",
                now=self.now,
            )

    def fetch_invoices(self) -> None:
        """As the job of accounts' state does: of each account what Stripe has invoiced."""
        for no, subscription in self.connection.execute(
            "SELECT no, stripe_subscription_id FROM hopsmeter.users"
            " WHERE stripe_subscription_id IS NOT NULL"
        ).fetchall():
            for invoice in self.client.v1.invoices.list(
                {"subscription": subscription, "limit": 100}
            ).data:
                self._keep_invoice(no, subscription, invoice)

    def _keep_invoice(self, no: int, subscription: str, invoice: Invoice) -> None:
        if invoice.billing_reason != "subscription_cycle":
            return
        (line,) = invoice.lines.data
        final = invoice.status_transitions.finalized_at
        self.connection.execute(
            "INSERT INTO hopsmeter.stripe_invoices (id, account_no, subscription_id, status,"
            " currency, usage_start, usage_end, units, line_minor, total_minor, created_at,"
            " finalized_at, fetched_at) VALUES (%s, %s, %s, %s, 'USD', to_timestamp(%s),"
            " to_timestamp(%s), %s, %s, %s, to_timestamp(%s), to_timestamp(%s), %s)"
            " ON CONFLICT (id) DO UPDATE SET status = excluded.status, units = excluded.units,"
            " line_minor = excluded.line_minor, total_minor = excluded.total_minor,"
            " finalized_at = excluded.finalized_at",
            [
                *(invoice.id, no, subscription, invoice.status),
                *(line.period.start, line.period.end, line.quantity, line.amount, invoice.total),
                *(invoice.created, final, self.now),
            ],
        )

    # ── what is seen ────────────────────────────────────────────────────────────────────────

    def value(self, query: str, *parameters: Any) -> Any:
        qualified = query
        for table in ("postings", "users", "stripe_reports", "stripe_days", "stripe_accounts"):
            qualified = qualified.replace(f" {table}", f" hopsmeter.{table}")
        row = self.connection.execute(qualified, parameters).fetchone()
        return row[0] if row else None

    def told(self, user: factories.User, number: int) -> int:
        """What Stripe says of an account's day, in units."""
        shop = self.shops[
            self.value("SELECT meter FROM stripe_accounts WHERE account_no = %s", user.no)
        ]
        start = int(datetime.combine(self.day(number), datetime.min.time(), UTC).timestamp())
        found = self.client.v1.billing.meters.event_summaries.list(
            shop.meter,
            {
                "customer": self.customer(user),
                "start_time": start,
                "end_time": start + 86_400,
            },
        )
        return round(sum(each.aggregated_value for each in found.data))

    def receivable(self, user: factories.User) -> int:
        """What is owed and not yet told or settled, in nano-units."""
        row = self.connection.execute(
            "SELECT -balance_nano FROM hopsmeter.ledger_balances"
            " WHERE account_no = %s AND book = 2",
            [user.no],
        ).fetchone()
        assert row is not None
        return int(row[0])

    def due(self, user: factories.User) -> dict[int, tuple[int, str]]:
        """What waits, by day: the amount and why."""
        rows = self.connection.execute(
            "SELECT day, due_nano, reason FROM hopsmeter.stripe_due(%s) WHERE account_no = %s",
            [day_of(self.now) - timedelta(days=34), user.no],
        ).fetchall()
        return {(day - day_of(START)).days: (nano, reason) for day, nano, reason in rows}

    def states(self, user: factories.User) -> list[tuple[int, int, str]]:
        """Each report: day, units, state."""
        rows = self.connection.execute(
            "SELECT day, units, state FROM hopsmeter.stripe_reports WHERE account_no = %s"
            " ORDER BY id",
            [user.no],
        ).fetchall()
        return [((day - day_of(START)).days, units, state) for day, units, state in rows]

    def must_add_up(self, user: factories.User) -> None:
        """Invariant 6, in plain words: posted = unit × reported + settled by hand + due + R."""
        row = self.connection.execute(
            "SELECT coalesce(sum(posted_nano), 0), coalesce(sum(units), 0),"
            " coalesce(sum(due_nano), 0), (SELECT coalesce(sum(amount_nano), 0) FROM"
            "  hopsmeter.stripe_moves m WHERE m.account_no = %(no)s AND to_day IS NULL),"
            " (SELECT remainder_nano FROM hopsmeter.stripe_accounts WHERE account_no = %(no)s)"
            " FROM hopsmeter.stripe_days WHERE account_no = %(no)s",
            {"no": user.no},
        ).fetchone()
        assert row is not None
        posted, units, due, settled, remainder = map(int, row)
        assert posted == UNIT * units + settled + due + remainder
        assert 0 <= remainder < UNIT


@contextmanager
def opened(kind: type[T], database: Database, meter: str = "daily") -> Iterator[T]:
    """Yield a till beside a Stripe of its own, both at START; accounts get this meter."""
    clock = WorldClock(START)
    http = RequestsClient(timeout=10.0)
    with StripeWorld(now=clock, seed=7) as stripe:
        addresses = stripe.base_addresses
        client = StripeClient(stripe.api_key, base_addresses=addresses, http_client=http)  # type: ignore[arg-type]  # a TypedDict of the same four names
        yield kind(database.connect(), stripe, clock, client, meter)
    http.close()  # type: ignore[no-untyped-call]  # the SDK has no annotation there
