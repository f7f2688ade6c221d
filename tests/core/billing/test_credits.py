"""Credits by hand: what is refused, what is marked, and what a second one at the same time does."""

import threading

import pytest

from core.billing import marks
from core.billing.credits import adjust
from core.errors import Conflict, InputFault
from tests.core.billing.ledger_site import books, granted, pays, refunded
from tests.core.billing.test_ledger import anna
from tests.core.metering.site import ADMIN, Site
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


def test_two_that_mark_at_once_tell_of_it_once(site: Site, anna: User) -> None:
    pays(site, anna, "prepaid", 0)
    site.connection.execute("UPDATE user_credits SET low_at = NULL, empty_at = NULL")
    with site.open() as first, site.open() as second:
        with first.transaction():
            assert [each.type for each in marks.mark_accounts(first, site.now)] == ["credits.empty"]
            found: list[marks.Event] = []
            other = threading.Thread(
                target=lambda: found.extend(marks.mark_accounts(second, site.now))
            )
            other.start()
            other.join(0.5)
            assert other.is_alive()
        other.join(10)
    assert found == []
    assert site.value("SELECT count(*) FROM outgoing_events") == 1
