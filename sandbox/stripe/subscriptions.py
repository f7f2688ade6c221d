"""Subscriptions: whose usage is invoiced, over which periods, and in what state."""

from datetime import datetime

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.collection import Collection
from sandbox.stripe.customers import Customers
from sandbox.stripe.errors import StripeError, missing_param
from sandbox.stripe.form import (
    Form,
    hash_of,
    hashes_of,
    required,
)
from sandbox.stripe.invoice_shape import Billed, subscription_of
from sandbox.stripe.invoices import Invoices
from sandbox.stripe.periods import anchor_of, instant, period_end
from sandbox.stripe.subscription_shape import item_of, new_item, new_subscription

LIVE = ("active", "past_due", "unpaid", "paused")


class Subscriptions:
    def __init__(
        self, account: Account, customers: Customers, invoices: Invoices, collection: Collection
    ) -> None:
        self._account, self._customers, self._invoices = account, customers, invoices
        collection.on_paid = self._paid
        collection.on_failed = self._failed
        collection.on_given_up = self._given_up
        customers.on_deleted = self._cancel_all

    def create(self, form: Form) -> Thing:
        """Make a subscription as `POST /v1/subscriptions` does, with its first invoice over 0."""
        account = self._account
        customer = self._customers.live(required(form, "customer"))
        prices = self._prices(form)
        method = form.get("default_payment_method") or None
        if method:
            account.named("payment_method", method, "default_payment_method")
        at = account.at.replace(microsecond=0)
        config = hash_of(form, "billing_cycle_anchor_config") or None
        anchor = anchor_of(config, at)
        subscription = new_subscription(account, customer, form, anchor, config)
        end = anchor if anchor > at else period_end(anchor, at, prices[0]["recurring"])
        items = [
            new_item(account, subscription, price, entry, (at, end))
            for price, entry in zip(prices, hashes_of(form, "items"), strict=True)
        ]
        subscription["items"]["data"] = items
        subscription["default_payment_method"] = method
        account.add("subscription", subscription)
        customer["currency"] = subscription["currency"] = prices[0]["currency"]
        account.emit("customer.subscription.created", subscription, None)
        self.draft(subscription, "subscription_create", account.stamp, account.stamp, at_once=True)
        self._plan_close(subscription, end)
        return subscription

    def cancel(self, subscription: Thing, *, invoice_now: bool = False, why: str) -> Thing:
        """End a subscription at once; open usage is invoiced only if asked for."""
        account = self._account
        if subscription["status"] not in LIVE:
            raise StripeError(
                f"No such subscription: '{subscription['id']}'",
                status=404,
                code="resource_missing",
                param="id",
            )
        if invoice_now:
            start = item_of(subscription)["current_period_start"]
            self.draft(subscription, "subscription_update", start, account.stamp)
        # As Stripe says: cancelling stops the collection of what is finalised.
        for invoice in self._invoices.of_subscription(subscription["id"]):
            if invoice["status"] == "open":
                invoice |= {"auto_advance": False, "next_payment_attempt": None}
        subscription |= {
            "status": "canceled",
            "ended_at": account.stamp,
            "canceled_at": subscription["canceled_at"] or account.stamp,
            "cancellation_details": subscription["cancellation_details"] | {"reason": why},
        }
        account.emit("customer.subscription.deleted", subscription, None)
        return subscription

    def pause(self, subscription: Thing) -> Thing:
        account = self._account
        if subscription["status"] not in {"active", "past_due", "unpaid"}:
            raise StripeError(f"A subscription that is {subscription['status']} cannot be paused.")
        paused = {
            "paused": {
                "subscription": {"type": "pause_requested"},
                "transitioned_at": account.stamp,
                "type": "subscription",
            }
        }
        subscription |= {"status": "paused", "status_details": paused}
        account.emit("customer.subscription.paused", subscription, None)
        return subscription

    def resume(self, subscription: Thing, *, anchor_now: bool = True) -> Thing:
        """Take up a paused subscription; by default with periods that begin anew, as Stripe does."""
        account = self._account
        if subscription["status"] != "paused":
            raise StripeError("The subscription is not paused.")
        subscription |= {"status": "active", "status_details": None}
        if anchor_now:
            at = account.at.replace(microsecond=0)
            subscription["billing_cycle_anchor"] = account.stamp
            self._begin_period(subscription, at, at)
        account.emit("customer.subscription.resumed", subscription, None)
        account.emit("customer.subscription.updated", subscription, {"status": "paused"})
        return subscription

    def _prices(self, form: Form) -> list[Thing]:
        entries = hashes_of(form, "items")
        if not entries:
            raise missing_param("items")
        prices = []
        for at, entry in enumerate(entries):
            param = f"items[{at}][price]"
            price = self._account.named("price", required(entry, "price"), param)
            if price["recurring"] is None:
                raise StripeError(
                    f"The price specified is set to `type=one_time`: {price['id']}", param=param
                )
            if price["recurring"]["meter"] and entry.get("quantity") not in (None, ""):
                raise StripeError(
                    "You cannot set the quantity of a metered price.",
                    param=f"items[{at}][quantity]",
                )
            prices.append(price)
        return prices

    def draft(
        self,
        subscription: Thing,
        reason: str,
        start: int,
        end: int,
        *,
        auto_advance: bool = True,
        at_once: bool = False,
    ) -> Thing:
        """Draft an invoice for usage in [start, end), as Unix instants."""
        billed = Billed(subscription, start, end)
        return self._invoices.draft(billed, reason, auto_advance=auto_advance, at_once=at_once)

    def _plan_close(self, subscription: Thing, end: datetime) -> None:
        self._account.agenda.plan(end, lambda: self._close(subscription, int(end.timestamp())))

    def _close(self, subscription: Thing, end: int) -> None:
        """End a period: invoice it as the subscription's state has it, and begin the next."""
        item = item_of(subscription)
        if subscription["status"] not in LIVE or item["current_period_end"] != end:
            return
        start = item["current_period_start"]
        anchor = instant(subscription["billing_cycle_anchor"])
        ends = subscription["cancel_at_period_end"]
        if not ends:
            self._begin_period(subscription, anchor, instant(end))
        if subscription["status"] != "paused":
            self._invoice_period(subscription, start, end)
        if ends:
            self.cancel(subscription, why="cancellation_requested")

    def _invoice_period(self, subscription: Thing, start: int, end: int) -> None:
        account, invoices = self._account, self._invoices
        pause = subscription["pause_collection"]
        held = subscription["status"] == "unpaid" or bool(pause)
        invoice = self.draft(subscription, "subscription_cycle", start, end, auto_advance=not held)
        if not pause or pause["behavior"] == "keep_as_draft":
            return
        end_it = invoices.void if pause["behavior"] == "void" else invoices.mark_uncollectible

        def give_up() -> None:
            if invoice["status"] == "draft":
                invoices.finalize(invoice)
            if invoice["status"] == "open":
                end_it(invoice)

        account.agenda.plan(account.at + account.settings.invoice_grace, give_up)

    def _begin_period(self, subscription: Thing, anchor: datetime, start: datetime) -> None:
        previous: list[Thing] = [dict(item) for item in subscription["items"]["data"]]
        end = period_end(anchor, start, item_of(subscription)["price"]["recurring"])
        for item in subscription["items"]["data"]:
            item["current_period_start"] = int(start.timestamp())
            item["current_period_end"] = int(end.timestamp())
        self._account.emit(
            "customer.subscription.updated", subscription, {"items": {"data": previous}}
        )
        self._plan_close(subscription, end)

    def _of(self, invoice: Thing) -> Thing | None:
        subscription = self._account.tables["subscription"].get(subscription_of(invoice) or "")
        return subscription if subscription and subscription["status"] in LIVE else None

    def _paid(self, invoice: Thing) -> None:
        subscription = self._of(invoice)
        owing = [
            one
            for one in self._invoices.of_subscription(subscription_of(invoice) or "")
            if one["status"] == "open" and one["attempted"]
        ]
        if subscription and subscription["status"] in {"past_due", "unpaid"} and not owing:
            self._turn(subscription, "active")
        if not owing:
            self._delinquent(invoice, value=False)

    def _failed(self, invoice: Thing) -> None:
        subscription = self._of(invoice)
        self._delinquent(invoice, value=True)
        if subscription and subscription["status"] == "active":
            self._turn(subscription, "past_due")

    def _given_up(self, invoice: Thing) -> None:
        subscription, then = self._of(invoice), self._account.settings.after_retries
        if subscription is None:
            return
        if then == "canceled":
            self.cancel(subscription, why="payment_failed")
        else:
            self._turn(subscription, then)

    def _cancel_all(self, customer_id: str) -> None:
        """End what a customer has, as deleting him does: no draft of his is made final any more."""
        for subscription in self._account.all("subscription"):
            if subscription["customer"] == customer_id and subscription["status"] in LIVE:
                self.cancel(subscription, why="cancellation_requested")
            if subscription["customer"] == customer_id:
                for invoice in self._invoices.of_subscription(subscription["id"]):
                    invoice["auto_advance"] = False

    def _turn(self, subscription: Thing, status: str) -> None:
        self._account.change(subscription, "customer.subscription.updated", status=status)

    def _delinquent(self, invoice: Thing, *, value: bool) -> None:
        customer = self._account.tables["customer"].get(invoice["customer"])
        if customer and not customer.get("deleted"):
            self._account.change(customer, "customer.updated", delinquent=value)
