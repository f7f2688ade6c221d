"""The sandbox Stripe as a whole: an account, its API on loopback, its webhooks, its people."""

import asyncio
import contextlib
from typing import Any, Self

from core.clock import Clock
from sandbox.clock import WorldClock
from sandbox.loop import LoopThread, Started
from sandbox.stripe.account import Account, Settings, Thing, copied
from sandbox.stripe.api import Api
from sandbox.stripe.catalogue import Catalogue
from sandbox.stripe.checkout import Checkout
from sandbox.stripe.collection import Collection
from sandbox.stripe.customers import Customers
from sandbox.stripe.deliveries import Deliveries
from sandbox.stripe.disputes import Disputes
from sandbox.stripe.endpoints import Endpoints
from sandbox.stripe.events import Events
from sandbox.stripe.faults import StripeFaults
from sandbox.stripe.invoice_routes import InvoiceRoutes
from sandbox.stripe.invoices import Invoices
from sandbox.stripe.meters import Meters
from sandbox.stripe.payment_methods import PaymentMethods
from sandbox.stripe.payments import Payments
from sandbox.stripe.people import People
from sandbox.stripe.portal import Portal
from sandbox.stripe.profile import Profile
from sandbox.stripe.refunds import Refunds
from sandbox.stripe.setup_intents import SetupIntents
from sandbox.stripe.subscription_routes import SubscriptionRoutes
from sandbox.stripe.subscriptions import Subscriptions
from sandbox.stripe.summaries import Summaries
from sandbox.stripe.thin import ThinEvents
from sandbox.stripe.usage import Usage
from sandbox.wire import plain_server

START_S = 10.0
TURN_S = 0.05
"""How often what is due by the world's clock is looked for, beside each request."""
KEY_LETTERS = 32


class StripeWorld(Started):
    """`with StripeWorld(now=clock) as stripe:`; `stripe.url` and `stripe.api_key` are for a client.

    `settings`, `faults`, `deliveries` and `people` may be used from the test's thread while it
    runs. `seed` makes its ids come out the same each time.
    """

    def __init__(
        self, now: Clock | None = None, settings: Settings | None = None, *, seed: int | None = None
    ) -> None:
        self.now: Clock = now or WorldClock()
        self.account = account = Account(self.now, settings or Settings(), seed)
        self.endpoints = Endpoints(account)
        self.deliveries = Deliveries(account, self.endpoints)
        self.events = Events(account, self.endpoints, self.deliveries)
        self.thin = ThinEvents(account, self.endpoints, self.deliveries)
        self.faults = StripeFaults(self.now)
        self.customers = Customers(account)
        self.catalogue = Catalogue(account)
        self.meters = Meters(account)
        self.usage = Usage(account, self.meters, self.thin)
        self.methods = PaymentMethods(account)
        self.payments = Payments(account, self.methods)
        self.collection = Collection(account, self.payments)
        self.invoices = Invoices(account, self.usage, self.collection)
        self.subscriptions = Subscriptions(account, self.customers, self.invoices, self.collection)
        self.refunds, self.disputes = Refunds(account), Disputes(account)
        self.setups = SetupIntents(account, self.methods)
        self.checkout = Checkout(
            account,
            self.customers,
            self.catalogue,
            self.methods,
            self.payments,
            self.setups,
            self.invoices,
        )
        self.people = self._people()
        self.api_key = f"sk_test_{account.secret(KEY_LETTERS)}"
        self.api = self._api()
        self._server = plain_server(self.api.handle, self.now)
        self._thread = LoopThread("stripe")
        self._background: list[asyncio.Task[None]] = []

    @property
    def url(self) -> str:
        assert self._server.port, "this Stripe has not started"
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def base_addresses(self) -> dict[str, str]:
        """Return what `stripe.StripeClient(base_addresses=…)` takes."""
        return dict.fromkeys(("api", "connect", "files", "meter_events"), self.url)

    @property
    def clock(self) -> WorldClock:
        """The clock to freeze and advance; only where it was given none of its own."""
        assert isinstance(self.now, WorldClock), "this Stripe was given a clock: move that one"
        return self.now

    @property
    def settings(self) -> Settings:
        return self.account.settings

    def all(self, kind: str) -> list[Thing]:
        """Every object of a kind ("customer", "invoice", "event"), oldest first, as they are now."""
        with self.account.lock:
            self.account.agenda.catch_up()
            return copied(self.account.all(kind))

    def catch_up(self) -> int:
        """Let happen what is due by the world's clock; return how much it was."""
        with self.account.lock:
            return self.account.agenda.catch_up()

    def start(self) -> Self:
        self._thread.start()
        self._thread.call(self._start(), START_S)
        return self

    def stop(self) -> None:
        if self._thread.running:
            self._thread.call(self._stop(), START_S)
            self._thread.stop()
            if self.api.bugs:
                raise self.api.bugs[0]

    def _people(self) -> People:
        return People(
            self.account,
            self.checkout,
            self.methods,
            self.invoices,
            self.collection,
            self.refunds,
            self.disputes,
            self.subscriptions,
            self.endpoints,
            self.events,
            self.thin,
            self.usage,
        )

    def _api(self) -> Api:
        nouns: list[Any] = [
            Profile(self.account),
            self.customers,
            self.catalogue,
            self.meters,
            self.usage,
            Summaries(self.account, self.usage),
            SubscriptionRoutes(self.account, self.subscriptions, self.invoices),
            InvoiceRoutes(self.account, self.invoices, self.collection),
            self.checkout,
            self.setups,
            self.methods,
            self.payments,
            self.refunds,
            self.disputes,
            Portal(self.account, self.customers),
            self.endpoints,
            self.events,
            self.thin,
        ]
        routes = [route for noun in nouns for route in noun.routes()]
        return Api(self.account, self.faults, routes, self.usage.lock_of, {self.api_key})

    async def _start(self) -> None:
        self._server.start()
        self._background = [
            asyncio.create_task(self.deliveries.pump()),
            asyncio.create_task(self._turn()),
        ]

    async def _stop(self) -> None:
        await self._server.stop()
        for task in self._background:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _turn(self) -> None:
        while True:
            try:
                self.catch_up()
            except Exception as bug:  # noqa: BLE001  # whoever stops this Stripe is told of it
                self.api.bugs.append(bug)
            await asyncio.sleep(TURN_S)
