"""Credits by hand: what is refused, what is marked, and what a second one at the same time does."""

from datetime import timedelta

import pytest

from core.billing.arrears import settle_arrears
from core.billing.credits import adjust
from core.billing.expiry import expire_by_hand
from core.billing.modes import set_policy
from core.errors import Conflict, InputFault, Unknown
from core.identity.principal import Principal
from tests.core.billing.ledger_site import bill, books, granted, lots, pays, refunded
from tests.core.billing.test_ledger import anna
from tests.core.metering.site import ADMIN, Site, hour
from tests.factories import User

__all__ = ["anna"]


@pytest.mark.parametrize("key", ["expiry:1", "command:7", "x:repaid", "x:arrears", " x", ""])
def test_a_key_that_could_be_one_of_ours_is_refused(site: Site, anna: User, key: str) -> None:
    granted(site, anna, 5)
    with pytest.raises(InputFault, match="A key"), site.connection.transaction():
        adjust(
            site.connection,
            ADMIN,
            account=anna.id,
            amount_nano=1,
            currency=None,
            key=key,
            why="x",
            now=site.now,
        )
    assert books(site, anna) == {"credits": 5}


def test_a_key_is_the_same_post_after_its_credits_expired(site: Site, anna: User) -> None:
    assert granted(site, anna, 5, expires=1, key="trial").is_new
    site.now += timedelta(days=9)
    assert not granted(site, anna, 5, expires=1, key="trial").is_new
    with pytest.raises(InputFault, match="is no day to come"):
        granted(site, anna, 5, expires=1, key="another")


def test_a_refund_to_an_account_that_never_bought_is_marked_as_owed(site: Site, anna: User) -> None:
    assert refunded(site, anna, 5, "re_1").owed_nano == 5 * 10**9
    assert site.value("SELECT beyond_at IS NOT NULL FROM user_credits") is True
    site.open_windows()
    site.must_balance()


def test_credits_are_taken_in_the_currency_of_the_account_alone(site: Site, anna: User) -> None:
    granted(site, anna, 5)
    with pytest.raises(Conflict, match="is in USD, not in EUR"), site.connection.transaction():
        adjust(
            site.connection,
            ADMIN,
            account=anna.id,
            amount_nano=-1,
            currency="EUR",
            key="x",
            why="x",
            now=site.now,
        )
    assert books(site, anna) == {"credits": 5}


def by_hand(site: Site, account: User, lot: int) -> int:
    with site.connection.transaction():
        return expire_by_hand(
            site.connection, ADMIN, account=account.id, lot=lot, why="ended", now=site.now
        ).expired_nano


def settled(site: Site, account: User, number: int) -> int:
    admin = Principal("admin", "auth0|admin", command_id=number)
    with site.connection.transaction():
        return settle_arrears(
            site.connection, admin, account=account.id, why="left", now=site.now
        ).moved_nano


def test_what_returns_to_a_lot_that_was_ended_by_hand_goes_as_well(site: Site, anna: User) -> None:
    pays(site, anna, "prepaid", 0)
    lot = granted(site, anna, 5, expires=9).lot
    assert lot is not None
    bill(site, {"a": 3, "b": 90}, 0)
    assert by_hand(site, anna, lot) == 2 * 10**9
    assert books(site, anna) == {}
    bill(site, {"a": 1, "b": 92}, 0)
    assert (books(site, anna), lots(site, anna)) == ({}, [0])
    bill(site, {"a": 4, "b": 90}, 1)
    assert books(site, anna) == {"arrears": -4}
    site.must_balance()


def test_a_lot_of_another_account_is_none_of_this_one(site: Site, anna: User) -> None:
    lot = granted(site, site.user("ben"), 5).lot
    assert lot is not None
    with pytest.raises(Unknown, match=f"has no lot {lot}"):
        by_hand(site, anna, lot)


def test_arrears_that_were_settled_come_back_as_less_receivable(site: Site, anna: User) -> None:
    pays(site, anna, "prepaid", 0)
    granted(site, anna, 1)
    bill(site, {"a": 4, "b": 90}, 0)
    pays(site, anna, "postpaid", 1)
    with pytest.raises(Conflict, match="pays prepaid today"):
        settled(site, anna, 1)
    site.now = hour(24) + timedelta(minutes=5)
    assert settled(site, anna, 1) == 3 * 10**9
    assert books(site, anna) == {"receivable": -3}
    with pytest.raises(Conflict, match="owes no arrears"):
        settled(site, anna, 2)
    bill(site, {"a": 2, "b": 92}, 0)
    assert books(site, anna) == {"receivable": -1}
    bill(site, {"a": 0.5, "b": 94}, 0)
    assert (books(site, anna), lots(site, anna)) == ({"credits": 0.5}, [0.5])
    site.must_balance()


def test_a_policy_is_marked_by_at_once(site: Site, anna: User) -> None:
    pays(site, anna, "prepaid", 0)
    bill(site, {"a": 4}, 0)
    for grace, beyond in ((5, False), (3, True)):
        with site.connection.transaction():
            set_policy(
                site.connection,
                ADMIN,
                account=anna.id,
                grace_nano=grace * 10**9,
                low_nano=None,
                keep_low=True,
                why="agreed",
                now=site.now,
            )
        assert site.value("SELECT beyond_at IS NOT NULL FROM user_credits") is beyond
        site.must_balance()
