"""A subscription that ends with its cycle: as long as its last invoice is a draft, days of it go on being told."""

from datetime import timedelta
from typing import Any

import pytest
from stripe import Invoice

from core.billing.stripe.linking import unpark
from core.billing.stripe.reporting.make import make_reports, prepare
from core.billing.stripe.state import mark_standings
from core.books.months.untold import untold
from core.books.reconcile.differences import differences
from tests.core.billing.stripe.reporting.conftest import product_till as till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.billing.stripe.reporting.test_replaced import CENT, invoiced, must_be_right, use
from tests.core.billing.stripe.reporting.till import UNIT
from tests.core.books.stripe_story import proved
from tests.core.metering.site import ADMIN
from tests.factories import User

__all__ = ["till"]

pytestmark = pytest.mark.long

EVENTS = "/v1/billing/meter_events"
LAST = 30
"""The 31st of March; the cycle ends with it."""


def begun(till: ProductTill, *, grace_h: float = 72) -> User:
    """Days of March that cost 3 cents each, and 5 cents of the last one until ten in the evening."""
    till.stripe.settings.invoice_grace = timedelta(hours=grace_h)
    anna = till.account()
    for day in (0, 12, LAST - 1):
        use(till, anna, day, 3)
        till.at(day + 1)
        till.run()
    use(till, anna, LAST, 5)
    till.at(LAST, 22)
    till.run()
    return anna


def ended(till: ProductTill, *, grace_h: float = 72) -> User:
    """It ends with March, and half an hour later that is known; 7 cents of the last evening were not told."""
    anna = begun(till, grace_h=grace_h)
    end_with_cycle(till, anna)
    till.at(LAST + 1, 0.5)
    till.fetch_invoices()
    use(till, anna, LAST, 7)
    return anna


def end_with_cycle(till: ProductTill, user: User) -> None:
    found = till.living(user)
    assert found is not None
    till.client.v1.subscriptions.update(found["id"], {"cancel_at_period_end": True})
    till.hear(user)


def fails(till: ProductTill, kind: str, **settings: Any) -> None:
    till.stripe.faults.add(kind, method="POST", path=EVENTS, **settings)


def waits(till: ProductTill, user: User, *, everything: bool = False) -> list[tuple[str, int, int]]:
    """What is listed: why, of which day, how many cents."""
    return [
        (
            each.reason,
            (each.first_day - till.day(0)).days,
            (each.amount_nano or 0) // (CENT * UNIT),
        )
        for each in till.listed(user, everything=everything)
    ]


def told(till: ProductTill, user: User) -> int:
    """How many reports there are, but such as only take back."""
    return sum(state != "settled" for *_, state in till.states(user))


def draft(till: ProductTill) -> Invoice:
    (found,) = till.client.v1.invoices.list({"status": "draft"}).data
    return found


def must_hold(till: ProductTill, user: User) -> None:
    """The books agree, and with Stripe, whatever waits for a person."""
    till.must_add_up(user)
    till.later(hours=2)
    till.fetch_summaries()
    assert [line.rows for line in proved(till.connection, till.now).values()] == [(), ()]
    assert [each.cause for each in differences(till.connection, till.day(0))] == []


@pytest.mark.parametrize("grace_h", [1, 72])
def test_the_last_evening_is_on_the_last_invoice(till: ProductTill, grace_h: float) -> None:
    """The sum meter told nothing of the day before it was over."""
    anna = ended(till, grace_h=grace_h)
    till.tell()
    assert waits(till, anna, everything=True) == []
    till.at(LAST + 5)
    till.run()
    assert invoiced(till, anna) == [9 + 5 + 7]
    must_be_right(till, anna)


def test_it_is_said_that_the_next_run_tells_it(till: ProductTill) -> None:
    """By what `stripe report --dry-run` reads; and the month waits for it."""
    anna = ended(till)
    prepare(till.connection, till.now)
    owed = 7 if till.meter == "daily" else 12
    assert waits(till, anna) == []
    assert waits(till, anna, everything=True) == [("to report", LAST, owed)]
    left = untold(till.connection, till.day(0), till.day(LAST + 1), till.now)
    assert [each.reason for each in left] == ["to report"]
    till.run()
    assert untold(till.connection, till.day(0), till.day(LAST + 1), till.now) == ()


def test_days_of_the_cycle_that_are_restated_are_told_the_oldest_first(till: ProductTill) -> None:
    anna = ended(till)
    till.at(LAST + 2)
    use(till, anna, 12, -2)
    use(till, anna, 0, 4)
    before = len(till.states(anna))
    till.run()
    assert [day for day, *_ in till.states(anna)][before:] == [0, 12, LAST]
    assert waits(till, anna, everything=True) == []
    till.at(LAST + 5)
    till.run()
    assert invoiced(till, anna) == [9 + 5 + 7 - 2 + 4]
    must_be_right(till, anna)


def test_an_event_of_it_lies_within_its_day_and_before_its_end(till: ProductTill) -> None:
    anna = ended(till)
    till.run()
    assert till.billable(anna, LAST, 0) == 12 * CENT
    at = till.connection.execute(
        "SELECT event_at AT TIME ZONE 'UTC' FROM hopsmeter.stripe_reports WHERE account_no = %s"
        " ORDER BY id DESC LIMIT 1",
        [anna.no],
    ).fetchone()
    assert at is not None
    assert at[0].isoformat() == "2026-03-31T23:59:59"


def test_what_is_not_on_it_once_it_is_final_is_for_a_person(till: ProductTill) -> None:
    anna = ended(till)
    till.run()
    till.at(LAST + 5)
    till.run()
    use(till, anna, LAST, 2)
    till.run()
    assert waits(till, anna) == [("ended", LAST, 2)]
    till.link(anna, till.meter)
    till.run()
    assert waits(till, anna) == [("before", LAST, 2)]
    assert invoiced(till, anna) == [21]
    must_hold(till, anna)


def test_usage_from_after_the_end_is_for_a_person(till: ProductTill) -> None:
    anna = ended(till)
    till.at(LAST + 1, 9)
    use(till, anna, LAST + 1, 2)
    till.run()
    till.at(LAST + 2)
    till.run()
    assert waits(till, anna) == [("ended", LAST + 1, 2)]
    assert draft(till).total == 21


@pytest.mark.parametrize("seen", [True, False])
def test_a_report_that_comes_after_the_invoice_is_final_is_due_again(
    till: ProductTill, *, seen: bool
) -> None:
    """Written down while it was a draft, sent later: known to be final by then, or not."""
    anna = ended(till)
    fails(till, "outage")
    till.run()
    assert {each.reason for each in till.listed(anna, everything=True)} == {"under way"}
    till.at(LAST + 4, 3)
    if seen:
        till.fetch_invoices()
    till.stripe.faults.clear()
    till.tell()
    assert waits(till, anna, everything=True) == []
    till.run()
    owed = 7 if till.meter == "daily" else 12
    assert waits(till, anna) == [("ended", LAST, owed)]
    assert invoiced(till, anna) == [9 + 12 - owed]
    must_hold(till, anna)
    till.settle(anna, "outside")
    assert (waits(till, anna), till.receivable(anna)) == ([], 0)
    must_hold(till, anna)


@pytest.mark.parametrize("arrived", [True, False])
def test_an_answer_that_was_lost_until_the_invoice_is_final_is_told_apart(
    till: ProductTill, *, arrived: bool
) -> None:
    anna = ended(till)
    till.at(LAST + 3, 12)
    fails(till, "cut_after" if arrived else "cut_before", times=1)
    fails(till, "outage")
    till.run()
    till.at(LAST + 4, 3)
    till.stripe.faults.clear()
    for _ in range(2):
        till.run()
        till.later(hours=1)
    owed = 7 if till.meter == "daily" else 12
    assert waits(till, anna) == ([] if arrived else [("ended", LAST, owed)])
    assert invoiced(till, anna) == [21 if arrived else 21 - owed]
    must_hold(till, anna)


def test_what_was_written_down_by_a_run_that_was_killed_is_told_by_the_next(
    till: ProductTill,
) -> None:
    anna = ended(till)
    prepare(till.connection, till.now)
    assert make_reports(till.connection, till.now) == 1
    assert make_reports(till.connection, till.now) == 0
    till.later(hours=1)
    till.run()
    till.at(LAST + 5)
    till.run()
    assert invoiced(till, anna) == [21]
    must_be_right(till, anna)


def test_a_draft_that_is_gone_takes_nothing_more(till: ProductTill) -> None:
    """As somebody may delete it: what it was told of counts as not told once that is seen, as ever."""
    anna = ended(till)
    till.run()
    use(till, anna, LAST, 2)
    del till.stripe.account.tables["invoice"][draft(till).id]
    till.later(minutes=1)
    till.hear(anna)
    before = len(till.states(anna))
    till.run()
    assert len(till.states(anna)) == before
    assert waits(till, anna) == [("ended", LAST, 2)]
    till.must_add_up(anna)
    till.at(LAST + 6)
    till.run()
    days = {0: 3, 12: 3, LAST - 1: 3, LAST: 5 + 7 + 2}
    assert waits(till, anna) == [("ended", day, cents) for day, cents in days.items()]
    till.must_add_up(anna)


def test_the_last_invoice_of_one_that_is_cancelled_at_once_is_left_alone(till: ProductTill) -> None:
    """Whether its draft takes usage is not known of real Stripe."""
    anna = begun(till)
    till.later(minutes=1)
    found = till.living(anna)
    assert found is not None
    till.stripe.people.cancel_subscription(found["id"], invoice_now=True)
    till.hear(anna)
    use(till, anna, LAST, 7)
    till.later(minutes=30)
    till.run()
    assert draft(till).total == 9 + (5 if till.meter == "daily" else 0)
    assert [reason for reason, *_ in waits(till, anna)] == ["ended"]


@pytest.mark.parametrize("invoice_now", [True, False])
def test_the_cycle_before_the_one_that_is_cancelled_at_once_is_still_told(
    till: ProductTill, *, invoice_now: bool
) -> None:
    """Cancelled on the 1st: the draft over March lives on."""
    anna = begun(till)
    till.at(LAST + 1, 10)
    found = till.living(anna)
    assert found is not None
    till.stripe.people.cancel_subscription(found["id"], invoice_now=invoice_now)
    use(till, anna, LAST, 7)
    for _ in range(4):
        till.later(hours=1)
        till.run()
    assert waits(till, anna, everything=True) == []
    till.at(LAST + 5)
    till.run()
    assert invoiced(till, anna) == [21]
    must_be_right(till, anna)


def must_be_left_to_a_person(till: ProductTill, user: User) -> None:
    """The last day is not told of any more, and listed."""
    use(till, user, LAST, 7)
    before = told(till, user)
    till.run()
    assert told(till, user) == before
    assert ("ended", LAST, 7 if till.meter == "daily" else 12) in waits(till, user)


def test_the_draft_of_a_second_subscription_is_none_of_its_matter(till: ProductTill) -> None:
    """Which lived on, made by hand, when its own was cancelled within the cycle."""
    anna = begun(till)
    found = till.living(anna)
    assert found is not None
    till.later(minutes=1)
    till.stripe.people.duplicate_subscription(found["id"])
    till.stripe.people.cancel_subscription(found["id"])
    till.at(LAST + 1, 0.5)
    till.hear(anna)
    assert draft(till).total == 0
    must_be_left_to_a_person(till, anna)


def test_a_day_that_a_final_invoice_has_goes_to_no_draft(till: ProductTill) -> None:
    """A second subscription's invoice over the same cycle, made final by hand."""
    anna = begun(till)
    found = till.living(anna)
    assert found is not None
    end_with_cycle(till, anna)
    second = till.stripe.people.duplicate_subscription(found["id"])
    till.at(LAST + 1, 0.5)
    till.client.v1.invoices.finalize_invoice(
        till.client.v1.invoices.list({"subscription": second["id"], "status": "draft"}).data[0].id
    )
    till.hear(anna)
    must_be_left_to_a_person(till, anna)


def test_of_a_customer_that_was_deleted_nothing_is_told(till: ProductTill) -> None:
    anna = ended(till)
    till.client.v1.customers.delete(till.customer(anna))
    till.hear(anna)
    before = len(till.states(anna))
    till.run()
    assert len(till.states(anna)) == before
    assert (LAST, 7 if till.meter == "daily" else 12) in [each[1:] for each in waits(till, anna)]
    till.later(hours=3)
    till.run()
    assert sum(cents for *_, cents in waits(till, anna)) == 21
    assert {reason for reason, *_ in waits(till, anna)} == {"ended"}
    till.must_add_up(anna)


def test_another_that_is_linked_meanwhile_leaves_the_old_draft_its_days(till: ProductTill) -> None:
    anna = ended(till)
    till.at(LAST + 1, 9)
    till.link(anna, till.meter)
    use(till, anna, 12, 1)
    till.run()
    assert waits(till, anna) == []
    use(till, anna, LAST + 1, 6)
    till.at(LAST + 2)
    till.run()
    assert waits(till, anna, everything=True) == []
    till.at(LAST + 5)
    till.run()
    use(till, anna, LAST, 2)
    till.run()
    assert waits(till, anna) == [("before", LAST, 2)]
    till.settle(anna, "open-day")
    till.at(LAST + 32)
    till.run()
    till.at(LAST + 36)
    till.run()
    assert invoiced(till, anna) == [9 + 12 + 1, 6 + 2]
    must_be_right(till, anna)


@pytest.mark.parametrize("in_time", [True, False])
def test_a_parked_account_is_told_of_it_once_it_is_unparked_as_long_as_it_is_a_draft(
    till: ProductTill, *, in_time: bool
) -> None:
    anna = ended(till)
    till.connection.execute(
        "UPDATE hopsmeter.stripe_accounts SET parked_at = now(), parked_why = 'refused'"
    )
    till.run()
    owed = 7 if till.meter == "daily" else 12
    assert waits(till, anna) == [("parked", LAST, owed)]
    if not in_time:
        till.at(LAST + 5)
        till.run()
        assert waits(till, anna) == [("ended", LAST, owed)]
    with till.connection.transaction():
        unpark(till.connection, ADMIN, account=anna.id, why="mended")
    till.run()
    assert waits(till, anna) == ([] if in_time else [("ended", LAST, owed)])


def standing(till: ProductTill, user: User) -> str:
    mark_standings(till.connection, till.now, timedelta(0))
    return till.standing(user)


@pytest.mark.parametrize("written", [True, False])
def test_nobody_is_to_stop_before_his_last_draft_was_told_or_is_final(
    till: ProductTill, *, written: bool
) -> None:
    """Due, or written down and under way."""
    anna = ended(till)
    prepare(till.connection, till.now)
    if written:
        assert make_reports(till.connection, till.now) == 1
    assert standing(till, anna) == "warned"
    till.at(LAST + 5)
    till.fetch_invoices()
    assert standing(till, anna) == "suspend"


def test_who_was_told_of_to_the_end_is_to_stop(till: ProductTill) -> None:
    anna = ended(till)
    till.run()
    assert draft(till).total == 21
    assert standing(till, anna) == "suspend"


def test_a_day_of_the_draft_is_told_again_where_an_event_was_lost(till: ProductTill) -> None:
    anna = ended(till)
    till.run()
    identifier = till.value("SELECT identifier FROM stripe_reports ORDER BY id DESC LIMIT 1")
    till.stripe.people.fail_meter(till.meter_of(anna), identifier)
    till.later(hours=2)
    till.fetch_summaries()
    till.tell_again(anna, till.day(LAST))
    till.run()
    assert waits(till, anna, everything=True) == []
    till.at(LAST + 5)
    till.run()
    assert invoiced(till, anna) == [21]
    must_be_right(till, anna)


def test_an_event_that_does_not_reach_the_draft_after_all_is_named(till: ProductTill) -> None:
    """Not verified of real Stripe: should a draft no longer take usage once its subscription has ended."""
    till.stripe.settings.ended_drafts_take = False
    anna = ended(till)
    till.run()
    use(till, anna, 12, 1)
    till.run()
    assert waits(till, anna) == []
    till.at(LAST + 5)
    till.run()
    owed = 7 if till.meter == "daily" else 12
    assert waits(till, anna) == [("ended", 12, 1), ("ended", LAST, owed)]
    assert invoiced(till, anna) == [9 + 12 - owed]
    must_hold(till, anna)


def kept_as_draft(till: ProductTill) -> User:
    """It ends with March while its collection is paused: the last invoice stays a draft."""
    anna = begun(till)
    found = till.living(anna)
    assert found is not None
    till.client.v1.subscriptions.update(
        found["id"], {"pause_collection": {"behavior": "keep_as_draft"}}
    )
    end_with_cycle(till, anna)
    till.at(LAST + 1, 0.5)
    return anna


def test_a_draft_that_is_kept_takes_all_and_is_listed_whole(till: ProductTill) -> None:
    anna = kept_as_draft(till)
    use(till, anna, LAST, 7)
    till.run()
    till.at(LAST + 6)
    use(till, anna, LAST, 1)
    till.run()
    assert sum(cents for *_, cents in waits(till, anna)) == 22
    assert {reason for reason, *_ in waits(till, anna)} == {"draft"}
    till.client.v1.invoices.finalize_invoice(draft(till).id)
    till.hear(anna)
    till.run()
    assert (waits(till, anna), invoiced(till, anna)) == ([], [22])


def test_of_a_kept_draft_what_stripe_takes_no_events_of_is_for_a_person(till: ProductTill) -> None:
    anna = kept_as_draft(till)
    till.run()
    till.at(12 + 35)
    till.run()
    use(till, anna, 12, 1)
    use(till, anna, 13, 1)
    before = len(till.states(anna))
    till.run()
    assert [day for day, *_ in till.states(anna)][before:] == [13]
    assert ("ended", 12, 1) in waits(till, anna)
