"""What somebody found who wanted the ledger to be wrong."""

import pytest

from tests.core.billing.ledger_site import bill, books, pays
from tests.core.metering.site import Site
from tests.factories import User


@pytest.fixture
def anna(site: Site) -> User:
    site.cluster()
    user = site.user()
    pays(site, user, "prepaid", 0)
    return user


# ── reductions ──────────────────────────────────────────────────────────────────────────────


def test_less_for_a_day_that_is_still_owed_leaves_the_rest_owed(site: Site, anna: User) -> None:
    site.map("a", anna, 0)
    bill(site, {"a": 3, "b": 90}, 0)
    assert books(site, anna) == {"arrears": -3}
    bill(site, {"a": 2, "b": 91}, 0)
    assert books(site, anna) == {"arrears": -2}
    site.must_balance()
