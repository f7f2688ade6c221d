"""Faults that stand in the functions and statements of posting: told here, mended by who owns those."""

import pytest

from core.errors import Conflict, PostingStuck
from tests.core.billing.ledger_site import bill, books, granted, lots, pays
from tests.core.metering.site import Site


def test_a_day_that_rises_again_takes_back_its_receivable_before_it_takes_credits(
    site: Site,
) -> None:
    """Hybrid: below nothing, the day left 5 too much in the receivable; credits pay the rise instead."""
    site.cluster()
    anna = site.user()
    site.map("a", anna, 0)
    pays(site, anna, "hybrid", 0)
    granted(site, anna, 4)
    for cost in (-5, 2):
        bill(site, {"a": cost, "z": 90 - cost}, 0)
    site.must_balance()
    assert (books(site, anna), lots(site, anna)) == ({"credits": 2}, [2])


def test_a_payment_is_credited_to_one_account(site: Site) -> None:
    """The key is unique within an account; a payment's own id is of one payment in the world."""
    anna, ben = site.user(currency="USD"), site.user("ben", currency="USD")
    granted(site, anna, 5, bought=True, key="pi_1")
    with pytest.raises(Conflict):
        granted(site, ben, 5, bought=True, key="pi_1")


def test_a_book_that_is_gone_holds_up_no_other_day(site: Site) -> None:
    """`lock_books` raises no_data_found, which is none of post's `_STUCK`, so the run ends there."""
    site.cluster()
    anna, ben = site.user(), site.user("ben")
    site.map("a", anna, 0)
    site.map("b", ben, 24)
    pays(site, anna, "prepaid", 0)
    bill(site, {"a": 3, "z": 90}, 0)
    site.connection.execute(
        "DELETE FROM ledger_balances WHERE account_no = %s AND book = 1", [anna.no]
    )
    site.say({"a": 2, "z": 91})
    site.say({"b": 1}, 24)
    site.until(24)
    site.again(0)
    site.collect()
    with pytest.raises(PostingStuck, match="2026-03-01"):
        site.post()
    assert books(site, ben) == {"receivable": -1.01833}
