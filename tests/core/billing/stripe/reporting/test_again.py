"""A day told again: due is what the subscription that bills it really lacks, and no more."""

import pytest

from core.books.reconcile.differences import differences
from core.errors import Conflict
from tests.core.billing.stripe.reporting.conftest import product_till as till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.books.stripe_story import proved
from tests.factories import User

__all__ = ["till"]


def told(till: ProductTill, user: User, day: int, nano: int = 5_000) -> None:
    """A day's usage, told in the night after it."""
    till.charge(user, till.day(day), nano)
    till.at(day + 1)
    till.run()


def loses(till: ProductTill, user: User, day: int, *, newest: bool = True) -> None:
    """Stripe does not count what it accepted of a day; its sums are fetched afterwards."""
    order = "DESC" if newest else "ASC"
    identifier = till.value(
        "SELECT identifier FROM stripe_reports WHERE account_no = %s AND day = %s"  # noqa: S608
        f" AND state IN ('accepted', 'superseded') ORDER BY id {order}",
        user.no,
        till.day(day),
    )
    till.stripe.people.fail_meter(till.meter_of(user), identifier)
    till.later(hours=2)
    till.fetch_summaries()


def replaced(till: ProductTill, user: User) -> None:
    """Its subscription ends without a last invoice, and another begins at once."""
    found = till.living(user)
    assert found is not None
    till.stripe.people.cancel_subscription(found["id"], invoice_now=False)
    till.hear(user)
    till.link(user, till.meter)


def due(till: ProductTill, user: User) -> list[tuple[str, int | None]]:
    return [(line.reason, line.amount_nano) for line in till.listed(user, everything=True)]


def must_be_right(till: ProductTill, user: User) -> None:
    till.must_add_up(user)
    assert [line.rows for line in proved(till.connection, till.now).values()] == [(), ()]
    assert differences(till.connection, till.day(0)) == []


def test_what_was_taken_back_already_is_not_due_twice(till: ProductTill) -> None:
    """Of a subscription that ended uninvoiced, all is due: what Stripe lost of it as well."""
    anna = till.account()
    told(till, anna, 0)
    replaced(till, anna)
    till.later(hours=3)
    till.run()
    loses(till, anna, 0)
    assert due(till, anna) == [("before", 5_000)]
    till.tell_again(anna, till.day(0))
    assert due(till, anna) == [("before", 5_000)]
    must_be_right(till, anna)
    with pytest.raises(Conflict, match="has what it accepted"):
        till.tell_again(anna, till.day(0))
    till.settle(anna, "open-day")
    till.later(hours=25)
    till.run()
    assert (till.told(anna, 1), till.receivable(anna), due(till, anna)) == (5, 0, [])


def test_of_a_subscription_that_just_ended_it_is_due_once(till: ProductTill) -> None:
    """Before its units are taken back, and after."""
    anna = till.account()
    told(till, anna, 0)
    replaced(till, anna)
    loses(till, anna, 0)
    till.tell_again(anna, till.day(0))
    till.later(hours=3)
    till.run()
    assert due(till, anna) == [("before", 5_000)]
    must_be_right(till, anna)


def test_what_was_told_to_a_customer_before_cannot_be_told_again(till: ProductTill) -> None:
    anna = till.account()
    told(till, anna, 0)
    till.client.v1.customers.delete(till.customer(anna))
    made = till.client.v1.customers.create({"name": "Anna"})
    till.link(anna, till.meter, customer=made.id)
    till.later(hours=4)
    till.run()
    till.fetch_summaries()
    assert due(till, anna) == [("before", 5_000)]
    with pytest.raises(Conflict, match="customer before"):
        till.tell_again(anna, till.day(0))
    assert due(till, anna) == [("before", 5_000)]


@pytest.mark.parametrize("newest", [True, False])
def test_of_a_day_that_two_shared_what_the_one_that_bills_it_lacks_is_told_again(
    till: ProductTill, *, newest: bool
) -> None:
    """The first ended uninvoiced: the second was told all of the day, and bills it."""
    anna = till.account()
    told(till, anna, 0, 7_000)
    till.charge(anna, till.day(1), 2_000)
    till.at(2)
    till.run()
    till.later(minutes=10)
    replaced(till, anna)
    till.charge(anna, till.day(2), 3_000)
    till.later(hours=4)
    till.run()
    till.settle(anna, "outside")
    till.at(3)
    till.run()
    loses(till, anna, 2, newest=newest)
    till.tell_again(anna, till.day(2)) if till.told(anna, 2) != 3 else None
    till.later(hours=2)
    till.run()
    assert till.told(anna, 2) == 3
    till.later(hours=2)
    till.fetch_summaries()
    must_be_right(till, anna)
    assert due(till, anna) == []


@pytest.mark.parametrize("newest", [True, False])
def test_of_a_day_told_to_both_what_only_the_first_lost_is_due_no_more(
    till: ProductTill, *, newest: bool
) -> None:
    """It was told 4 units, ended uninvoiced, and the second was told all 9."""
    anna = till.account()
    till.charge(anna, till.day(0), 4_000)
    till.at(0, 9)
    till.run()
    if till.meter == "sum":  # of the day that runs a sum meter is told nothing
        pytest.skip()
    replaced(till, anna)
    till.charge(anna, till.day(0), 5_000)
    till.later(hours=3)
    till.run()
    till.later(hours=1)
    till.run()
    since = int(till.living(anna)["start_date"])  # type: ignore[index]  # it lives
    assert till.billable(anna, 0, since) == 9
    loses(till, anna, 0, newest=newest)
    if newest:
        till.tell_again(anna, till.day(0))
    till.run()
    assert till.billable(anna, 0, since) == 9
    till.later(hours=2)
    till.fetch_summaries()
    must_be_right(till, anna)
    assert due(till, anna) == []


