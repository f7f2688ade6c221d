"""Refunds that nobody told of are found: by the list of events, or by looking at what was paid."""

from datetime import datetime, timedelta

import pytest

from core.billing.stripe import looking
from core.billing.stripe.lag import RETURNS_WITHIN
from core.billing.stripe.missed import Missed, fetch_missed
from tests.core.billing.stripe.test_refunds import anna, balanced, bought, taken_back
from tests.core.billing.stripe.till import Till
from tests.core.books.stripe_story import proved
from tests.factories import User

__all__ = ["anna"]

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def fetch(till: Till) -> Missed:
    """As the hourly job does."""
    return till.run(lambda it: fetch_missed(till.site.connection, it))


def read_to(till: Till) -> datetime:
    (row,) = till.site.all("SELECT events_read_to AS at FROM stripe_site")
    at = row["at"]
    assert isinstance(at, datetime)
    return at


def test_a_mark_that_a_clock_ahead_left_is_read_again(till: Till, anna: User) -> None:
    charge = bought(till, anna)
    fetch(till)
    till.site.connection.execute(
        "UPDATE hopsmeter.stripe_site SET events_read_to = %s", [till.clock() + 300 * DAY]
    )
    till.world.people.refund(charge)
    till.pass_time(2 * HOUR)
    found = fetch(till)
    till.handle()
    assert (balanced(till, anna), taken_back(till)) == ({}, 100)
    assert found.read_to == read_to(till) == till.clock()
    assert fetch(till).new == 0


@pytest.mark.parametrize("is_read", [True, False], ids=["after thirty days", "list not read"])
def test_a_refund_of_which_no_event_is_left_is_found_by_looking(
    till: Till, anna: User, *, is_read: bool
) -> None:
    charge = bought(till, anna)
    fetch(till)
    till.world.people.refund(charge)
    till.pass_time(31 * DAY)
    if is_read:
        assert fetch(till).gap is not None
        till.handle()
        assert taken_back(till) == 0
    till.look()
    assert (balanced(till, anna), taken_back(till)) == ({}, 100)


def test_each_purchase_is_looked_at_every_few_days_the_longest_unseen_first(
    till: Till, anna: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    charges = [bought(till, anna, 10, key=f"order-{number}") for number in range(5)]
    monkeypatch.setattr(looking, "UNSEEN_MAX", 2)
    till.pass_time(looking.SEEN_EACH - HOUR)
    assert till.look().looked_at == 0
    till.world.people.refund(charges[4])
    till.pass_time(HOUR)
    looked = []
    for _ in range(3):
        looked.append(till.look().looked_at)
        till.pass_time(HOUR)
    assert looked == [2, 2, 1]
    assert till.look().looked_at == 0
    assert (balanced(till, anna), taken_back(till)) == ({"credits": 40}, 10)


def test_a_purchase_of_which_no_money_comes_back_any_more_is_left_alone(
    till: Till, anna: User
) -> None:
    bought(till, anna)
    till.pass_time(RETURNS_WITHIN + DAY)
    assert till.look().looked_at == 0


def test_purchases_that_were_looked_at_under_a_clock_ahead_are_looked_at_again(
    till: Till, anna: User
) -> None:
    charge = bought(till, anna)
    till.site.connection.execute(
        "UPDATE hopsmeter.stripe_purchases SET fetched_at = %s", [till.clock() + 300 * DAY]
    )
    till.world.people.refund(charge)
    till.pass_time(HOUR)
    till.look()
    assert (balanced(till, anna), taken_back(till)) == ({}, 100)


def test_a_purchase_that_stripe_has_no_more_is_named_and_holds_up_no_other(
    till: Till, anna: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    bought(till, anna, 10)
    till.site.connection.execute("UPDATE hopsmeter.stripe_purchases SET session_id = 'cs_lost'")
    charge = bought(till, anna, 20, key="order-2")
    till.world.people.refund(charge)
    monkeypatch.setattr(looking, "UNSEEN_MAX", 1)
    till.pass_time(looking.SEEN_EACH)
    (fault,) = till.look().faults.values()
    assert "Stripe has no such session" in fault
    till.look()
    assert taken_back(till) == 20


def test_line_8_says_how_old_the_figures_of_purchases_are(till: Till, anna: User) -> None:
    bought(till, anna)
    begun = till.clock()
    till.pass_time(DAY)
    bought(till, anna, key="order-2")
    till.pass_time(5 * HOUR)
    line = proved(till.site.connection, till.clock())[8]
    assert line.detail.endswith(
        f"2 purchases compared, fetched from {begun:%Y-%m-%d %H:%M} UTC on, last 5 hours ago"
    )
