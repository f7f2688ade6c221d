"""Only yesterday was reported; a day whose report failed was never tried again."""

from collections.abc import Iterator

import pytest

from tests.core.billing.stripe.reporting.conftest import till as _till
from tests.core.billing.stripe.reporting.till import Till

till = _till


@pytest.fixture
def failing(till: Till) -> Iterator[Till]:
    """Stripe takes no event for days on end."""
    number = till.stripe.faults.add("outage", path="/v1/billing/meter_events")
    yield till
    till.stripe.faults.remove(number)


def test_every_day_that_failed_is_told_once_stripe_is_back(failing: Till) -> None:
    anna = failing.account()
    for number in range(6):
        failing.charge(anna, failing.day(number), 1_000_000 * (number + 1))
        failing.at(number + 1)
        failing.tell()
    failing.stripe.faults.clear()
    failing.at(7)
    failing.tell()
    assert [failing.told(anna, number) for number in range(6)] == [
        1_000 * (number + 1) for number in range(6)
    ]
    assert failing.receivable(anna) == 0


def test_a_day_is_due_for_as_long_as_nobody_told_it_however_many_runs_were_missed(
    till: Till,
) -> None:
    anna = till.account()
    for number in range(28):
        till.charge(anna, till.day(number), 7_000)
    till.at(29)  # nothing ran for four weeks
    assert till.tell().sent.accepted == 28
    assert sum(till.told(anna, number) for number in range(28)) == 28 * 7
    assert till.due(anna) == {}


def test_a_day_is_no_longer_due_only_once_it_is_accepted_or_settled(till: Till) -> None:
    anna = till.account()
    till.charge(anna, till.day(0), 5_000)
    till.connection.execute(
        "UPDATE hopsmeter.stripe_accounts SET parked_at = now(), parked_why = 'a trial'"
    )
    till.at(20)
    till.tell()
    assert till.due(anna) == {0: (5_000, "parked")}
    till.settle(anna, "outside")
    assert till.due(anna) == {}
