"""What somebody found who wanted the ledger to be wrong."""

from datetime import date, timedelta

import pytest

from core.billing.marks import mark_accounts
from core.billing.posting.post import post_due
from core.errors import Conflict, InputFault, PostingStuck
from core.money import NANO, NANO_MAX
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
    units,
)
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


def test_a_key_cannot_stand_in_the_way_of_an_expiry(site: Site, anna: User) -> None:
    lot = granted(site, anna, 5, expires=1).lot
    with pytest.raises(InputFault, match="which are ours"):
        granted(site, anna, 5, key=f"expiry:{lot}")
    site.now += timedelta(days=9)
    assert expire(site).emptied == 1


def test_a_key_serves_one_thing_whatever_its_amount(site: Site, anna: User) -> None:
    granted(site, anna, 5)
    adjusted(site, anna, -2, "k_1")
    with pytest.raises(Conflict, match="k_1 was used for another post"):
        refunded(site, anna, 2, "k_1")
    refunded(site, anna, 4, "k_2")
    with pytest.raises(Conflict, match="k_2 was used for another post"):
        granted(site, anna, 1, key="k_2")
    refunded(site, anna, 1, "k_3")
    with pytest.raises(Conflict, match="k_3 was used for another post"):
        granted(site, anna, 1, key="k_3")
    assert not refunded(site, anna, 1, "k_3").is_new
    assert books(site, anna) == {"arrears": -2}


def test_a_key_of_one_lot_is_not_taken_for_another(site: Site, anna: User) -> None:
    """Of two purchases of one price only the first would be refunded, and both called so."""
    first, second = (granted(site, anna, 5, bought=True, key=f"pi_{n}").lot for n in (1, 2))
    refunded(site, anna, 5, "re_1", first)
    assert not refunded(site, anna, 5, "re_1", first).is_new
    for other in (second, None):
        with pytest.raises(Conflict, match="re_1 was used for another post"):
            refunded(site, anna, 5, "re_1", other)
    refunded(site, anna, 2, "re_2")
    with pytest.raises(Conflict, match="re_2 was used for another post"):
        refunded(site, anna, 2, "re_2", second)
    refunded(site, anna, 9, "re_3", second)
    assert not refunded(site, anna, 9, "re_3", second).is_new
    assert books(site, anna) == {"arrears": -6}


def test_a_key_of_one_priority_is_not_taken_for_another(site: Site, anna: User) -> None:
    granted(site, anna, 5, key="k_1", priority=1)
    with pytest.raises(Conflict, match="k_1 was used for another post"):
        granted(site, anna, 5, key="k_1", priority=2)
    assert not granted(site, anna, 5, key="k_1", priority=1).is_new


# ── reductions ──────────────────────────────────────────────────────────────────────────────


def test_less_for_a_day_that_is_still_owed_leaves_the_rest_owed(site: Site, anna: User) -> None:
    site.map("a", anna, 0)
    bill(site, {"a": 3, "b": 90}, 0)
    assert books(site, anna) == {"arrears": -3}
    bill(site, {"a": 2, "b": 91}, 0)
    assert books(site, anna) == {"arrears": -2}
    site.must_balance()


def test_what_was_given_back_is_no_use_any_more(site: Site, anna: User) -> None:
    """The last to pay gives way first; undone, it leaves the one before it the last."""
    site.map("a", anna, 0)
    granted(site, anna, 1, expires=5)
    granted(site, anna, 9)
    for number, cost in ((0, 1.0), (24, 1.0), (0, 0.5), (24, 1.5), (24, 2.5)):
        bill(site, {"a": cost, "z": 90 - cost}, number)
    assert lots(site, anna) == [0, 7]
    bill(site, {"a": 1.5, "z": 90}, 24)
    assert lots(site, anna) == [0, 8]
    bill(site, {"a": 1, "z": 91}, 24)
    assert lots(site, anna) == [0.5, 8]
    site.must_balance()


def test_a_day_that_goes_below_nothing_again_and_again_makes_one_lot(
    site: Site, anna: User
) -> None:
    site.map("a", anna, 0)
    granted(site, anna, 3, expires=9)
    for cost in (-1, 2, -1, 2, -1):
        bill(site, {"a": cost, "z": 90 - cost}, 0)
    assert lots(site, anna) == [3, 1]
    site.must_balance()


# ── marks ───────────────────────────────────────────────────────────────────────────────────


def test_an_account_that_only_ever_was_refunded_is_told_of(site: Site, anna: User) -> None:
    ben = site.user("ben")
    with pytest.raises(InputFault, match="has no currency yet"):
        refunded(site, ben, 2, "re_0")
    site.map("b", ben, 0)
    refunded(site, ben, 2, "re_1")
    assert site.value("SELECT type FROM outgoing_events") == "credits.beyond_limit"
    site.open_windows()
    site.must_balance()


def test_two_who_mark_at_once_tell_of_it_once(site: Site, anna: User) -> None:
    granted(site, anna, 1)
    site.connection.execute("UPDATE user_credits SET low_nano = %s", [units(2)])
    with site.open() as first, site.open() as second:
        second.execute("SET lock_timeout = '2s'")
        with first.transaction():
            assert [each.type for each in mark_accounts(first, site.now)] == ["credits.low"]
            assert mark_accounts(second, site.now) == []
        assert mark_accounts(second, site.now) == []
    assert site.value("SELECT count(*) FROM outgoing_events") == 1


def test_a_grant_waits_for_no_other_account(site: Site, anna: User) -> None:
    """Two who each hold an account and mark the other's would wait for each other for ever."""
    ben = site.user("ben")
    pays(site, ben, "hybrid", 0)
    with site.open() as other, other.transaction():
        other.execute(
            "SELECT FROM hopsmeter.user_credits WHERE account_no = %s FOR UPDATE", [ben.no]
        )
        site.connection.execute("SET lock_timeout = '2s'")
        granted(site, anna, 1)
        assert mark_accounts(site.connection, site.now) == []
    assert [each.account for each in mark_accounts(site.connection, site.now)] == [ben.id]


# ── clocks ──────────────────────────────────────────────────────────────────────────────────


def test_a_poster_whose_clock_is_behind_leaves_nothing_owed_beside_credits(
    site: Site, anna: User
) -> None:
    """A lot that expires on the day that is posted neither pays it nor what is owed from it."""
    site.map("a", anna, 0)
    granted(site, anna, 5, expires=1)
    site.say({"a": 2}, 24)
    site.until(24)
    site.collect()
    behind = site.now - timedelta(hours=6)
    post_due(site.connection, behind)
    assert set(books(site, anna)) == {"credits", "arrears"}
    bill(site, {"a": 1, "z": 90}, 24)
    assert books(site, anna) == {"credits": 5, "arrears": -1}
    site.say({"a": 0.5, "z": 91}, 24)
    site.again(24)
    site.collect()
    post_due(site.connection, behind)
    assert set(books(site, anna)) == {"credits", "arrears"}
    site.must_balance()


def test_a_mode_begins_on_no_day_that_is_posted(site: Site, anna: User) -> None:
    """The clock of who sets it may be behind that of who posts."""
    site.map("a", anna, 0)
    bill(site, {"a": 1}, 24)
    with pytest.raises(Conflict, match="2026-03-02 is posted already"):
        pays(site, anna, "hybrid", 1)
    assert pays(site, anna, "hybrid", 2).mode == "hybrid"
    site.must_balance()


def test_no_clock_posts_into_a_month_that_is_closed(site: Site, anna: User) -> None:
    site.connection.execute(
        "INSERT INTO closed_months (month, closed_by) VALUES (%s, 'test')", [day(0)]
    )
    granted(site, anna, 5)
    opened = date(2026, 4, 1)
    assert site.value("SELECT posted_on FROM ledger_entries") == opened
    dates = [
        site.value("SELECT posting_date(%s, %s)", of, today)
        for of, today in ((day(3), day(30)), (day(3), day(40)), (day(32), day(30)))
    ]
    assert dates == [opened, day(40), day(32)]


# ── the trail ───────────────────────────────────────────────────────────────────────────────


def test_the_balance_before_is_that_of_the_post(site: Site, anna: User) -> None:
    done = granted(site, anna, 5)
    assert (done.before.credits_nano, done.after.credits_nano) == (0, units(5))
    taken = adjusted(site, anna, -2, "k_1")
    assert (taken.before.credits_nano, taken.after.credits_nano) == (units(5), units(3))
    again = adjusted(site, anna, -2, "k_1")
    assert (again.before.credits_nano, again.after.credits_nano) == (units(3), units(3))
    owed = refunded(site, anna, 7, "re_1")
    assert (owed.before.credits_nano, owed.after.credits_nano) == (units(3), 0)
    repaid = granted(site, anna, 5)
    assert (repaid.before.credits_nano, repaid.after.credits_nano) == (0, units(1))


# ── the end of what a BIGINT holds ──────────────────────────────────────────────────────────


def test_more_than_the_books_hold_is_refused(site: Site, anna: User) -> None:
    granted(site, anna, 5)
    site.connection.execute("UPDATE ledger_balances SET balance_nano = %s", [NANO_MAX - 1])
    with pytest.raises(InputFault, match="more than the books hold"):
        granted(site, anna, 1)
    assert site.value("SELECT count(*) FROM ledger_entries") == 1


def test_a_charge_beyond_the_books_waits_and_is_named(site: Site) -> None:
    site.cluster()
    ben = site.user("ben")
    site.map("a", ben, 0)
    bill(site, {"a": 1}, 0)
    receivable = "UPDATE ledger_balances SET balance_nano = -%s WHERE book = 2"
    site.connection.execute(receivable, [NANO_MAX])
    with pytest.raises(PostingStuck, match="2026-03-01: bigint out of range"):
        bill(site, {"a": 1}, 1)
    site.connection.execute(receivable, [NANO])
    assert site.post().entries == 1
    assert books(site, ben) == {"receivable": -2}
    site.must_balance()


def test_books_changed_by_hand_hold_up_no_other_day(site: Site, anna: User) -> None:
    ben = site.user("ben")
    site.map("a", anna, 0)
    site.map("b", ben, 24)
    granted(site, anna, 5)
    site.connection.execute("UPDATE ledger_balances SET balance_nano = 0 WHERE book = 1")
    site.say({"a": 1}, 0)
    site.say({"b": 1}, 24)
    site.until(24)
    site.collect()
    with pytest.raises(PostingStuck, match=r"2026-03-01: .*ledger_balances_check"):
        site.post()
    assert books(site, ben) == {"receivable": -1.01833}
    assert "auth0|anna" in str(site.books()[4].rows)


# ── posting ─────────────────────────────────────────────────────────────────────────────────


def test_a_day_below_nothing_is_a_credit_that_pays_when_it_rises_again(
    site: Site,
) -> None:
    """As less receivable it stayed there while credits paid for the rise."""
    site.cluster()
    anna = site.user()
    site.map("a", anna, 0)
    pays(site, anna, "hybrid", 0)
    granted(site, anna, 4)
    for cost in (-5, 2):
        bill(site, {"a": cost, "z": 90 - cost}, 0)
    site.must_balance()
    assert (books(site, anna), lots(site, anna)) == ({"credits": 2}, [0, 2])


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
