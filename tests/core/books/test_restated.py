"""What a statement names of its own month: hours whose charge was posted, and changed after that."""

from datetime import UTC, datetime, timedelta

import pytest
from psycopg.types.json import Jsonb

from core.books.completeness import ClusterHours
from core.books.months.close import close_month
from core.books.months.frozen import seal_of
from core.books.statement import restated as room
from core.books.statement import wording
from core.books.statement.figures import Presented, Restated, RestatedDay, plain, sha256_of
from core.books.statement.page import page
from core.books.statement.proof import faults
from core.books.statement.read import statement
from core.books.statement.rows import rows
from core.money import NANO
from tests.answers import allocation, body_of
from tests.core.books.test_ledger_checks import owner_without_triggers
from tests.core.metering.site import ADMIN, FIRST, Site, hour
from tests.factories import User

BESIDE = 18_330_000
"""What an answer of tests adds to the CPU cost of each namespace."""
METERED = datetime(2026, 3, 30, 21, tzinfo=UTC)
"""Three hours before the day before the month's last, so that its hours are of two days."""
LAST = int((METERED - FIRST).total_seconds()) // 3600
AFTER = LAST + 27


@pytest.fixture
def anna(site: Site) -> User:
    """The end of March, posted once: a is anna's, b nobody's."""
    site.cluster(metering_since=METERED)
    anna = site.user()
    site.map("a", anna, LAST)
    for number in range(LAST, AFTER):
        site.say({"a": 1, "b": 2}, number)
    site.until(AFTER - 1)
    site.collect()
    site.post()
    return anna


def again(site: Site, costs: dict[str, float], *numbers: int) -> None:
    """Let hours be answered otherwise, and post each by itself."""
    for number in numbers:
        site.say(costs, number)
        site.again(number)
        site.collect()
        site.post()


def stated(site: Site, account: str = "anna", month: str = "2026-03") -> Presented:
    return statement(site.connection, ADMIN, f"{account}@example.test", month, site.now)


def told(site: Site, account: str = "anna") -> list[tuple[str, tuple[int, ...], str, int | None]]:
    found = stated(site, account).statement
    assert faults(found) == []
    return [(str(at.day), at.hours, at.what, at.moved_nano) for at in found.restated.days]


def corrected(site: Site, account: User) -> int:
    """What the ledger was told of an account by all postings but the first of each day."""
    entered = site.value(
        "SELECT -coalesce(sum(amount_nano), 0) FROM ledger_entries"
        " WHERE account_no = %s AND posting_no > 1",
        account.no,
    )
    return int(entered)


def settle(site: Site) -> None:
    site.now += timedelta(hours=30)
    site.collect()
    site.post()


def test_what_was_never_changed_is_not_named(site: Site, anna: User) -> None:
    assert stated(site, anna.email.partition("@")[0]).statement.restated == Restated()
    settle(site)
    assert told(site) == []
    assert "within this month" not in page(stated(site))


def test_restated_hours_are_named_by_day_with_what_they_moved(site: Site, anna: User) -> None:
    before = stated(site).statement.charge_nano
    again(site, {"a": 1.5, "b": 2}, LAST, LAST + 3, LAST + 5)
    again(site, {"a": 1.4375, "b": 2}, LAST + 3)
    assert told(site) == [
        ("2026-03-30", (21,), "restated", NANO // 2),
        ("2026-03-31", (0, 2), "restated", NANO - NANO // 16),
    ]
    found = stated(site).statement
    assert found.charge_nano - before == found.restated.moved_nano == 3 * NANO // 2 - NANO // 16
    assert {each.namespaces for each in found.restated.days} == {("a",)}
    assert found.restated.moved_nano == corrected(site, anna)


def test_only_what_is_posted_again_is_named(site: Site, anna: User) -> None:
    site.say({"a": 3, "b": 2}, LAST)
    site.again(LAST)
    site.collect()
    assert stated(site).statement.pending_nano == 2 * NANO
    assert told(site) == []
    site.post()
    assert told(site) == [("2026-03-30", (21,), "restated", 2 * NANO)]
    again(site, {"a": 3, "b": 5}, LAST)
    assert len(told(site)) == 1, anna


def test_hours_that_came_to_an_account_or_left_it_are_named(site: Site, anna: User) -> None:
    ben = site.user("ben")
    site.map("b", ben, LAST + 1)
    site.post()
    each = 2 * NANO + BESIDE
    assert told(site, "ben") == [
        ("2026-03-30", (22, 23), "came", 2 * each),
        ("2026-03-31", tuple(range(24)), "came", 24 * each),
    ]
    assert told(site) == []
    site.map("a", ben, LAST + 26)
    site.post()
    assert told(site) == [("2026-03-31", (23,), "went", -NANO - BESIDE)]
    assert ("2026-03-31", tuple(range(24)), "came", 24 * each + NANO + BESIDE) in told(site, "ben")
    site.plan("dear", "2", LAST)
    site.assign(anna, "dear", LAST + 25)
    site.post()
    assert ("2026-03-31", (22,), "plan", NANO + BESIDE) in told(site)
    again(site, {"a": 1.5, "b": 2.5}, LAST + 2, LAST + 25, LAST + 26)
    for one in (anna, ben):
        name = one.email.partition("@")[0]
        assert stated(site, name).statement.restated.moved_nano == corrected(site, one)
    site.must_balance()


def test_a_namespace_that_a_later_reading_has_or_has_not_is_restated(
    site: Site, anna: User
) -> None:
    site.map("c", anna, LAST)
    again(site, {"a": 1, "b": 2, "c": 4}, LAST)
    assert told(site) == [("2026-03-30", (21,), "restated", 4 * NANO + BESIDE)]
    site.say({"a": 1, "b": 2}, LAST)
    site.again(LAST)
    site.collect()
    site.decide("accept", LAST)
    site.collect()
    site.post()
    assert told(site) == [("2026-03-30", (21,), "restated", 0)]


def test_where_something_is_included_hours_are_named_without_amounts(
    site: Site, anna: User
) -> None:
    site.card("card", {"cpu": "1"}, 0, included={"cpu": "5"})
    site.assign(anna, "card", 0)
    site.post()
    assert {(what, moved) for _, _, what, moved in told(site)} == {("plan", None)}
    number = LAST + 2
    rows = {"a": allocation(hour(number), cpuCoreHours=7, cpuCost=5)}
    rows |= {name: allocation(hour(number), cpuCost=5) for name in ("b", "kube-system")}
    site.say(body_of(rows), number)
    site.again(number)
    site.collect()
    site.post()
    assert ("2026-03-30", (23,), "restated", None) in told(site)
    found = stated(site)
    assert found.statement.restated.moved_nano == 0
    assert "such hours are named, and charged together" in page(found)


def test_a_statement_names_some_and_counts_the_rest(
    site: Site, anna: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "DAYS_MAX", 1)
    monkeypatch.setattr(room, "NAMESPACES_MAX", 2)
    for name in ("c", "d", "e"):
        site.map(name, anna, LAST)
    again(site, {"a": 1.5, "b": 2, "c": 1, "d": 1, "e": 1}, LAST, LAST + 3)
    found = stated(site).statement.restated
    moved = NANO // 2 + 3 * (NANO + BESIDE)
    assert found.days == (
        RestatedDay(
            day=found.days[0].day,
            cluster="eu-1",
            what="restated",
            namespaces=("a", "c"),
            namespaces_more=2,
            hours=(21,),
            moved_nano=moved,
        ),
    )
    assert (found.more, found.more_nano, found.moved_nano) == (1, moved, 2 * moved)
    document = page(stated(site))
    assert "a, c and 2 more" in document
    assert "and 1 more" in document


def test_each_form_of_a_statement_names_them(site: Site, anna: User) -> None:
    again(site, {"a": 1.5, "b": 2}, *range(LAST + 3, LAST + 6), LAST + 8)
    found = stated(site)
    document = page(found)
    for part in ("Corrections within this month", "00Z to 02Z, 05Z", "the source restated"):
        assert part in document, document
    (row,) = [each for each in rows(found) if each["part"] == "restated"]
    assert (row["day"], row["hours"], row["namespace"]) == ("2026-03-31", 4, "a")
    assert (row["charge_nano"], row["cluster"]) == (2 * NANO, "eu-1")
    assert "00Z to 02Z, 05Z" in row["what"], anna


def test_they_are_frozen_and_what_was_frozen_before_still_verifies(site: Site, anna: User) -> None:
    again(site, {"a": 1.5, "b": 2}, LAST)
    settle(site)
    before = stated(site).statement
    with site.connection.transaction():
        close_month(site.connection, ADMIN, month="2026-03", why="invoiced", now=site.now)
    assert stated(site).statement == before
    assert before.restated.days
    again(site, {"a": 2, "b": 2}, LAST + 1)
    assert stated(site).statement == before
    april = stated(site, month="2026-04").statement
    assert (len(april.corrections), april.restated) == (1, Restated())
    site.must_balance()


def test_statements_that_were_frozen_before_still_verify(site: Site, anna: User) -> None:
    """A month that an older version closed says nothing of what was restated, and is as it was."""
    settle(site)
    with site.connection.transaction():
        close_month(site.connection, ADMIN, month="2026-03", why="invoiced", now=site.now)
    body = plain(stated(site).statement)
    assert (body["form"], body.pop("restated")["days"]) == (3, ())
    assert body.pop("told")["reports"] == 0
    old = {**body, "form": 1}
    sha256 = sha256_of(old)
    with owner_without_triggers(site) as owner:
        owner.execute("UPDATE statements SET body = %s, sha256 = %s", [Jsonb(old), sha256])
        owner.execute(
            "UPDATE audit_log SET after = jsonb_set(after, '{sha256}', to_jsonb(%s::text))"
            " WHERE action = 'books.close'",
            [seal_of([sha256])],
        )
    site.must_balance()
    found = stated(site)
    assert (found.statement.form, found.statement.restated) == (1, Restated())
    assert (found.sha256, faults(found.statement)) == (sha256.hex(), []), anna


@pytest.mark.parametrize(
    ("hours", "stored", "told"),
    [
        (1, 1, "1 hour, in the books."),
        (1, 0, "1 hour, not in the books."),
        (3, 3, "3 hours, all of them in the books."),
        (3, 1, "3 hours, 1 of them in the books."),
        (3, 0, "3 hours, none of them in the books."),
    ],
)
def test_how_much_is_in_the_books_is_a_sentence(hours: int, stored: int, told: str) -> None:
    assert wording.hours(ClusterHours("eu-1", hours, stored, ())) == f"eu-1: {told}"
