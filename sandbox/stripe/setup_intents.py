"""Setup intents: a payment method kept for later, with nothing charged."""

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.errors import StripeError
from sandbox.stripe.form import list_of, merge_metadata
from sandbox.stripe.page import page, within
from sandbox.stripe.payment_methods import PaymentMethods
from sandbox.stripe.route import PAGING, Call, Route, owned


class SetupIntents:
    def __init__(self, account: Account, methods: PaymentMethods) -> None:
        self._account, self._methods = account, methods

    def routes(self) -> list[Route]:
        path = "/v1/setup_intents"
        return [
            Route(
                "POST",
                path,
                self._create,
                "customer usage payment_method_types metadata description",
            ),
            Route("GET", path, self._list, f"{PAGING} customer created"),
            Route("GET", path + "/{id}", self._retrieve),
            Route("POST", path + "/{id}/cancel", self._cancel, "cancellation_reason"),
        ]

    def make(
        self, customer: str | None, types: list[str], metadata: dict[str, str], usage: str
    ) -> Thing:
        account = self._account
        intent = _new_intent(account, customer, types, metadata)
        intent["usage"] = usage
        account.add("setup_intent", intent)
        account.emit("setup_intent.created", intent, None)
        return intent

    def succeed(self, intent: Thing, method: Thing) -> None:
        """Attach a method to the intent's customer; it becomes nobody's default by that."""
        if intent["customer"]:
            self._methods.attach(method, intent["customer"])
        intent |= {"status": "succeeded", "payment_method": method["id"], "next_action": None}
        self._account.emit("setup_intent.succeeded", intent, None)

    def fail(self, intent: Thing) -> None:
        intent |= {
            "status": "requires_payment_method",
            "last_setup_error": {
                "code": "setup_intent_authentication_failure",
                "message": "The card could not be authenticated.",
                "type": "card_error",
            },
        }
        self._account.emit("setup_intent.setup_failed", intent, None)

    def _create(self, call: Call) -> Thing:
        form = call.form
        customer = form.get("customer") or None
        if customer:
            self._account.named("customer", customer, "customer")
        types = list_of(form, "payment_method_types") or ["card"]
        usage = form.get("usage") or "off_session"
        return self.make(customer, types, merge_metadata({}, form), usage)

    def _list(self, call: Call) -> Thing:
        wanted = owned(customer=call.form.get("customer"))
        found = [
            one
            for one in self._account.all("setup_intent")
            if wanted(one) and within(call.form, "created", one["created"])
        ]
        return page(self._account, call, found)

    def _retrieve(self, call: Call) -> Thing:
        return self._account.get("setup_intent", call.id)

    def _cancel(self, call: Call) -> Thing:
        intent = self._retrieve(call)
        if intent["status"] == "succeeded":
            raise StripeError("You cannot cancel this SetupIntent because it has succeeded.")
        reason = call.form.get("cancellation_reason") or None
        return self._account.change(
            intent, "setup_intent.canceled", status="canceled", cancellation_reason=reason
        )


def _new_intent(
    account: Account, customer: str | None, types: list[str], metadata: dict[str, str]
) -> Thing:
    name = account.new_id("seti")
    return {
        "id": name,
        "object": "setup_intent",
        "application": None,
        "automatic_payment_methods": None,
        "cancellation_reason": None,
        "client_secret": f"{name}_secret_{account.secret(25)}",
        "created": account.stamp,
        "customer": customer,
        "customer_account": None,
        "description": None,
        "flow_directions": None,
        "last_setup_error": None,
        "latest_attempt": None,
        "livemode": False,
        "mandate": None,
        "metadata": metadata,
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": types,
        "single_use_mandate": None,
        "status": "requires_payment_method",
        "usage": "off_session",
    }
