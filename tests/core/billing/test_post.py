"""Posting: daily rows are what the day's allocations say, however and how often it runs."""

import threading
from typing import Any

import pytest

from core.billing.posting import post
from core.clock import DAY
from core.db.connect import connect
from core.db.locks import Lock, take
from tests.core.metering.site import FIRST, Site, hour

DAY_1 = str(FIRST.date())


def charges(site: Site) -> dict[str, int]:
    """What each user is charged, all days and clusters together."""
    found: dict[str, int] = {}
    for (user, _, _), charge in site.usage().items():
        found[user] = found.get(user, 0) + charge
    return found


UNPOST = """
UPDATE collection_windows SET posted_no = 0;
DELETE FROM usage_daily;
ALTER TABLE ledger_entries DISABLE TRIGGER USER;
DELETE FROM ledger_entries;
DELETE FROM postings;
ALTER TABLE posted_hours DISABLE TRIGGER USER;
DELETE FROM posted_hours;
ALTER TABLE posted_hours ENABLE TRIGGER USER;
ALTER TABLE ledger_entries ENABLE TRIGGER USER;
UPDATE ledger_balances SET balance_nano = 0;
"""
"""As if nothing had ever been posted; only the owner of the schema can."""


def test_posting_sums_each_users_hours_of_the_day(site: Site) -> None:
    site.cluster()
    anna, ben = site.user(), site.user("ben")
    site.map("a1", anna, 0)
    site.map("a2", anna, 0)
    site.map("b", ben, 0)
    for number in range(3):
        site.say({"a1": 1, "a2": 2, "b": number, "nobodys": 7}, number)
    site.until(2)
    site.collect()
    report = site.post()
    assert (report.days, report.hours, report.rows) == (1, 3, 2)
    assert site.usage() == {
        (anna.id, "eu-1", DAY_1): 3 * (3_000_000_000 + 2 * 18_330_000),
        (ben.id, "eu-1", DAY_1): 3_000_000_000 + 3 * 18_330_000,
    }
    site.must_balance()


def test_posting_again_writes_nothing(site: Site) -> None:
    site.cluster()
    site.map("a", site.user(), 0)
    site.say(["a"])
    site.collect()
    site.post()
    tables = ("usage_daily", "cost_daily", "cluster_days", "postings", "collection_windows")
    before = {table: site.versions(table) for table in tables}
    assert site.post() == post.PostReport()
    assert {table: site.versions(table) for table in tables} == before


def test_hour_by_hour_comes_to_the_same_as_all_at_once(site: Site) -> None:
    site.cluster()
    site.cluster("eu-2")
    for name in ("eu-1", "eu-2"):
        for number in range(4):
            site.say({"a": number + 0.5, "b": 1}, number, name)
        site.map("a", site.user(f"anna-{name}"), 0, name)
    for number in range(4):
        site.until(number)
        site.collect()
        site.post()
    stepwise = site.usage()
    site.connection.execute(UNPOST)
    site.post()
    assert site.usage() == stepwise
    site.must_balance()


def test_a_restated_hour_is_posted_as_its_difference(site: Site) -> None:
    site.cluster()
    anna = site.user()
    site.map("a", anna, 0)
    site.say({"a": 1}, 0)
    site.say({"a": 2}, 1)
    site.until(1)
    site.collect()
    site.post()
    site.say({"a": 1.5}, 0)
    site.again(0)
    site.collect()
    site.post()
    assert charges(site) == {anna.id: 3_500_000_000 + 2 * 18_330_000}
    site.must_balance()


def test_a_user_who_lost_all_of_a_day_has_no_row_left(site: Site) -> None:
    site.cluster()
    anna, ben = site.user(), site.user("ben")
    site.map("a", anna, 0)
    site.say(["a"])
    site.collect()
    site.post()
    site.map("a", ben, 0)
    site.post()
    assert set(charges(site)) == {ben.id}
    site.unmap("a", 0)
    site.post()
    assert charges(site) == {}
    site.must_balance()


def test_an_hour_stored_while_a_day_is_computed_is_counted_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.cluster()
    anna = site.user()
    site.map("a", anna, 0)
    site.say({"a": 1}, 0)
    site.say({"a": 2}, 1)
    site.collect()
    site.post()
    site.say({"a": 4}, 0)
    site.again(0)
    site.collect()
    compute = post._write_usage

    def store_meanwhile(*arguments: Any) -> Any:
        monkeypatch.undo()
        site.until(1)
        site.collect()
        return compute(*arguments)

    monkeypatch.setattr(post, "_write_usage", store_meanwhile)
    with site.open("poster") as poster:
        post.post_due(poster, site.now)
    site.post()
    assert site.states() == ["collected", "collected"]
    assert charges(site) == {anna.id: 6_000_000_000 + 2 * 18_330_000}
    site.must_balance()


def test_an_hour_restated_while_it_is_added_is_counted_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.cluster()
    anna = site.user()
    site.map("a", anna, 0)
    site.say({"a": 1}, 0)
    site.collect()
    compute = post._write_usage

    def restate_meanwhile(*arguments: Any) -> Any:
        monkeypatch.undo()
        site.say({"a": 4}, 0)
        site.again(0)
        site.collect()
        return compute(*arguments)

    monkeypatch.setattr(post, "_write_usage", restate_meanwhile)
    with site.open("poster") as poster:
        post.post_due(poster, site.now)
    site.post()
    assert charges(site) == {anna.id: 4_000_000_000 + 18_330_000}
    site.must_balance()


def test_two_posters_at_once_post_once(site: Site) -> None:
    site.cluster()
    anna = site.user()
    site.map("a", anna, 0)
    for number in range(30):
        site.say({"a": 1}, number)
    site.until(29)
    site.collect()
    reports: list[post.PostReport] = []

    def run() -> None:
        with connect(site.database.url, name="poster") as poster:
            reports.append(post.post_due(poster, site.now))

    posters = [threading.Thread(target=run) for _ in range(4)]
    with site.connection.transaction():
        take(site.connection, Lock.POSTING)
        for poster in posters:
            poster.start()
    for poster in posters:
        poster.join(30)
    assert len(reports) == 4
    assert sum(report.hours for report in reports) == 30
    assert charges(site) == {anna.id: 30 * 1_018_330_000}
    assert site.value("SELECT count(*) FROM postings") == 2
    site.must_balance()


# ── closing a day ───────────────────────────────────────────────────────────────────────────


def closed(site: Site) -> list[str]:
    days = site.all("SELECT day::text FROM cluster_days WHERE closed_at IS NOT NULL ORDER BY day")
    return [row["day"] for row in days]


def cost_of(site: Site, namespace: str) -> list[tuple[str, int, int]]:
    rows = site.all(
        "SELECT k.name AS kind, d.hours, d.total_nano FROM cost_daily d"
        " JOIN namespaces n ON n.id = d.namespace_id JOIN allocation_kinds k ON k.kind = d.kind"
        " WHERE n.name = %s ORDER BY d.first_hour",
        namespace,
    )
    return [(row["kind"], row["hours"], row["total_nano"]) for row in rows]


def two_days(site: Site) -> None:
    site.cluster()
    for number in (*range(24), 24):
        site.say({"a": 1, "b": 2}, number)


def test_a_day_closes_once_it_is_over(site: Site) -> None:
    two_days(site)
    site.map("a", site.user(), 0)
    site.until(22)
    site.collect()
    site.post()
    assert closed(site) == []
    assert site.versions("cost_daily") == []
    site.until(24)
    site.collect()
    site.post()
    assert closed(site) == [DAY_1]
    assert cost_of(site, "a") == [("user", 24, 24 * 1_018_330_000)]
    assert cost_of(site, "b") == [("unmapped", 24, 24 * 2_018_330_000)]
    site.must_balance()


def test_a_day_without_a_new_hour_closes_by_itself(site: Site) -> None:
    site.cluster()
    site.say(["a"])
    site.collect()
    site.post()
    site.now += DAY
    assert site.post().closed == 1
    assert closed(site) == [DAY_1]
    site.open_windows()
    site.must_balance()


def test_a_correction_rewrites_the_closed_day(site: Site) -> None:
    two_days(site)
    anna, ben = site.user(), site.user("ben")
    site.map("a", anna, 0)
    site.until(24)
    site.collect()
    site.post()
    closed_at = site.value("SELECT closed_at FROM cluster_days ORDER BY day LIMIT 1")
    site.map("a", ben, 6)
    site.post()
    assert cost_of(site, "a") == [("user", 6, 6 * 1_018_330_000), ("user", 18, 18 * 1_018_330_000)]
    assert closed_at == site.value("SELECT closed_at FROM cluster_days ORDER BY day LIMIT 1")
    breakdown = {
        row["id"]: row["project_breakdown"]
        for row in site.all(
            "SELECT u.id, d.project_breakdown FROM usage_daily d JOIN users u ON u.no = d.user_no"
            " WHERE d.date = %s",
            DAY_1,
        )
    }
    assert breakdown[anna.id]["a"]["hours"] == 6
    assert breakdown[ben.id]["a"]["charge_nano"] == 18 * 1_018_330_000
    assert breakdown[ben.id]["a"]["efficiency_ppm"] == 250_000
    site.must_balance()


def test_open_and_closed_days_read_the_same(site: Site) -> None:
    two_days(site)
    site.map("a", site.user(), 0)
    site.until(24)
    site.collect()
    post.post_due(site.connection, hour(23))
    query = "SELECT * FROM cost_by_day WHERE date = %s ORDER BY namespace_id, user_no"
    opened = site.all(query, DAY_1)
    site.until(24)
    assert site.post().closed == 1
    assert site.all(query, DAY_1) == opened
    assert len(opened) == 4
