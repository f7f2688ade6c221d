"""Purchases in weeks of life: paid, failed, refunded, disputed, spent; webhooks doubled, late, lost.

Refunds are pending, arrive, and fail days later, after arrears were repaid or a dispute came; none of it,
or all of it, is told.
"""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from core.money import NANO
from tests.core.billing.ledger_site import bill, pays
from tests.core.billing.stripe.till import Till
from tests.factories import User

STEPS = 36
QUICK, MORE, LONG = range(2), range(2, 4), range(4, 12)
CENT = NANO // 100
OPEN_DISPUTES = ("needs_response", "under_review")
GIVEN_BACK = ("won", "failed", "canceled")


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
            self.refund,
            self.end_refund,
            self.fail_refund,
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
            cents = left if self.chance.random() < 0.3 else self.chance.randint(1, left)
            pending = self.chance.random() < 0.5
            self.till.world.people.refund(charge["id"], cents, pending=pending)

    def end_refund(self) -> None:
        refund = self.one("refund", status="pending")
        people = self.till.world.people
        if refund:
            self.chance.choice((people.arrive_refund, people.cancel_refund))(refund["id"])

    def fail_refund(self) -> None:
        """A bank sends it back, days later, whether it had arrived or not."""
        self.till.pass_time(timedelta(days=self.chance.randint(0, 3)))
        refund = self.one("refund", status=self.chance.choice(("pending", "succeeded")))
        if refund:
            self.till.world.people.fail_refund(refund["id"])

    def dispute(self) -> None:
        charge = self.one("charge", status="succeeded", disputed=False)
        if charge:
            whole = charge["amount"]
            amount = whole if self.chance.random() < 0.5 else self.chance.randint(1, whole)
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
                    and each["status"] not in GIVEN_BACK
                )
                kept += max(session["amount_total"] - gone, 0)
        return kept * CENT


def begun(till: Till, seed: int) -> Life:
    who = till.customer()
    till.site.cluster()
    pays(till.site, who, "prepaid", 0)
    till.site.map("a", who, 0)
    till.set_up()
    return Life(till, who, seed)


def must_agree(till: Till, life: Life) -> None:
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


@pytest.mark.parametrize(
    "seed",
    [
        *QUICK,
        *(pytest.param(seed, marks=pytest.mark.long) for seed in MORE),
        *(pytest.param(seed, marks=pytest.mark.chaos) for seed in LONG),
    ],
)
def test_credits_are_what_stripe_kept_of_the_payments(till: Till, seed: int) -> None:
    life = begun(till, seed)
    for _ in range(STEPS):
        life.step()
    till.deliver(fresh=False)
    must_agree(till, life)
    given_back = till.site.value("SELECT count(*) FROM ledger_entries WHERE ref LIKE '%%:returned'")
    refunds = [each["status"] for each in till.world.all("refund")]
    till.deliver(lambda events: life.chance.sample(events, len(events)), fresh=False)
    must_agree(till, life)
    again = till.site.value("SELECT count(*) FROM ledger_entries WHERE ref LIKE '%%:returned'")
    assert (again, refunds) == (given_back, [each["status"] for each in till.world.all("refund")])


@pytest.mark.parametrize("seed", range(20, 22))
def test_what_is_known_of_a_payment_follows_its_refunds_without_webhooks(
    till: Till, seed: int
) -> None:
    life = begun(till, seed)
    charges = []
    for _ in range(2):
        life.buy()
        till.world.people.pay(till.session())
        charges.append(till.charge())
    till.pass_time(timedelta(hours=1))
    till.look()
    for charge in charges:
        till.world.people.refund(charge, 100, pending=True)
    # What is taken back is told once; what becomes of it, never.
    till.deliver(lambda events: [each for each in events if each["type"] == "charge.refunded"])
    life.spend()
    for _ in range(4):
        life.fail_refund()
        till.pass_time(timedelta(days=1, hours=1))
        till.look()
    must_agree(till, life)
