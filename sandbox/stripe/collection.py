"""Collecting what invoices ask for: by the default method, again some days later, or given up."""

from collections import defaultdict
from collections.abc import Callable

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.errors import StripeError
from sandbox.stripe.invoice_shape import stamp, subscription_of
from sandbox.stripe.page import list_object
from sandbox.stripe.payments import Payments

PAYABLE = ("open", "uncollectible")

Hears = Callable[[Thing], None]


class Collection:
    """`on_paid`, `on_failed`, `on_given_up` tell the subscription of an invoice."""

    def __init__(self, account: Account, payments: Payments) -> None:
        self._account, self._payments = account, payments
        self._paid_by: dict[str, list[Thing]] = defaultdict(list)
        self.on_paid: Hears = _nobody
        self.on_failed: Hears = _nobody
        self.on_given_up: Hears = _nobody
        account.includable["invoice", "payments"] = self._payments_of

    def attempt(self, invoice: Thing, method: Thing | None = None) -> Thing:
        """Try to collect an open invoice, by its own default method unless one is given."""
        _require_payable(invoice)
        intent = self.intent_of(invoice)
        if intent["status"] == "processing":
            raise StripeError("A payment of this invoice is already under way.")
        invoice |= {"attempted": True, "attempt_count": invoice["attempt_count"] + 1}
        self._payments.attempt(
            intent,
            method or self._default_method(invoice),
            lambda done: self._hear(invoice, done),
        )
        return invoice

    def pay_elsewhere(self, invoice: Thing) -> Thing:
        """Take an invoice for paid outside of Stripe."""
        _require_payable(invoice)
        invoice["amount_paid_off_stripe"] = invoice["amount_due"]
        return self.mark_paid(invoice)

    def mark_paid(self, invoice: Thing) -> Thing:
        """Take an invoice for paid, whoever paid it."""
        account = self._account
        invoice |= {
            "amount_paid": invoice["amount_due"],
            "amount_remaining": 0,
            "attempted": True,
            "next_payment_attempt": None,
            "status": "paid",
        }
        stamp(invoice, "paid_at", account.stamp)
        for payment in self._paid_by[invoice["id"]]:
            payment |= {"status": "paid", "amount_paid": payment["amount_requested"]}
            payment["status_transitions"] = {"canceled_at": None, "paid_at": account.stamp}
        account.emit("invoice.paid", invoice, None)
        account.emit("invoice.payment_succeeded", invoice, None)
        self.on_paid(invoice)
        return invoice

    def intent_of(self, invoice: Thing) -> Thing:
        """Return the payment intent of an invoice; there is one for all of its tries."""
        for payment in self._paid_by[invoice["id"]]:
            return self._account.tables["payment_intent"][payment["payment"]["payment_intent"]]
        intent = self._payments.intend(
            invoice["amount_remaining"],
            invoice["currency"],
            customer=invoice["customer"],
            description="Subscription update",
        )
        self.add_payment(invoice, intent)
        return intent

    def add_payment(self, invoice: Thing, intent: Thing) -> None:
        """Say that a payment intent is meant for an invoice."""
        account = self._account
        payment: Thing = {
            "id": account.new_id("inpay"),
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": invoice["amount_remaining"],
            "created": account.stamp,
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": True,
            "livemode": False,
            "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        }
        self._paid_by[invoice["id"]].append(account.add("invoice_payment", payment))

    def _payments_of(self, invoice: Thing) -> Thing:
        return list_object("/v1/invoice_payments", self._paid_by[invoice["id"]])

    def _default_method(self, invoice: Thing) -> Thing | None:
        tables = self._account.tables
        subscription = tables["subscription"].get(subscription_of(invoice) or "", {})
        customer = tables["customer"].get(invoice["customer"], {})
        name = (
            invoice["default_payment_method"]
            or subscription.get("default_payment_method")
            or customer.get("invoice_settings", {}).get("default_payment_method")
        )
        method = tables["payment_method"].get(name or "")
        return method if method and method["customer"] == invoice["customer"] else None

    def _hear(self, invoice: Thing, intent: Thing) -> None:
        if invoice["status"] not in PAYABLE:
            return
        if intent["status"] == "succeeded":
            self.mark_paid(invoice)
        else:
            error = intent["last_payment_error"]
            if error.get("code") == "authentication_required":
                self._account.emit("invoice.payment_action_required", invoice, None)
            self._fail(invoice)

    def _fail(self, invoice: Thing) -> None:
        account = self._account
        pauses = account.settings.retry_after
        number = invoice["attempt_count"]
        retries = invoice["auto_advance"] and number <= len(pauses)
        again_at = account.at + pauses[number - 1] if retries else None
        invoice["next_payment_attempt"] = int(again_at.timestamp()) if again_at else None
        account.emit("invoice.payment_failed", invoice, None)
        self.on_failed(invoice)
        if again_at:
            account.agenda.plan(again_at, lambda: self._retry(invoice, number))
        elif number > len(pauses):
            self.on_given_up(invoice)

    def _retry(self, invoice: Thing, number: int) -> None:
        if (
            invoice["status"] == "open"
            and invoice["auto_advance"]
            and invoice["attempt_count"] == number
        ):
            self.attempt(invoice)


def _require_payable(invoice: Thing) -> None:
    if invoice["status"] not in PAYABLE:
        raise StripeError(
            f"Invoice is {invoice['status']}: only open invoices can be paid.",
            code="invoice_not_editable",
        )


def _nobody(_invoice: Thing) -> None:
    """Nobody listens yet."""
