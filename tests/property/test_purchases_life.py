"""Purchases in weeks of life: paid, failed, refunded, disputed, spent; webhooks doubled, late, lost."""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from core.money import NANO
from tests.core.billing.ledger_site import bill, pays
from tests.core.billing.stripe.till import Till
from tests.factories import User

STEPS = 30
CENT = NANO // 100
OPEN_DISPUTES = ("needs_response", "under_review")


class Life:
    """Does something by chance, as often as it is asked to."""

    def __init__(self, till: Till, who: User, seed: int) -> None:
        self.till, self.who = till, who
        self.chance = random.Random(seed)
        self.hours = 0
        self.orders = 0

    def step(self) -> None:
        actions: list[Callable[[], None]] = [
            self.buy,
            self.buy,
            self.pay,
            self.pay,
            self.settle,
            self.refund,
            self.dispute,
            self.close_dispute,
            self.spend,
            self.hear,
            self.hear,
            self.look,
        ]
        self.chance.choice(actions)()
        self.till.site.open_windows()
        self.till.site.must_balance()

    def buy(self) -> None:
        self.orders += 1
        self.till.buy(self.who, self.chance.randint(1, 90), key=f"order-{self.orders}")

    def pay(self) -> None:
        session = self.one("checkout.session", status="open")
        if session:
            self.till.world.people.pay(session["id"], self.chance.choice(("card", "sepa_debit")))

    def settle(self) -> None:
        intent = self.one("payment_intent", status="processing")
        if intent:
            (session,) = (
                each
                for each in self.till.world.all("checkout.session")
                if each["payment_intent"] == intent["id"]
            )
            self.till.world.people.settle(session["id"], succeeds=self.chance.random() < 0.7)

    def refund(self) -> None:
        charge = self.one("charge", status="succeeded", disputed=False)
        left = charge and charge["amount_captured"] - charge["amount_refunded"]
        if charge and left:
            self.till.world.people.refund(charge["id"], self.chance.randint(1, left))

    def dispute(self) -> None:
        charge = self.one("charge", status="succeeded", disputed=False)
        if charge:
            amount = self.chance.randint(1, charge["amount"])
            self.till.world.people.open_dispute(charge["id"], amount)

    def close_dispute(self) -> None:
        found = [each for each in self.till.world.all("dispute") if each["status"] in OPEN_DISPUTES]
        if found:
            outcome = self.chance.choice(("won", "lost"))
            self.till.world.people.close_dispute(self.chance.choice(found)["id"], outcome)  # type: ignore[arg-type]  # of the two words

    def spend(self) -> None:
        bill(self.till.site, {"a": self.chance.randint(1, 60)}, self.hours)
        self.hours += 1
        self.till.clock.freeze(max(self.till.clock(), self.till.site.now))

    def hear(self) -> None:
        """Of what happened since, some is lost, some comes twice, none in its order."""

        def some(events: list[Any]) -> list[Any]:
            return self.chance.choices(events, k=len(events)) if events else []

        self.till.deliver(some)

    def look(self) -> None:
        self.till.pass_time(timedelta(minutes=30))
        self.till.look()

    def one(self, kind: str, **fields: Any) -> dict[str, Any] | None:
        found = [
            each
            for each in self.till.world.all(kind)
            if all(each[name] == value for name, value in fields.items())
        ]
        return self.chance.choice(found) if found else None

    def owed_by_us(self) -> int:
        """What Stripe has kept of what was paid for credits, in nano-units."""
        kept = 0
        for session in self.till.world.all("checkout.session"):
            if session["payment_status"] == "paid":
                gone = sum(
                    each["amount"]
                    for kind in ("refund", "dispute")
                    for each in self.till.world.all(kind)
                    if each["payment_intent"] == session["payment_intent"]
                    and each["status"] != "won"
                )
                kept += max(session["amount_total"] - gone, 0)
        return kept * CENT


@pytest.mark.parametrize("seed", range(6))
def test_credits_are_what_stripe_kept_of_the_payments(till: Till, seed: int) -> None:
    who = till.customer()
    till.site.cluster()
    pays(till.site, who, "prepaid", 0)
    till.site.map("a", who, 0)
    till.set_up()
    life = Life(till, who, seed)
    for _ in range(STEPS):
        life.step()
    till.deliver(fresh=False)
    till.site.open_windows()
    till.site.must_balance()
    bought = till.site.value(
        "SELECT coalesce(sum(amount_nano), 0) FROM ledger_entries WHERE contra IN (12, 15)"
    )
    assert bought == life.owed_by_us()
    sums = till.site.value(
        "SELECT coalesce(sum(amount_nano - refunded_nano), 0) FROM stripe_purchases"
    )
    assert sums == bought
