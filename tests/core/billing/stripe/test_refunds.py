"""Refunds that fail later: what they took comes back once, whatever is doubled, shuffled or lost."""

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from core.billing.stripe.event_types import SNAPSHOT
from tests.core.billing.ledger_site import bill, books, lots, pays
from tests.core.billing.stripe.till import Till
from tests.factories import User

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TOLD_OF_FAILURES = ("refund.failed", "refund.updated", "charge.refund.updated")
Order = Callable[[list[Any]], list[Any]]


LONG = pytest.mark.long


@pytest.fixture
def anna(till: Till) -> User:
    who = till.customer()
    till.set_up()
    return who


@pytest.fixture
def spender(till: Till, anna: User) -> User:
    """Somebody who pays by credits alone."""
    till.site.cluster()
    pays(till.site, anna, "prepaid", 0)
    till.site.map("a", anna, 0)
    return anna


def bought(till: Till, who: User, amount: int = 100, key: str = "order-1") -> str:
    """Have credits bought and paid by card; the charge."""
    till.buy(who, amount, key=key)
    till.world.people.pay(till.session())
    till.deliver()
    return till.charge()


def refunded(till: Till, charge: str, cents: int | None = None) -> str:
    refund = till.world.people.refund(charge, cents, pending=True)
    return str(refund["id"])


def balanced(till: Till, who: User) -> dict[str, float]:
    till.site.open_windows()
    till.site.must_balance()
    return books(till.site, who)


def taken_back(till: Till) -> int:
    return int(till.site.value("SELECT sum(refunded_nano) FROM stripe_purchases") // 10**9)


def doubled(events: list[Any]) -> list[Any]:
    return [*events, *events]


def shuffled(events: list[Any]) -> list[Any]:
    return random.Random(5).sample(doubled(events), 2 * len(events))


def only(kind: str) -> Order:
    return lambda events: [each for each in events if each["type"] == kind]


@pytest.mark.parametrize("kind", TOLD_OF_FAILURES)
def test_each_event_of_a_failed_refund_gives_back_what_it_took(
    till: Till, anna: User, kind: str
) -> None:
    refund = refunded(till, bought(till, anna), 3000)
    till.deliver()
    assert (balanced(till, anna), taken_back(till)) == ({"credits": 70}, 30)
    till.pass_time(4 * DAY)
    till.world.people.fail_refund(refund)
    till.deliver(only(kind))
    assert (balanced(till, anna), taken_back(till)) == ({"credits": 100}, 0)
    (event,) = till.site.all("SELECT about, said FROM webhook_events WHERE type = %s", kind)
    assert event["about"]["object_type"] == "refund"
    assert f"refund {refund} (failed): 30.00 USD given back" in event["said"]
    assert set(TOLD_OF_FAILURES) <= set(SNAPSHOT)


@pytest.mark.parametrize("order", [list, doubled, lambda events: events[::-1], shuffled])
@pytest.mark.parametrize(
    "end",
    ["failed after it arrived", *(pytest.param(end, marks=LONG) for end in ("failed", "canceled"))],
)
def test_a_failure_is_followed_once_in_any_order(
    till: Till, anna: User, end: str, order: Order
) -> None:
    charge = bought(till, anna)
    first, second = refunded(till, charge, 3000), refunded(till, charge, 1500)
    till.deliver(order)
    assert balanced(till, anna) == {"credits": 55}
    people = till.world.people
    if end == "failed after it arrived":
        people.arrive_refund(first)
        till.deliver(order)
        assert balanced(till, anna) == {"credits": 55}
    (people.cancel_refund if end == "canceled" else people.fail_refund)(first)
    till.deliver(order)
    till.deliver(order, fresh=False)
    assert (balanced(till, anna), taken_back(till)) == ({"credits": 85}, 15)
    assert lots(till.site, anna) == [55, 30]
    assert till.site.value("SELECT count(*) FROM ledger_entries WHERE contra = 15") == 3
    people.fail_refund(second)
    till.deliver(order)
    assert (balanced(till, anna), taken_back(till)) == ({"credits": 100}, 0)


def test_a_refund_that_failed_before_it_was_heard_of_changes_nothing(
    till: Till, anna: User
) -> None:
    till.world.people.fail_refund(refunded(till, bought(till, anna)))
    till.deliver(shuffled)
    assert (balanced(till, anna), taken_back(till)) == ({"credits": 100}, 0)
    assert till.site.value("SELECT count(*) FROM ledger_entries WHERE contra = 15") == 0


def test_a_payment_is_refunded_again_after_a_refund_of_it_failed(till: Till, anna: User) -> None:
    charge = bought(till, anna)
    till.world.people.fail_refund(refunded(till, charge))
    till.deliver()
    refunded(till, charge, 6000)
    last = refunded(till, charge, 4000)
    till.deliver(shuffled)
    assert (balanced(till, anna), taken_back(till)) == ({}, 100)
    till.world.people.fail_refund(last)
    till.deliver()
    assert (balanced(till, anna), taken_back(till)) == ({"credits": 40}, 60)


def test_arrears_that_a_refund_made_are_gone_when_it_fails(till: Till, spender: User) -> None:
    charge = bought(till, spender)
    bill(till.site, {"a": 70}, 0)
    refund = refunded(till, charge)
    till.deliver()
    assert balanced(till, spender) == {"arrears": -70}
    assert "credits.beyond_limit" in till.told()
    till.world.people.fail_refund(refund)
    till.deliver(doubled)
    assert balanced(till, spender) == {"credits": 30}


def test_a_refund_of_nothing_but_spent_credits_comes_back_as_well(
    till: Till, spender: User
) -> None:
    charge = bought(till, spender)
    bill(till.site, {"a": 100}, 0)
    refund = refunded(till, charge)
    till.deliver()
    assert balanced(till, spender) == {"arrears": -100}
    till.world.people.fail_refund(refund)
    till.deliver()
    assert (balanced(till, spender), taken_back(till)) == ({}, 0)


def test_credits_come_back_whole_when_a_purchase_repaid_the_arrears_meanwhile(
    till: Till, spender: User
) -> None:
    charge = bought(till, spender)
    bill(till.site, {"a": 70}, 0)
    refund = refunded(till, charge)
    till.deliver()
    bought(till, spender, 100, key="order-2")
    assert balanced(till, spender) == {"credits": 30}
    till.world.people.fail_refund(refund)
    till.deliver()
    assert balanced(till, spender) == {"credits": 130}


def test_a_dispute_takes_what_a_failed_refund_leaves_room_for(till: Till, anna: User) -> None:
    charge = bought(till, anna)
    refund = refunded(till, charge, 6000)
    till.deliver()
    dispute = till.world.people.open_dispute(charge)
    till.deliver()
    assert (balanced(till, anna), taken_back(till)) == ({}, 100)
    till.world.people.fail_refund(refund)
    till.deliver(doubled)
    assert (balanced(till, anna), taken_back(till)) == ({}, 100)
    till.world.people.close_dispute(dispute["id"], "won")
    till.deliver(doubled)
    assert (balanced(till, anna), taken_back(till)) == ({"credits": 100}, 0)


def test_a_failure_that_no_webhook_tells_of_is_found_by_a_daily_look(
    till: Till, anna: User
) -> None:
    refund = refunded(till, bought(till, anna))
    till.deliver()
    till.world.people.fail_refund(refund)
    assert till.look().looked_at == 0  # fetched just now
    till.pass_time(DAY + HOUR)
    assert till.look().settled == 1
    assert (balanced(till, anna), taken_back(till)) == ({"credits": 100}, 0)
    till.pass_time(DAY + HOUR)
    assert till.look().looked_at == 0  # nothing is left that could change
    till.deliver()
    assert balanced(till, anna) == {"credits": 100}


def test_a_refund_is_looked_at_once_a_day_for_as_long_as_it_may_fail(
    till: Till, anna: User
) -> None:
    till.world.people.arrive_refund(refunded(till, bought(till, anna)))
    till.deliver()
    till.pass_time(DAY + HOUR)
    assert [till.look().looked_at for _ in range(3)] == [1, 0, 0]
    till.pass_time(60 * DAY)
    assert till.look().looked_at == 1, "as every purchase is, in turn"
    till.pass_time(DAY + HOUR)
    assert till.look().looked_at == 0


def test_a_dispute_is_looked_at_until_it_is_decided(till: Till, anna: User) -> None:
    dispute = till.world.people.open_dispute(bought(till, anna))["id"]
    till.deliver()
    till.pass_time(200 * DAY)
    assert (till.look().looked_at, balanced(till, anna)) == (1, {})
    till.pass_time(DAY + HOUR)
    till.world.people.close_dispute(dispute, "won")
    assert till.look().settled == 1
    assert balanced(till, anna) == {"credits": 100}
    till.pass_time(DAY + HOUR)
    assert till.look().looked_at == 0


@pytest.mark.parametrize("word", ["appeal_needs_response", "appeal_under_review"])
def test_a_lost_dispute_that_is_appealed_keeps_what_it_took(
    till: Till, anna: User, word: str
) -> None:
    dispute = till.world.people.open_dispute(bought(till, anna))["id"]
    till.deliver()
    till.world.account.tables["dispute"][dispute]["status"] = word
    till.pass_time(DAY + HOUR)
    assert till.look().looked_at == 1
    assert (balanced(till, anna), taken_back(till)) == ({}, 100)


WRONG = {
    "taken back, and not as much as the entries say": (
        "UPDATE stripe_purchases SET refunded_nano = 0",
        {8: "0.00 USD count as taken back, its entries say 30.00 USD"},
    ),
    "a refund that failed and was not given back": (
        "UPDATE stripe_claims SET holds = false",
        {8: "30.00 USD are taken back, Stripe gave back or lost 0.00 USD of it"},
    ),
    "credits of another amount than was paid": (
        "UPDATE stripe_purchases SET amount_nano = amount_nano + 5",
        {8: "100.000000005 USD were paid, its entry credits 100.00 USD"},
    ),
    "given back twice": (
        (
            "SELECT write_entry(1, 1::smallint, 15::smallint, 30000000000, '2026-03-01', NULL, NULL,"
            " 'again', NULL, (SELECT id FROM ledger_entries WHERE contra = 15))"
        ),
        {5: "no posting moves 30.00", 8: "its entries say 0.00 USD"},
    ),
    "given back, and not all of it": (
        (
            "SELECT write_entry(1, 1::smallint, 15::smallint, 7, '2026-03-01', NULL, NULL,"
            " ref || ':returned', NULL, id) FROM ledger_entries WHERE contra = 15"
        ),
        {5: "no posting moves 0.000000007", 8: "its entries say 29.999999993 USD"},
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_books_name_a_purchase_that_is_not_what_stripe_kept_of_it(
    till: Till, anna: User, what: str
) -> None:
    refunded(till, bought(till, anna), 3000)
    till.deliver()
    assert balanced(till, anna) == {"credits": 70}
    (line,) = (each for each in till.site.books() if each.number == 8)
    assert "1 purchase compared, fetched from " in line.detail
    statement, named = WRONG[what]
    till.site.connection.execute(statement.encode())
    rows = {each.number: each.rows for each in till.site.books() if not each.ok}
    for number, words in named.items():
        assert any(words in row for row in rows[number]), rows
    assert anna.id in rows[8][0]
