"""A report that waits while its customer is deleted at Stripe: never told, never lost, and no line stays red."""

from typing import Any

import pytest

from core.billing.stripe import linking
from core.billing.stripe.linking import unpark
from core.billing.stripe.reporting.make import make_reports, prepare
from core.books.reconcile.differences import differences
from core.errors import Conflict
from tests.core.billing.stripe.reporting.conftest import product_till as till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.billing.stripe.reporting.till import UNIT
from tests.core.books.stripe_story import proved
from tests.core.metering.site import ADMIN
from tests.factories import User

__all__ = ["till"]

pytestmark = pytest.mark.long

EVENTS = "/v1/billing/meter_events"
SUMS = "/v1/billing/meters/*/event_summaries"
DOLLAR = 10**9


def delete(till: ProductTill, user: User) -> None:
    till.client.v1.customers.delete(till.customer(user))


def another(till: ProductTill, user: User) -> None:
    """Another customer takes the place of the one that was deleted."""
    made = till.client.v1.customers.create({"name": "Anna"})
    till.link(user, till.meter, customer=made.id)


def march(till: ProductTill, kind: str) -> tuple[User, int]:
    """Told until 30 March; the report of the 31st meets a fault, whose number is returned, and waits."""
    anna = till.account()
    till.charge(anna, till.day(29), 7 * DOLLAR)
    till.at(30)
    till.run()
    till.charge(anna, till.day(30), 5 * DOLLAR)
    till.at(31, 0.2)
    number = till.stripe.faults.add(kind, path=EVENTS)
    till.run()
    return anna, number


def waiting(till: ProductTill, user: User) -> list[tuple[str, int, int | None]]:
    """What waits for a person: why, since which day, how much."""
    return [
        (line.reason, (line.first_day - till.day(0)).days, line.amount_nano)
        for line in till.listed(user)
    ]


def state(till: ProductTill, user: User) -> str:
    """What became of the report that waited."""
    return next(word for day, _, word in till.states(user) if day == 30)


def runs(till: ProductTill, times: int = 3) -> None:
    for _ in range(times):
        till.later(hours=2)
        till.run()


def owned(till: ProductTill, user: User) -> tuple[int, int]:
    """What Stripe counts of the last two days for the customer that was deleted, in dollars."""
    return till.told(user, 29) * UNIT // DOLLAR, till.told(user, 30) * UNIT // DOLLAR


def must_be_proved(till: ProductTill) -> None:
    """With Stripe's sums as they are: no line is red, and nothing differs that a person must look at."""
    till.fetch_summaries()
    till.later(hours=2)
    assert [line.rows for line in proved(till.connection, till.now).values()] == [(), ()]
    found = differences(till.connection, till.day(0))
    assert [each for each in found if not getattr(each, "invoice_id", None)] == []


def must_be_settled(till: ProductTill, user: User) -> None:
    """A person's last word, outside of Stripe: then nothing is listed, owed or red."""
    for line in till.listed(user):
        if line.invoice_id:
            till.settle_bill(user, line.invoice_id, "outside")
    till.settle(user, "outside")
    assert (till.listed(user), till.receivable(user)) == ([], 0)
    till.must_add_up(user)
    must_be_proved(till)


def test_a_report_that_waits_until_its_customer_is_gone_leaves_no_line_red(
    till: ProductTill,
) -> None:
    """Its invoice is void by then, and another subscription had begun."""
    anna, number = march(till, "error_500_before")
    living = till.living(anna)
    assert living is not None
    till.stripe.people.cancel_subscription(living["id"], invoice_now=False)
    till.stripe.people.decline_cards(till.customer(anna))
    till.hear(anna)
    till.link(anna, till.meter)
    till.later(hours=2)
    till.run()
    (void,) = [each for each in till.stripe.all("invoice") if each["status"] == "open"]
    till.stripe.people.void_invoice(void["id"])
    till.at(32)
    till.run()
    delete(till, anna)
    till.at(34)
    till.run()
    till.stripe.faults.remove(number)
    runs(till)
    assert waiting(till, anna) == [("ended", 30, 5 * DOLLAR), ("void", 29, 7 * DOLLAR)]
    must_be_proved(till)
    must_be_settled(till, anna)
    assert state(till, anna) == "given up"


@pytest.mark.parametrize(
    ("kind", "came_to"),
    [
        ("outage", "given up"),
        ("cut_before", "given up"),
        ("cut_after", "accepted"),
        ("error_500_after", "accepted"),
        ("declined", "given up"),
    ],
)
def test_what_waited_when_its_customer_was_deleted_with_a_draft_is_due_once(
    till: ProductTill, kind: str, came_to: str
) -> None:
    """Whatever Stripe has of it: no invoice bills it, and nobody has to say what became of it."""
    anna, number = march(till, kind)
    delete(till, anna)
    till.hear(anna)
    till.stripe.faults.remove(number)
    heard = owned(till, anna)
    runs(till)
    assert (state(till, anna), owned(till, anna)) == (came_to, heard)
    wanted = [("ended", 29, 7 * DOLLAR), ("ended", 30, 5 * DOLLAR)]
    assert waiting(till, anna) == wanted
    assert till.listed(anna) == till.listed(anna, everything=True)
    must_be_proved(till)
    must_be_settled(till, anna)


@pytest.mark.parametrize("is_silent", [False, True])
@pytest.mark.parametrize(("kind", "is_billed"), [("cut_before", False), ("cut_after", True)])
def test_what_the_invoice_of_a_deleted_customer_billed_is_not_due(
    till: ProductTill, kind: str, *, is_billed: bool, is_silent: bool
) -> None:
    """Also where Stripe says nothing any more of who was deleted: what the invoice bills decides."""
    anna, number = march(till, kind)
    till.later(hours=2)
    till.fetch_invoices()
    (paid,) = [each for each in till.stripe.all("invoice") if each["total"]]
    assert (paid["status"], paid["total"]) == ("paid", 1_200 if is_billed else 700)
    delete(till, anna)
    till.hear(anna)
    till.stripe.faults.remove(number)
    if is_silent:
        till.stripe.faults.add("declined", path=SUMS)
    runs(till)
    till.stripe.faults.clear()
    assert waiting(till, anna) == ([] if is_billed else [("ended", 30, 5 * DOLLAR)])
    assert state(till, anna) == ("accepted" if is_billed or is_silent else "given up")
    must_be_proved(till)
    if not is_billed:
        must_be_settled(till, anna)
    assert till.receivable(anna) == 0


def test_what_nobody_began_to_send_is_given_up_at_once(till: ProductTill) -> None:
    anna = till.account()
    till.charge(anna, till.day(0), 5 * DOLLAR)
    till.at(1)
    prepare(till.connection, till.now)
    assert make_reports(till.connection, till.now) == 1
    delete(till, anna)
    till.run()
    assert [word for *_, word in till.states(anna)] == ["given up"]
    assert waiting(till, anna) == [("ended", 0, 5 * DOLLAR)]
    assert till.stripe.all("v2.core.event") == []  # it was never told
    must_be_settled(till, anna)


@pytest.mark.parametrize("kind", ["cut_before", "cut_after", "declined"])
def test_what_waited_is_not_told_to_the_customer_after(till: ProductTill, kind: str) -> None:
    """It is billed once, with the day on which a person brought it to that one."""
    anna, number = march(till, kind)
    delete(till, anna)
    another(till, anna)
    till.stripe.faults.remove(number)
    if kind == "declined":
        with till.connection.transaction():
            unpark(till.connection, ADMIN, account=anna.id, why="it is another customer")
    till.charge(anna, till.day(31), 3 * DOLLAR)
    runs(till)
    assert owned(till, anna) == (0, 0)
    assert waiting(till, anna) == [("before", 29, 7 * DOLLAR), ("before", 30, 5 * DOLLAR)]
    must_be_proved(till)
    till.settle(anna, "open-day")
    till.later(hours=25)
    till.run()
    assert (waiting(till, anna), till.receivable(anna)) == ([], 0)
    assert till.told(anna, 31) * UNIT == 15 * DOLLAR
    till.later(hours=2)
    must_be_proved(till)


def test_what_stripe_took_before_the_deletion_was_seen_is_taken_back(till: ProductTill) -> None:
    """Stripe says yes to the event of a customer that is gone, and counts it for nobody."""
    anna, number = march(till, "outage")
    till.later(hours=2)
    till.fetch_invoices()
    delete(till, anna)
    till.stripe.faults.remove(number)
    assert till.tell().sent.accepted == 1
    runs(till)
    assert (state(till, anna), owned(till, anna)[1]) == ("accepted", 0)
    assert waiting(till, anna) == [("ended", 30, 5 * DOLLAR)]
    till.later(hours=2)
    till.fetch_summaries()
    with pytest.raises(Conflict, match="told to a customer that was deleted"):
        till.tell_again(anna, till.day(30))
    must_be_proved(till)
    assert (
        "1 day told to a customer that was deleted" in proved(till.connection, till.now)[8].detail
    )
    must_be_settled(till, anna)


def made_beside(till: ProductTill, user: User) -> str:
    """Another customer, whose subscription somebody made in the dashboard while the account has one; its id."""
    made = till.client.v1.customers.create({"name": "Anna"})
    anchor: Any = {"day_of_month": 1, "hour": 0, "minute": 0, "second": 0}
    till.client.v1.subscriptions.create(
        {
            "customer": made.id,
            "items": [{"price": till.price(user)}],
            "billing_cycle_anchor_config": anchor,
        }
    )
    return str(made.id)


def told_beside(till: ProductTill) -> tuple[User, str]:
    """An account that is told of its first day while another customer's subscription lives, and is deleted then."""
    anna = till.account()
    till.at(0, 1)
    other = made_beside(till, anna)
    till.charge(anna, till.day(0), 5 * DOLLAR)
    till.at(1, 0.2)
    till.run()
    delete(till, anna)
    till.hear(anna)
    return anna, other


@pytest.mark.parametrize(("kind", "has_it"), [("cut_before", False), ("cut_after", True)])
def test_what_the_customer_before_was_told_of_a_day_decides_nothing(
    till: ProductTill, kind: str, *, has_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told of it to the one after is refused once a try may have arrived: that one's sums alone decide.

    So linked were accounts before such subscriptions were left alone.
    """
    monkeypatch.setattr(linking, "require_to_take_over", lambda *_: None)
    anna, other = told_beside(till)
    till.link(anna, till.meter, customer=other)
    till.charge(anna, till.day(0), 2 * DOLLAR)
    for fault in (kind, "declined"):
        till.stripe.faults.add(fault, path=EVENTS, times=1)
    till.run()
    assert waiting(till, anna) == [("refused", 0, 2 * DOLLAR)]
    runs(till, 2)
    if has_it:
        told = 7 if till.meter == "daily" else 2
        assert (waiting(till, anna), till.told(anna, 0)) == ([], told * DOLLAR // UNIT)
    else:
        assert till.settle(anna, "outside").amount_nano == 2 * DOLLAR
    till.must_add_up(anna)
    must_be_proved(till)


def test_a_subscription_that_had_begun_while_another_customer_was_told_is_not_taken_over(
    till: ProductTill,
) -> None:
    """Whose the days since then are would be told by time alone, and one of the two bills nothing of them."""
    anna, other = told_beside(till)
    before = till.customer(anna)
    (made,) = till.client.v1.subscriptions.list({"customer": other}).data
    with pytest.raises(Conflict, match=f"{made.id} had begun when Stripe was told of 2026-03-01"):
        till.link(anna, till.meter, customer=other)
    assert till.customer(anna) == before
    till.stripe.people.cancel_subscription(made.id)
    till.link(anna, till.meter, customer=other)
    till.charge(anna, till.day(1), 2 * DOLLAR)
    till.at(2, 0.2)
    runs(till)
    assert till.told(anna, 1) == 2 * DOLLAR // UNIT
    assert waiting(till, anna) == [("before", 0, 5 * DOLLAR)]
    assert till.settle(anna, "outside").amount_nano == 5 * DOLLAR
    till.must_add_up(anna)
    must_be_proved(till)
