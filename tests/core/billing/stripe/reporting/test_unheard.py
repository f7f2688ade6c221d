"""Requests that may have arrived unheard: remembered, and decided only by sums that Stripe had time to make."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from core.billing.stripe.gateway import Door
from core.billing.stripe.linking import unpark
from core.billing.stripe.reporting.run import report
from core.errors import Conflict
from core.secret import Secret
from tests.core.billing.stripe.reporting.conftest import product_till as till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.books.stripe_story import proved
from tests.core.metering.site import ADMIN
from tests.factories import User

__all__ = ["till"]

pytestmark = pytest.mark.long

EVENTS = "/v1/billing/meter_events"
LAG = timedelta(minutes=30)
"""Less than what we wait for."""


def begun(till: ProductTill) -> User:
    """An account's first day is over and owed, at a Stripe whose sums lag."""
    till.stripe.settings.aggregation_lag = LAG
    anna = till.account()
    till.charge(anna, till.day(0), 5_000)
    till.at(1)
    return anna


def fails(till: ProductTill, kind: str, **settings: Any) -> None:
    till.stripe.faults.add(kind, method="POST", path=EVENTS, **settings)


def mended(till: ProductTill) -> None:
    till.stripe.faults.clear()


def hurried(till: ProductTill) -> None:
    """As when a person says `stripe report`."""
    door = Door(till.stripe.url, Secret(till.stripe.api_key))
    asyncio.run(report(till.connection, door, till.clock, hurried=True))


def hourly(till: ProductTill, hours: int) -> None:
    for _ in range(hours):
        till.later(hours=1)
        till.run()


def must_be_told_once(till: ProductTill, user: User) -> None:
    """Stripe has the day's units once, and the books agree to the end."""
    till.later(hours=2)
    assert till.told(user, 0) == 5
    assert till.receivable(user) == 0
    till.must_add_up(user)
    till.fetch_summaries()
    till.later(hours=2)
    assert [line.rows for line in proved(till.connection, till.now).values()] == [(), ()]


@pytest.mark.parametrize("arrives", [True, False])
def test_the_last_try_is_decided_by_a_sum_that_can_have_it(
    till: ProductTill, *, arrives: bool
) -> None:
    """First tried 23 hours ago, and last just now."""
    anna = begun(till)
    fails(till, "cut_before")
    till.run()
    till.later(hours=22, minutes=50)
    mended(till)
    if arrives:
        fails(till, "cut_after", times=1)
    fails(till, "cut_before")
    hurried(till)
    mended(till)
    till.later(minutes=15)
    till.tell()
    assert [state for *_, state in till.states(anna)] == [
        "unknown" if till.meter == "sum" else "accepted"
    ]
    hourly(till, 3)
    assert [state for *_, state in till.states(anna)] == ["accepted"]
    must_be_told_once(till, anna)


def test_what_nobody_heard_of_is_told_once_though_sums_lag(till: ProductTill) -> None:
    anna = begun(till)
    fails(till, "hang_after", seconds=0.1)
    till.run()
    mended(till)
    hourly(till, 30)
    assert [state for *_, state in till.states(anna)] == ["accepted"]
    must_be_told_once(till, anna)


def test_a_report_too_old_to_be_sent_is_decided_by_a_sum_that_can_have_it(
    till: ProductTill,
) -> None:
    """Its last try is the last that Stripe takes, and it arrives unheard."""
    anna = begun(till)
    fails(till, "cut_before")
    till.run()
    till.at(34, 23.9)
    till.run()
    mended(till)
    fails(till, "cut_after", times=1)
    fails(till, "cut_before")
    hurried(till)
    mended(till)
    till.later(minutes=15)
    till.tell()
    assert till.told(anna, 0) == 0, "its sum has it later"
    assert till.states(anna)[0] == (0, 5, "unknown")
    hourly(till, 3)
    assert till.states(anna)[0] == (0, 5, "accepted")
    hourly(
        till, 24
    )  # too late for its invoice, so a sum's units are told with the open day once it is over
    must_be_told_once(till, anna)


def test_a_person_says_that_it_was_lost_once_a_sum_can_have_it(till: ProductTill) -> None:
    anna = begun(till)
    fails(till, "cut_after", times=1)
    fails(till, "cut_before")
    till.run()
    till.later(minutes=15)
    with pytest.raises(Conflict, match="may not show"):
        till.say_of_report(anna, has_arrived=False)
    till.later(hours=2)
    till.say_of_report(anna, has_arrived=True)
    must_be_told_once(till, anna)


def test_what_is_refused_after_a_try_that_arrived_is_found_in_the_sums(till: ProductTill) -> None:
    """Both in one run: the refusal says nothing of the try before it."""
    anna = begun(till)
    fails(till, "cut_after", times=1)
    fails(till, "declined", times=1)
    till.run()
    assert [state for *_, state in till.states(anna)] == ["refused"]
    with pytest.raises(Conflict, match="stripe decide"):
        till.settle(anna, "outside")
    till.later(minutes=15)
    till.run()
    assert [state for *_, state in till.states(anna)] == ["refused"]
    hourly(till, 3)
    assert [state for *_, state in till.states(anna)] == ["accepted"]
    must_be_told_once(till, anna)


def test_what_is_refused_after_a_try_that_was_lost_can_be_settled_once_the_sums_say_so(
    till: ProductTill,
) -> None:
    anna = begun(till)
    fails(till, "cut_before", times=1)
    fails(till, "declined", times=1)
    till.run()
    hourly(till, 3)
    assert [state for *_, state in till.states(anna)] == ["refused"]
    assert till.settle(anna, "outside").amount_nano == 5_000
    with till.connection.transaction():
        unpark(till.connection, ADMIN, account=anna.id, why="mended")
    hourly(till, 2)
    assert (till.told(anna, 0), till.receivable(anna), till.listed(anna)) == (0, 0, [])
    till.must_add_up(anna)


def test_one_that_was_unparked_is_not_decided_by_what_stripe_had_before(till: ProductTill) -> None:
    """Refused for a day, then tried again as it stands, which arrives unheard."""
    anna = begun(till)
    fails(till, "declined", times=1)
    till.run()
    till.later(hours=22, minutes=50)
    with till.connection.transaction():
        unpark(till.connection, ADMIN, account=anna.id, why="mended")
    fails(till, "cut_after", times=1)
    fails(till, "declined", times=1)
    till.run()
    till.later(minutes=15)
    with till.connection.transaction():
        unpark(till.connection, ADMIN, account=anna.id, why="mended")
    till.tell()
    hourly(till, 4)
    must_be_told_once(till, anna)
