"""Payment intents and charges: an attempt to move money, and each try of it."""

from collections.abc import Callable
from datetime import timedelta

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.errors import StripeError, declined
from sandbox.stripe.form import boolean, integer, merge_metadata, required, word
from sandbox.stripe.page import list_object, page, within
from sandbox.stripe.payment_methods import DELAYED, PaymentMethods
from sandbox.stripe.payment_shape import DECLINED, new_charge, new_intent
from sandbox.stripe.route import PAGING, Call, Route, owned

CHALLENGED = "Your card was declined. This transaction requires authentication."
MINIMUM_CENTS = 50
DELAYED_AFTER = timedelta(days=4)
"""When a direct debit is settled, unless somebody decides it before."""

Outcome = Callable[[Thing], None]


class Payments:
    """`on_outcome[intent id]` hears once how a payment went, at once or days later."""

    def __init__(self, account: Account, methods: PaymentMethods) -> None:
        self._account, self._methods = account, methods
        self._hears: dict[str, Outcome] = {}
        account.includable["charge", "refunds"] = self._refunds

    def routes(self) -> list[Route]:
        return [
            Route(
                "POST",
                "/v1/payment_intents",
                self._create,
                "amount currency customer payment_method confirm off_session metadata description"
                " payment_method_types",
            ),
            Route("GET", "/v1/payment_intents", self._list_intents, f"{PAGING} customer created"),
            Route("GET", "/v1/payment_intents/{id}", self._intent),
            Route(
                "GET",
                "/v1/charges",
                self._list_charges,
                f"{PAGING} customer payment_intent created",
            ),
            Route("GET", "/v1/charges/{id}", self._charge),
        ]

    def intend(
        self,
        amount: int,
        currency: str,
        *,
        customer: str | None,
        metadata: dict[str, str] | None = None,
        description: str | None = None,
    ) -> Thing:
        """Make a payment intent that waits for a payment method."""
        intent = new_intent(self._account, amount, currency)
        intent |= {
            "customer": customer,
            "metadata": dict(metadata or {}),
            "description": description,
        }
        self._account.add("payment_intent", intent)
        self._account.emit("payment_intent.created", intent, None)
        return intent

    def attempt(self, intent: Thing, method: Thing | None, hears: Outcome | None = None) -> Thing:
        """Try to collect; `hears` is called with the intent when it is known how that went."""
        if hears:
            self._hears[intent["id"]] = hears
        if method is None:
            self._fail(intent, None, "There is no default payment method set on this Customer.")
        elif method["customer"] != intent["customer"]:
            self._fail(intent, self._add_charge(intent, method, "failed"), DECLINED)
        elif method["type"] == DELAYED:
            self._begin_delayed(intent, method)
        elif method["id"] in self._methods.declining:
            self._fail(intent, self._add_charge(intent, method, "failed"), DECLINED)
        elif method["id"] in self._methods.challenged:
            charge = self._add_charge(intent, method, "failed")
            self._fail(intent, charge, CHALLENGED, "authentication_required")
        else:
            self._succeed(intent, self._add_charge(intent, method, "succeeded"))
        return intent

    def _begin_delayed(self, intent: Thing, method: Thing) -> None:
        """Let a direct debit be under way, until somebody settles it or its days are over."""
        account = self._account
        charge = self._add_charge(intent, method, "pending")
        intent |= {"status": "processing", "payment_method": method["id"]}
        account.emit("charge.pending", charge, None)
        account.emit("payment_intent.processing", intent, None)

        def end() -> None:
            if intent["status"] == "processing" and intent["latest_charge"] == charge["id"]:
                self.settle(intent, succeeds=method["id"] not in self._methods.declining)

        account.agenda.plan(account.at + DELAYED_AFTER, end)

    def settle(self, intent: Thing, *, succeeds: bool) -> Thing:
        """Let a payment that is under way end."""
        if intent["status"] != "processing":
            raise StripeError(f"The payment intent is {intent['status']}, not processing.")
        charge = self._account.get("charge", intent["latest_charge"])
        charge |= {"status": "succeeded" if succeeds else "failed", "paid": succeeds}
        if succeeds:
            self._succeed(intent, charge)
        else:
            charge |= {"failure_code": "charge_failed", "failure_message": "The debit failed."}
            self._fail(intent, charge, "The debit failed.")
        return intent

    def _succeed(self, intent: Thing, charge: Thing) -> None:
        charge |= {"captured": True, "amount_captured": charge["amount"]}
        intent |= {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "payment_method": charge["payment_method"],
            "last_payment_error": None,
        }
        self._account.emit("charge.succeeded", charge, None)
        self._account.emit("payment_intent.succeeded", intent, None)
        self._tell(intent)

    def _fail(
        self, intent: Thing, charge: Thing | None, why: str, code: str = "card_declined"
    ) -> None:
        error: Thing = {"type": "invalid_request_error", "message": why}
        if charge:
            error = {
                "charge": charge["id"],
                "code": code,
                "decline_code": "generic_decline" if code == "card_declined" else code,
                "message": why,
                "type": "card_error",
            }
            self._account.emit("charge.failed", charge, None)
        intent |= {
            "status": "requires_payment_method",
            "payment_method": None,
            "last_payment_error": error,
        }
        self._account.emit("payment_intent.payment_failed", intent, None)
        self._tell(intent)

    def _tell(self, intent: Thing) -> None:
        hears = self._hears.pop(intent["id"], None)
        if hears:
            hears(intent)

    def _add_charge(self, intent: Thing, method: Thing, status: str) -> Thing:
        charge = new_charge(self._account, intent, method, status)
        self._account.add("charge", charge)
        intent["latest_charge"] = charge["id"]
        return charge

    def _create(self, call: Call) -> Thing:
        form, account = call.form, self._account
        required(form, "amount")
        amount = integer(form, "amount") or 0
        if amount < MINIMUM_CENTS:
            raise StripeError(
                f"Amount must be at least {MINIMUM_CENTS} cents.",
                code="amount_too_small",
                param="amount",
            )
        customer = form.get("customer") or None
        if customer:
            account.named("customer", customer, "customer")
        intent = self.intend(
            amount,
            word(form, "currency").lower(),
            customer=customer,
            metadata=merge_metadata({}, form),
            description=form.get("description"),
        )
        if not boolean(form, "confirm"):
            return intent
        name = required(form, "payment_method")
        self.attempt(intent, account.named("payment_method", name, "payment_method"))
        if intent["status"] == "requires_payment_method":
            refusal = declined()
            refusal.more |= {"payment_intent": dict(intent), "charge": intent["latest_charge"]}
            raise refusal
        return intent

    def _list_intents(self, call: Call) -> Thing:
        return self._page(call, "payment_intent", "customer")

    def _intent(self, call: Call) -> Thing:
        return self._account.get("payment_intent", call.id)

    def _list_charges(self, call: Call) -> Thing:
        return self._page(call, "charge", "customer", "payment_intent")

    def _charge(self, call: Call) -> Thing:
        return self._account.get("charge", call.id)

    def _page(self, call: Call, kind: str, *filters: str) -> Thing:
        wanted = owned(**{name: call.form.get(name) for name in filters})
        found = [
            thing
            for thing in self._account.all(kind)
            if wanted(thing) and within(call.form, "created", thing["created"])
        ]
        return page(self._account, call, found)

    def _refunds(self, charge: Thing) -> Thing:
        own = [one for one in self._account.all("refund") if one["charge"] == charge["id"]]
        return list_object(f"/v1/charges/{charge['id']}/refunds", own[::-1])
