"""The human way out: accept, keep, gap; each with its reason, none beyond what may be judged."""

import threading
import time
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from core.clock import HOUR
from core.commands.arguments import HourDecide
from core.commands.effects.hours import deciding
from core.commands.kinds import Task
from core.errors import Conflict, Forbidden, InputFault, Unknown
from core.identity.principal import Principal
from core.metering import decisions, windows
from core.metering.retention import drop_old_answers
from tests.answers import allocation, body_of
from tests.core.metering.site import ADMIN, FIRST, NAME, NOTHING, POLICY, Row, Site, away, hour

FALLEN = {"a": 1, "b": 2}, {"a": 1}


def held(site: Site) -> None:
    """An hour with a re-read that lost a namespace."""
    site.cluster()
    for costs in FALLEN:
        site.say(costs)
        site.again(0)
        site.collect()
    assert site.window()["state"] == "held"


def refused(site: Site) -> None:
    """A first read that costs more than the cluster should."""
    site.cluster(cost_max_nano=10**9)
    site.say({"a": 5})
    site.collect()
    assert site.window()["state"] == "refused"


def structural(site: Site) -> None:
    site.cluster()
    row = allocation(hour(0), totalCost=None)
    site.say(body_of({"kube-system": allocation(hour(0)), "a": row}))
    site.collect()
    assert site.window()["fault"] == "no-number"


def missing(site: Site) -> None:
    """An hour of which nothing came yet."""
    site.cluster()
    site.say(away())
    site.collect()
    site.again(0)


def stored(site: Site) -> None:
    site.cluster()
    site.say(["a"])
    site.collect()


def gap(site: Site) -> None:
    site.cluster()
    site.say(away())
    site.collect()
    site.decide("gap")


def test_accepting_a_held_hour_makes_zeros_of_what_vanished(site: Site) -> None:
    held(site)
    before = site.total()
    site.must_balance()
    made = site.decide("accept", why="etl was deleted")
    assert site.rows()["b"] == Row("unmapped", None, 0, revision=2, flags=4)
    assert site.rows()["a"].revision == 1
    assert (made.state_before, made.state) == ("held", "settled")
    assert (made.cost_before_nano, made.cost_nano) == (before, site.total())
    window = site.window()
    assert (window["accepted"], window["why"]) == (True, "etl was deleted")
    assert (window["decided_by"], window["pending_sha256"]) == (ADMIN.actor, None)
    (old,) = site.all("SELECT * FROM allocation_history")
    assert (old["total_nano"], old["replaced_why"]) == (2_018_330_000, "accepted")
    site.post()
    site.must_balance()


def test_keeping_a_held_hour_leaves_it_as_it_was(site: Site) -> None:
    held(site)
    tables = "allocations", "allocation_history"
    before = [site.versions(table) for table in tables]
    made = site.decide("keep", why="Prometheus forgot")
    assert [site.versions(table) for table in tables] == before
    assert (made.state, made.cost_nano - made.cost_before_nano) == ("settled", 0)
    window = site.window()
    assert (window["next_try_at"], window["pending_sha256"]) == (None, None)
    assert window["why"] == "Prometheus forgot"
    site.must_balance()


def test_accepting_a_refused_hour_stores_the_answer_that_was_kept(site: Site) -> None:
    refused(site)
    made = site.decide("accept", why="the new GPU nodes")
    assert site.rows()["a"].total_nano == 5_018_330_000
    assert (made.cost_before_nano, made.cost_nano, made.currency) == (0, site.total(), "USD")
    assert site.value("SELECT verdict FROM raw_answers") == "stored"
    site.post()
    site.must_balance()


def test_a_refused_reread_can_be_accepted_or_kept(site: Site) -> None:
    site.cluster(cost_max_nano=3 * 10**9)
    site.say({"a": 1})
    site.collect()
    site.say({"a": 5})
    site.again(0)
    site.collect()
    window = site.window()
    assert (window["state"], window["fault"]) == ("collected", "implausible-cost")
    site.must_balance()
    site.decide("keep")
    assert site.rows()["a"].total_nano == 1_018_330_000
    site.again(0)
    site.collect()
    site.decide("accept")
    assert site.rows()["a"].total_nano == 5_018_330_000
    assert site.window()["fault"] is None
    site.must_balance()


def test_an_hour_given_up_is_a_gap_and_not_a_zero(site: Site) -> None:
    gap(site)
    window = site.window()
    assert (window["state"], window["next_try_at"], window["revision"]) == ("gap", None, 0)
    assert window["why"] == "looked at it"
    assert site.rows() == {}
    assert site.value("SELECT count(*) FROM usage_daily") == 0
    site.must_balance()


@pytest.mark.parametrize("before", [gap, refused])
def test_a_gap_or_an_accepted_hour_that_is_read_well_later_is_collected(
    site: Site, before: Any
) -> None:
    before(site)
    if before is refused:
        site.decide("accept")
    site.say({"a": 0.5, "b": 1 - 0.5})
    site.connection.execute("UPDATE hopsworks_clusters SET cost_max_nano = 10::bigint^15")
    site.again(0)
    site.collect()
    if before is refused:
        site.decide("accept")  # it fell, and is held
        site.say({"a": 0.6, "b": 0.5})
        site.again(0)
        site.collect()
    window = site.window()
    assert (window["state"], window["accepted"]) == ("collected", False)
    assert (window["decided_by"], window["why"]) == (None, "")
    site.must_balance()


def test_a_structural_fault_is_never_accepted(site: Site) -> None:
    structural(site)
    with pytest.raises(Conflict, match=r"cannot be stored at all.*total_cost"):
        site.decide("accept")
    assert site.rows() == {}
    assert site.window()["state"] == "refused"
    site.decide("gap")
    assert site.window()["state"] == "gap"


def test_a_refused_decision_advises_what_may_be_done(site: Site) -> None:
    structural(site)
    with pytest.raises(Conflict, match=r"give it up \(`hopsmeter hours gap`\)"):
        site.decide("accept")
    site.say({"a": 1})
    site.again(0)
    site.collect()
    row = allocation(hour(0), totalCost=None)
    site.say(body_of({"kube-system": allocation(hour(0)), "a": row}))
    site.again(0)
    site.collect()
    with pytest.raises(Conflict, match=r"stay with what the books hold \(`hopsmeter hours keep`\)"):
        site.decide("accept")
    site.decide("keep")
    site.must_balance()


def test_a_held_hour_says_what_fell_and_leaves_the_way_out_to_who_tells_it(site: Site) -> None:
    held(site)
    assert site.window()["why"] == ("The re-read of 2026-03-01T00Z no longer has 1 namespace (b).")
    site.decide("keep")
    site.say({"a": 0.25, "b": 0.25})
    site.again(0)
    site.collect()
    why = site.window()["why"]
    assert why.startswith("The re-read of 2026-03-01T00Z fell from 3.10242 USD to ")
    assert why.endswith(" USD, idle left out.")


@pytest.mark.parametrize(
    ("before", "word", "settles"),
    [(held, "accept", True), (held, "keep", True), (missing, "gap", False)],
)
def test_who_settles_an_hour_is_told_that_it_is_not_read_again(
    site: Site, before: Any, word: decisions.Word, settles: bool
) -> None:
    before(site)
    works: Any = None  # no decision needs any
    given = HourDecide(cluster="eu-1", hour="2026-03-01T00Z")
    with site.connection.transaction():
        done = deciding(word)(Task(site.connection, ADMIN, given, {}, works, "so", site.now))
    assert ("The hour is settled: it is not read again by itself." in done.summary) is settles
    assert site.window()["next_try_at"] is None


MAY_NOT: dict[str, tuple[Any, decisions.Word]] = {
    "accept what is stored": (stored, "accept"),
    "keep what is stored": (stored, "keep"),
    "give up what is stored": (stored, "gap"),
    "give up what is held": (held, "gap"),
    "keep what was never stored": (refused, "keep"),
    "accept a gap": (gap, "accept"),
    "keep a gap": (gap, "keep"),
    "give up a gap": (gap, "gap"),
}


@pytest.mark.parametrize("what", MAY_NOT)
def test_a_decision_that_makes_no_sense_changes_nothing(site: Site, what: str) -> None:
    before, word = MAY_NOT[what]
    before(site)
    window, trail = site.window(), site.versions("audit_log")
    with pytest.raises(Conflict, match="Nothing was changed"):
        site.decide(word)
    assert site.window() == window
    assert site.versions("audit_log") == trail


def test_a_decision_needs_a_reason_an_admin_and_an_hour(site: Site) -> None:
    held(site)
    with pytest.raises(InputFault, match="Say why"):
        site.decide("accept", why="  ")
    with pytest.raises(Unknown, match="no hour 2026-03-01T05Z"):
        site.decide("accept", 5)
    with pytest.raises(Unknown, match="no cluster 'eu-9'"):
        site.decide("accept", cluster="eu-9")
    member = Principal("member", "auth0|anna")
    with pytest.raises(Forbidden):
        decisions.decide(site.connection, member, "eu-1", hour(0), "accept", "mine", site.now)


def test_an_hour_that_is_being_collected_is_not_decided(site: Site) -> None:
    held(site)
    site.again(0)
    windows.claim(site.connection, 1, site.now, policy=POLICY, store_backend=(1, NAME))
    for word in ("accept", "keep"):
        with pytest.raises(Conflict, match="being collected right now"):
            site.decide(word)


def test_each_decision_leaves_its_row_in_the_trail(site: Site) -> None:
    held(site)
    site.decide("accept", why="etl was deleted")
    (row,) = site.all("SELECT * FROM audit_log WHERE action = 'hours.accept'")
    assert row["subject"] == "hour eu-1 2026-03-01T00Z"
    assert (row["actor"], row["why"]) == (ADMIN.actor, "etl was deleted")
    assert row["before"]["state"] == "held"
    assert row["after"]["cost_nano"] == site.total()


def test_a_dry_run_that_is_rolled_back_leaves_nothing(site: Site) -> None:
    held(site)
    window, rows = site.window(), site.rows()
    with site.connection.transaction() as transaction:
        made = decisions.decide(
            site.connection, ADMIN, "eu-1", hour(0), "accept", "to see", site.now
        )
        raise_rollback(transaction)
    assert made.cost_before_nano - made.cost_nano == 2_018_330_000
    assert (site.window(), site.rows()) == (window, rows)
    site.must_balance()


def raise_rollback(transaction: Any) -> None:
    raise psycopg.Rollback(transaction)


def test_hours_are_asked_again_by_one_by_all_since_or_by_what_is_missing(site: Site) -> None:
    site.cluster()
    site.say(["a"], 0)
    site.say(["a"], 1)
    site.say(away(step="opencost"), 2)
    site.until(2)
    site.collect()

    def ask(cluster: str | None = "eu-1", **how: Any) -> list[tuple[str, datetime]]:
        whole = {"hour": None, "since": None, **how}
        return decisions.ask_again(site.connection, ADMIN, cluster, now=site.now, **whole)

    assert ask() == [("eu-1", hour(2))]
    assert ask(hour=hour(1)) == [("eu-1", hour(1))]
    assert ask(since=hour(1)) == [("eu-1", hour(1)), ("eu-1", hour(2))]
    with pytest.raises(Unknown, match="no hour that is metered"):
        ask(hour=hour(9))
    with pytest.raises(Unknown, match="no metered hour"):
        ask(since=hour(9))
    assert len(ask(None, since=FIRST)) == 3
    with pytest.raises(Unknown, match="no cluster"):
        decisions.ask_again(site.connection, ADMIN, "eu-9", hour=None, since=None, now=site.now)


def test_what_was_waived_is_not_asked_for_with_the_hours_around_it(site: Site) -> None:
    site.cluster()
    site.until(3)
    site.open_windows()
    site.connection.execute(
        "UPDATE collection_windows SET state = 'waived', why = 'upgrade', next_try_at = NULL"
        " WHERE hour IN (%s, %s)",
        [hour(1), hour(2)],
    )

    def ask(**how: Any) -> list[tuple[str, datetime]]:
        whole = {"hour": None, "since": None, **how}
        return decisions.ask_again(site.connection, ADMIN, "eu-1", now=site.now, **whole)

    assert ask(since=hour(0)) == [("eu-1", hour(0)), ("eu-1", hour(3))]
    assert ask(hour=hour(2)) == [("eu-1", hour(2))]


def test_a_paused_cluster_is_not_asked_again(site: Site) -> None:
    site.cluster(status="paused", status_why="upgrade", paused_since=FIRST)
    with pytest.raises(Conflict, match=r"paused \(upgrade\)"):
        site.again()


def test_a_removed_cluster_is_not_asked_again(site: Site) -> None:
    site.cluster(status="removed", status_why="sold")
    with pytest.raises(Conflict, match=r"removed \(sold\), and is not asked any more"):
        site.again()


@pytest.mark.parametrize("word", ["accept", "keep"])
def test_a_held_hour_is_decided_after_its_cluster_was_removed(
    site: Site, word: decisions.Word
) -> None:
    held(site)
    site.connection.execute("UPDATE hopsworks_clusters SET status = 'removed'")
    assert site.decide(word).state == "settled"
    site.post()
    site.must_balance()


def test_what_a_removed_cluster_never_stored_stays_out_of_the_books(site: Site) -> None:
    refused(site)
    site.connection.execute("UPDATE hopsworks_clusters SET status = 'removed'")
    site.connection.execute("UPDATE collection_windows SET state = 'waived'")
    for word in ("accept", "keep", "gap"):
        with pytest.raises(Conflict, match=r"eu-1 was removed, .* waived for good"):
            site.decide(word)
    with pytest.raises(Unknown, match="There is no cluster 'us-1'"):
        site.decide("accept", cluster="us-1")


def test_asking_again_lifts_a_clusters_pause(site: Site) -> None:
    site.cluster()
    site.say(away())
    site.collect()
    site.say(["a"])
    site.collect()
    assert site.window()["state"] == "failed"
    site.again(0)
    site.collect()
    assert site.window()["state"] == "collected"


def test_an_accepted_answer_keeps_its_reason_when_it_is_seen_again(site: Site) -> None:
    refused(site)
    site.decide("accept", why="the new GPU nodes")
    site.again(0)
    site.collect()
    window = site.window()
    assert (window["accepted"], window["why"]) == (True, "the new GPU nodes")
    assert window["decided_by"] == ADMIN.actor


def test_an_answer_that_waits_for_a_person_outlives_its_month(site: Site) -> None:
    refused(site)
    site.now += timedelta(days=200)
    assert drop_old_answers(site.connection, site.now, keep_days=90) == []
    site.decide("accept")
    assert drop_old_answers(site.connection, site.now, keep_days=90) == ["2026-03"]
    site.open_windows()
    site.must_balance()


def test_an_hour_that_was_given_up_holds_back_no_retention(site: Site) -> None:
    refused(site)
    site.decide("gap")
    site.now += timedelta(days=200)
    assert drop_old_answers(site.connection, site.now, keep_days=90) == ["2026-03"]


def test_an_answer_beyond_the_size_cap_is_kept_by_its_hash(site: Site) -> None:
    site.policy = type(POLICY)(raw_max_bytes=10)
    site.cluster(cost_max_nano=10**9)
    site.say({"a": 5}, 0)
    site.say({"a": 0.5}, 1)
    site.until(1)
    site.collect()
    assert site.states() == ["refused", "collected"]
    with pytest.raises(Conflict, match="too large to keep"):
        site.decide("accept", 0)
    (first, *_) = site.books()
    assert (first.ok, "1 by hash" in first.detail) == (True, True)


def test_nothing_is_decided_about_an_open_hour(site: Site) -> None:
    site.cluster()
    site.say(NOTHING)
    site.collect()
    with pytest.raises(Unknown):
        site.decide("gap", 1)
    assert site.now < hour(1) + HOUR


RACES: dict[str, tuple[Any, decisions.Word, dict[str, float]]] = {
    "a gap and a first read": (missing, "gap", {"a": 1}),
    "keeping and a re-read that is whole again": (held, "keep", {"a": 3, "b": 4}),
    "accepting and a re-read that is whole again": (held, "accept", {"a": 3, "b": 4}),
}


@pytest.mark.parametrize("what", RACES)
def test_a_decision_is_about_what_is_there_when_it_is_made(
    site: Site, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A daemon that looks between reading the hour and deciding about it leaves it alone."""
    before, word, costs = RACES[what]
    before(site)
    site.again(0)
    site.say(costs)
    read = decisions._window

    def read_and_then_the_daemon_looks(*of: Any) -> Any:
        found = read(*of)
        site.collect()
        return found

    asked = list(site.asked)
    monkeypatch.setattr(decisions, "_window", read_and_then_the_daemon_looks)
    made = site.decide(word)
    assert site.asked == asked
    assert (made.state, made.cost_nano) == (site.window()["state"], site.total())
    site.post()
    site.must_balance()


DECIDER_WAITS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE application_name = 'decider' AND wait_event_type = 'Lock'"
)


def test_a_decision_waits_for_a_store_and_sees_what_it_stored(site: Site) -> None:
    missing(site)
    done: list[Exception | str] = []

    def decide() -> None:
        try:
            with site.open("decider") as own, own.transaction():
                done.append(
                    decisions.decide(own, ADMIN, "eu-1", hour(0), "gap", "lost", site.now).state
                )
        except Conflict as refused:
            done.append(refused)

    decider = threading.Thread(target=decide)
    with site.open("storer") as storer, storer.transaction():
        storer.execute(
            "UPDATE hopsmeter.collection_windows SET state = 'collected', revision = 1,"
            " next_try_at = NULL"
        )
        decider.start()
        give_up = time.monotonic() + 10
        while not site.value(DECIDER_WAITS):
            assert decider.is_alive(), done
            assert time.monotonic() < give_up
            time.sleep(0.01)
    decider.join(10)
    assert len(done) == 1
    assert "only an hour of which nothing is stored" in str(done[0])
    assert site.window()["state"] == "collected"
