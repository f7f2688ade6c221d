"""What people do at Stripe's pages and in its dashboard, without our asking."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, TypeVar

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.checkout import Checkout
from sandbox.stripe.collection import Collection
from sandbox.stripe.disputes import Disputes
from sandbox.stripe.endpoints import Endpoints
from sandbox.stripe.events import Events
from sandbox.stripe.invoices import Invoices
from sandbox.stripe.payment_methods import PaymentMethods
from sandbox.stripe.refunds import Refunds
from sandbox.stripe.subscriptions import Subscriptions
from sandbox.stripe.thin import ThinEvents
from sandbox.stripe.usage import Usage

Result = TypeVar("Result")


class People:
    """Each public method is an action, by ids; control offers them all by these names."""

    def __init__(
        self,
        account: Account,
        checkout: Checkout,
        methods: PaymentMethods,
        invoices: Invoices,
        collection: Collection,
        refunds: Refunds,
        disputes: Disputes,
        subscriptions: Subscriptions,
        endpoints: Endpoints,
        events: Events,
        thin: ThinEvents,
        usage: Usage,
    ) -> None:
        self._account, self._checkout, self._methods = account, checkout, methods
        self._invoices, self._collection = invoices, collection
        self._refunds, self._disputes = refunds, disputes
        self._subscriptions, self._endpoints = subscriptions, endpoints
        self._events, self._thin, self._usage = events, thin, usage

    def pay(self, session: str, by: str = "card", *, succeeds: bool = True) -> Thing:
        """Pay a checkout; by `sepa_debit` it completes unpaid, and is settled days later."""
        return self._do(
            lambda: self._checkout.complete(self._session(session), by, succeeds=succeeds)
        )

    def settle(self, session: str, *, succeeds: bool = True) -> Thing:
        """Let the delayed payment of a checkout succeed or fail now."""
        return self._do(lambda: self._checkout.settle(self._session(session), succeeds=succeeds))

    def abandon(self, session: str) -> Thing:
        """Leave the page for good: the session expires now, instead of at its end."""
        return self._do(lambda: self._checkout.expire(self._session(session)))

    def complete_setup(self, session: str, by: str = "card", *, succeeds: bool = True) -> Thing:
        """Leave a card with a setup session; it is attached, and nobody's default yet."""
        return self.pay(session, by, succeeds=succeeds)

    def add_card(self, customer: str, *, default: bool = True, declines: bool = False) -> Thing:
        """Attach a new card, by default as the customer's default."""

        def add() -> Thing:
            method = self._methods.attach(self._methods.make(declines=declines), customer)
            if default:
                owner = self._account.get("customer", customer)
                settings = owner["invoice_settings"] | {"default_payment_method": method["id"]}
                self._account.change(owner, "customer.updated", invoice_settings=settings)
            return method

        return self._do(add)

    def remove_card(self, customer: str, method: str = "") -> list[Thing]:
        """Detach one payment method of a customer, or all of them."""
        return self._do(
            lambda: [
                self._methods.detach(one)
                for one in self._of_customer(customer)
                if method in ("", one["id"])
            ]
        )

    def decline_cards(self, customer: str, *, declines: bool = True) -> list[Thing]:
        """Let every card that a customer has now decline from now on, or pay again."""

        def turn() -> list[Thing]:
            cards = self._of_customer(customer)
            names = {card["id"] for card in cards}
            if declines:
                self._methods.declining |= names
            else:
                self._methods.declining -= names
            return cards

        return self._do(turn)

    def challenge_cards(self, customer: str, *, challenged: bool = True) -> list[Thing]:
        """Let the banks of a customer's cards want to see him: payments without him fail."""

        def turn() -> list[Thing]:
            cards = self._of_customer(customer)
            names = {card["id"] for card in cards}
            if challenged:
                self._methods.challenged |= names
            else:
                self._methods.challenged -= names
            return cards

        return self._do(turn)

    def renew_cards(self, customer: str) -> list[Thing]:
        """Let the banks of a customer's cards tell Stripe of new ones in their place."""
        return self._do(
            lambda: [
                self._methods.renew(one)
                for one in self._of_customer(customer)
                if one["type"] == "card"
            ]
        )

    def block_invoice(self, invoice: str) -> dict[str, str]:
        """Let the next finalisation of a draft fail; it stays draft until finalised by API."""

        def block() -> dict[str, str]:
            self._invoices.stuck.add(self._account.get("invoice", invoice)["id"])
            return {"blocked": invoice}

        return self._do(block)

    def pay_invoice(self, invoice: str) -> Thing:
        """Pay an open invoice on its hosted page, with a card that is used once."""

        def pay() -> Thing:
            owed = self._account.get("invoice", invoice)
            method = self._methods.make()
            method["customer"] = owed["customer"]
            self._collection.attempt(owed, method)
            method["customer"] = None
            return owed

        return self._do(pay)

    def void_invoice(self, invoice: str) -> Thing:
        return self._do(lambda: self._invoices.void(self._account.get("invoice", invoice)))

    def write_off_invoice(self, invoice: str) -> Thing:
        """Mark an open invoice uncollectible."""
        return self._do(
            lambda: self._invoices.mark_uncollectible(self._account.get("invoice", invoice))
        )

    def refund(self, charge: str, amount: int | None = None, *, pending: bool = False) -> Thing:
        """Refund in the dashboard, the whole rest unless `amount` (cents) is given.

        One to a bank account is `pending` for five days, any other where that is said.
        """
        return self._do(
            lambda: self._refunds.give_back(
                self._account.get("charge", charge), amount, pending=pending
            )
        )

    def arrive_refund(self, refund: str) -> Thing:
        """Let a pending refund arrive now."""
        return self._do(lambda: self._refunds.arrive(self._account.get("refund", refund)))

    def fail_refund(self, refund: str, reason: str = "unknown") -> Thing:
        """Let a refund fail, pending or arrived: the payer's bank sends it back."""
        return self._do(lambda: self._refunds.fail(self._account.get("refund", refund), reason))

    def cancel_refund(self, refund: str) -> Thing:
        """Cancel a pending refund in the dashboard."""
        return self._do(lambda: self._refunds.cancel(self._account.get("refund", refund)))

    def open_dispute(self, charge: str, amount: int | None = None) -> Thing:
        return self._do(lambda: self._disputes.open(self._account.get("charge", charge), amount))

    def close_dispute(self, dispute: str, outcome: Literal["won", "lost"] = "lost") -> Thing:
        return self._do(
            lambda: self._disputes.close(self._account.get("dispute", dispute), outcome)
        )

    def cancel_subscription(self, subscription: str, *, invoice_now: bool = False) -> Thing:
        return self._do(
            lambda: self._subscriptions.cancel(
                self._subscription(subscription),
                invoice_now=invoice_now,
                why="cancellation_requested",
            )
        )

    def pause_subscription(self, subscription: str) -> Thing:
        return self._do(lambda: self._subscriptions.pause(self._subscription(subscription)))

    def resume_subscription(self, subscription: str, *, anchor_now: bool = False) -> Thing:
        """Resume; its periods stay as they were, unless `anchor_now` begins them anew."""
        return self._do(
            lambda: self._subscriptions.resume(
                self._subscription(subscription), anchor_now=anchor_now
            )
        )

    def duplicate_subscription(self, subscription: str) -> Thing:
        """Make a second one like it, for the same customer, as a race or a hand would."""

        def duplicate() -> Thing:
            known = self._subscription(subscription)
            config = known["billing_cycle_anchor_config"] or {}
            form = {
                "customer": known["customer"],
                "items": [{"price": item["price"]["id"]} for item in known["items"]["data"]],
                "metadata": dict(known["metadata"]),
                "billing_cycle_anchor_config": {
                    name: value for name, value in config.items() if value is not None
                },
            }
            return self._subscriptions.create(form)

        return self._do(duplicate)

    def roll_secret(self, endpoint: str, kept_s: float = 86_400) -> dict[str, Any]:
        """Roll a webhook secret; the old one signs beside the new one for `kept_s`."""
        kept = timedelta(seconds=kept_s)
        return self._do(lambda: {"secret": self._endpoints.roll(endpoint, kept)})

    def resend_event(self, event: str) -> dict[str, Any]:
        """Press "Resend" beside an event in the dashboard."""

        def resend() -> dict[str, Any]:
            self._events.send_again(event)
            return {"resent": event}

        return self._do(resend)

    def lose_meter(self, event_name: str, identifier: str = "unknown") -> Thing:
        """Tell by a thin event that usage came for which there is no meter."""
        return self._do(lambda: self._thin.no_meter_found(event_name, identifier))

    def fail_meter(
        self, meter: str, identifier: str, code: str = "meter_event_customer_not_found"
    ) -> dict[str, Any]:
        """Tell by a thin event, with the agenda's next turn, that a meter could not count; nor does it."""

        def fail() -> dict[str, Any]:
            about = self._account.get("billing.meter", meter)
            self._usage.forget(meter, identifier)
            self._thin.meter_error(about, code, f"The meter event failed: {code}.", identifier)
            return {"failed": identifier}

        return self._do(fail)

    def _do(self, action: Callable[[], Result]) -> Result:
        with self._account.lock:
            self._account.agenda.catch_up()
            return action()

    def _session(self, name: str) -> Thing:
        return self._account.get("checkout.session", name)

    def _subscription(self, name: str) -> Thing:
        return self._account.get("subscription", name)

    def _of_customer(self, customer: str) -> list[Thing]:
        methods = self._account.all("payment_method")
        return [method for method in methods if method["customer"] == customer]
