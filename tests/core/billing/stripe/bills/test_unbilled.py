"""What Stripe was told and bills to nobody: listed everywhere alike, and settled; nothing in months that are well."""

from datetime import timedelta

import pytest

from core.billing.stripe.bills.settle_days import settle_days
from core.billing.stripe.reporting.settle import How, Settled
from core.books.reconcile.differences import differences
from core.errors import Conflict
from core.reports.stripe.due import Due, due
from tests.core.billing.stripe.bills.test_settle import CENT, invoices, runs, settle, use
from tests.core.billing.stripe.reporting.conftest import product_till as till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.billing.stripe.reporting.till import UNIT
from tests.core.books.stripe_story import proved
from tests.core.metering.site import ADMIN
from tests.factories import User

__all__ = ["till"]

pytestmark = pytest.mark.long

EVERY = 6
"""Days from one run of the job to the next; one falls into the hours in which March's invoice is a draft."""


def days(till: ProductTill, user: User, first: int, after: int) -> None:
    """Each day of [first, after) costs 3 cents, and is told: the job runs every few days."""
    for day in range(first, after):
        till.charge(user, till.day(day), 3 * CENT * UNIT)
        till.at(day + 1)
        if day % EVERY == 0 or day + 1 == after:
            till.run()


def told_apart(till: ProductTill, user: User) -> list[tuple[str, int, int, int | None]]:
    """What is listed of the account: why, from which day to which, and how many cents."""
    return [
        (
            each.reason,
            (each.first_day - till.day(0)).days,
            (each.last_day - till.day(0)).days,
            None if each.amount_nano is None else each.amount_nano // (CENT * UNIT),
        )
        for each in whole(till, user)
    ]


def whole(till: ProductTill, user: User) -> list[Due]:
    return due(till.connection, ADMIN, till.now, account=user.id)


def named(till: ProductTill) -> tuple[bool, int, int]:
    """Whether line 8 holds, how many rows it names, and how many differences are listed."""
    till.fetch_summaries()
    line = proved(till.connection, till.now)[8]
    return line.ok, len(line.rows), len(differences(till.connection, till.day(0)))


def settle_all(till: ProductTill, user: User, how: How, day: int | None = None) -> Settled:
    with till.connection.transaction():
        return settle_days(
            till.connection,
            ADMIN,
            account=user.id,
            day=None if day is None else till.day(day),
            how=how,
            why="agreed",
            now=till.now,
        )


def paused_over_the_months_end(till: ProductTill) -> User:
    """Paused on the 11th of March, resumed on the 3rd of April: no invoice has the days of March."""
    anna = till.account()
    days(till, anna, 0, 10)
    living = till.living(anna)
    assert living is not None
    till.stripe.people.pause_subscription(living["id"])
    till.hear(anna)
    days(till, anna, 10, 33)
    till.stripe.people.resume_subscription(living["id"])
    till.hear(anna)
    days(till, anna, 33, 40)
    return anna


def test_days_of_a_cycle_that_was_paused_at_its_end_are_listed_until_they_are_settled(
    till: ProductTill,
) -> None:
    anna = paused_over_the_months_end(till)
    assert told_apart(till, anna) == [("unbilled", 0, 30, 93)]
    assert [each.first_day for each in till.listed(anna)] == [till.day(day) for day in range(31)]
    (listed,) = whole(till, anna)
    assert listed.invoice_id is None
    assert "on no invoice" in listed.why
    assert "--on-open-day" in listed.next_step
    till.later(hours=2)
    assert named(till) == (False, 1, 1)
    settled = settle_all(till, anna, "open-day")
    assert (settled.amount_nano, len(settled.days)) == (93 * CENT * UNIT, 31)
    assert told_apart(till, anna) == []
    till.at(41)
    till.run()
    till.at(66, 3)
    runs(till)
    assert [*invoices(till, anna).values()] == [120]
    assert named(till) == (True, 0, 0)
    till.must_add_up(anna)
    assert till.receivable(anna) == 0


def test_one_of_such_days_is_settled_outside_and_the_others_stay_listed(till: ProductTill) -> None:
    anna = paused_over_the_months_end(till)
    assert settle_all(till, anna, "outside", 4).days == ((till.day(4), 3 * CENT * UNIT),)
    assert told_apart(till, anna) == [("unbilled", 0, 30, 90)]
    with pytest.raises(Conflict, match="nothing is due"):
        settle_all(till, anna, "outside", 4)
    till.must_add_up(anna)


def test_all_is_settled_at_once_with_what_waits_for_another_reason(till: ProductTill) -> None:
    anna = paused_over_the_months_end(till)
    till.charge(anna, till.day(-1), 5 * CENT * UNIT)
    till.run()
    assert told_apart(till, anna) == [("before", -1, -1, 5), ("unbilled", 0, 30, 93)]
    assert settle_all(till, anna, "outside").amount_nano == 98 * CENT * UNIT
    assert told_apart(till, anna) == []
    till.must_add_up(anna)


@pytest.mark.parametrize("how", ["outside", "open-day"])
@pytest.mark.parametrize("day", [3, None])
def test_a_day_on_no_invoice_that_was_corrected_to_nothing_is_settled_as_nothing(
    till: ProductTill, how: How, day: int | None
) -> None:
    """Corrected when it was too old to be told: what is on no invoice and what is owed cancel out."""
    anna = paused_over_the_months_end(till)
    till.at(45)
    till.charge(anna, till.day(3), -3 * CENT * UNIT)
    till.run()
    assert told_apart(till, anna) == [("too old", 3, 3, -3), ("unbilled", 0, 30, 93)]
    assert (till.day(3), 0) in settle_all(till, anna, how, day).days
    left = [] if day is None else [("unbilled", 0, 30, 90)]
    assert told_apart(till, anna) == left
    till.later(hours=2)
    assert named(till)[0] is (day is None)
    till.must_add_up(anna)


def test_days_before_a_new_anchor_are_listed_a_day_after_it(till: ProductTill) -> None:
    anna = till.account()
    days(till, anna, 0, 10)
    living = till.living(anna)
    assert living is not None
    till.stripe.people.pause_subscription(living["id"])
    till.hear(anna)
    days(till, anna, 10, 12)
    till.at(13, 0)
    till.stripe.people.resume_subscription(living["id"], anchor_now=True)
    till.hear(anna)
    assert told_apart(till, anna) == []
    days(till, anna, 12, 20)
    assert told_apart(till, anna) == [("unbilled", 0, 12, 39)]


def test_a_subscription_whose_cycles_begin_within_a_day_is_named_until_another_takes_its_place(
    till: ProductTill,
) -> None:
    """Paused and resumed with a new anchor, as Stripe does it unless told otherwise."""
    anna = till.account()
    days(till, anna, 0, 2)
    living = till.living(anna)
    assert living is not None
    till.stripe.people.pause_subscription(living["id"])
    till.at(2, 12)
    till.stripe.people.resume_subscription(living["id"], anchor_now=True)
    till.hear(anna)
    assert told_apart(till, anna) == [("within", 2, 2, None)]
    (listed,) = till.listed(anna)
    assert f"the cycles of {living['id']} begin at 12:00:00 UTC" in listed.why
    assert f"cancel {living['id']} in Stripe with a last invoice" in listed.next_step
    till.later(hours=2)
    assert named(till) == (False, 1, 1)
    till.stripe.people.cancel_subscription(living["id"], invoice_now=True)
    till.hear(anna)
    till.link(anna, till.meter)
    assert "within" not in [reason for reason, *_ in told_apart(till, anna)]


def draft_of_march(till: ProductTill, how: str) -> tuple[User, str]:
    """A draft over March that Stripe does not make final, when it is known of it for one hour."""
    anna = till.account()
    days(till, anna, 0, 10)
    living = till.living(anna)
    assert living is not None
    if how == "kept":
        till.client.v1.subscriptions.update(
            living["id"], {"pause_collection": {"behavior": "keep_as_draft"}}
        )
        till.hear(anna)
    days(till, anna, 10, 30)
    till.charge(anna, till.day(30), 3 * CENT * UNIT)
    till.at(31, 0.5)
    till.run()
    (draft,) = (each["id"] for each in till.stripe.all("invoice") if each["status"] == "draft")
    if how == "failed":
        till.stripe.people.block_invoice(draft)
    else:
        till.client.v1.subscriptions.update(living["id"], {"pause_collection": ""})
    return anna, draft


@pytest.mark.parametrize("how", ["kept", "failed"])
def test_a_draft_that_is_not_made_final_is_listed_once_its_grace_is_over(
    till: ProductTill, how: str
) -> None:
    anna, draft = draft_of_march(till, how)
    till.at(34, 23)
    till.run()
    assert told_apart(till, anna) == []
    with pytest.raises(Conflict, match="is a draft, and what it bills may change"):
        settle(till, anna, draft, "outside")
    till.at(35, 1)
    till.run()
    assert told_apart(till, anna) == [("draft", 0, 30, 93)]
    (listed,) = till.listed(anna)
    assert listed.invoice_id == draft
    assert f"make {draft} final in Stripe" in listed.next_step
    till.later(hours=2)
    assert named(till) == (False, 1, 1)
    with pytest.raises(Conflict, match="it bills nobody"):
        settle(till, anna, draft, "put-right")
    settle(till, anna, draft, "open-day")
    assert told_apart(till, anna) == []
    till.at(36)
    till.run()
    till.at(66, 3)
    runs(till)
    of_april = [total for each, total in invoices(till, anna).items() if each != draft]
    assert of_april == [93]
    assert named(till) == (True, 0, 0)
    till.must_add_up(anna)


def test_a_draft_that_is_made_final_by_hand_bills_and_is_listed_no_more(till: ProductTill) -> None:
    anna, draft = draft_of_march(till, "kept")
    till.at(36)
    till.run()
    assert told_apart(till, anna) == [("draft", 0, 30, 93)]
    till.client.v1.invoices.finalize_invoice(draft)
    till.hear(anna)
    till.run()
    assert told_apart(till, anna) == []
    till.later(hours=2)
    assert named(till) == (True, 0, 0)


def test_a_draft_that_was_settled_and_is_final_after_all_is_taken_off_again(
    till: ProductTill,
) -> None:
    anna, draft = draft_of_march(till, "kept")
    till.at(36)
    till.run()
    settle(till, anna, draft, "open-day")
    till.run()
    till.client.v1.invoices.finalize_invoice(draft)
    runs(till, 4)
    days(till, anna, 37, 40)
    till.at(66, 3)
    runs(till)
    assert sum(invoices(till, anna).values()) == 93 + 9
    assert told_apart(till, anna) == []
    assert named(till) == (True, 0, 0)
    till.must_add_up(anna)


def test_drafts_of_an_unpaid_subscription_are_listed(till: ProductTill) -> None:
    till.stripe.settings.after_retries = "unpaid"
    anna = till.account()
    for day in range(10):
        use(till, anna, day, 300 * CENT)
    till.stripe.people.decline_cards(till.customer(anna))
    for day in range(11, 60):
        till.at(day)
        till.run()
    for day in range(60, 65):
        use(till, anna, day, 300 * CENT)
    for day in range(66, 100):
        till.at(day)
        till.run()
    assert told_apart(till, anna) == [("draft", 60, 60, 300), ("draft", 61, 64, 1200)]


def test_nothing_is_listed_in_months_that_are_well_nor_of_a_subscription_that_was_replaced(
    till: ProductTill,
) -> None:
    till.stripe.settings.invoice_grace = timedelta(hours=72)
    anna = till.account()
    for day in range(75):
        use(till, anna, day, 3 * CENT)
        if day == 40:
            living = till.living(anna)
            assert living is not None
            till.stripe.people.cancel_subscription(living["id"], invoice_now=True)
            till.hear(anna)
            till.link(anna, till.meter)
        assert [each.reason for each in whole(till, anna)] == []
    till.at(96)
    till.run()
    assert sum(invoices(till, anna).values()) == 75 * 3


def test_what_a_subscription_left_that_ended_is_listed_once(till: ProductTill) -> None:
    anna = till.account()
    days(till, anna, 0, 10)
    living = till.living(anna)
    assert living is not None
    till.stripe.people.cancel_subscription(living["id"], invoice_now=False)
    till.hear(anna)
    for day in (11, 40, 75):
        till.at(day)
        till.run()
        assert told_apart(till, anna) == [("ended", 0, 9, 30)]
    till.link(anna, till.meter)
    till.at(76)
    till.run()
    assert told_apart(till, anna) == [("before", 0, 9, 30)]
