"""What is brought to the day that runs by a person: no more is taken off than its month has."""

from datetime import timedelta

import pytest

from core.billing.stripe.reporting.make import prepare
from core.billing.stripe.reporting.settle import How
from core.errors import Conflict
from tests.core.billing.stripe.reporting.conftest import product_till as till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.billing.stripe.reporting.till import UNIT

__all__ = ["till"]

pytestmark = pytest.mark.long

CENT = 10_000
HOWS: tuple[How, ...] = ("outside", "open-day")


def test_more_than_the_open_month_has_is_not_taken_off_it(till: ProductTill) -> None:
    anna = till.account()
    till.charge(anna, till.day(-2), -5 * CENT * UNIT)
    till.charge(anna, till.day(0), 3 * CENT * UNIT)
    till.at(1)
    till.run()
    with pytest.raises(Conflict, match=r"open month has 0\.03, .* -0\.05 cannot be brought"):
        till.settle(anna, "open-day", till.day(-2))
    with pytest.raises(Conflict, match="Wait for usage"):
        till.settle(anna, "open-day")
    till.charge(anna, till.day(1), 2 * CENT * UNIT)
    till.at(2)
    till.run()
    assert till.settle(anna, "open-day").amount_nano == -5 * CENT * UNIT
    till.must_add_up(anna)


def test_what_is_owed_beside_it_makes_room(till: ProductTill) -> None:
    anna = till.account()
    till.charge(anna, till.day(-3), -5 * CENT * UNIT)
    till.charge(anna, till.day(-2), 7 * CENT * UNIT)
    till.at(1)
    till.run()
    assert till.settle(anna, "open-day").amount_nano == 2 * CENT * UNIT
    till.must_add_up(anna)


def test_the_open_month_begins_with_its_subscription(till: ProductTill) -> None:
    """Also where no invoice says so: Stripe's first one may have no line of usage, or name the month to come.

    What waits of days before is on no invoice of it, and makes neither room nor lack of it.
    """
    anna = till.account()
    till.charge(anna, till.day(-2), -5 * CENT * UNIT)
    till.charge(anna, till.day(-1), 1 * CENT * UNIT)
    till.charge(anna, till.day(0), 3 * CENT * UNIT)
    till.at(1)
    till.run()
    till.connection.execute("UPDATE hopsmeter.stripe_invoices SET units = NULL")
    with pytest.raises(Conflict, match=r"open month has 0\.03, .* -0\.05 cannot be brought"):
        till.settle(anna, "open-day", till.day(-2))
    with pytest.raises(Conflict, match=r"open month has 0\.03, .* -0\.04 cannot be brought"):
        till.settle(anna, "open-day")
    till.charge(anna, till.day(1), 1 * CENT * UNIT)
    till.at(2)
    till.run()
    till.connection.execute("UPDATE hopsmeter.stripe_invoices SET units = NULL")
    assert till.settle(anna, "open-day").amount_nano == -4 * CENT * UNIT
    till.must_add_up(anna)


def test_what_a_draft_of_the_month_before_lent_is_due_again(till: ProductTill) -> None:
    """Its days are on no final invoice yet, so they make room; what the open month could not bear comes back."""
    till.stripe.settings.invoice_grace = timedelta(hours=72)
    anna = till.account()
    till.charge(anna, till.day(0), 10 * CENT * UNIT)
    till.at(35)
    till.run()
    till.charge(anna, till.day(40), 10 * CENT * UNIT)
    till.at(41)
    till.run()
    till.at(61, 2)
    till.run()  # April is a draft
    till.charge(anna, till.day(0), -8 * CENT * UNIT)
    till.charge(anna, till.day(61), 3 * CENT * UNIT)
    till.later(hours=1)
    till.run()
    till.at(62)
    till.run()
    assert till.listed(anna) == []
    till.at(97)
    till.run()
    (last,) = [
        each
        for each in till.stripe.all("invoice")
        if each["created"] > till.now.timestamp() - 6 * 86_400
    ]
    assert (last["status"], last["total"]) == ("paid", 0)
    assert [(each.reason, each.amount_nano) for each in till.listed(anna)] == [
        ("below zero", -5 * CENT * UNIT)
    ]
    till.must_add_up(anna)


def test_below_zero_it_is_settled_outside(till: ProductTill) -> None:
    anna = till.account()
    till.charge(anna, till.day(-2), -5 * CENT * UNIT)
    till.run()
    assert till.settle(anna, "outside").amount_nano == -5 * CENT * UNIT
    till.must_add_up(anna)


def test_without_a_subscription_that_lives_nothing_is_brought_to_it(till: ProductTill) -> None:
    anna = till.account()
    till.charge(anna, till.day(0), 5 * CENT * UNIT)
    till.at(1)
    till.run()
    living = till.living(anna)
    assert living is not None
    till.stripe.people.cancel_subscription(living["id"], invoice_now=True)
    till.charge(anna, till.day(1), 7 * CENT * UNIT)
    till.at(2)
    till.run()
    for day in (None, till.day(1)):
        with pytest.raises(Conflict, match=r"No subscription of .* would bill the open day"):
            till.settle(anna, "open-day", day)
    till.link(anna, till.meter)
    assert till.settle(anna, "open-day").amount_nano == 7 * CENT * UNIT
    till.must_add_up(anna)


def test_what_is_told_by_itself_is_not_settled(till: ProductTill) -> None:
    """Nobody could take it back, and a date is easily mistyped."""
    anna = till.account()
    till.charge(anna, till.day(0), 5 * CENT * UNIT)
    till.at(1)
    till.run()
    till.charge(anna, till.day(1), 7 * CENT * UNIT)
    prepare(till.connection, till.now)
    for how in HOWS:
        with pytest.raises(Conflict, match="told by itself"):
            till.settle(anna, how, till.day(1))
    till.must_add_up(anna)
