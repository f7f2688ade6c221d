"""Reports that Stripe will not have: nothing waits behind them for ever, and a person has a way out."""

from typing import Any

import pytest

from core.billing.stripe.linking import unpark
from core.errors import Conflict
from tests.core.billing.stripe.reporting.conftest import product_till as till
from tests.core.billing.stripe.reporting.product_till import ProductTill
from tests.core.books.stripe_story import proved
from tests.core.metering.site import ADMIN
from tests.factories import User

__all__ = ["till"]

pytestmark = pytest.mark.long

EVENTS = "/v1/billing/meter_events"


def listed(till: ProductTill, user: User) -> list[tuple[str, int, int | None]]:
    """Return what waits for a person: why, since which day, and how much."""
    return [
        (line.reason, (line.first_day - till.day(0)).days, line.amount_nano)
        for line in till.listed(user)
    ]


def struck(till: ProductTill, kind: str, nano: int = 5_400, **settings: Any) -> tuple[User, int]:
    """An account's first day is told while a fault strikes; return it and the fault's number."""
    anna = till.account()
    till.charge(anna, till.day(0), nano)
    till.at(1)
    number = till.stripe.faults.add(kind, path=EVENTS, **settings)
    till.run()
    return anna, number


def freed(till: ProductTill, user: User) -> None:
    with till.connection.transaction():
        unpark(till.connection, ADMIN, account=user.id, why="mended")


def must_be_settled(till: ProductTill, user: User, *, under_a_unit: int = 0) -> None:
    """Nothing waits any more, and the books say so."""
    till.later(hours=25)
    till.run()
    assert (listed(till, user), till.receivable(user)) == ([], under_a_unit)
    till.must_add_up(user)
    till.later(hours=2)
    till.fetch_summaries()
    assert [line.rows for line in proved(till.connection, till.now).values()] == [(), ()]


def test_what_was_refused_until_it_was_too_old_goes_to_the_open_day(till: ProductTill) -> None:
    """Its month's invoice is final by then."""
    anna, number = struck(till, "declined")
    assert [state for *_, state in till.states(anna)] == ["refused"]
    till.stripe.faults.remove(number)
    till.at(40)
    till.charge(anna, till.day(39), 7_700)
    till.run()
    assert till.states(anna)[0][2] == "given up"
    freed(till, anna)
    till.run()
    must_be_settled(till, anna, under_a_unit=100)
    assert (till.told(anna, 0), till.told(anna, 39), till.told(anna, 40)) == (0, 7, 6)


@pytest.mark.parametrize("kind", ["outage", "hang_before"])
def test_what_stripe_did_not_hear_of_in_time_goes_to_the_open_day(
    till: ProductTill, kind: str
) -> None:
    """Also where nobody knew whether it heard: what it counts tells."""
    seconds: dict[str, Any] = {"seconds": 0.1} if kind == "hang_before" else {}
    anna, number = struck(till, kind, **seconds)
    till.at(40)
    till.charge(anna, till.day(39), 7_700)
    till.stripe.faults.remove(number)
    till.run()
    till.later(hours=2)
    till.run()
    assert till.states(anna)[0][2] == "given up"
    must_be_settled(till, anna, under_a_unit=100)
    assert (till.told(anna, 0), till.told(anna, 39), till.told(anna, 40)) == (0, 7, 6)


def test_what_stripe_heard_and_never_said_so_is_found_in_what_it_counts(till: ProductTill) -> None:
    anna, number = struck(till, "cut_after")
    assert [state for *_, state in till.states(anna)] == ["unknown"]
    till.stripe.faults.remove(number)
    till.at(40)
    till.charge(anna, till.day(39), 7_700)
    till.run()
    till.later(hours=2)
    till.run()
    assert till.states(anna)[0][2] == "accepted"
    must_be_settled(till, anna, under_a_unit=100)
    assert (till.told(anna, 0), till.told(anna, 39)) == (5, 8)


@pytest.mark.parametrize("how", ["outside", "open-day"])
def test_what_stripe_refuses_can_be_settled(till: ProductTill, how: Any) -> None:
    anna, number = struck(till, "declined")
    assert listed(till, anna) == [("refused", 0, 5_000)]
    done = till.settle(anna, how)
    assert done.days == ((till.day(0), 5_400),)
    till.stripe.faults.remove(number)
    freed(till, anna)
    must_be_settled(till, anna, under_a_unit=0 if how == "outside" else 400)
    assert till.told(anna, 1) == (0 if how == "outside" else 5)


def test_what_was_tried_before_it_was_refused_needs_a_word_first(till: ProductTill) -> None:
    anna, number = struck(till, "outage", times=3)
    till.stripe.faults.remove(number)
    number = till.stripe.faults.add("declined", path=EVENTS)
    till.later(minutes=5)
    till.run()
    assert [state for *_, state in till.states(anna)] == ["refused"]
    with pytest.raises(Conflict, match="stripe decide"):
        till.settle(anna, "outside", till.day(0))
    till.stripe.faults.remove(number)
    till.later(hours=2)  # nobody can see before that it did not arrive
    till.say_of_report(anna, has_arrived=False)
    assert till.settle(anna, "outside", till.day(0)).amount_nano == 5_400
    freed(till, anna)
    must_be_settled(till, anna)
