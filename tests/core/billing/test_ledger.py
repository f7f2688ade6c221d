"""The ledger: who pays for a day, out of what, and what a correction undoes."""

from datetime import timedelta

import pytest

from core.errors import Conflict, InputFault, Unknown
from tests.core.billing.ledger_site import (
    adjusted,
    bill,
    books,
    day,
    expire,
    granted,
    lots,
    pays,
    refunded,
)
from tests.core.metering.site import FIRST, Site, hour
from tests.factories import User


@pytest.fixture
def anna(site: Site) -> User:
    site.cluster()
    user = site.user()
    site.map("a", user, 0)
    return user


def test_a_postpaid_account_owes_what_it_used(site: Site, anna: User) -> None:
    bill(site, {"a": 1.5}, 0)
    bill(site, {"a": 0.25}, 1)
    assert books(site, anna) == {"receivable": -1.75}
    site.must_balance()


def test_a_prepaid_account_pays_from_the_lot_that_expires_first(site: Site, anna: User) -> None:
    pays(site, anna, "prepaid", 0)
    granted(site, anna, 5)
    granted(site, anna, 1, expires=3)
    bill(site, {"a": 2.5}, 0)
    assert (books(site, anna), lots(site, anna)) == ({"credits": 3.5}, [3.5, 0])
    site.must_balance()


def test_what_a_prepaid_account_has_no_credits_for_is_arrears(site: Site, anna: User) -> None:
    pays(site, anna, "prepaid", 0)
    granted(site, anna, 1)
    bill(site, {"a": 2.5}, 0)
    assert books(site, anna) == {"arrears": -1.5}
    granted(site, anna, 4)
    assert (books(site, anna), lots(site, anna)) == ({"credits": 2.5}, [0, 2.5])
    site.must_balance()


def test_a_hybrid_account_owes_what_its_credits_do_not_pay(site: Site, anna: User) -> None:
    pays(site, anna, "hybrid", 0)
    granted(site, anna, 1)
    bill(site, {"a": 2.5}, 0)
    assert books(site, anna) == {"receivable": -1.5}
    site.must_balance()


def test_a_reduction_undoes_the_day_from_its_end(site: Site, anna: User) -> None:
    pays(site, anna, "hybrid", 0)
    granted(site, anna, 1, expires=9)
    granted(site, anna, 1)
    bill(site, {"a": 2.5, "b": 9}, 0)
    bill(site, {"a": 2.25, "b": 9}, 0)
    assert (books(site, anna), lots(site, anna)) == ({"receivable": -0.25}, [0, 0])
    bill(site, {"a": 1.5, "b": 10}, 0)
    assert (books(site, anna), lots(site, anna)) == ({"credits": 0.5}, [0, 0.5])
    bill(site, {"a": 0.5, "b": 11}, 0)
    assert (books(site, anna), lots(site, anna)) == ({"credits": 1.5}, [0.5, 1])
    site.must_balance()


def test_what_repaid_the_arrears_counts_as_having_paid(site: Site, anna: User) -> None:
    pays(site, anna, "prepaid", 0)
    granted(site, anna, 1)
    bill(site, {"a": 3, "b": 90}, 0)
    granted(site, anna, 10)
    assert lots(site, anna) == [0, 8]
    bill(site, {"a": 0.5, "b": 92}, 0)
    assert (books(site, anna), lots(site, anna)) == ({"credits": 10.5}, [0.5, 10])
    site.must_balance()


def test_what_returns_to_an_expired_lot_expires(site: Site, anna: User) -> None:
    pays(site, anna, "prepaid", 0)
    granted(site, anna, 2, expires=1)
    bill(site, {"a": 1, "b": 50}, 0)
    site.now = hour(24) + timedelta(hours=80)
    expire(site)
    assert books(site, anna) == {}
    site.again(0)
    bill(site, {"a": 0.5, "b": 51}, 0)
    assert (books(site, anna), lots(site, anna)) == ({}, [0])
    assert site.value("SELECT count(*) FROM ledger_entries WHERE contra = 14") == 2
    site.must_balance()


def test_a_day_below_nothing_is_a_credit_of_a_prepaid_account(site: Site, anna: User) -> None:
    pays(site, anna, "prepaid", 0)
    granted(site, anna, 1)
    bill(site, {"a": 0.5, "b": 50}, 0)
    bill(site, {"a": -0.25, "b": 51}, 0)
    assert (books(site, anna), lots(site, anna)) == ({"credits": 1.25}, [1, 0.25])
    site.must_balance()


def test_a_lot_pays_no_hour_after_its_date(site: Site, anna: User) -> None:
    pays(site, anna, "prepaid", 0)
    granted(site, anna, 5, expires=1)
    bill(site, {"a": 1}, 24)
    assert books(site, anna) == {"credits": 5, "arrears": -1}
    assert expire(site).lots == 0
    site.must_balance()
    site.now = FIRST + timedelta(days=4, hours=1)
    site.open_windows()
    assert (expire(site).emptied, books(site, anna)) == (1, {"arrears": -1})
    site.must_balance()


def test_the_same_key_again_posts_nothing(site: Site, anna: User) -> None:
    assert granted(site, anna, 5, key="pi_1").is_new
    again = granted(site, anna, 5, key="pi_1")
    assert (again.is_new, books(site, anna)) == (False, {"credits": 5})
    with pytest.raises(Conflict, match="pi_1 was used for another post"):
        granted(site, anna, 6, key="pi_1")
    assert adjusted(site, anna, -2, "x").is_new
    assert not adjusted(site, anna, -2, "x").is_new
    with pytest.raises(Conflict, match="x was used for another post"):
        adjusted(site, anna, -1, "x")
    assert books(site, anna) == {"credits": 3}
    site.open_windows()
    site.must_balance()


def test_credits_never_go_below_zero_by_hand(site: Site, anna: User) -> None:
    granted(site, anna, 5)
    with pytest.raises(Conflict, match=r"has 5\.00 USD of credits"):
        adjusted(site, anna, -6, "too much")
    assert books(site, anna) == {"credits": 5}


def test_a_refund_takes_its_own_lot_first_and_owes_the_rest(site: Site, anna: User) -> None:
    pays(site, anna, "prepaid", 0)
    bought = granted(site, anna, 5, bought=True)
    granted(site, anna, 2, expires=9)
    bill(site, {"a": 3}, 0)
    assert lots(site, anna) == [4, 0]
    assert refunded(site, anna, 5, "re_1", bought.lot).owed_nano == 10**9
    assert not refunded(site, anna, 5, "re_1", bought.lot).is_new
    links = site.all("SELECT ref, reverses FROM ledger_entries WHERE contra = 15 ORDER BY id")
    origin = site.value("SELECT entry_id FROM credit_lots WHERE id = %s", bought.lot)
    assert [row["reverses"] for row in links] == [origin, origin]
    with pytest.raises(Unknown, match="has no lot 99"):
        refunded(site, anna, 1, "re_2", 99)
    assert (books(site, anna), lots(site, anna)) == ({"arrears": -1}, [0, 0])
    site.must_balance()


def test_bad_amounts_change_nothing(site: Site, anna: User) -> None:
    for amount in (0, -1, 10**8):
        with pytest.raises(InputFault, match="Nothing was changed"):
            granted(site, anna, amount)
    with pytest.raises(InputFault, match="no day to come"):
        granted(site, anna, 1, expires=0)
    assert site.value("SELECT count(*) FROM ledger_entries") == 0
    assert day(0) == FIRST.date()
