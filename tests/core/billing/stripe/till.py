"""An installation beside a Stripe of the sandbox, both by one clock that a test moves."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, TypeVar

import pytest

from core.billing.stripe import catalogue, purchases
from core.billing.stripe.catalogue import SetUp
from core.billing.stripe.currencies import currencies_in_use
from core.billing.stripe.gateway import Door, Gateway
from core.billing.stripe.handlers import stripe_handlers
from core.billing.stripe.linking import Linked, Wish, link
from core.billing.stripe.looking import Looked, look_at_purchases
from core.billing.stripe.purchases import Sale, buy
from core.billing.stripe.reading import read_event
from core.billing.stripe.site import MeterKind
from core.billing.stripe.state import Refreshed, keep_account, refresh
from core.identity.principal import Principal
from core.money import NANO
from core.secret import Secret
from core.webhooks.handle import handle_due
from core.webhooks.store import store
from sandbox.clock import WorldClock
from sandbox.stripe.world import StripeWorld
from tests import factories
from tests.core.metering.site import Site

TRIES = 2
GRACE = timedelta(days=7)
RETURN_URL = "https://example.test/thanks"
T = TypeVar("T")


@dataclass
class Till:
    """`run` asks Stripe as the daemon does; `world` is what stands at Stripe."""

    site: Site
    world: StripeWorld
    clock: WorldClock
    commands: int = field(default=0, init=False)
    delivered: int = field(default=0, init=False)

    @property
    def door(self) -> Door:
        return Door(self.world.url, Secret(self.world.api_key))

    def run(self, ask: Callable[[Gateway], Awaitable[T]], *, tries_max: int = TRIES) -> T:
        async def go() -> T:
            async with Gateway(self.door, tries_max=tries_max) as gateway:
                return await ask(gateway)

        return asyncio.run(go())

    def asker(self) -> Principal:
        """An admin with the next command."""
        self.commands += 1
        return Principal("admin", "auth0|admin", command_id=self.commands)

    def pass_time(self, by: timedelta) -> None:
        self.clock.advance(by)
        self.site.now = self.clock()
        self.world.catch_up()

    def customer(self, name: str = "anna", currency: str = "USD") -> factories.User:
        return self.site.user(name, currency=currency)

    def set_up(self, *currencies: str, meter: MeterKind | None = None) -> SetUp:
        connection = self.site.connection
        needed = currencies_in_use(connection, currencies).taken
        found = self.run(lambda it: catalogue.build(it, connection, needed, dry_run=False))
        with connection.transaction():
            return catalogue.write_down(connection, self.asker(), found, meter=meter, why="begin")

    def link(self, who: factories.User, *, dry_run: bool = False, **wish: Any) -> Linked:
        asker = self.asker()
        done = self.run(
            lambda it: link(
                it,
                self.site.connection,
                asker,
                Wish(who.id, **wish),
                return_url=RETURN_URL,
                why="signed up",
                now=self.clock(),
                dry_run=dry_run,
            )
        )
        if done.seen is not None:
            keep_account(self.site.connection, done.seen, GRACE)
        return done

    def refresh(self) -> Refreshed:
        """As the hourly job does."""
        return self.run(lambda it: refresh(self.site.connection, it, self.clock(), GRACE))

    def standing(self, who: factories.User) -> tuple[str, str]:
        (row,) = self.site.all(
            "SELECT standing, standing_why FROM stripe_accounts WHERE account_no = %s", who.no
        )
        return row["standing"], row["standing_why"]

    def told(self) -> list[str]:
        """Types of events to the outside, in their order."""
        rows = self.site.all("SELECT type FROM outgoing_events ORDER BY id")
        return [row["type"] for row in rows]

    def use(self, linked: Linked, units: int) -> None:
        """Let Stripe hear of usage at this moment."""
        self.run(
            lambda it: it.ask(
                lambda client: client.v1.billing.meter_events.create_async(
                    {
                        "event_name": f"hopsmeter_{linked.meter}",
                        "payload": {
                            "stripe_customer_id": linked.customer_id or "",
                            "value": str(units),
                        },
                        "timestamp": int(self.clock().timestamp()),
                    }
                )
            )
        )

    def buy(
        self,
        who: factories.User,
        amount: int = 100,
        *,
        key: str | None = "order-1",
        expires_on: date | None = None,
        currency: str | None = None,
        dry_run: bool = False,
    ) -> Sale:
        asker = self.asker()
        return self.run(
            lambda it: buy(
                it,
                self.site.connection,
                asker,
                purchases.Wish(who.id, amount * NANO, expires_on, key, currency),
                return_url=RETURN_URL,
                why="asked for",
                now=self.clock(),
                dry_run=dry_run,
            )
        )

    def session(self) -> str:
        """The newest session of Checkout."""
        return str(self.world.all("checkout.session")[-1]["id"])

    def charge(self) -> str:
        """The newest charge."""
        return str(self.world.all("charge")[-1]["id"])

    def look(self) -> Looked:
        """As the hourly job does."""
        return self.run(lambda it: look_at_purchases(self.site.connection, it, self.clock()))

    def deliver(self, order: Callable[[list[Any]], list[Any]] = list, *, fresh: bool = True) -> int:
        """Take in the events of Stripe's since the last time (or all), and handle them; how many."""
        events = self.world.all("event")
        new = events[self.delivered :] if fresh else events
        self.delivered = len(events)
        connection = self.site.connection
        for event in order(new):
            store(connection, [read_event(event, live=False)])
            self.handle()
        return len(new)

    def handle(self) -> None:
        """Handle what is due; a failure is a failed test."""
        ends = self.run(
            lambda it: handle_due(
                self.site.connection, "stripe", stripe_handlers(GRACE), it, self.clock
            )
        )
        assert set(ends) <= {"done"}, self.site.all(
            "SELECT type, error FROM webhook_events WHERE error IS NOT NULL"
        )

    def count(self, kind: str) -> int:
        return len(self.world.all(kind))


@contextlib.contextmanager
def opened_till(site: Site) -> Iterator[Till]:
    clock = WorldClock(site.now)
    with StripeWorld(now=clock, seed=11) as world:
        yield Till(site, world, clock)


@pytest.fixture
def till(site: Site) -> Iterator[Till]:
    """An installation and an empty Stripe."""
    with opened_till(site) as made:
        yield made
