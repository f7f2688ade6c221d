"""A day told again: due is what the subscription that bills it really lacks, and no more."""

import pytest

from core.books.reconcile.differences import differences
from core.errors import Conflict
from tests.core.billing.stripe.reporting.conftest import product_till as till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.books.stripe_story import proved
from tests.factories import User

__all__ = ["till"]

pytestmark = pytest.mark.long


def told(till: ProductTill, user: User, day: int, nano: int = 5_000) -> None:
    """A day's usage, told in the night after it."""
    till.charge(user, till.day(day), nano)
    till.at(day + 1)
    till.run()


def loses(till: ProductTill, user: User, day: int) -> None:
    """Stripe does not count what it accepted last of a day; its sums are fetched afterwards."""
    identifier = till.value(
        "SELECT identifier FROM stripe_reports WHERE account_no = %s AND day = %s"
        " AND state = 'accepted' ORDER BY id DESC",
        user.no,
        till.day(day),
    )
    till.stripe.people.fail_meter(till.meter_of(user), identifier)
    till.later(hours=2)
    till.fetch_summaries()


def replaced(till: ProductTill, user: User, *, invoice_now: bool = False) -> None:
    """Its subscription ends, with a last invoice or without, and another begins at once."""
    found = till.living(user)
    assert found is not None
    till.stripe.people.cancel_subscription(found["id"], invoice_now=invoice_now)
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
    with pytest.raises(Conflict, match="customer that was deleted"):
        till.tell_again(anna, till.day(0))
    assert due(till, anna) == [("before", 5_000)]


def test_of_a_day_on_which_another_began_what_it_lacks_is_told_again(till: ProductTill) -> None:
    """The one before ended uninvoiced that morning."""
    anna = till.account()
    told(till, anna, 0, 7_000)
    till.at(1, 1.5)
    replaced(till, anna)
    till.later(hours=3)
    till.run()
    till.settle(anna, "outside")
    told(till, anna, 1, 3_000)
    loses(till, anna, 1)
    assert till.told(anna, 1) == 0
    till.tell_again(anna, till.day(1))
    till.run()
    assert till.told(anna, 1) == 3
    till.later(hours=2)
    till.fetch_summaries()
    must_be_right(till, anna)
    assert due(till, anna) == []


def told_by_noon(till: ProductTill, *, invoice_now: bool) -> User:
    """4 units of the day that runs are told; its subscription ends, another begins, and uses 5 more."""
    anna = till.account()
    till.charge(anna, till.day(0), 4_000)
    till.at(0, 9)
    till.run()
    replaced(till, anna, invoice_now=invoice_now)
    till.charge(anna, till.day(0), 5_000)
    till.later(hours=3)
    till.run()
    till.later(hours=1)
    till.run()
    return anna


@pytest.mark.parametrize("till", ["daily"], indirect=True)
def test_of_a_day_told_to_both_the_last_event_is_told_again(till: ProductTill) -> None:
    """The first ended uninvoiced: the other bills all of it."""
    anna = told_by_noon(till, invoice_now=False)
    since = till.living(anna)
    assert since is not None
    assert till.billable(anna, 0, since["start_date"]) == 9
    loses(till, anna, 0)
    assert till.billable(anna, 0, since["start_date"]) < 9
    till.tell_again(anna, till.day(0))
    till.run()
    assert till.billable(anna, 0, since["start_date"]) == 9
    till.later(hours=2)
    till.fetch_summaries()
    must_be_right(till, anna)
    assert due(till, anna) == []


@pytest.mark.parametrize("till", ["daily"], indirect=True)
def test_a_day_on_the_last_invoice_of_one_that_ended_within_it_is_not_told_again(
    till: ProductTill,
) -> None:
    anna = told_by_noon(till, invoice_now=True)
    loses(till, anna, 0)
    with pytest.raises(Conflict, match="is on invoice"):
        till.tell_again(anna, till.day(0))
