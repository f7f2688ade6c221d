"""From an entry of the ledger, or an account's day, down to hours, plans and raw answers."""

from datetime import timedelta

import pytest

from core.books.entries.account_day import AccountDay, explain_day
from core.books.entries.entry import EntryStory, explain_entry
from core.errors import Forbidden, Unknown
from core.identity.principal import Principal
from core.money import NANO
from tests.core.billing.ledger_site import DAY_0, adjusted, day, granted, pays, units
from tests.core.metering.site import ADMIN, Site, hour
from tests.factories import User

BESIDE = 18_330_000
"""What an answer of tests adds to the CPU cost of each namespace."""


@pytest.fixture
def anna(site: Site) -> User:
    site.cluster()
    user = site.user()
    site.map("a", user, 0)
    return user


def use(site: Site, number: int, costs: dict[str, float]) -> None:
    site.say(costs, number)
    site.until(max(number, 3))
    site.collect()
    site.again(number)
    site.collect()
    site.post()


def story(site: Site, which: str) -> EntryStory:
    number = site.value(f"SELECT id FROM ledger_entries WHERE {which} ORDER BY id DESC LIMIT 1")
    return explain_entry(site.connection, ADMIN, number)


def told(site: Site, account: User, number: int = 0) -> AccountDay:
    newest = site.now - timedelta(hours=1)
    return explain_day(site.connection, ADMIN, account.email, day(number), newest)


def test_a_charge_leads_to_its_hours_plan_and_answer(site: Site, anna: User) -> None:
    site.plan("team", "1.5", 0)
    site.assign(anna, "team", 0)
    site.say({"a": 1}, 0)
    site.say({"a": 2, "b": 9}, 1)
    site.until(1)
    site.collect()
    site.post()
    found = story(site, "contra = 11")
    assert (found.account, found.what, found.book, found.contra) == (
        anna.id,
        "charge",
        "receivable",
        "revenue",
    )
    assert [(each.namespace, each.hour, each.cost_nano, each.plan) for each in found.moves] == [
        ("a", hour(0), NANO + BESIDE, "team × 1.5"),
        ("a", hour(1), 2 * NANO + BESIDE, "team × 1.5"),
    ]
    assert found.moves[1].raw_sha256 == site.window(1)["raw_sha256"].hex()
    assert found.moved_nano == found.charged_nano == -found.amount_nano
    assert all(each.is_first for each in found.moves)


def test_a_correction_says_which_hour_replaced_what_and_why(site: Site, anna: User) -> None:
    use(site, 0, {"a": 1})
    use(site, 1, {"a": 2})
    first = site.window(0)["raw_sha256"].hex()
    use(site, 0, {"a": 1.25})
    found = story(site, "contra = 11")
    (move,) = found.moves
    assert (move.hour, move.why, move.revision_before, move.revision) == (hour(0), "restated", 1, 2)
    assert (move.charge_before_nano, move.charge_nano) == (NANO + BESIDE, units(1.25) + BESIDE)
    assert (move.raw_before_sha256, move.raw_sha256) == (first, site.window(0)["raw_sha256"].hex())
    assert found.moved_nano == found.charged_nano == units(0.25)
    first_entry = explain_entry(
        site.connection, ADMIN, site.value("SELECT min(id) FROM ledger_entries")
    )
    assert [each.charge_nano for each in first_entry.moves] == [NANO + BESIDE]


def test_a_late_owner_and_a_new_plan_are_told_as_what_replaced_what(site: Site, anna: User) -> None:
    ben = site.user("ben")
    use(site, 0, {"a": 1, "b": 2})
    site.map("b", ben, 0)
    site.post()
    found = story(site, f"account_no = {ben.no}")
    assert [(each.namespace, each.charge_before_nano, each.why) for each in found.moves] == [
        ("b", None, f"owner: {ben.id}")
    ]
    site.map("a", ben, 0)
    site.post()
    gone = story(site, f"account_no = {anna.no}")
    assert (gone.what, gone.moves[0].charge_nano, gone.moved_nano) == (
        "charge taken back",
        None,
        -NANO - BESIDE,
    )
    site.plan("dear", "2", 0)
    site.assign(ben, "dear", 0)
    site.post()
    dearer = story(site, f"account_no = {ben.no}")
    assert [(each.plan_before, each.plan) for each in dearer.moves] == [
        ("default × 1", "dear × 2"),
        ("default × 1", "dear × 2"),
    ]
    assert dearer.moved_nano == dearer.charged_nano


def test_a_draw_names_the_lots_and_a_post_who_asked(site: Site, anna: User) -> None:
    pays(site, anna, "prepaid", 0)
    made = granted(site, anna, 0.5, expires=5, key="welcome")
    use(site, 0, {"a": 1})
    granted(site, anna, 4, bought=True, key="pi_1")
    paid = story(site, "book = 1 AND contra = 11")
    (line,) = [each for each in paid.together if each.id == paid.id]
    assert [(each.lot, each.kind, each.amount_nano, each.ref) for each in line.draws] == [
        (made.lot, "grant", -units(0.5), "welcome")
    ]
    assert len(paid.together) == 2
    repaid = story(site, "ref = 'pi_1:repaid'")
    assert (repaid.what, repaid.book, repaid.contra) == (
        "arrears repaid from credits",
        "arrears",
        "credits",
    )
    assert [each.what for each in repaid.together] == [
        "credits bought",
        "arrears repaid from credits",
    ]
    assert repaid.asked is not None
    assert (repaid.asked.action, repaid.asked.why) == ("credits.purchase", "agreed")
    adjusted(site, anna, -1, "slip")
    assert story(site, "ref = 'slip'").what == "credits taken back"


def test_a_day_adds_up_and_says_what_replaced_what(site: Site, anna: User) -> None:
    use(site, 0, {"a": 1})
    use(site, 0, {"a": 1.5})
    found = told(site, anna)
    assert found.entered_nano == found.charged_nano == units(1.5) + BESIDE
    assert [(each.posting_no, each.amount_nano) for each in found.entries] == [
        (1, -NANO - BESIDE),
        (2, -units(0.5)),
    ]
    assert [(each.revision, each.charge_nano, each.why) for each in found.replaced] == [
        (1, NANO + BESIDE, "restated")
    ]
    (mine,) = found.hours
    assert (mine.cluster, mine.hours, mine.stored) == ("eu-1", 4, 1)
    assert {each.state for each in mine.spans} == {"collected", "failed"}


def test_hours_that_wait_to_be_posted_are_no_difference(site: Site, anna: User) -> None:
    site.say({"a": 1})
    site.collect()
    found = told(site, anna)
    assert (found.entered_nano, found.charged_nano, found.is_pending) == (0, NANO + BESIDE, True)


def test_a_posting_that_kept_no_hours_says_so(site: Site, anna: User) -> None:
    """As those that versions before this one made."""
    use(site, 0, {"a": 1})
    site.connection.execute("ALTER TABLE posted_hours DISABLE TRIGGER USER")
    site.connection.execute("DELETE FROM posted_hours")
    found = story(site, f"account_no = {anna.no}")
    assert (found.moves, found.moves_kept) == ((), False)


def test_only_an_admin_and_the_owner_read_an_account(site: Site, anna: User) -> None:
    use(site, 0, {"a": 1})
    ben = Principal("owner", "auth0|ben")
    entry = site.value("SELECT max(id) FROM ledger_entries")
    with pytest.raises(Forbidden, match=r"Only an admin, or auth0\|anna itself"):
        explain_entry(site.connection, ben, entry)
    with pytest.raises(Forbidden):
        explain_day(site.connection, ben, anna.id, DAY_0, site.now)
    own = explain_entry(site.connection, Principal("owner", anna.id), entry)
    assert own.account == anna.id
    with pytest.raises(Unknown, match="no entry 99"):
        explain_entry(site.connection, ADMIN, 99)
