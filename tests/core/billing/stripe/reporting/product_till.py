"""A till whose accounts are linked, followed and invoiced by the product itself, and what Stripe says."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from core.billing.stripe import catalogue
from core.billing.stripe.bills.settle import HowBill, settle_bill
from core.billing.stripe.fetch import fetch_summaries
from core.billing.stripe.gateway import Door, Gateway
from core.billing.stripe.linking import Wish, link
from core.billing.stripe.reporting.again import decide, tell_again
from core.billing.stripe.state import Refreshed, fetch_account, keep_account, refresh
from core.reports.stripe.due import Due, due
from core.secret import Secret
from tests import factories
from tests.core.billing.stripe.reporting.till import Till
from tests.core.metering.site import ADMIN

GRACE = timedelta(days=7)
DAY_S = 86_400
T = TypeVar("T")


@dataclass
class ProductTill(Till):
    """As the commands and the jobs do it: set-up, link, refresh; no row of Stripe's is written here."""

    def __post_init__(self) -> None:
        found = self._ask(lambda it: catalogue.build(it, self.connection, ["USD"], dry_run=False))
        with self.connection.transaction():
            catalogue.write_down(self.connection, ADMIN, found, meter=None, why="begin")
        self.meters = dict(
            self.connection.execute("SELECT kind, meter_id FROM hopsmeter.stripe_meters").fetchall()
        )

    def _ask(self, ask: Callable[[Gateway], Awaitable[T]]) -> T:
        async def go() -> T:
            door = Door(self.stripe.url, Secret(self.stripe.api_key))
            async with Gateway(door) as gateway:
                return await ask(gateway)

        return asyncio.run(go())

    def link(self, user: factories.User, meter: str, customer: str | None = None) -> None:
        wish = Wish(user.id, customer, meter=meter)  # type: ignore[arg-type]  # of the two words
        how: dict[str, Any] = {
            "return_url": "https://example.test",
            "why": "test",
            "dry_run": False,
        }
        done = self._ask(lambda it: link(it, self.connection, ADMIN, wish, now=self.now, **how))
        assert done.seen is not None
        with self.connection.transaction():
            keep_account(self.connection, done.seen, GRACE)
        if not done.has_card:
            self.stripe.people.add_card(self.customer(user))
            self.hear(user)

    def subscribe(self, user: factories.User) -> str:
        """As somebody who makes a subscription in the dashboard."""
        made = self.client.v1.subscriptions.create(
            {
                "customer": self.customer(user),
                "items": [{"price": self.price(user)}],
                "billing_cycle_anchor_config": {
                    "day_of_month": 1,
                    "hour": 0,
                    "minute": 0,
                    "second": 0,
                },
            }
        )
        return made.id

    def hear(self, user: factories.User) -> str:
        """As when a webhook tells that something of the account changed."""
        customer = self.customer(user)
        seen = self._ask(lambda it: fetch_account(it, customer, self.now))
        with self.connection.transaction():
            return keep_account(self.connection, seen, GRACE)

    def refreshed(self) -> Refreshed:
        """As the hourly job does, of all accounts."""
        return self._ask(lambda it: refresh(self.connection, it, self.now, GRACE))

    def fetch_invoices(self) -> None:
        assert not self.refreshed().faults

    def fetch_summaries(self) -> None:
        self._ask(lambda it: fetch_summaries(self.connection, it, self.now))

    def tell_again(self, user: factories.User, day: date) -> None:
        with self.connection.transaction():
            tell_again(
                self.connection, ADMIN, account=user.id, day=day, why="it was lost", now=self.now
            )

    def settle_bill(
        self, user: factories.User, invoice: str, how: HowBill
    ) -> list[tuple[date, int]]:
        """Settle an invoice; return what was settled of each day, in nano-units."""
        with self.connection.transaction():
            settle_bill(
                self.connection,
                ADMIN,
                account=user.id,
                invoice=invoice,
                how=how,
                why="agreed",
                now=self.now,
            )
        return self.connection.execute(
            "SELECT from_day, amount_nano FROM hopsmeter.stripe_moves"
            " WHERE invoice_id = %s AND kind IN ('settled', 'by hand')",
            [invoice],
        ).fetchall()

    def say_of_report(self, user: factories.User, *, has_arrived: bool) -> None:
        """A person says what became of the report of the first day."""
        with self.connection.transaction():
            decide(
                self.connection,
                ADMIN,
                account=user.id,
                day=self.day(0),
                has_arrived=has_arrived,
                why="looked at its events",
                now=self.now,
            )

    # ── what is seen ────────────────────────────────────────────────────────────────────────

    def told(self, user: factories.User, number: int) -> int:
        start = int(datetime.combine(self.day(number), datetime.min.time(), UTC).timestamp())
        found = self.client.v1.billing.meters.event_summaries.list(
            self.meter_of(user),
            {"customer": self.customer(user), "start_time": start, "end_time": start + DAY_S},
        )
        return round(sum(each.aggregated_value for each in found.data))

    def billable(self, user: factories.User, number: int, since: int) -> int:
        """What a subscription that began at a Unix instant bills of a day, in units."""
        start = int(datetime.combine(self.day(number), datetime.min.time(), UTC).timestamp())
        end = start + DAY_S
        customer = self.customer(user)
        return self.stripe.usage.total(self.meter_of(user), customer, max(start, since), end)

    def meter_of(self, user: factories.User) -> str:
        kind = self.value("SELECT meter FROM stripe_accounts WHERE account_no = %s", user.no)
        return str(self.meters[kind])

    def price(self, user: factories.User) -> str:
        """By which the account is billed."""
        row = self.connection.execute(
            "SELECT price_id FROM hopsmeter.stripe_prices p JOIN hopsmeter.stripe_accounts a"
            " ON a.meter = p.kind WHERE a.account_no = %s AND p.currency = 'USD'",
            [user.no],
        ).fetchone()
        assert row is not None
        return str(row[0])

    def standing(self, user: factories.User) -> str:
        return str(
            self.value("SELECT standing FROM stripe_accounts WHERE account_no = %s", user.no)
        )

    def living(self, user: factories.User) -> dict[str, Any] | None:
        """The account's live subscription, as Stripe has it; there is never more than one."""
        found = [
            each
            for each in self.stripe.all("subscription")
            if each["customer"] == self.customer(user) and each["status"] != "canceled"
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def listed(self, user: factories.User, *, everything: bool = False) -> list[Due]:
        how = {"account": user.id, "each_day": True, "everything": everything}
        return due(self.connection, ADMIN, self.now, **how)  # type: ignore[arg-type]  # each of its own

    def reasons(self, user: factories.User) -> list[str]:
        return [each.reason for each in self.listed(user)]
