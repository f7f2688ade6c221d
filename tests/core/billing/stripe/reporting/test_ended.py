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
