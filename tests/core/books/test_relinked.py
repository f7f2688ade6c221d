"""Another customer of an account: what was told to the one before is not held against what this one has."""

from core.books.reconcile.differences import differences
from tests.core.billing.stripe.reporting.conftest import product_till as till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.billing.stripe.reporting.till import UNIT
from tests.core.books.stripe_story import proved
from tests.factories import User

__all__ = ["till"]

CENT = 10_000


def compared(till: ProductTill) -> tuple[bool, str, int]:
    """Whether line 8 holds, what it says, and how many differences are listed."""
    till.fetch_summaries()
    line = proved(till.connection, till.now)[8]
    return line.ok, line.detail, len(differences(till.connection, till.day(0)))


def march(till: ProductTill) -> User:
    """Billed and paid, when the customer is deleted and another takes its place."""
    anna = till.account()
    for day in range(31):
        till.charge(anna, till.day(day), 3 * CENT * UNIT)
        till.at(day + 1)
        if day % 6 == 0 or day == 29:  # told while the invoice is open, all but the last day
            till.run()
    till.at(35)
    till.run()
    return anna


def relink(till: ProductTill, anna: User) -> None:
    till.client.v1.customers.delete(till.customer(anna))
    made = till.client.v1.customers.create({"name": "Anna"})
    till.link(anna, till.meter, customer=made.id)


def test_days_of_a_customer_before_are_left_as_they_were_last_fetched(till: ProductTill) -> None:
    anna = march(till)
    assert compared(till)[0]
    relink(till, anna)
    till.later(hours=4)
    till.run()
    ok, said, differing = compared(till)
    assert (ok, differing) == (True, 0)
    assert said.startswith("31 days compared")
    till.charge(anna, till.day(36), 3 * CENT * UNIT)
    for day in (37, 46, 80):
        till.at(day)
        till.run()
        ok, said, differing = compared(till)
        assert (ok, differing) == (True, 0)
    assert said.startswith("32 days compared")


def test_days_that_were_never_fetched_of_a_customer_before_are_counted_apart(
    till: ProductTill,
) -> None:
    anna = march(till)
    relink(till, anna)
    till.later(hours=4)
    till.run()
    ok, said, differing = compared(till)
    assert (ok, differing) == (True, 0)
    assert "31 days told to a customer that was deleted, not compared" in said


def test_a_day_that_this_customer_was_told_too_is_compared_where_it_says_it_all(
    till: ProductTill,
) -> None:
    anna = till.account()
    till.charge(anna, till.day(3), 3 * CENT * UNIT)
    till.at(3, 12)
    till.run()
    till.at(4, 1)
    till.run()
    till.later(hours=2)
    assert compared(till)[0]
    relink(till, anna)
    till.charge(anna, till.day(4), 2 * CENT * UNIT)
    till.later(hours=4)
    till.run()
    till.at(5)
    till.run()
    till.later(hours=2)
    assert compared(till)[0]


def test_a_final_day_that_differs_is_not_to_be_told_again(till: ProductTill) -> None:
    march(till)
    till.later(hours=2)
    till.fetch_summaries()
    till.connection.execute(
        "UPDATE hopsmeter.stripe_summaries SET units = 0 WHERE day = %s", [till.day(4)]
    )
    (found,) = differences(till.connection, till.day(0))
    assert "is on invoice" in found.next_step
    assert "stripe again" not in found.next_step


def test_a_day_on_no_final_invoice_is_told_again(till: ProductTill) -> None:
    day = 4
    anna = till.account()
    till.charge(anna, till.day(day), 3 * CENT * UNIT)
    till.at(day + 1)
    till.run()
    till.later(hours=2)
    till.fetch_summaries()
    till.connection.execute("UPDATE hopsmeter.stripe_summaries SET units = 0")
    (found,) = differences(till.connection, till.day(0))
    assert f"stripe again '{anna.id}' --day {till.day(day)}" in found.next_step
