"""Billing portal sessions: a link, and nothing behind it."""

from sandbox.stripe.account import Account, Thing
from sandbox.stripe.customers import Customers
from sandbox.stripe.form import required
from sandbox.stripe.route import Call, Route


class Portal:
    def __init__(self, account: Account, customers: Customers) -> None:
        self._account, self._customers = account, customers
        self._configuration = account.new_id("bpc")

    def routes(self) -> list[Route]:
        path = "/v1/billing_portal/sessions"
        return [Route("POST", path, self._create, "customer return_url locale")]

    def _create(self, call: Call) -> Thing:
        account = self._account
        customer = self._customers.live(required(call.form, "customer"))
        name = account.new_id("bps")
        return {
            "id": name,
            "object": "billing_portal.session",
            "configuration": self._configuration,
            "created": account.stamp,
            "customer": customer["id"],
            "customer_account": None,
            "flow": None,
            "livemode": False,
            "locale": call.form.get("locale") or None,
            "on_behalf_of": None,
            "return_url": call.form.get("return_url") or None,
            "url": f"https://billing.stripe.com/p/session/{name}",
        }
