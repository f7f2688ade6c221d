"""Two who bring the same payment to the books at once, or one who comes late, post it once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from core.billing.stripe.payments import Payment, fetch_payment
from core.billing.stripe.settling import settle_payment
from core.errors import Conflict
from tests.core.billing.ledger_site import books
from tests.core.billing.stripe.till import Till
from tests.factories import User

AT_ONCE = 6


@pytest.fixture
def anna(till: Till) -> User:
    who = till.customer()
    till.set_up()
    return who


def paid(till: Till, who: User) -> Payment:
    till.buy(who)
    till.world.people.pay(till.session())
    till.world.people.refund(till.charge(), 1000)
    found = till.run(lambda it: fetch_payment(it, till.session()))
    assert found is not None
    return found


def test_many_at_once_credit_once(till: Till, anna: User) -> None:
    payment = paid(till, anna)

    def settle(_: int) -> str:
        with till.site.open() as connection, connection.transaction():
            return settle_payment(connection, payment, till.clock())

    with ThreadPoolExecutor(AT_ONCE) as pool:
        said = list(pool.map(settle, range(AT_ONCE)))
    assert sum("credited" in each for each in said) == 1
    assert books(till.site, anna) == {"credits": 90}
    till.site.open_windows()
    till.site.must_balance()


def test_what_was_fetched_earlier_changes_nothing_and_is_fetched_again(
    till: Till, anna: User
) -> None:
    payment = paid(till, anna)
    with till.site.connection.transaction():
        settle_payment(till.site.connection, payment, till.clock())
    early = replace(payment, state="open", claims=())
    with pytest.raises(Conflict, match="fetched again"), till.site.connection.transaction():
        settle_payment(till.site.connection, early, till.clock() - timedelta(minutes=1))
    assert books(till.site, anna) == {"credits": 90}


def credited_by_a_clock_ahead(till: Till, who: User, by: timedelta) -> None:
    """Credits are bought, and settled by a clock that is ahead; then 40 of 100 are paid back."""
    till.buy(who)
    till.world.people.pay(till.session())
    till.deliver()
    till.site.connection.execute(
        "UPDATE hopsmeter.stripe_purchases SET fetched_at = fetched_at + %s", [by]
    )
    till.world.people.refund(till.charge(), 4_000)


def test_a_clock_that_was_ahead_loses_no_refund(till: Till, anna: User) -> None:
    credited_by_a_clock_ahead(till, anna, timedelta(hours=2))
    till.deliver()
    assert books(till.site, anna) == {"credits": 60}


def test_another_one_s_clock_that_is_a_little_ahead_lets_a_refund_wait(
    till: Till, anna: User
) -> None:
    credited_by_a_clock_ahead(till, anna, timedelta(seconds=30))
    payment = till.run(lambda it: fetch_payment(it, till.session()))
    with pytest.raises(Conflict), till.site.connection.transaction():
        settle_payment(till.site.connection, payment, till.clock())
    till.pass_time(timedelta(minutes=1))
    till.deliver()
    assert books(till.site, anna) == {"credits": 60}


def test_a_second_page_of_a_purchase_that_is_paid_as_well_is_credited_as_well(
    till: Till, anna: User
) -> None:
    payment = paid(till, anna)
    other = replace(payment, session_id="cs_other", payment_intent_id="pi_other", claims=())
    with till.site.connection.transaction():
        settle_payment(till.site.connection, payment, till.clock())
        settle_payment(till.site.connection, other, till.clock())
    assert books(till.site, anna) == {"credits": 190}
    assert till.site.value("SELECT count(*) FROM stripe_purchases") == 2


def test_a_payment_of_a_customer_who_is_nobody_here_waits_for_a_person(
    till: Till, anna: User
) -> None:
    payment = replace(paid(till, anna), session_id="cs_stray", customer_id="cus_stray")
    with (
        pytest.raises(Conflict, match="is no account of this installation"),
        till.site.connection.transaction(),
    ):
        settle_payment(till.site.connection, payment, till.clock())
    assert books(till.site, anna) == {}


def test_a_payment_in_another_currency_than_the_accounts_is_not_credited(
    till: Till, anna: User
) -> None:
    payment = replace(paid(till, anna), currency="EUR")
    with (
        pytest.raises(Conflict, match="is in USD, not in EUR"),
        till.site.connection.transaction(),
    ):
        settle_payment(till.site.connection, payment, till.clock())
    assert books(till.site, anna) == {}


def test_a_refund_that_failed_gives_back_what_it_took(till: Till, anna: User) -> None:
    payment = paid(till, anna)
    connection = till.site.connection
    with connection.transaction():
        settle_payment(connection, payment, till.clock())
    (claim,) = payment.claims
    failed = replace(payment, claims=(replace(claim, holds=False, word="failed"),))
    for _ in range(2):
        with connection.transaction():
            settle_payment(connection, failed, till.clock())
    assert books(till.site, anna) == {"credits": 100}
    till.site.open_windows()
    till.site.must_balance()


def test_credits_given_back_for_no_refund_are_found(till: Till, anna: User) -> None:
    payment = paid(till, anna)
    connection = till.site.connection
    with connection.transaction():
        settle_payment(connection, payment, till.clock())
    connection.execute(
        "WITH back AS (SELECT write_entry(%s, 1::smallint, 15::smallint, 5, '2026-03-01', NULL, NULL,"
        "                                 'du_forged:returned', NULL, NULL) AS id)"
        " INSERT INTO credit_lots (account_no, entry_id, kind, amount_nano, remaining_nano)"
        " SELECT %s, id, 'correction', 5, 5 FROM back",
        [anna.no, anna.no],
    )
    till.site.open_windows()
    wrong = [each for each in till.site.books() if not each.ok]
    assert [each.number for each in wrong] == [5]
    assert "no posting moves" in wrong[0].rows[0]
