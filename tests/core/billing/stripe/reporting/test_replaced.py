"""A subscription that ends within a day, and is followed by another on the same day: billed to the cent."""

import pytest

from core.books.reconcile.differences import differences
from tests.core.billing.stripe.reporting.conftest import product_till as till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.billing.stripe.reporting.till import UNIT
from tests.core.books.stripe_story import proved
from tests.factories import User

__all__ = ["till"]

pytestmark = pytest.mark.long

CENT = 10_000
"""Units of one: what is charged is in whole cents, so that no invoice rounds."""
DAY = 9
"""Of March: the 10th."""


def use(till: ProductTill, user: User, day: int, cents: int) -> None:
    till.charge(user, till.day(day), cents * CENT * UNIT)


def cancel(till: ProductTill, user: User, *, invoice_now: bool, known: bool = True) -> None:
    found = till.living(user)
    assert found is not None
    till.stripe.people.cancel_subscription(found["id"], invoice_now=invoice_now)
    if known:
        till.hear(user)


def hours(till: ProductTill, until: float) -> None:
    """Let it be an hour of the 10th, with the hourly job in the three hours that come, and at the end."""
    for hour in sorted({*range(till.now.hour + 1, till.now.hour + 4), int(until)}):
        if till.now.hour < hour <= until:
            till.at(DAY, hour)
            till.run()
    if till.now.hour + till.now.minute / 60 < until:
        till.at(DAY, until)


def begun(till: ProductTill) -> User:
    """Nine days that cost 3 cents each, told on two nights; and 5 cents of the tenth until one o'clock."""
    anna = till.account()
    for day in range(DAY):
        use(till, anna, day, 3)
        till.at(day + 1)
        if day in (0, DAY - 1):
            till.run()
    use(till, anna, DAY, 5)
    till.at(DAY, 13)
    till.run()
    return anna


def the_month_after(
    till: ProductTill, anna: User, *, first: int = DAY + 1, corrected: int = DAY
) -> None:
    """March ends, and April; corrections of the 10th, or another day, come, and a day's usage in each."""
    till.at(first)
    till.run()
    use(till, anna, first, 20)
    till.at(DAY + 3)
    till.run()
    use(till, anna, corrected, 4)
    till.at(DAY + 5)
    till.run()
    use(till, anna, corrected, -6)
    till.at(DAY + 6)
    till.run()
    for day in (31, 45, 58):
        use(till, anna, day, 20)
        till.at(day + 1)
        till.run()
        till.later(hours=3)
        till.run()
    till.at(31 + 32)
    till.run()


def invoiced(till: ProductTill, user: User) -> list[int]:
    """What each invoice over usage comes to, in cents, in their order; all are final."""
    found = [
        each
        for each in till.stripe.all("invoice")
        if each["customer"] == till.customer(user) and each["total"]
    ]
    assert all(each["status"] != "draft" for each in found)
    return [each["total"] for each in sorted(found, key=lambda each: int(each["created"]))]


def must_be_right(till: ProductTill, user: User) -> None:
    """Nothing waits, nothing differs, and what was owed of both months is on invoices."""
    assert [(line.reason, line.first_day) for line in till.listed(user, everything=True)] == []
    assert till.receivable(user) == 0
    till.must_add_up(user)
    till.later(hours=2)
    till.fetch_summaries()
    assert [line.rows for line in proved(till.connection, till.now).values()] == [(), ()]
    assert [each.cause for each in differences(till.connection, till.day(0))] == []
    owed = till.connection.execute(
        "SELECT sum(posted_nano) FROM hopsmeter.stripe_days WHERE account_no = %s", [user.no]
    ).fetchone()
    assert owed is not None
    assert sum(invoiced(till, user)) * CENT * UNIT == owed[0]


@pytest.mark.parametrize("invoice_now", [True, False])
def test_replaced_within_the_day(till: ProductTill, *, invoice_now: bool) -> None:
    anna = begun(till)
    hours(till, 14)
    cancel(till, anna, invoice_now=invoice_now)
    use(till, anna, DAY, 7)
    hours(till, 15)
    till.link(anna, till.meter)
    use(till, anna, DAY, 11)
    hours(till, 23)
    if not invoice_now:
        till.at(DAY + 1)
        till.run()
        for line in till.listed(anna):
            assert line.reason == "before"
            assert line.first_day < till.day(DAY)
        till.settle(anna, "open-day")
    the_month_after(till, anna)
    must_be_right(till, anna)


def test_the_tenth_is_on_the_last_invoice_and_what_it_lacks_on_the_next_day(
    till: ProductTill,
) -> None:
    """On the daily meter 5 cents of it were told; the sum meter tells of closed days."""
    anna = begun(till)
    hours(till, 14)
    cancel(till, anna, invoice_now=True)
    hours(till, 15)
    till.link(anna, till.meter)
    use(till, anna, DAY, 11)
    hours(till, 23)
    first = 3 * DAY + (5 if till.meter == "daily" else 0)
    assert invoiced(till, anna) == [first]
    till.at(DAY + 1)
    till.run()
    till.at(DAY + 2)
    till.run()
    assert till.told(anna, DAY + 1) == (3 * DAY + 16 - first) * CENT


def test_what_was_told_after_the_end_and_before_we_knew_is_told_again(till: ProductTill) -> None:
    anna = begun(till)
    hours(till, 14)
    cancel(till, anna, invoice_now=True, known=False)
    use(till, anna, DAY, 7)
    till.at(DAY, 14.5)
    till.tell()
    hours(till, 16)
    till.link(anna, till.meter)
    hours(till, 23)
    the_month_after(till, anna)
    must_be_right(till, anna)


@pytest.mark.parametrize(
    ("invoice_now", "final_at_once"), [(True, True), (True, False), (False, False)]
)
def test_what_stripe_counts_for_one_made_by_hand_is_taken_off_again(
    till: ProductTill, *, invoice_now: bool, final_at_once: bool
) -> None:
    """Stripe was told at half past of a day that one cancelled at two bills, and one made soon after."""
    anna = begun(till)
    hours(till, 14)
    cancel(till, anna, invoice_now=invoice_now, known=False)
    if invoice_now and final_at_once:
        draft = next(each for each in till.stripe.all("invoice") if each["status"] == "draft")
        till.client.v1.invoices.finalize_invoice(draft["id"])
    by_hand = till.subscribe(anna)
    use(till, anna, DAY, 7)
    till.at(DAY, 14.5)
    till.tell()
    hours(till, 16)
    till.link(anna, till.meter)
    found = till.living(anna)
    assert found is not None
    assert found["id"] == by_hand
    hours(till, 23)
    till.at(DAY + 1)
    till.run()
    if not invoice_now:
        till.settle(anna, "open-day")
    the_month_after(till, anna)
    must_be_right(till, anna)


@pytest.mark.parametrize(("first", "second"), [(True, True), (False, True), (True, False)])
def test_replaced_twice_in_a_day(till: ProductTill, *, first: bool, second: bool) -> None:
    anna = begun(till)
    cancel(till, anna, invoice_now=first)
    hours(till, 14)
    till.link(anna, till.meter)
    use(till, anna, DAY, 7)
    hours(till, 18)
    cancel(till, anna, invoice_now=second)
    use(till, anna, DAY, 2)
    hours(till, 19)
    till.link(anna, till.meter)
    hours(till, 23)
    till.at(DAY + 1)
    till.run()
    if not first:
        assert {line.reason for line in till.listed(anna)} == {"before"}
        till.settle(anna, "open-day")
    the_month_after(till, anna)
    must_be_right(till, anna)


def test_a_day_lowered_to_nothing_is_owed_back_on_the_open_day(till: ProductTill) -> None:
    anna = begun(till)
    hours(till, 14)
    cancel(till, anna, invoice_now=True)
    hours(till, 15)
    till.link(anna, till.meter)
    use(till, anna, DAY, -5)
    hours(till, 23)
    the_month_after(till, anna)
    must_be_right(till, anna)


@pytest.mark.parametrize("ends", [15.2, 25])
def test_what_the_last_invoice_of_one_made_by_hand_bills_too_much_lowers_the_open_day(
    till: ProductTill, ends: float
) -> None:
    """It ends before the job took off what Stripe was told meanwhile: on the same day, or the one after."""
    anna = begun(till)
    hours(till, 14)
    cancel(till, anna, invoice_now=True, known=False)
    till.later(minutes=6)
    till.subscribe(anna)
    use(till, anna, DAY, 7)
    till.at(DAY, 14.5)
    till.tell()
    if ends > 24:  # the sum meter tells of closed days
        till.at(DAY + 1, 0.5)
        till.tell()
    till.at(DAY, ends)
    cancel(till, anna, invoice_now=True)
    till.later(minutes=6)
    till.link(anna, till.meter)
    for _ in range(4):
        till.later(hours=1)
        till.run()
    till.at(DAY + 2)
    till.run()
    waits = till.listed(anna)
    assert {line.reason for line in waits} <= {"before"}
    if waits:
        till.settle(anna, "open-day")
    # What changes later of a day before the subscription is for a person, as ever.
    the_month_after(till, anna, first=DAY + 2, corrected=DAY + 2)
    must_be_right(till, anna)
