"""Closing a month: what stands in its way, what it freezes, and where corrections go after it."""

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import pytest

from core.books.entries.moves import Move, moves_of
from core.books.months.close import Closed, close_month
from core.books.months.overview import months
from core.books.statement import build as building
from core.books.statement.figures import Presented
from core.books.statement.page import page
from core.books.statement.proof import faults
from core.books.statement.read import statement
from core.errors import Conflict, Forbidden
from core.identity.principal import Principal
from core.money import NANO
from tests.answers import allocation, body_of
from tests.core.billing.ledger_site import expire, granted, pays, refunded, units
from tests.core.books.test_ledger_checks import corrupt, wrong
from tests.core.metering.site import ADMIN, FIRST, Begun, Site, away, hour
from tests.database import Connection
from tests.factories import User

BESIDE = 18_330_000
"""What an answer of tests adds to the CPU cost of each namespace."""
METERED = datetime(2026, 3, 31, 20, tzinfo=UTC)
"""Four hours before the month ends: a month of hours is the same, and takes longer."""
LAST = int((METERED - FIRST).total_seconds()) // 3600
"""The number of that hour."""
AFTER = LAST + 4


@pytest.fixture
def march(begun: Begun) -> Iterator[Site]:
    with begun.after(settled) as (site, _):
        yield site


def settled(site: Site) -> None:
    """The end of a month, settled: anna with credits, ben who is invoiced."""
    site.cluster(metering_since=METERED)
    anna, ben = site.user(), site.user("ben")
    site.map("a", anna, LAST)
    site.map("b", ben, LAST)
    pays(site, anna, "prepaid", 20)
    site.until(LAST)
    granted(site, anna, 10, bought=True, key="pi_1")
    for number in range(LAST, AFTER):
        site.say({"a": 1, "b": 2}, number)
    site.until(AFTER - 1)
    site.collect()
    site.now += timedelta(hours=30)
    site.say({"a": 0.25}, AFTER)
    site.collect()
    site.post()


def close(site: Site, month: str = "2026-03") -> Closed:
    with site.connection.transaction():
        return close_month(site.connection, ADMIN, month=month, why="invoiced", now=site.now)


def stated(site: Site, account: str = "anna", month: str = "2026-03") -> Presented:
    return statement(site.connection, ADMIN, f"{account}@example.test", month, site.now)


def in_the_way(site: Site, month: str = "2026-03") -> str:
    with pytest.raises(Conflict) as caught:
        close(site, month)
    assert site.value("SELECT count(*) FROM closed_months") == 0
    return str(caught.value)


def test_a_closed_month_prints_what_was_frozen(march: Site) -> None:
    before = stated(march)
    assert before.sha256 is None
    done = close(march)
    assert (done.statements, done.charges_nano) == (2, {"USD": 12 * NANO + 8 * BESIDE})
    after = stated(march)
    assert after.statement == before.statement
    assert after.sha256 is not None
    assert page(after) == page(stated(march))
    assert "frozen statements" in next(each.detail for each in march.books() if each.number == 5)
    march.must_balance()
    (row,) = march.all("SELECT actor, why, after FROM audit_log WHERE action = 'books.close'")
    assert (row["actor"], row["why"], row["after"]["statements"]) == (
        "auth0|admin",
        "invoiced",
        2,
    )


def test_a_correction_after_the_close_stands_in_the_next_month_and_names_its_hour(
    march: Site,
) -> None:
    close(march)
    frozen = stated(march)
    march.say({"a": 1.5, "b": 2}, LAST + 1)
    march.again(LAST + 1)
    march.collect()
    march.post()
    assert stated(march) == frozen
    april = stated(march, month="2026-04").statement
    (correction,) = april.corrections
    assert (str(correction.day), correction.charge_nano) == ("2026-03-31", units(0.5))
    assert str(correction.posted_on) == f"{march.now:%Y-%m-%d}"
    (corrected,) = correction.hours
    assert (corrected.hour, corrected.why) == (hour(LAST + 1), "restated")
    assert (corrected.before_nano, corrected.after_nano) == (NANO + BESIDE, units(1.5) + BESIDE)
    assert april.opening == frozen.statement.closing
    assert [each for each in faults(april) if "2026-04" not in each] == []
    march.must_balance()


def test_what_a_posting_corrected_of_many_is_asked_for_once(
    march: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question reads the whole day: one for each account would keep a large month open."""
    close(march)
    for number in (LAST, LAST + 1):
        march.say({"a": 1.5, "b": 3}, number)
        march.again(number)
        march.collect()
        march.post()
    asked: list[tuple[list[int], int]] = []

    def counted(
        connection: Connection, accounts: Sequence[int], day: date, posting_no: int
    ) -> dict[int, tuple[Move, ...]]:
        asked.append((list(accounts), posting_no))
        return moves_of(connection, accounts, day, posting_no)

    monkeypatch.setattr(building, "moves_of", counted)
    users = march.all("SELECT no FROM users ORDER BY no")
    accounts = [row["no"] for row in users]
    april, may = date(2026, 4, 1), date(2026, 5, 1)
    built = building.build(march.connection, accounts, april, may, march.now)
    assert asked == [(accounts, 2), (accounts, 3)]
    moved = [
        hour.moved_nano for each in built.values() for it in each.corrections for hour in it.hours
    ]
    assert moved == [units(0.5), units(0.5), NANO, NANO]


def use(site: Site, cores: float, number: int) -> None:
    rows = {
        "a": allocation(hour(number), cpuCoreHours=cores, cpuCost=1),
        "kube-system": allocation(hour(number)),
    }
    site.say(body_of(rows), number)


def test_a_correction_where_something_is_included_keeps_no_month_open(site: Site) -> None:
    """What is free of an hour moves with all others, and is not kept: no sum over hours is due."""
    site.cluster(metering_since=METERED)
    anna = site.user()
    site.map("a", anna, LAST)
    site.card("card", {"cpu": "1"}, 0, included={"cpu": "5"})
    site.assign(anna, "card", 0)
    for number in range(LAST, AFTER + 30):
        use(site, 3, number)
    site.until(AFTER + 29)
    site.collect()
    site.day_later()
    site.collect()
    site.post()
    close(site)
    for number, cores in ((LAST + 1, 5), (LAST, 4)):
        use(site, cores, number)
        site.again(number)
        site.collect()
        site.post()
    april = stated(site, month="2026-04")
    assert faults(april.statement) == []
    found = april.statement.corrections
    assert [each.charge_nano for each in found] == [2 * NANO, NANO]
    assert [
        (at.hour, at.why, at.before_nano, at.after_nano) for each in found for at in each.hours
    ] == [
        (hour(LAST + 1), "restated", None, None),
        (hour(LAST), "restated", None, None),
    ]
    assert "such hours are named, and charged together" in page(april)
    site.connection.execute("UPDATE hopsworks_clusters SET status = 'removed'")
    site.connection.execute(
        "UPDATE collection_windows SET why = 'removed',"
        " state = CASE WHEN revision > 0 THEN 'settled' ELSE 'waived' END"
    )
    site.now = datetime(2026, 5, 1, 3, tzinfo=UTC)
    assert close(site, "2026-04").statements == 1
    site.must_balance()


def test_who_is_found_to_have_used_a_closed_month_is_told_in_the_next(march: Site) -> None:
    """He had nothing in March, and no statement of it; that is no fault of the books."""
    close(march)
    march.map("a", march.user("cleo"), LAST)
    march.post()
    assert march.value("SELECT count(*) FROM statements") == 2
    april = stated(march, "cleo", "2026-04").statement
    assert [str(each.day) for each in april.corrections] == ["2026-03-31"]
    march.must_balance()


def test_everything_that_stands_in_the_way_is_named_with_its_cure(site: Site) -> None:
    site.cluster(metering_since=METERED)
    anna = site.user()
    site.map("a", anna, LAST)
    pays(site, anna, "prepaid", 20)
    granted(site, anna, 1, expires=30, key="early")
    site.until(LAST)
    site.say({"a": 1}, LAST)
    site.say(away(), LAST + 1)
    site.say({"a": 0.5}, LAST + 2)
    site.until(LAST + 2)
    site.collect()
    said = in_the_way(site)
    for part in (
        "the month is not over: it is over at 2026-04-01T00Z.",
        f"1 hour is not settled on eu-1 ({hour(LAST):%Y-%m-%dT%HZ})",
        f"1 hour is due on eu-1 ({hour(LAST + 2):%Y-%m-%dT%HZ})",
        f"1 hour is failed on eu-1 ({hour(LAST + 1):%Y-%m-%dT%HZ})",
        f"hopsmeter hours gap eu-1 {hour(LAST + 1):%Y-%m-%dT%HZ}",
        "a stored hour (2026-03-31T20Z) waits to be posted",
        "the expiry of lots is not posted: 1 of auth0|anna (2026-03-31)",
        "Nothing was changed.",
    ):
        assert part in said, said
    listed = months(site.connection, site.now)
    assert [(each.month, each.is_closed) for each in listed] == [("2026-03", False)]
    assert len(listed[0].obstacles) == 6


def test_hours_that_were_never_asked_for_stand_in_the_way(site: Site) -> None:
    site.cluster(metering_since=METERED)
    site.until(AFTER)
    assert "4 hours are missing on eu-1" in in_the_way(site)


def test_a_month_in_which_nothing_happened_is_not_closed(march: Site) -> None:
    """It would be for good, and by a slip of the finger."""
    for month in ("2026-02", "2025-03"):
        said = in_the_way(march, month)
        assert f"Nothing was metered or booked in {month}: there is nothing to close." in said
        assert "`hopsmeter books months` lists" in said
    close(march)
    march.connection.execute("UPDATE hopsworks_clusters SET status = 'removed'")
    march.connection.execute("DELETE FROM collection_windows WHERE hour >= '2026-04-01Z'")
    march.now = datetime(2026, 6, 2, tzinfo=UTC)
    with pytest.raises(Conflict, match="Nothing was metered or booked in 2026-05"):
        close(march, "2026-05")


def test_a_month_in_which_credits_were_granted_alone_is_closed(site: Site) -> None:
    anna = site.user()
    site.now = datetime(2026, 3, 2, tzinfo=UTC)
    granted(site, anna, 5, key="early")
    site.now = datetime(2026, 4, 2, tzinfo=UTC)
    assert "Nothing was metered or booked in 2026-02" in in_the_way(site, "2026-02")
    assert close(site).statements == 1


def test_an_earlier_month_with_entries_is_closed_first(march: Site) -> None:
    march.now = datetime(2026, 5, 3, tzinfo=UTC)
    assert "2026-03 has entries and is open: close it first." in in_the_way(march, "2026-04")
    close(march)
    with pytest.raises(Conflict, match="was closed on"):
        close(march)


def test_gaps_and_waived_hours_do_not_stop_it_and_are_named(site: Site) -> None:
    site.cluster(metering_since=METERED)
    site.map("a", site.user(), LAST)
    for number in range(LAST, AFTER):
        site.say({"a": 1} if number != LAST + 1 else away(), number)
    site.until(AFTER - 1)
    site.collect()
    site.decide("gap", LAST + 1, why="the disk was lost")
    site.now += timedelta(hours=30)
    site.collect()
    site.post()
    assert close(site).lost == (("eu-1", "gap", 1),)
    (mine,) = stated(site).statement.clusters
    (span,) = mine.spans
    assert (mine.hours, mine.stored, span.state, span.why) == (4, 3, "gap", "the disk was lost")
    told = page(stated(site))
    assert "2026-03-31T21Z: lost: the source no longer has it" in told
    site.must_balance()


def test_only_an_admin_closes_months(march: Site) -> None:
    with pytest.raises(Forbidden):
        close_month(
            march.connection,
            Principal("owner", "auth0|anna"),
            month="2026-03",
            why="x",
            now=march.now,
        )


def test_a_post_waits_for_the_closing_and_stands_behind_it(march: Site) -> None:
    """Without the lock it would have looked before, and stand in the month that is frozen."""
    posted = threading.Event()

    def grant_behind() -> None:
        with march.open("poster") as connection:
            connection.execute("SET search_path = hopsmeter")
            late = Site(march.database, connection, now=datetime(2026, 3, 31, 23, 59, tzinfo=UTC))
            granted(late, User(1, "auth0|anna", "anna@example.test"), 3, key="late")
            posted.set()

    with march.connection.transaction():
        close_month(march.connection, ADMIN, month="2026-03", why="invoiced", now=march.now)
        thread = threading.Thread(target=grant_behind)
        thread.start()
        assert not posted.wait(0.5)
    thread.join(10)
    assert posted.is_set()
    assert (
        str(march.value("SELECT posted_on FROM ledger_entries WHERE ref = 'late'")) == "2026-04-01"
    )
    march.must_balance()


CORRUPTIONS = {
    "a figure": (
        "UPDATE statements SET body = jsonb_set(body, '{closing,credits_nano}', '5')",
        "the figures are not those that were frozen",
    ),
    "a figure and its hash": (
        "UPDATE statements SET body = jsonb_set(body, '{name}', '\"X\"'), sha256 = sha256('x')",
        "its statements are not those that the trail saw frozen",
    ),
    "a statement that is gone": (
        "DELETE FROM statements WHERE account_no = 2",
        "account 2 has no statement",
    ),
    "figures that are none": (
        "UPDATE statements SET body = '{}'",
        "the figures cannot be read",
    ),
    "an entry of the month": (
        "UPDATE ledger_entries SET ref = 'pi_2' WHERE ref = 'pi_1'",
        "entries were frozen, and the",
    ),
    "an entry moved out of it": (
        "UPDATE ledger_entries SET posted_on = '2026-04-01' WHERE ref = 'pi_1'",
        "as frozen, with",
    ),
    "a month that was opened again": (
        "DELETE FROM closed_months",
        "the trail says that it was closed, and it is open",
    ),
    "a month that nobody closed": (
        "INSERT INTO closed_months (month, closed_by) VALUES ('2026-04-01', 'x')",
        "it is closed, and the trail says nothing of it",
    ),
}


@pytest.mark.parametrize("what", CORRUPTIONS)
def test_whatever_is_changed_in_what_was_frozen_is_named(march: Site, what: str) -> None:
    close(march)
    statement_, said = CORRUPTIONS[what]
    corrupt(march, statement_)
    assert any(said in row for row in wrong(march)[5]), wrong(march)


def test_a_statement_tells_credits_lot_by_lot(march: Site) -> None:
    anna = User(1, "auth0|anna", "anna@example.test")
    granted(march, anna, 2, key="late", expires=33)
    refunded(march, anna, 3, "re_1", 1)
    march.now = hour(24 * 37)
    expire(march)
    found = stated(march, month="2026-04").statement
    lots = {each.reference: each for each in found.lots}
    assert lots["pi_1"].opening_nano == 6 * NANO - 4 * BESIDE
    assert (lots["pi_1"].charged_nano, lots["pi_1"].refunded_nano) == (
        -units(0.25) - BESIDE,
        -3 * NANO,
    )
    assert lots["pi_1"].closing_nano == units(2.75) - 5 * BESIDE
    assert (lots["late"].came_nano, lots["late"].expired_nano, lots["late"].closing_nano) == (
        2 * NANO,
        -2 * NANO,
        0,
    )
    assert faults(found) == []
    assert [each.what for each in found.movements] == [
        "credits granted",
        "refund",
        "credits expired",
    ]


def test_a_statement_is_the_readers_own_and_says_what_is_not_posted_yet(march: Site) -> None:
    with pytest.raises(Forbidden):
        statement(
            march.connection, Principal("owner", "auth0|ben"), "auth0|anna", "2026-03", march.now
        )
    own = statement(
        march.connection, Principal("owner", "auth0|anna"), "auth0|anna", "2026-03", march.now
    )
    assert own.statement.charge_nano == 4 * (NANO + BESIDE)
    march.say({"a": 2, "b": 2}, LAST)
    march.again(LAST)
    march.collect()
    found = stated(march).statement
    assert (found.pending_nano, faults(found)) == (NANO, [])


def test_whatever_a_customer_typed_is_text_on_the_page(march: Site) -> None:
    march.connection.execute("UPDATE users SET name = '<script>alert(1)</script>' WHERE no = 1")
    march.connection.execute(
        "UPDATE user_projects SET project = '\"><img src=x>' WHERE namespace = 'a'"
    )
    told = page(stated(march))
    assert "<script" not in told
    assert "<img" not in told
    assert "&lt;script&gt;" in told
