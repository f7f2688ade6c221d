"""Payment methods: cards that pay at once, direct debits that pay days later, and their moods."""

from typing import Any

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.errors import StripeError, declined
from sandbox.stripe.form import hash_of, merge_metadata, one_of, required
from sandbox.stripe.page import page
from sandbox.stripe.route import PAGING, Call, Route, owned

DELAYED = "sepa_debit"
TYPES = ("card", DELAYED)
CARD_YEAR = 2034
READY_MADE = {"pm_card_visa": False, "pm_card_chargeCustomerFail": True}
"""Stripe's own test methods: attaching one makes a new card; whether it declines charges."""
REFUSED = "pm_card_chargeDeclined"
"""Declines even to be attached."""


class PaymentMethods:
    def __init__(self, account: Account) -> None:
        self._account = account
        self.declining: set[str] = set()
        self.challenged: set[str] = set()
        """Cards whose bank wants to see the payer, who is not there."""

    def routes(self) -> list[Route]:
        path = "/v1/payment_methods"
        return [
            Route("POST", path, self._create, "type card sepa_debit billing_details metadata"),
            Route("GET", path, self._list, f"{PAGING} customer type"),
            Route("GET", path + "/{id}", self._retrieve),
            Route("POST", path + "/{id}", self._update, "metadata"),
            Route("POST", path + "/{id}/attach", self._attach, "customer"),
            Route("POST", path + "/{id}/detach", self._detach),
            Route("GET", "/v1/customers/{id}/payment_methods", self._of_customer, f"{PAGING} type"),
            Route("GET", "/v1/customers/{customer}/payment_methods/{id}", self._retrieve),
        ]

    def make(self, kind: str = "card", *, declines: bool = False) -> Thing:
        method = self._account.add("payment_method", _new_method(self._account, kind))
        if declines:
            self.declining.add(method["id"])
        return method

    def attach(self, method: Thing, customer_id: str) -> Thing:
        """Give a method to a customer; it does not become anybody's default."""
        return self._account.change(method, "payment_method.attached", customer=customer_id)

    def renew(self, method: Thing) -> Thing:
        """Let the bank send a new card: same method, later expiry."""
        card = method["card"] | {"exp_year": method["card"]["exp_year"] + 4}
        return self._account.change(method, "payment_method.automatically_updated", card=card)

    def detach(self, method: Thing) -> Thing:
        """Take a method from its customer for good, and out of every default that names it."""
        account = self._account
        if method["customer"] is None:
            raise StripeError(
                "The payment method you provided is not attached to a customer so detachment is"
                " impossible."
            )
        customer = account.tables["customer"][method["customer"]]
        account.change(method, "payment_method.detached", customer=None)
        settings = customer.get("invoice_settings") or {}
        if settings.get("default_payment_method") == method["id"]:
            settings = settings | {"default_payment_method": None}
            account.change(customer, "customer.updated", invoice_settings=settings)
        for subscription in account.all("subscription"):
            if subscription["default_payment_method"] == method["id"]:
                account.change(
                    subscription, "customer.subscription.updated", default_payment_method=None
                )
        return method

    def _create(self, call: Call) -> Thing:
        kind = one_of(call.form, "type", TYPES)
        method = self.make(required({"type": kind}, "type"))
        method["metadata"] = merge_metadata({}, call.form)
        method["billing_details"] |= {
            name: value
            for name, value in hash_of(call.form, "billing_details").items()
            if name in method["billing_details"]
        }
        return method

    def _retrieve(self, call: Call) -> Thing:
        return self._account.get("payment_method", call.id)

    def _update(self, call: Call) -> Thing:
        method = self._retrieve(call)
        metadata = merge_metadata(method["metadata"], call.form)
        return self._account.change(method, "payment_method.updated", metadata=metadata)

    def _list(self, call: Call) -> Thing:
        wanted = owned(customer=call.form.get("customer"), type=call.form.get("type"))
        return page(self._account, call, self._attached(wanted))

    def _of_customer(self, call: Call) -> Thing:
        self._account.get("customer", call.id)
        return page(
            self._account, call, self._attached(owned(customer=call.id, type=call.form.get("type")))
        )

    def _attached(self, wanted: Any) -> list[Thing]:
        methods = self._account.all("payment_method")
        return [method for method in methods if method["customer"] and wanted(method)]

    def _attach(self, call: Call) -> Thing:
        account = self._account
        customer = account.named("customer", required(call.form, "customer"), "customer")
        if call.id == REFUSED:
            raise declined()
        if call.id in READY_MADE:
            method = self.make(declines=READY_MADE[call.id])
        else:
            method = account.get("payment_method", call.id)
        if method["customer"] not in (None, customer["id"]):
            raise StripeError(
                "The payment method you provided has already been attached to a customer."
            )
        return self.attach(method, customer["id"])

    def _detach(self, call: Call) -> Thing:
        return self.detach(self._retrieve(call))


def _new_method(account: Account, kind: str) -> Thing:
    details = _card() if kind == "card" else _debit()
    return {
        "id": account.new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {
            "address": None,
            "email": None,
            "name": None,
            "phone": None,
            "tax_id": None,
        },
        kind: details | {"fingerprint": account.secret(16)},
        "created": account.stamp,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": kind,
    }


def _card() -> Thing:
    return {
        "brand": "visa",
        "checks": {
            "address_line1_check": None,
            "address_postal_code_check": None,
            "cvc_check": "pass",
        },
        "country": "US",
        "display_brand": "visa",
        "exp_month": 12,
        "exp_year": CARD_YEAR,
        "funding": "credit",
        "generated_from": None,
        "last4": "4242",
        "networks": {"available": ["visa"], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def _debit() -> Thing:
    return {
        "bank_code": "37040044",
        "branch_code": "",
        "country": "DE",
        "generated_from": {"charge": None, "setup_attempt": None},
        "last4": "3000",
    }
