"""What is owed reaches Stripe whole, once, in time, and each nano of it stays accounted for."""

import pytest

from tests.core.billing.stripe.reporting.till import Till


@pytest.fixture(params=["daily", "sum"])
def either(request: pytest.FixtureRequest, till: Till) -> Till:
    """With each kind of meter."""
    till.meter = request.param
    return till


def test_a_closed_day_is_told_in_whole_units_and_the_fraction_is_carried(either: Till) -> None:
    anna = either.account()
    either.charge(anna, either.day(0), 1_000_600)
    either.charge(anna, either.day(1), 2_000_600)
    either.at(2)
    assert either.run().accepted == 2
    assert (either.told(anna, 0), either.told(anna, 1)) == (1_000, 2_001)
    assert either.receivable(anna) == 200
    either.must_add_up(anna)
    assert either.run().made == 0


def test_a_correction_of_a_day_is_told_before_its_invoice(either: Till) -> None:
    anna = either.account()
    either.charge(anna, either.day(0), 5_000_000)
    either.at(1)
    either.run()
    either.charge(anna, either.day(0), -1_000_400)
    either.at(1, 2)
    either.run()
    assert either.told(anna, 0) == 3_999
    assert either.receivable(anna) == 600
    either.must_add_up(anna)


def test_today_is_told_where_the_newest_total_counts(till: Till) -> None:
    anna, bert = till.account("anna", meter="daily"), till.account("bert", meter="sum")
    for user in (anna, bert):
        till.charge(user, till.day(0), 7_000)
    till.at(0, 5)
    till.run()
    assert (till.told(anna, 0), till.told(bert, 0)) == (7, 0)
    till.charge(anna, till.day(0), 4_000)
    till.at(0, 6)
    till.run()
    assert till.told(anna, 0) == 11
    assert till.states(anna) == [(0, 7, "superseded"), (0, 11, "accepted")]
    till.at(1)
    till.run()
    assert till.told(bert, 0) == 7


def test_less_than_a_unit_is_told_when_it_is_one(either: Till) -> None:
    anna = either.account()
    for number in range(3):
        either.charge(anna, either.day(number), 400)
    either.at(3)
    either.run()
    assert [either.told(anna, number) for number in range(3)] == [0, 0, 1]
    assert either.receivable(anna) == 200
    assert either.due(anna) == {}
    either.must_add_up(anna)


@pytest.mark.parametrize("kind", ["outage", "cut_before", "error_500_before", "rate_limited"])
def test_what_did_not_arrive_is_told_when_stripe_is_back(either: Till, kind: str) -> None:
    anna = either.account()
    either.charge(anna, either.day(0), 5_000)
    either.at(1)
    number = either.stripe.faults.add(kind, path="/v1/billing/meter_events")
    assert either.run().accepted == 0
    either.stripe.faults.remove(number)
    either.later(hours=2)
    assert either.run().accepted == 1
    assert either.told(anna, 0) == 5
    either.must_add_up(anna)


@pytest.mark.parametrize("kind", ["cut_after", "error_500_after"])
def test_an_event_that_arrived_unheard_counts_once(either: Till, kind: str) -> None:
    anna = either.account()
    either.charge(anna, either.day(0), 5_000)
    either.at(1)
    either.stripe.faults.add(kind, path="/v1/billing/meter_events", times=3)
    either.run()
    either.stripe.faults.clear()
    either.charge(anna, either.day(0), 2_000)
    either.later(hours=2)
    either.run()
    assert [state for *_, state in either.states(anna)][-1] == "accepted"
    assert either.told(anna, 0) == 7
    assert either.receivable(anna) == 0


def test_an_outage_of_three_days_loses_nothing(either: Till) -> None:
    anna = either.account()
    number = either.stripe.faults.add("outage")
    for day in range(3):
        either.charge(anna, either.day(day), 1_000_000 + day)
        either.at(day + 1)
        either.tell()
    either.stripe.faults.remove(number)
    either.at(4)
    either.run()
    assert [either.told(anna, day) for day in range(3)] == [1_000, 1_000, 1_000]
    assert either.receivable(anna) == 3
    either.must_add_up(anna)


def test_an_account_that_stripe_refuses_is_parked_and_the_others_go_on(till: Till) -> None:
    anna, bert = till.account("anna"), till.account("bert")
    for user in (anna, bert):
        till.charge(user, till.day(0), 10**18)
    till.charge(bert, till.day(0), 5_000 - 10**18)
    till.at(1)
    sent = till.run()
    assert (sent.accepted, sent.refused) == (1, 1)
    assert till.told(bert, 0) == 5
    assert till.due(anna) == {}
    assert till.value("SELECT parked_why FROM stripe_accounts WHERE account_no = %s", anna.no)
    till.charge(anna, till.day(1), 5_000)
    till.at(2)
    assert till.run().made == 0
    assert till.due(anna) == {1: (5_000, "parked")}


def test_a_key_that_is_refused_stops_the_run_and_tells_why(till: Till) -> None:
    anna = till.account()
    till.charge(anna, till.day(0), 5_000)
    till.at(1)
    good, till.stripe.api_key = till.stripe.api_key, "sk_test_wrong"
    sent = till.tell().sent
    assert sent.stopped is not None
    assert "does not let us in" in sent.stopped.message
    assert "wrong" not in sent.stopped.message
    till.stripe.api_key = good
    till.later(hours=1)
    assert till.tell().sent.accepted == 1


def test_a_key_of_another_account_is_told_nothing_and_parks_nobody(either: Till) -> None:
    either.connection.execute(
        "INSERT INTO hopsmeter.stripe_site (stripe_account, livemode, default_meter)"
        " VALUES ('acct_other', false, 'daily')"
    )
    anna = either.account()
    either.charge(anna, either.day(0), 5_000)
    either.at(1)
    sent = either.tell().sent
    assert sent.stopped is not None
    assert "belongs to the Stripe account acct_other" in sent.stopped.message
    assert not [each for each in either.stripe.api.exchanges if "meter_events" in each.path]
    assert not either.value("SELECT parked_at FROM stripe_accounts WHERE account_no = %s", anna.no)
    assert either.states(anna) == []
    assert either.due(anna) == {0: (5_000, "to report")}
    either.connection.execute("DELETE FROM hopsmeter.stripe_site")
    either.later(hours=1)
    assert either.tell().sent.accepted == 1
    assert either.told(anna, 0) == 5


def test_what_comes_after_the_invoice_is_billed_with_the_open_day(either: Till) -> None:
    anna = either.account()
    either.charge(anna, either.day(30), 5_000)
    either.at(31, 0.5)
    either.run()
    either.at(33)
    either.charge(anna, either.day(30), 3_000)
    either.charge(anna, either.day(32), 1_000)
    either.at(34)
    either.run()
    assert either.due(anna) == ({} if either.meter == "daily" else {34: (3_000, "to report")})
    either.at(35)
    either.run()
    assert either.told(anna, 30) == 5
    assert either.told(anna, 32) + either.told(anna, 34) == 4
    assert either.receivable(anna) == 0
    either.must_add_up(anna)


def test_less_after_the_invoice_waits_until_the_open_cycle_can_bear_it(till: Till) -> None:
    anna = till.account()
    till.charge(anna, till.day(30), 5_000)
    till.at(31, 0.5)
    till.run()
    till.at(33)
    till.charge(anna, till.day(30), -3_000)
    till.run()
    assert till.due(anna) == {30: (-3_000, "below zero")}
    till.charge(anna, till.day(33), 10_000)
    till.later(hours=1)
    till.run()
    till.later(hours=1)
    till.run()
    assert till.due(anna) == {}
    assert till.told(anna, 33) == 7
    till.must_add_up(anna)


def test_units_that_came_too_late_for_their_invoice_are_billed_with_the_open_day(
    till: Till,
) -> None:
    anna = till.account()
    till.charge(anna, till.day(29), 2_000)
    till.charge(anna, till.day(30), 5_000)
    till.at(31, 0.5)
    till.run()
    till.charge(anna, till.day(30), 1_000)
    till.at(31, 5)  # the invoice is final since 01:00, and nobody told us yet
    till.tell()
    assert till.told(anna, 30) == 6
    till.run()
    till.later(hours=1)
    till.run()
    assert till.told(anna, 31) == 1
    assert till.receivable(anna) == 0
    till.must_add_up(anna)


def test_usage_before_the_subscription_is_for_a_person(either: Till) -> None:
    either.at(3, 12)
    anna = either.account()
    either.charge(anna, either.day(2), 5_000)
    either.charge(anna, either.day(3), 1_000)
    either.at(4)
    either.run()
    assert either.due(anna) == {2: (5_000, "before")}
    assert either.settle(anna, "open-day").amount_nano == 5_000
    either.at(5)
    either.run()
    assert either.told(anna, 4) == 5
    assert either.due(anna) == {}
    either.must_add_up(anna)


def test_what_is_settled_outside_is_never_told(either: Till) -> None:
    either.at(3, 12)
    anna = either.account()
    either.charge(anna, either.day(2), 5_000)
    either.at(4)
    either.run()
    assert either.settle(anna, "outside", either.day(2)).amount_nano == 5_000
    either.at(5)
    either.run()
    assert either.due(anna) == {}
    assert either.receivable(anna) == 0
    either.charge(anna, either.day(2), 700)
    either.later(hours=1)
    either.run()
    assert either.due(anna) == {2: (700, "before")}
    either.must_add_up(anna)


@pytest.mark.parametrize("kind", ["outage", "hang_after"])
def test_a_sum_that_is_unknown_for_a_day_is_decided_by_what_stripe_has(
    till: Till, kind: str
) -> None:
    till.meter = "sum"
    anna = till.account()
    till.charge(anna, till.day(0), 5_000)
    till.at(1)
    till.stripe.faults.add(kind, path="/v1/billing/meter_events", seconds=0.1)
    till.run()
    till.stripe.faults.clear()
    till.at(3)
    till.run()
    assert till.told(anna, 0) == 5
    assert till.receivable(anna) == 0
    assert [state for *_, state in till.states(anna)] == ["accepted"]


def test_a_sum_that_fits_neither_way_waits_for_a_person(till: Till) -> None:
    till.meter = "sum"
    anna = till.account()
    till.charge(anna, till.day(0), 5_000)
    till.at(1)
    number = till.stripe.faults.add("outage", path="/v1/billing/meter_events")
    till.run()
    till.stripe.faults.remove(number)
    till.shops["sum"].use(till.customer(anna), 77, till.now.replace(day=1))
    till.at(3)
    assert till.tell().undecided == 1
    assert till.told(anna, 0) == 77
    assert [state for *_, state in till.states(anna)] == ["unknown"]


def test_while_stripe_is_away_not_everybody_is_tried(till: Till) -> None:
    users = [till.account(f"user{number}") for number in range(60)]
    for user in users:
        till.charge(user, till.day(0), 5_000)
    till.at(1)
    number = till.stripe.faults.add("outage", path="/v1/billing/meter_events")
    sent = till.run()
    tried = till.stripe.faults.taken(number)
    till.stripe.faults.remove(number)
    assert (sent.accepted, sent.again) == (0, 60)
    assert tried < 3 * 60
    till.later(hours=2)
    assert till.run().accepted == 60
