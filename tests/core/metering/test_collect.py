"""The collector: many clusters side by side, and what it tells of each hour."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import psycopg
import pytest

from core.clusters.connection import ClusterAccess
from core.errors import SecretFault
from core.metering.collect import Collector
from core.metering.retention import drop_old_answers, prepare_months
from core.secret import Secret
from tests.answers import body
from tests.core.metering.site import FIRST, Connection, OurReach, Site, away, hour

STOP_S = 20.0
Make = Callable[..., Collector]


@pytest.fixture
def make(site: Site) -> Iterator[Make]:
    """Make collectors that stop with the test."""
    made: list[Collector] = []

    def one(access: Callable[[Connection, int], ClusterAccess] | None = None) -> Collector:
        def plain(_: Connection, cluster_id: int) -> ClusterAccess:
            return ClusterAccess(site._name_of(cluster_id), Secret("{}"))

        collector = Collector(
            connect=site.open,
            access=access or plain,
            open_reach=lambda to: OurReach(to, site),
            daemon="test",
            parallel=3,
            policy=site.policy,
            clock=lambda: site.now,
            tell=site._tell,
        )
        made.append(collector)
        return collector

    yield one
    for collector in made:
        collector.stop(STOP_S)


def told(site: Site, event: str) -> list[str]:
    return [facts.get("hour", facts["cluster"]) for name, facts in site.told if name == event]


def test_a_catch_up_over_many_clusters_ends_with_all_in_the_books(site: Site, make: Make) -> None:
    names = [f"eu-{number}" for number in range(5)]
    for name in names:
        site.cluster(name)
        for number in range(12):
            site.say({"a": 1, "b": 2}, number, name)
    site.until(11)
    assert make().work_through(site.connection) == 60
    assert all(site.states(name) == ["collected"] * 12 for name in names)
    assert len(told(site, "hour_stored")) == 60
    assert sorted(told(site, "cluster_visited")) == names
    site.post()
    site.must_balance()


def test_each_hour_tells_what_came_of_it(site: Site, make: Make) -> None:
    site.cluster()
    site.say(["a", "b"], 0)
    site.say(b"{}", 1)
    site.say(away(step="opencost"), 2)
    site.until(3)
    collector = make()
    collector.work_through(site.connection)
    assert told(site, "hour_stored") == ["2026-03-01T00Z"]
    assert told(site, "hour_refused") == ["2026-03-01T01Z"]
    assert told(site, "hour_failed") == ["2026-03-01T02Z", "2026-03-01T03Z"]
    site.say({"a": 1.5, "b": 1}, 0)
    site.again(0)
    collector.work_through(site.connection)
    site.again(0)
    collector.work_through(site.connection)
    site.say(["a"], 0)
    site.again(0)
    collector.work_through(site.connection)
    for event in ("hour_revised", "hour_unchanged", "hour_held"):
        assert told(site, event) == ["2026-03-01T00Z"]


def test_a_settled_hour_is_read_once_more_and_then_left_alone(site: Site, make: Make) -> None:
    site.cluster()
    for number in range(30):
        site.say(["a"], number)
    collector = make()
    collector.work_through(site.connection)
    site.now = hour(1) + site.policy.settle - timedelta(seconds=1)
    collector.work_through(site.connection)
    assert [asked for _, asked in site.asked].count(hour(0)) == 1
    site.now = hour(1) + site.policy.settle
    collector.work_through(site.connection)
    assert site.window()["state"] == "settled"
    assert site.window()["settled_at"] == site.now
    collector.work_through(site.connection)
    assert [asked for _, asked in site.asked].count(hour(0)) == 2


def test_a_cluster_whose_secrets_cannot_be_opened_says_so(site: Site, make: Make) -> None:
    site.cluster()

    def sealed(_: Connection, _id: int) -> ClusterAccess:
        raise SecretFault

    make(sealed).work_through(site.connection)
    (row,) = site.all("SELECT last_outcome, failures FROM hopsworks_clusters")
    assert "cannot be opened" in row["last_outcome"]
    assert row["failures"] == 1
    assert site.states() == ["due"]


def test_a_database_that_goes_away_loses_no_hour(site: Site, make: Make) -> None:
    site.cluster()
    for number in range(6):
        site.say(["a"], number)
    site.until(5)
    collector = make()
    collector.work_through(site.connection)
    site.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name LIKE 'hopsmeter-%%' AND application_name <> 'hopsmeter-test'"
        " AND datname = current_database()"
    )
    site.say({"a": 2}, 3)
    site.again(3)
    for _ in range(3):
        collector.work_through(site.connection)
        site.connection.execute(
            "UPDATE collection_windows SET lease_until = clock_timestamp() - interval '1 s'"
            " WHERE lease_until IS NOT NULL"
        )
    assert site.rows(3)["a"].total_nano == 2_018_330_000
    site.must_balance()


def test_an_hour_that_cannot_be_stored_waits_for_no_lease(site: Site, make: Make) -> None:
    site.cluster()
    site.say(["a"], 0)
    site.until(0)
    site.open_windows()
    month = f"allocations_{hour(0):%Y_%m}"
    site.connection.execute(f"DROP TABLE hopsmeter.{month}")
    make().work_through(site.connection)
    window = site.window(0)
    assert (window["state"], window["fault"], window["lease_token"]) == (
        "failed",
        "not-stored",
        None,
    )
    assert "no partition" in window["why"]
    site.connection.execute("SELECT hopsmeter.ensure_partitions(%s)", [hour(0)])
    site.again(0)
    make().work_through(site.connection)
    assert site.states() == ["collected"]
    site.must_balance()


def test_a_collector_that_stops_lets_its_hour_end(site: Site, make: Make) -> None:
    site.cluster()
    for number in range(50):
        site.say(["a"], number)
    site.until(49)
    collector = make()
    collector.look(site.connection)
    assert collector.stop(STOP_S)
    states = set(site.states())
    assert states <= {"collected", "settled", "due"}
    assert site.value("SELECT count(*) FROM collection_windows WHERE lease_token IS NOT NULL") == 0
    site.must_balance()


def test_two_collectors_at_once_store_each_hour_once(site: Site, make: Make) -> None:
    for name in ("eu-1", "eu-2"):
        site.cluster(name)
        for number in range(20):
            site.say({"a": 1}, number, name)
    site.until(19)
    # Only one process may bear a name; these two are told apart by it.
    collectors = [make() for _ in range(2)]
    collectors[1]._name = collectors[1]._tools.writer._name = "hopsmeter-store other"

    def work(collector: Collector) -> None:
        with site.open("looker") as connection:
            collector.work_through(connection)

    threads = [threading.Thread(target=work, args=[collector]) for collector in collectors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(site.states("eu-1") + site.states("eu-2")) == {"collected"}
    assert len(told(site, "hour_stored")) == 40
    site.must_balance()


def test_the_months_to_come_are_made_ahead(site: Site) -> None:
    prepare_months(site.connection, FIRST)
    prepare_months(site.connection, FIRST)
    found = site.all("SELECT inhrelid::regclass::text AS name FROM pg_inherits")
    names = {row["name"].removeprefix("hopsmeter.") for row in found}
    assert {"allocations_2026_03", "allocations_2026_04", "raw_answers_2026_04"} <= names


def test_old_answers_go_by_the_month_and_young_ones_stay(site: Site) -> None:
    site.cluster()
    site.say(["a"])
    site.collect()
    assert drop_old_answers(site.connection, site.now + timedelta(days=89), keep_days=60) == []
    late = site.now + timedelta(days=100)
    assert drop_old_answers(site.connection, late, keep_days=60) == ["2026-03"]
    assert drop_old_answers(site.connection, late, keep_days=60) == []
    site.must_balance()


def test_partitions_made_by_many_at_once_are_made_once(site: Site) -> None:
    failed: list[psycopg.Error] = []

    def prepare() -> None:
        with site.open("preparer") as connection:
            try:
                prepare_months(connection, FIRST + timedelta(days=400))
            except psycopg.Error as error:
                failed.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []


def test_a_cluster_is_seen_to_answer_while_its_visit_goes_on(
    site: Site, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.cluster()
    for number in range(2):
        site.say(["a"], number)
    site.until(1)
    site.connection.execute("UPDATE hopsworks_clusters SET last_answered_at = NULL")
    seen: list[object] = []
    get = OurReach.get

    def look(self: OurReach, path: str) -> bytes:
        with site.open("onlooker") as connection:
            seen.append(
                connection.execute(
                    "SELECT last_answered_at FROM hopsmeter.hopsworks_clusters"
                ).fetchall()
            )
        return get(self, path)

    monkeypatch.setattr(OurReach, "get", look)
    make().work_through(site.connection)
    assert seen == [[(None,)], [(site.now,)]]


@pytest.mark.parametrize("step", ["exec", "visit"])
def test_an_hour_that_kills_its_question_holds_back_no_other(
    site: Site, make: Make, step: str
) -> None:
    """One answer that is too large, or whose process is killed, there or here, is that hour's alone."""
    site.cluster()
    for number in range(8):
        site.say(["a"], number)
    site.say(away(step=step), 0)
    site.until(7)
    make().work_through(site.connection)
    assert site.states() == ["failed", *["collected"] * 7]
    assert site.window(0)["next_try_at"] > site.now
    assert site.value("SELECT next_visit_at FROM hopsworks_clusters") is None


def test_another_cluster_is_refused_within_the_very_first_visit(site: Site, make: Make) -> None:
    site.cluster()
    site.say(["a"], 0)
    site.say(body(["a"], hour(1), cluster="somebody-else"), 1)
    site.say(["a"], 2)
    site.until(2)
    make().work_through(site.connection)
    assert site.states() == ["collected", "refused", "collected"]
    assert site.window(1)["fault"] == "other-cluster"


def test_an_id_that_was_cleared_during_a_visit_is_not_learned_again_from_it(
    site: Site, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cleared when OpenCost's own was changed: the next answer tells the new one."""
    site.cluster()
    for number in range(2):
        site.say(["a"], number)
    site.until(1)
    get = OurReach.get

    def clear(self: OurReach, path: str) -> bytes:
        with site.open("admin") as connection:
            connection.execute("UPDATE hopsmeter.hopsworks_clusters SET opencost_cluster_id = NULL")
        return get(self, path)

    monkeypatch.setattr(OurReach, "get", clear)
    make().work_through(site.connection)
    assert site.states() == ["collected"] * 2
    assert site.value("SELECT opencost_cluster_id FROM hopsworks_clusters") is None
    monkeypatch.setattr(OurReach, "get", get)
    site.say(body(["a"], hour(2), cluster="renamed"), 2)
    site.until(2)
    make().work_through(site.connection)
    assert site.states() == ["collected"] * 3
    assert site.value("SELECT opencost_cluster_id FROM hopsworks_clusters") == "renamed"
