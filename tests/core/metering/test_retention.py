"""Old answers go, and what they proved stays; an hour of their months can be stored all the same."""

from datetime import timedelta

from core.clock import HOUR
from core.metering import windows
from core.metering.retention import drop_old_answers, prepare_months
from core.metering.visits import visit_cluster
from tests.answers import body
from tests.core.metering.site import FIRST, Said, Site, hour

KEEP_DAYS = 60


def months_later(site: Site) -> None:
    """Let the first month's answers be past their time, and dropped; only asked hours are due."""
    site.now = FIRST + timedelta(days=150)
    assert drop_old_answers(site.connection, site.now, keep_days=KEEP_DAYS) == ["2026-03"]
    site.connection.execute("UPDATE collection_windows SET next_try_at = NULL")


def read_again(site: Site, number: int, said: Said) -> None:
    """Have one hour read again an hour later, and visit its cluster."""
    site.now += HOUR
    site.say(said, number)
    site.connection.execute(
        "UPDATE collection_windows SET next_try_at = %s WHERE hour = %s", [site.now, hour(number)]
    )
    (work,) = windows.clusters_with_work(site.connection, site.now, 9)
    visit_cluster(site.tools, work)


def must_balance(site: Site) -> None:
    """The months between are not opened here, so the line of the missing hours is left out."""
    site.post()
    lines = site.books(month="2026-03")
    assert [(each.number, each.rows) for each in lines if not each.ok and each.number != 7] == []


def collected(site: Site, hours: int) -> None:
    site.cluster()
    for number in range(hours):
        site.say({"a": 1}, number)
    site.until(hours - 1)
    site.collect()


def test_an_hour_of_a_month_whose_answers_were_dropped_is_stored(site: Site) -> None:
    collected(site, 1)
    site.until(1)
    site.open_windows()
    months_later(site)
    read_again(site, 1, body({"a": 2}, hour(1)))
    assert site.states() == ["collected", "settled"]
    must_balance(site)


def test_an_hour_of_a_month_whose_answers_were_dropped_is_restated(site: Site) -> None:
    collected(site, 2)
    months_later(site)
    read_again(site, 0, body({"a": 9}, hour(0)))
    assert site.rows()["a"].revision == 2
    must_balance(site)


def test_an_answer_of_such_a_month_that_is_refused_holds_back_no_other_hour(site: Site) -> None:
    collected(site, 2)
    months_later(site)
    read_again(site, 0, b"not an answer")
    assert site.window()["fault"] == "not-json"
    read_again(site, 1, body({"a": 9}, hour(1)))
    assert site.rows(1)["a"].revision == 2
    must_balance(site)
    # What waits for a person is kept.
    assert drop_old_answers(site.connection, site.now, keep_days=KEEP_DAYS) == []


def test_a_month_is_dropped_once_for_each_time_that_it_came_to_hold_answers(site: Site) -> None:
    collected(site, 1)
    months_later(site)
    assert drop_old_answers(site.connection, site.now, keep_days=KEEP_DAYS) == []
    read_again(site, 0, body({"a": 2}, hour(0)))
    assert drop_old_answers(site.connection, site.now, keep_days=KEEP_DAYS) == ["2026-03"]
    must_balance(site)


def test_other_bytes_of_the_same_figures_prove_an_hour_whose_answer_was_dropped(site: Site) -> None:
    collected(site, 2)
    months_later(site)
    read_again(site, 0, body({"a": 9}, hour(0)))
    read_again(site, 1, body({"a": 1}, hour(1)) + b"\n")
    assert [site.rows(number)["a"].revision for number in (0, 1)] == [2, 1]
    must_balance(site)


def test_months_that_an_earlier_version_dropped_whole_are_made_again(site: Site) -> None:
    collected(site, 1)
    months_later(site)
    site.connection.execute("SELECT drop_raw_answers(%s)", [FIRST])
    prepare_months(site.connection, site.now)
    read_again(site, 0, body({"a": 2}, hour(0)))
    assert site.rows()["a"].revision == 2
    must_balance(site)


def test_a_cluster_metered_since_long_ago_is_caught_up_whatever_is_kept(site: Site) -> None:
    site.now = FIRST + timedelta(days=150)
    site.cluster(metering_since=FIRST)
    site.open_windows()
    drop_old_answers(site.connection, site.now, keep_days=KEEP_DAYS)
    site.connection.execute("UPDATE collection_windows SET next_try_at = NULL")
    read_again(site, 0, body({"a": 2}, hour(0)))
    assert site.window()["state"] == "settled"
    must_balance(site)
