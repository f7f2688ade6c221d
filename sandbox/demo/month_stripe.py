"""What the demo's month has of Stripe: accounts that are billed there, credits bought, an outage.

The webhooks come to the daemon's own endpoint, each of them twice; the invoices of the month are held
against the books at the end, to the cent.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
from rich.table import Table

from core.commands.arguments import CreditsBuy, StripeLink, StripeSetup
from core.errors import StripeAway
from core.settings.checks import address
from daemon.deps import Deps
from daemon.jobs import stripe, stripe_state, webhooks
from daemon.web.hooks import receiving
from sandbox.demo.house import DemoFailed, House, toml_text
from sandbox.demo.watch import console, say
from sandbox.remote import RemoteStripe

if TYPE_CHECKING:
    from sandbox.demo.month import Month

GRACE = timedelta(hours=72)
"""What docs/stripe.md asks an operator to set: so long an invoice takes in late usage."""
READY_S = 10.0
IDLE_S, IDLE_POLL_S = 20.0, 0.02
NANO_PER_CENT = 10**7
UNITS_PER_CENT = 10_000
TURNS_MAX = 5
TELL_EVERY_H = 3
"""A real daemon tells Stripe each hour; two thirds of it are left out to spare the onlooker's time."""


def prepare(house: House, shop: RemoteStripe) -> None:
    """Give the house a key of Stripe's and an endpoint for its webhooks, as an operator does."""
    listen = house.environment["HOPSMETER_HOOKS_LISTEN"]
    with httpx.Client(base_url=shop.url, auth=(shop.api_key, ""), trust_env=False) as http:
        form = {
            "url": f"http://{listen}/webhooks/stripe",
            "api_version": shop.api_version,
            "enabled_events[]": "*",
        }
        endpoint = http.post("/v1/webhook_endpoints", data=form).raise_for_status().json()
    lines = [f'stripe_url = "{shop.url}"']
    for name, secret in (("key", shop.api_key), ("signing", endpoint["secret"])):
        path = house.folder / f"stripe-{name}"
        path.touch(mode=0o600)
        path.write_text(f"{secret}\n")
        lines.append(f"stripe_{name}_file = {toml_text(str(path))}")
    with house.config_path.open("a", encoding="utf-8") as config:
        config.write("\n".join(lines) + "\n")
    shop.set(invoice_grace=GRACE.total_seconds())
    shop.deliver(doubled=True)


@contextlib.contextmanager
def taking_webhooks(deps: Deps) -> Iterator[None]:
    """Run the daemon's endpoint for webhooks in a thread of its own."""
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with receiving(deps) as where:
            assert where == address(*deps.settings.hooks_listen)
            ready.set()
            while not done.is_set():  # noqa: ASYNC110 - the other thread's event has no await
                await asyncio.sleep(IDLE_POLL_S)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="hooks", daemon=True)
    thread.start()
    if not ready.wait(READY_S):
        raise DemoFailed("The endpoint for webhooks did not open.")
    try:
        yield
    finally:
        done.set()
        thread.join(READY_S)


@dataclass
class Billing:
    """The accounts of a month at Stripe; `accounts` are those that were linked."""

    month: "Month"
    accounts: list[str] = field(default_factory=list)
    sessions: dict[str, str] = field(default_factory=dict)

    @property
    def shop(self) -> RemoteStripe:
        return self.month.world.stripe

    def move_in(self, accounts: list[str]) -> None:
        """Set Stripe up, have accounts billed there, and let each leave a card."""
        self.month.do("stripe.setup", StripeSetup())
        for account in accounts:
            self.month.do("stripe.link", StripeLink(account=account))
        for session in self.shop.all("checkout.session"):
            if session["mode"] == "setup":
                self.shop.do("complete_setup", session=session["id"])
        self.accounts = accounts
        self.settle()

    def events(self, prepaid: str, hybrid: str) -> list[tuple[datetime, str, Callable[[], None]]]:
        """Return what happens in the month between the accounts and Stripe."""
        at = self.month.at
        gone = (at(10), at(13))
        return [
            (at(4), "the first buys credits of 25", lambda: self._buy(prepaid, "25", "card")),
            (
                at(6, 5),
                "the second 80, by a payment that takes days",
                lambda: self._buy(hybrid, "80", "sepa_debit"),
            ),
            (
                at(9),
                "that payment succeeds",
                lambda: self.shop.do("settle", session=self.sessions[hybrid], succeeds=True),
            ),
            (
                at(10),
                "Stripe is away for three days",
                lambda: self.shop.add_fault("outage", from_at=gone[0], to_at=gone[1]),
            ),
            (at(22), "the first gets 10 back", lambda: self._refund(prepaid, 1_000)),
        ]

    def _buy(self, account: str, amount: str, by: str) -> None:
        known = {session["id"] for session in self.shop.all("checkout.session")}
        self.month.do("credits.buy", CreditsBuy(account=account, amount=amount))
        (session,) = (one for one in self.shop.all("checkout.session") if one["id"] not in known)
        self.shop.do("pay", session=session["id"], by=by)
        self.sessions[account] = session["id"]

    def _refund(self, account: str, cents: int) -> None:
        (session,) = (
            one for one in self.shop.all("checkout.session") if one["id"] == self.sessions[account]
        )
        (charge,) = (
            one
            for one in self.shop.all("charge")
            if one["payment_intent"] == session["payment_intent"]
        )
        self.shop.do("refund", charge=charge["id"], amount=cents)

    def live(self, now: datetime) -> None:
        """Do what the daemon's jobs do of Stripe."""
        daily = (stripe_state.accounts, webhooks.fetch_missed, stripe_state.purchases)
        told = (stripe.run,) if now.hour % TELL_EVERY_H == 1 else ()
        for job in (webhooks.run, *(daily if now.hour == 1 else ()), *told):
            # While Stripe is away a job fails, is logged, and its clock rings again.
            with contextlib.suppress(StripeAway):
                job(self.month.deps)

    def settle(self) -> None:
        """Let all webhooks arrive and be handled, and tell what is still to be told."""
        for _ in range(TURNS_MAX):
            self._await_idle()
            if not webhooks.run(self.month.deps).facts:
                break
        stripe_state.accounts(self.month.deps)
        stripe.run(self.month.deps)
        stripe.compare(self.month.deps)

    def _await_idle(self) -> None:
        deadline_s = time.monotonic() + IDLE_S
        while self.shop.deliveries()["outstanding"]:
            if time.monotonic() > deadline_s:
                raise DemoFailed("Webhooks of the sandbox Stripe do not arrive.")
            time.sleep(IDLE_POLL_S)

    def compare(self) -> int:
        """Print what the books and the invoices say of the month; return how many differ."""
        table = Table(title=f"{self.month.start:%B %Y} at Stripe", title_justify="left")
        for name in ("account", "receivable", "invoice", "of it metered", "status"):
            table.add_column(name, justify="left" if name in ("account", "status") else "right")
        wrong = 0
        for email, nano, invoice in self._pairs():
            lines = invoice["lines"]["data"] if invoice else []
            metered = sum(line["amount"] for line in lines)
            same = metered == (nano + NANO_PER_CENT // 2) // NANO_PER_CENT
            wrong += not same
            table.add_row(
                email,
                f"{nano / 10**9:.6f}",
                f"{invoice['total'] / 100:.2f}" if invoice else "none",
                f"{metered / 100:.2f}" + ("" if same else "  DIFFERS"),
                invoice["status"] if invoice else "",
            )
        console.print(table)
        deliveries = self.shop.deliveries()["attempts"]
        events = self.month.connection.execute(
            "SELECT count(*), sum(deliveries) FROM hopsmeter.webhook_events WHERE state = 'done'"
        ).fetchone()
        assert events is not None
        say(
            f"{events[0]} events were handled once each; {events[1]} deliveries of them came"
            f" (the last {len(deliveries)} attempts are kept)."
        )
        return wrong

    def _pairs(self) -> list[tuple[str, int, dict[str, Any] | None]]:
        """Return each linked account's receivable of the month's days, and its invoice."""
        invoices = {
            one["customer"]: one
            for one in self.shop.all("invoice")
            if one["billing_reason"] == "subscription_cycle"
            and one["period_end"] == int(self.month.end.timestamp())
        }
        rows = self.month.connection.execute(
            "SELECT u.email, u.stripe_customer_id, coalesce(sum(d.posted_nano + d.moved_nano), 0)::bigint"
            " FROM hopsmeter.users u LEFT JOIN hopsmeter.stripe_days d ON d.account_no = u.no"
            " AND d.day >= %s AND d.day < %s WHERE u.id = ANY (%s)"
            " GROUP BY u.email, u.stripe_customer_id ORDER BY u.email",
            [self.month.start.date(), self.month.end.date(), self.accounts],
        ).fetchall()
        return [(email, nano, invoices.get(customer)) for email, customer, nano in rows]
