"""The ledger of hours: each closed hour has its row, and one owner at a time."""

import contextlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from core.clock import DAY, HOUR
from core.errors import ClusterTimeout
from core.metering import windows
from core.metering.hours import Claim
from core.metering.policy import PAUSE_MAX, Policy, pause
from tests.core.metering.site import NAME, NOTHING, POLICY, Connection, Site, away, hour


def test_every_closed_hour_gets_its_row_once(site: Site) -> None:
    site.cluster()
    site.cluster("eu-2", metering_since=hour(2))
    site.until(4)
    assert site.open_windows() == 5 + 3
    assert site.open_windows() == 0
    site.until(5)
    assert site.open_windows() == 2
    assert site.states() == ["due"] * 6
    site.must_balance()


def test_an_hour_opens_only_after_its_last_samples_came(site: Site) -> None:
    site.cluster()
    site.now = hour(1) + timedelta(minutes=9, seconds=59)
    assert site.open_windows() == 0
    site.now = hour(1) + timedelta(minutes=10)
    assert site.open_windows() == 1


def test_hours_over_the_end_of_a_month_have_their_partitions(site: Site) -> None:
    site.cluster(metering_since=hour(-2))
    for number in (-2, -1, 0):
        site.say(["a"], number)
    site.collect()
    assert site.states() == ["collected"] * 3
    site.must_balance()


def test_a_paused_clusters_hours_are_waived_with_the_reason(site: Site) -> None:
    site.cluster(status="paused", status_why="moved to another site")
    site.until(2)
    site.collect()
    assert site.asked == []
    assert site.states() == ["waived"] * 3
    assert site.window()["why"] == "moved to another site"
    site.must_balance()


def test_a_removed_cluster_gets_no_more_hours(site: Site) -> None:
    site.cluster(status="removed")
    assert site.open_windows() == 0
    site.must_balance()


def test_a_cluster_that_is_just_being_removed_gets_no_more_hours(site: Site) -> None:
    """An hour that is due of a removed cluster nobody asks for, and no month with it can be closed."""
    site.cluster()
    site.cluster("us-1")
    with site.open("remover") as other, other.transaction():
        other.execute(
            "UPDATE hopsmeter.hopsworks_clusters SET status = 'removed' WHERE name = 'eu-1'"
        )
        assert site.open_windows() == 1
    assert site.open_windows() == 0
    assert (site.states("eu-1"), site.states("us-1")) == ([], ["due"])
    site.must_balance()


def test_hours_are_asked_for_oldest_first(site: Site) -> None:
    site.cluster()
    for number in range(5):
        site.say(["a"], number)
    site.until(4)
    site.collect()
    assert [asked for _, asked in site.asked] == [hour(number) for number in range(5)]


def test_two_weeks_away_are_made_up_for(site: Site) -> None:
    site.cluster()
    site.say(away())
    site.collect()
    site.until(14 * 24 - 1)
    for number in range(14 * 24):
        site.say(["a"], number)
    site.collect()
    assert set(site.states()) == {"collected", "settled"}
    assert len(site.states()) == 14 * 24
    site.post()
    site.must_balance()


# ── when it does not work ───────────────────────────────────────────────────────────────────


def test_pauses_grow_and_end_at_six_hours() -> None:
    minutes = [pause(tries) / timedelta(minutes=1) for tries in range(1, 12)]
    assert minutes[:5] == [1, 2, 4, 8, 16]
    assert minutes == sorted(minutes)
    assert pause(1000) == PAUSE_MAX == timedelta(hours=6)


def test_a_cluster_that_is_away_is_left_alone_for_a_growing_while(site: Site) -> None:
    cluster = site.cluster()
    site.say(away())
    waits = []
    for _ in range(8):
        site.collect()
        next_visit = site.value("SELECT next_visit_at FROM hopsworks_clusters")
        waits.append(next_visit - site.now)
        site.now = next_visit
    assert waits[:4] == [timedelta(minutes=each) for each in (1, 2, 4, 8)]
    assert waits[-1] == timedelta(minutes=30)
    failures = site.value("SELECT failures FROM hopsworks_clusters WHERE id = %s", cluster.id)
    assert failures == 8
    site.say(["a"])
    site.collect()
    assert site.value("SELECT failures FROM hopsworks_clusters") == 0
    assert site.window()["state"] == "collected"


def test_an_hour_that_opencost_cannot_answer_waits_by_itself(site: Site) -> None:
    site.cluster()
    site.say(away(step="opencost"), 0)
    site.say(["a"], 1)
    site.until(1)
    site.collect()
    assert site.states() == ["failed", "collected"]
    window = site.window(0)
    assert window["next_try_at"] == site.now + timedelta(minutes=1)
    assert "nobody answers" in window["why"]
    assert window["fault"] == "no-answer-opencost"
    assert site.value("SELECT next_visit_at FROM hopsworks_clusters") is None


def test_a_cluster_that_answers_for_none_of_what_was_asked_is_seen_to_fail(site: Site) -> None:
    """In the usual case one hour is due: it has its own pause, and the cluster its word."""
    site.cluster()
    site.say(away(step="opencost"), 0)
    site.collect()
    query = "SELECT last_asked_at, last_outcome, failures, next_visit_at FROM hopsworks_clusters"
    (seen,) = site.all(query)
    assert (seen["last_asked_at"], seen["failures"], seen["next_visit_at"]) == (site.now, 1, None)
    assert "nobody answers" in seen["last_outcome"]
    site.say(["a"], 1)
    site.until(1)
    site.collect()
    (seen,) = site.all(query)
    assert (seen["last_outcome"], seen["failures"]) == ("ok", 0)


def test_a_cluster_whose_opencost_is_down_is_not_asked_for_every_hour(site: Site) -> None:
    site.cluster()
    for number in range(20):
        site.say(ClusterTimeout("eu-1", "opencost", "too slow."), number)
    site.until(19)
    site.collect()
    assert len(site.asked) == 3
    assert site.value("SELECT next_visit_at FROM hopsworks_clusters") is not None


def test_a_refused_hour_keeps_its_answer_and_its_reason(site: Site) -> None:
    site.cluster(sentinel_namespace="always")
    site.say(["a"], 0)
    site.say(["a", "always"], 1)
    site.until(1)
    site.collect()
    assert site.states() == ["refused", "collected"]
    window = site.window(0)
    assert window["fault"] == "no-sentinel"
    assert "'always'" in window["why"]
    assert window["revision"] == 0
    kept = site.all("SELECT * FROM raw_answers WHERE hour = %s", hour(0))
    assert [(row["sha256"], row["verdict"]) for row in kept] == [
        (window["pending_sha256"], "refused")
    ]
    assert window["next_try_at"] == site.now + timedelta(minutes=1)
    site.must_balance()


def test_a_refused_hour_keeps_its_last_distinct_answer_only(site: Site) -> None:
    site.cluster(sentinel_namespace="always")
    for cost in (1, 1, 2, 3):
        site.say({"a": cost})
        site.again(0)
        site.collect()
    assert site.value("SELECT count(*) FROM raw_answers") == 1
    assert site.window()["tries"] == 4
    site.say({"a": 4, "always": 1})
    site.again(0)
    site.collect()
    window = site.window()
    assert (window["state"], window["tries"], window["pending_sha256"]) == ("collected", 0, None)
    site.must_balance()


# ── gaps ────────────────────────────────────────────────────────────────────────────────────


def ask_until_it_rests(site: Site, limit: int = 20) -> int:
    """Collect at each next try; return how often until there is none."""
    for asked in range(limit):
        site.collect()
        next_try = site.window()["next_try_at"]
        if next_try is None:
            return asked + 1
        site.now = max(site.now, next_try, _next_visit(site))
    return limit


def _next_visit(site: Site) -> Any:
    return site.value("SELECT coalesce(max(next_visit_at), '2000-01-01') FROM hopsworks_clusters")


NEWER = 20
"""An hour for which the source has data, while it forgot an older one."""


def test_an_old_hour_with_nothing_in_it_becomes_a_gap(site: Site) -> None:
    site.cluster()
    site.now = hour(0) + HOUR + POLICY.gap_after
    site.say(["a"], NEWER)
    assert ask_until_it_rests(site, 5) == POLICY.gap_tries
    window = site.window()
    assert (window["state"], window["revision"], window["total_nano"]) == ("gap", 0, 0)
    assert "3 times with nothing" in window["why"]
    assert site.rows() == {}
    site.must_balance()


def test_a_source_that_answers_nothing_at_all_makes_no_gap(site: Site) -> None:
    """OpenCost back before its Prometheus, after days: empty is not forgotten."""
    site.cluster()
    site.now = hour(0) + timedelta(days=4)
    for _ in range(6):
        site.collect()
        site.now = max(site.now + HOUR, site.window()["next_try_at"])
    assert set(site.states()) == {"failed"}
    last = int((site.now - hour(0)) / HOUR) - 1
    for number in range(last):
        site.say(["a"], number)
    for _ in range(3):
        site.now += POLICY.gap_pause * 20
        site.collect()
    assert "gap" not in site.states()
    assert site.window(0)["revision"] == 1


def test_a_young_hour_with_nothing_in_it_is_asked_for_again(site: Site) -> None:
    site.cluster()
    for _ in range(5):
        site.collect()
        assert site.window()["state"] == "failed"
        site.now = site.window()["next_try_at"]
    site.say(["a"])
    site.collect()
    assert site.window()["state"] == "collected"


def test_only_answers_count_towards_a_gap(site: Site) -> None:
    """A cluster away for days comes back with an empty Prometheus: one look is not enough."""
    site.cluster()
    site.now = hour(0) + HOUR + POLICY.gap_after
    site.open_windows()
    site.connection.execute("DELETE FROM collection_windows WHERE hour > %s", [hour(0)])
    site.say(away())
    for _ in range(6):
        site.collect()
        site.now = site.value("SELECT next_visit_at FROM hopsworks_clusters")
    site.say(NOTHING)
    site.collect()
    assert site.window()["state"] == "failed"
    site.now = site.window()["next_try_at"]
    site.say(["a"])
    site.collect()
    assert site.window()["state"] in ("collected", "settled")


def test_a_gap_that_is_read_well_later_is_collected(site: Site) -> None:
    site.cluster()
    site.now = hour(0) + HOUR + POLICY.gap_after
    site.say(["a"], NEWER)
    ask_until_it_rests(site, 5)
    site.say(["a"])
    site.again(0)
    site.collect()
    window = site.window()
    assert (window["state"], window["why"], window["fault"]) == ("settled", "", None)
    assert site.total() > 0
    site.must_balance()


def test_a_stored_hour_that_the_source_lost_settles_as_it_is(site: Site) -> None:
    site.cluster()
    site.say(["a"])
    site.collect()
    before = site.rows()
    site.now = hour(0) + HOUR + POLICY.gap_after
    site.say(NOTHING)
    site.say(["a"], NEWER)
    ask_until_it_rests(site, 5)
    window = site.window()
    assert (window["state"], window["flags"]) == ("settled", ["not-read-again"])
    assert site.rows() == before
    site.must_balance()


# ── leases ──────────────────────────────────────────────────────────────────────────────────


def claim(connection: Connection, site: Site, limit: int = 1, lease_s: float = 600) -> list[Claim]:
    return windows.claim(
        connection,
        1,
        site.now,
        policy=Policy(lease_s=lease_s),
        store_backend=(connection.info.backend_pid, NAME),
        limit=limit,
    )


@pytest.fixture
def due(site: Site) -> Site:
    """One cluster with four hours due."""
    site.cluster()
    site.until(3)
    site.open_windows()
    return site


def test_an_hour_is_claimed_by_one_alone(due: Site) -> None:
    taken: list[Claim] = []
    barrier = threading.Barrier(4)

    def take_two() -> None:
        with due.open() as connection:
            barrier.wait(10)
            taken.extend(claim(connection, due, 2))

    threads = [threading.Thread(target=take_two) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    hours = [each.hour for each in taken]
    assert len(hours) == len(set(hours))
    assert len({each.token for each in taken}) == len(taken)


def test_a_claim_passes_over_what_another_holds_locked(due: Site) -> None:
    with due.open() as other, other.transaction():
        other.execute(
            "SELECT FROM hopsmeter.collection_windows WHERE hour = %s FOR UPDATE", [hour(0)]
        )
        assert [each.hour for each in claim(due.connection, due, 2)] == [hour(1), hour(2)]


def test_a_claimed_hour_is_nobody_elses_until_its_lease_ends(due: Site) -> None:
    (mine,) = claim(due.connection, due, lease_s=0.2)
    with due.open() as other:
        assert [each.hour for each in claim(other, due, 4)] == [hour(1), hour(2), hour(3)]
        other.execute("SELECT pg_sleep(0.25)")
        (theirs,) = claim(other, due, 4)
    assert (theirs.hour, theirs.tries) == (mine.hour, 2)
    assert theirs.token != mine.token


def test_released_hours_are_due_as_they_were(due: Site) -> None:
    windows.release(due.connection, claim(due.connection, due, 2))
    window = due.window(0)
    assert (window["state"], window["tries"], window["lease_token"]) == ("due", 0, None)
    windows.release(due.connection, [])
    assert len(claim(due.connection, due, 4)) == 4


@contextlib.contextmanager
def frozen_in_copy(due: Site) -> Iterator[None]:
    """A store that stopped in the middle of its COPY: it holds a window's row and is silent."""
    with contextlib.suppress(psycopg.OperationalError), due.open() as owner:
        claim(owner, due, lease_s=0.3)
        owner.execute("BEGIN")
        owner.execute(
            "SELECT FROM hopsmeter.collection_windows WHERE hour = %s FOR UPDATE", [hour(0)]
        )
        with owner.cursor().copy("COPY hopsmeter.namespaces (name) FROM STDIN"):
            yield


def test_a_frozen_owner_is_ended_and_its_hour_taken_over(due: Site) -> None:
    with frozen_in_copy(due):
        assert windows.end_frozen_owners(due.connection) == 0, "its lease still runs"
        due.connection.execute("SELECT pg_sleep(0.35)")
        others = [each.hour for each in claim(due.connection, due, 4)]
        assert others == [hour(1), hour(2), hour(3)]
        assert windows.end_frozen_owners(due.connection) == 1
        (taken,) = claim(due.connection, due)
        assert taken.hour == hour(0)
        assert windows.end_frozen_owners(due.connection) == 0


def test_a_backend_that_only_bears_the_number_is_let_live(due: Site) -> None:
    stranger = due.open("somebody-else")
    claim(due.connection, due)
    due.connection.execute(
        "UPDATE collection_windows SET lease_pid = %s, lease_until = clock_timestamp()"
        " WHERE lease_pid IS NOT NULL",
        [stranger.info.backend_pid],
    )
    with stranger, stranger.transaction():
        stranger.execute("SELECT 1")
        assert windows.end_frozen_owners(due.connection) == 0
        assert stranger.execute("SELECT 1").fetchone() == (1,)


def test_a_daemon_that_starts_again_takes_back_its_own(due: Site) -> None:
    old = due.open()
    claim(old, due, 2)
    old.execute("BEGIN")
    old.execute("SELECT FROM hopsmeter.collection_windows WHERE hour = %s FOR UPDATE", [hour(0)])
    assert windows.free_own(due.connection, NAME) == 2
    with pytest.raises(psycopg.OperationalError):
        old.execute("SELECT 1")
    old.close()
    assert [each.hour for each in claim(due.connection, due, 4)] == [hour(n) for n in range(4)]


def test_a_daemon_that_starts_leaves_anothers_claims_alone(due: Site) -> None:
    claim(due.connection, due, 2)
    assert windows.free_own(due.connection, "hopsmeter-store elsewhere") == 0
    assert len(claim(due.connection, due, 4)) == 2


def test_clusters_take_turns_by_who_waits_longest(site: Site) -> None:
    for name in ("eu-1", "eu-2", "eu-3"):
        site.cluster(name, metering_since=hour(3 - int(name[-1])))
    site.until(4)
    site.open_windows()
    found = windows.clusters_with_work(site.connection, site.now, 10)
    assert [(work.cluster, work.waiting) for work in found] == [
        ("eu-3", 5),
        ("eu-2", 4),
        ("eu-1", 3),
    ]
    assert len(windows.clusters_with_work(site.connection, site.now, 2)) == 2
    assert windows.clusters_with_work(site.connection, hour(0) - DAY, 10) == []
