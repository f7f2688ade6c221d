"""A clock of ours that is wrong for a run: reporting goes by Stripe's, and mends what one left before."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from core.billing.stripe.gateway import Door, Gateway
from core.billing.stripe.reporting.make import Prepared, make_reports, prepare
from core.billing.stripe.reporting.run import Reported, report
from core.billing.stripe.reporting.send import claim, report_due
from core.clock import Clock, day_of
from core.errors import StripeAway
from core.secret import Secret
from tests.core.billing.stripe.reporting.conftest import product_till as till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.books.stripe_story import proved
from tests.factories import User

__all__ = ["till"]

pytestmark = pytest.mark.long

UNIT = 1_000
DAY = timedelta(days=1)
EVENTS = "/v1/billing/meter_events"


def door(till: ProductTill) -> Door:
    return Door(till.stripe.url, Secret(till.stripe.api_key))


def off(till: ProductTill, by: timedelta) -> Clock:
    return lambda: till.clock() + by


def run_by(till: ProductTill, clock: Clock) -> Reported:
    return asyncio.run(report(till.connection, door(till), clock))


def blindly(till: ProductTill, clock: Clock) -> None:
    """As a run went that knew no clock but ours, or goes where Stripe's answers have no Date."""

    async def send() -> None:
        async with Gateway(door(till)) as gateway:
            await report_due(till.connection, gateway, clock)

    prepare(till.connection, clock())
    asyncio.run(send())


def corrected(till: ProductTill) -> User:
    """March is invoiced; what was used on a day of it is found to be 1 unit more in April."""
    anna = till.account()
    till.charge(anna, till.day(0), 5 * UNIT)
    till.at(1)
    till.run()
    till.at(36)
    till.run()
    till.charge(anna, till.day(20), UNIT)
    return anna


def days_to_come(till: ProductTill) -> int:
    """How many account-days that have not begun something was brought to, or reported of."""
    row = till.connection.execute(
        "SELECT count(*) FROM hopsmeter.stripe_days WHERE day > %(today)s AND (due_nano <> 0"
        " OR units <> 0 OR EXISTS (SELECT FROM hopsmeter.stripe_reports r WHERE r.day > %(today)s"
        " AND r.state <> 'given up'))",
        {"today": day_of(till.now)},
    ).fetchone()
    assert row is not None
    return int(row[0])


def must_be_told(till: ProductTill, user: User, **units: int) -> None:
    """Two days later all is told of the days it belongs to, and nothing waits; the books agree."""
    till.later(days=2)
    till.run()
    till.later(hours=2)
    till.run()
    assert (till.listed(user, everything=True), till.receivable(user)) == ([], 0)
    assert {name: till.told(user, int(name[3:])) for name in units} == units
    till.must_add_up(user)
    till.fetch_summaries()
    till.later(hours=2)
    assert [line.rows for line in proved(till.connection, till.now).values()] == [(), ()]


@pytest.mark.parametrize("by", [40 * DAY, 2 * DAY, timedelta(hours=1), -10 * DAY], ids=str)
def test_a_run_goes_by_stripe_s_clock_where_ours_is_far_off(
    till: ProductTill, by: timedelta
) -> None:
    anna = corrected(till)
    run_by(till, off(till, by))
    assert days_to_come(till) == 0
    till.charge(anna, till.day(36), 7 * UNIT)
    must_be_told(till, anna, day20=0, day36=8)


@pytest.mark.parametrize("by", [40 * DAY, 2 * DAY], ids=str)
def test_what_a_clock_ahead_brought_to_a_day_to_come_goes_to_the_day_that_runs(
    till: ProductTill, by: timedelta
) -> None:
    anna = corrected(till)
    blindly(till, off(till, by))
    assert days_to_come(till) == 1
    assert till.reasons(anna) == ["to come"]
    till.later(hours=2)
    till.charge(anna, till.day(36), 7 * UNIT)
    till.run()
    assert days_to_come(till) == 0
    must_be_told(till, anna, day20=0, day36=8)


@pytest.mark.parametrize("kind", ["cut_after", None])
def test_a_report_that_a_clock_ahead_made_holds_up_nothing(
    till: ProductTill, kind: str | None
) -> None:
    """Whatever its try came to: of a day to come Stripe had nothing, since it refuses it."""
    anna = corrected(till)
    if kind:
        till.stripe.faults.add(kind, method="POST", path=EVENTS)
    blindly(till, off(till, 5 * DAY))
    blindly(till, off(till, 6 * DAY))
    till.stripe.faults.clear()
    assert till.reasons(anna) == ["to come"]
    (left,) = [state for day, _, state in till.states(anna) if day == 41]
    assert left == ("unknown" if kind else "due")
    till.charge(anna, till.day(36), 7 * UNIT)
    till.at(37)
    till.run()
    assert (till.told(anna, 36), days_to_come(till)) == (7, 0)
    must_be_told(till, anna, day20=0, day36=7, day37=1, day41=0)


def test_nothing_is_decided_before_stripe_says_what_time_it_is(till: ProductTill) -> None:
    """The ledger is read all the same, so that what is due is known."""
    anna = corrected(till)
    till.stripe.faults.add("outage")
    done = run_by(till, off(till, 40 * DAY))
    till.stripe.faults.clear()
    assert (done.prepared, done.sent.made) == (Prepared(days=1), 0)
    assert isinstance(done.sent.stopped, StripeAway)
    assert till.due(anna) == {20: (UNIT, "to move")}
    till.run()
    must_be_told(till, anna, day20=0, day36=1)


def test_no_report_waits_for_a_moment_that_a_clock_ahead_meant(till: ProductTill) -> None:
    """Its answer was lost, and whoever sent it: by his clock that was days from now."""
    anna = till.account()
    till.charge(anna, till.day(0), 5 * UNIT)
    till.at(1)
    prepare(till.connection, till.now)
    make_reports(till.connection, till.now)
    assert claim(till.connection, uuid4(), till.now + 5 * DAY)
    till.connection.execute(
        "UPDATE hopsmeter.stripe_reports SET lease_until = clock_timestamp() + interval '5 days'"
    )
    till.run()
    assert [state for *_, state in till.states(anna)] == ["in flight"], "perhaps he sends it"
    till.connection.execute("UPDATE hopsmeter.stripe_reports SET lease_until = clock_timestamp()")
    till.later(hours=2)
    till.run()
    assert till.states(anna) == [(0, 5, "accepted")]
    must_be_told(till, anna, day0=5)


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("by", [2 * DAY, 36 * DAY], ids=str)
def test_what_may_have_arrived_is_not_decided_by_a_clock_ahead(
    till: ProductTill, by: timedelta, *, arrives: bool
) -> None:
    """By it Stripe's sums would have had time enough, and the day would be too old to be told again."""
    till.stripe.settings.aggregation_lag = timedelta(minutes=30)
    anna = till.account()
    till.charge(anna, till.day(0), 5 * UNIT)
    till.at(1)
    till.stripe.faults.add("cut_after" if arrives else "cut_before", path=EVENTS, times=3)
    till.run()
    assert [state for *_, state in till.states(anna)] == ["unknown"]
    till.later(minutes=1)
    run_by(till, off(till, by))
    assert [state for *_, state in till.states(anna)] in (["unknown"], ["accepted"])
    must_be_told(till, anna, day0=5)


def test_what_a_clock_behind_takes_for_young_enough_parks_nobody(till: ProductTill) -> None:
    """March was on no invoice, and a day of it changes when Stripe takes nothing of it any more."""
    anna = till.account()
    till.charge(anna, till.day(29), 5 * UNIT)
    till.at(30)
    till.run()
    subscription = till.living(anna)
    assert subscription is not None
    till.stripe.people.pause_subscription(subscription["id"])
    till.hear(anna)
    till.at(33)
    till.stripe.people.resume_subscription(subscription["id"], anchor_now=False)
    till.hear(anna)
    till.at(66)
    till.run()
    till.charge(anna, till.day(29), UNIT)
    till.charge(anna, till.day(64), 3 * UNIT)
    run_by(till, off(till, -10 * DAY))
    assert "too old" in till.reasons(anna)
    till.later(hours=2)
    till.run()
    assert (till.told(anna, 64), till.value("SELECT parked_at FROM stripe_accounts")) == (3, None)


def test_a_report_that_is_too_old_by_stripe_s_clock_alone_parks_nobody(till: ProductTill) -> None:
    """As where its answers have no Date, and our clock is behind."""
    anna = till.account()
    till.charge(anna, till.day(0), 5 * UNIT)
    till.at(36, 12)
    blindly(till, off(till, -10 * DAY))
    assert till.value("SELECT parked_at FROM stripe_accounts") is None
    assert "clock" in till.value("SELECT error FROM stripe_reports")
    till.run()
    till.later(hours=2)
    till.run()
    assert till.states(anna)[0][2] == "given up"
    must_be_told(till, anna, day0=0)
