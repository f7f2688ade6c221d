"""What somebody found who wanted the ledger to be wrong."""

from datetime import timedelta

import pytest

from tests.core.billing.ledger_site import bill, books, expire, granted, pays
from tests.core.metering.site import Site
from tests.factories import User


@pytest.fixture
def anna(site: Site) -> User:
    site.cluster()
    user = site.user()
    pays(site, user, "prepaid", 0)
    return user


# ── keys ────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_known_after_the_date_of_its_lot_too(site: Site, anna: User) -> None:
    granted(site, anna, 5, expires=1, key="pi_1")
    site.now += timedelta(days=9)
    again = granted(site, anna, 5, expires=1, key="pi_1")
    assert (again.is_new, books(site, anna)) == (False, {"credits": 5})
    assert expire(site).emptied == 1
    assert not granted(site, anna, 5, expires=1, key="pi_1").is_new
    assert books(site, anna) == {}


# ── reductions ──────────────────────────────────────────────────────────────────────────────


def test_less_for_a_day_that_is_still_owed_leaves_the_rest_owed(site: Site, anna: User) -> None:
    site.map("a", anna, 0)
    bill(site, {"a": 3, "b": 90}, 0)
    assert books(site, anna) == {"arrears": -3}
    bill(site, {"a": 2, "b": 91}, 0)
    assert books(site, anna) == {"arrears": -2}
    site.must_balance()
