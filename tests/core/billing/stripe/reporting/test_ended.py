"""A subscription that ended: what Stripe was told of it and never invoiced is for a person."""

from tests.core.billing.stripe.reporting.conftest import product_till as till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.books.stripe_story import proved
from tests.factories import User

__all__ = ["till"]


def told_and_cancelled(till: ProductTill, *, invoice_now: bool) -> User:
    """A day's 5 units are told; then the subscription is cancelled, and some hours pass."""
    anna = till.account()
    till.charge(anna, till.day(0), 5_000)
    till.at(1)
    till.run()
    found = till.living(anna)
    assert found is not None
    till.stripe.people.cancel_subscription(found["id"], invoice_now=invoice_now)
    till.hear(anna)
    till.later(hours=3)
    till.run()
    return anna


def listed(till: ProductTill, user: User) -> list[tuple[str, int | None]]:
    return [(line.reason, line.amount_nano) for line in till.listed(user)]


def test_what_an_ended_subscription_never_invoiced_is_for_a_person(till: ProductTill) -> None:
    anna = told_and_cancelled(till, invoice_now=False)
    assert listed(till, anna) == [("ended", 5_000)]
    till.link(anna, till.meter)
    till.later(hours=3)
    till.run()
    assert listed(till, anna) == [("before", 5_000)]
    till.settle(anna, "open-day")
    till.later(hours=24)
    till.run()
    assert (listed(till, anna), till.told(anna, 1), till.receivable(anna)) == ([], 5, 0)
    till.must_add_up(anna)
    till.fetch_summaries()
    till.later(hours=2)
    assert [line.rows for line in proved(till.connection, till.now).values()] == [(), ()]


def test_what_an_ended_subscription_invoiced_is_left_alone(till: ProductTill) -> None:
    anna = told_and_cancelled(till, invoice_now=True)
    assert (listed(till, anna), till.receivable(anna)) == ([], 0)


def test_what_missed_the_invoice_of_the_day_on_which_one_began_is_taken_back_once(
    till: ProductTill,
) -> None:
    """Begun on the last day of its cycle: what Stripe has of that day, too late, is on no other either."""
    till.at(30, 2)
    anna = till.account()
    till.charge(anna, till.day(30), 5_000)
    till.at(31, 0.5)
    till.run()
    till.charge(anna, till.day(30), 3_000)
    till.at(31, 1.2)  # its invoice is final, and nobody has looked
    till.tell()
    for _ in range(4):
        till.later(hours=1)
        till.run()
    till.at(33)
    till.run()
    assert (listed(till, anna), till.receivable(anna)) == ([], 0)
    till.must_add_up(anna)
    till.fetch_summaries()
    till.later(hours=2)
    assert [line.rows for line in proved(till.connection, till.now).values()] == [(), ()]
