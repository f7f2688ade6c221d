"""Reports: each figure from real rows, per currency, the same for open and closed days."""

from collections import Counter
from datetime import timedelta
from typing import Any, get_args

import pytest

from core.clock import DAY, HOUR, day_of, floor_hour, utc_now
from core.errors import Unknown
from core.reports.clusters import Health, clusters, health
from core.reports.costs import (
    cost_by_account,
    cost_by_user,
    namespace_hours,
    namespaces,
    one_hour,
    totals,
    unmapped,
)
from core.reports.hours import (
    AskedHours,
    Span,
    asked_hours,
    cluster_hours,
    elsewhere,
    hours_map,
)
from core.reports.session import daemons, life, session
from tests.database import Database
from tests.factories import (
    NOW,
    SINCE,
    Cluster,
    add_allocation,
    add_cluster,
    add_daemon,
    add_user,
    add_window,
    close_day,
)

NEWEST = floor_hour(NOW) - HOUR
TODAY = day_of(NOW)


def test_a_cluster_counts_its_hours_by_state(database: Database) -> None:
    connection = database.connect()
    eu = add_cluster(connection)
    states = [
        "settled",
        "settled",
        "collected",
        "due",
        "failed",
        "refused",
        "held",
        "gap",
        "waived",
    ]
    for number, state in enumerate(states):
        add_window(connection, eu, SINCE + number * HOUR, state)
    lease = {"lease_until": NOW + HOUR, "lease_token": "0" * 32}
    add_window(connection, eu, SINCE + len(states) * HOUR, "due", **lease)
    (line,) = clusters(connection, NOW)
    counted = line.hours
    assert (counted.settled, counted.collected, counted.due, counted.collecting) == (2, 1, 1, 1)
    assert (counted.failed, counted.refused, counted.held) == (1, 1, 1)
    assert (counted.gap, counted.waived) == (1, 1)
    assert (counted.kept, counted.asked_for) == (4, 9)
    assert line.oldest_open == SINCE + 3 * HOUR
    assert line.newest_hour == SINCE + 6 * HOUR
    assert line.health == "decide"


def test_a_cluster_without_hours_is_new_and_counts_nothing(database: Database) -> None:
    connection = database.connect()
    add_cluster(connection, last_asked_at=None, last_answered_at=None)
    add_cluster(connection, "gone", status="removed")
    (line,) = clusters(connection, NOW)
    assert (line.health, line.hours.asked_for, line.today_nano) == ("new", 0, 0)
    assert line.newest_hour is None
    add_window(connection, Cluster(line.id, line.name), NEWEST - 9 * HOUR, "collected")
    add_window(connection, Cluster(line.id, line.name), NEWEST - 8 * HOUR, "due")
    assert clusters(connection, NOW)[0].health == "catching up", "its first visit goes on"


@pytest.mark.parametrize(
    ("word", "facts"),
    [
        ("ok", {}),
        ("paused", {"status": "paused", "failures": 9, "undecided": 1}),
        ("failing", {"failures": 3, "undecided": 1}),
        ("decide", {"undecided": 1, "failures": 1}),
        ("failing", {"newest_fail": True, "faulted": 3, "undecided": 1}),
        ("retrying", {"failures": 1, "open_for": 5 * HOUR}),
        ("retrying", {"faulted": 1, "open_for": 5 * HOUR}),
        ("new", {"asked": False, "open_for": 5 * HOUR}),
        ("catching up", {"open_for": 5 * HOUR}),
    ],
)
def test_the_word_of_a_cluster_says_what_needs_a_person_most(
    word: Health, facts: dict[str, object]
) -> None:
    well = {"status": "active", "asked": True, "failures": 0, "faulted": 0, "newest_fail": False}
    rest = {"undecided": 0, "open_for": timedelta(0)}
    assert health(**{**well, **rest, **facts}) == word  # type: ignore[arg-type]  # facts of mixed types by name
    assert word in get_args(Health)


def test_a_cluster_that_answers_nothing_fails_though_its_visits_end_well(
    database: Database,
) -> None:
    connection = database.connect()
    eu = add_cluster(connection, last_outcome="ok")
    for number in range(99):
        leased = {"lease_until": NOW + HOUR, "lease_token": "0" * 32} if number == 98 else {}
        add_window(connection, eu, SINCE + number * HOUR, "failed", fault="no-data", **leased)
    add_window(connection, eu, SINCE + 99 * HOUR, "due")
    (line,) = clusters(connection, NOW)
    assert (line.health, line.said) == ("failing", "99 hours failed: no-data")
    connection.execute("UPDATE hopsworks_clusters SET failures = 1, last_outcome = 'cut off'")
    assert clusters(connection, NOW)[0].said == "cut off"


def test_one_failed_hour_among_good_ones_is_retried(database: Database) -> None:
    connection = database.connect()
    eu = add_cluster(connection, last_outcome="ok")
    add_window(connection, eu, NEWEST - HOUR, "failed", fault="no-data")
    add_window(connection, eu, NEWEST, "collected")
    (line,) = clusters(connection, NOW)
    assert (line.health, line.said) == ("retrying", "1 hour failed: no-data")


def test_a_refused_re_read_waits_for_a_person(database: Database) -> None:
    connection = database.connect()
    eu = add_cluster(connection)
    add_window(connection, eu, NEWEST, "collected", pending_sha256=b"x" * 32, fault="minutes")
    (line,) = clusters(connection, NOW)
    assert (line.health, line.undecided, line.hours.collected) == ("decide", 1, 1)


def test_the_unmapped_money_of_a_removed_cluster_is_listed_as_that(database: Database) -> None:
    connection = database.connect()
    eu = add_cluster(connection)
    add_window(connection, eu, NEWEST)
    add_allocation(connection, eu, NEWEST, "lost")
    assert [(each.namespace, each.removed) for each in unmapped(connection)] == [("lost", False)]
    connection.execute("UPDATE hopsworks_clusters SET status = 'removed', failures = 3")
    assert [(each.namespace, each.removed) for each in unmapped(connection)] == [("lost", True)]
    assert unmapped(connection, cluster="us-1") == ()
    (found,) = totals(clusters(connection, NOW), unmapped(connection), NEWEST)
    assert (found.unmapped_nano, found.unmapped_namespaces) == (10**9, 1)
    kept = namespaces(connection, TODAY, TODAY, cluster="eu-1")
    assert [each.total_nano for each in kept] == [10**9], "it stays in the books"


def test_the_hours_of_a_removed_cluster_are_shown_where_it_is_named(database: Database) -> None:
    connection = database.connect()
    gone = add_cluster(connection, status="removed", failures=3, last_outcome="it was gone")
    add_window(connection, gone, NEWEST, "held")
    span = NEWEST - HOUR, NEWEST + HOUR
    assert hours_map(connection, *span, NOW) == ()
    (strip,) = hours_map(connection, *span, NOW, cluster="eu-1")
    assert strip.states == ("none", "held")
    assert elsewhere(connection, NOW) == ()
    (left_out,) = elsewhere(connection, NOW, cluster="eu-1")
    assert (left_out.held, left_out.trouble) == (1, "")


def test_the_map_has_a_state_for_each_hour_asked_for(database: Database) -> None:
    connection = database.connect()
    eu = add_cluster(connection)
    add_cluster(connection, "us-1")
    add_window(connection, eu, SINCE)
    add_window(connection, eu, SINCE + HOUR, "due", lease_until=NOW + HOUR)
    add_window(connection, eu, SINCE + 2 * HOUR, "refused", lease_until=NOW - HOUR)
    first, second = hours_map(connection, SINCE - HOUR, SINCE + 3 * HOUR, NOW)
    assert first.states == ("none", "settled", "collecting", "refused")
    assert second.states == ("none",) * 4
    assert [strip.cluster for strip in hours_map(connection, SINCE, NOW, NOW, cluster="us-1")] == [
        "us-1"
    ]


def test_an_hour_says_why_it_is_not_kept(database: Database) -> None:
    connection = database.connect()
    eu = add_cluster(connection)
    add_window(connection, eu, SINCE)
    add_window(
        connection,
        eu,
        SINCE + HOUR,
        "refused",
        fault="two-clusters",
        why="two clusters",
        flags=["x"],
    )
    refused, kept = cluster_hours(connection, "eu-1", SINCE, NOW, NOW)
    assert (refused.fault, refused.why, refused.flags) == ("two-clusters", "two clusters", "x")
    assert (refused.sha256, len(kept.sha256)) == ("", 64)


def test_what_became_of_asked_hours_is_told_in_words(database: Database) -> None:
    connection = database.connect()
    eu, us = add_cluster(connection), add_cluster(connection, "us-1")
    later = {"next_try_at": NOW + HOUR}
    hours: list[tuple[str, str, dict[str, Any]]] = [
        ("kept", "collected", later),
        ("kept", "settled", {}),
        ("held", "held", {"pending_sha256": b"x" * 32}),
        ("refused", "refused", {**later, "pending_sha256": b"x" * 32}),
        ("refused", "collected", {**later, "pending_sha256": b"x" * 32, "fault": "minutes"}),
        ("failed", "failed", {**later, "fault": "no-answer-exec", "why": "it was killed"}),
        ("gap", "gap", {}),
        ("open", "due", {"next_try_at": NOW}),
        ("open", "failed", {**later, "lease_until": utc_now() + HOUR}),
    ]
    for number, (_, state, changes) in enumerate(hours):
        add_window(connection, eu, SINCE + number * HOUR, state, **changes)
    add_window(connection, us, SINCE, "due", next_try_at=NOW)
    add_window(connection, us, SINCE - HOUR, "due", next_try_at=NOW)
    connection.execute("UPDATE hopsworks_clusters SET next_visit_at = now() WHERE name = 'us-1'")
    spans = [Span("eu-1", SINCE, SINCE + 23 * HOUR), Span("us-1", SINCE, SINCE)]
    found = asked_hours(connection, spans, NOW)
    told = Counter({each.word: each.hours for each in found if each.cluster == "eu-1"})
    assert told == Counter(word for word, _, _ in hours)
    assert [each for each in found if each.cluster == "us-1"] == [
        AskedHours("us-1", "left alone", 1, SINCE, "")
    ]
    assert next(each.why for each in found if each.word == "failed") == "it was killed"


@pytest.mark.parametrize("closed", [False, True])
def test_costs_are_the_same_on_open_and_closed_days(database: Database, closed: bool) -> None:
    connection = database.connect()
    eu, us = add_cluster(connection), add_cluster(connection, "us-1")
    anna, bo = add_user(connection), add_user(connection, "bo@example.test", name="Bo")
    for cluster in (eu, us):
        for hour in (NEWEST - DAY, NEWEST - HOUR, NEWEST):
            add_window(connection, cluster, hour)
            add_allocation(connection, cluster, hour, user=anna, cost_nano=3 * 10**9)
            add_allocation(connection, cluster, hour, "b", user=bo, cost_nano=5 * 10**9)
            add_allocation(connection, cluster, hour, "lost", cost_nano=7 * 10**9)
        if closed:
            close_day(connection, cluster, NEWEST)
            close_day(connection, cluster, NEWEST - DAY)
    users = cost_by_user(connection, TODAY, NEWEST)
    assert [(each.email, each.day_nano, each.hour_nano) for each in users] == [
        ("bo@example.test", 20 * 10**9, 10 * 10**9),
        ("anna@example.test", 12 * 10**9, 6 * 10**9),
    ]
    assert cost_by_account(connection, TODAY, NEWEST) == users
    dearest = namespaces(connection, TODAY - DAY, TODAY, cluster="eu-1")
    assert [(each.namespace, each.total_nano, each.day_nano) for each in dearest] == [
        ("lost", 21 * 10**9, 14 * 10**9),
        ("b", 15 * 10**9, 10 * 10**9),
        ("ml-train", 9 * 10**9, 6 * 10**9),
    ]
    assert (dearest[1].kind, dearest[1].hours, dearest[1].first_hour) == ("user", 3, NEWEST - DAY)
    assert {each.cluster for each in namespaces(connection, TODAY, TODAY, user_id=bo.id)} == {
        "eu-1",
        "us-1",
    }
    assert [(each.cluster, each.total_nano) for each in unmapped(connection)] == [
        ("eu-1", 21 * 10**9),
        ("us-1", 21 * 10**9),
    ]
    assert [each.total_nano for each in unmapped(connection, TODAY)] == [14 * 10**9, 14 * 10**9]


def test_two_currencies_are_never_added_up(database: Database) -> None:
    connection = database.connect()
    anna = add_user(connection)
    for name, currency in (("eu-1", "EUR"), ("eu-2", "EUR"), ("us-1", "USD")):
        cluster = add_cluster(connection, name, currency=currency)
        add_window(connection, cluster, NEWEST)
        add_allocation(connection, cluster, NEWEST, user=anna)
        add_allocation(connection, cluster, NEWEST, "lost", cost_nano=2 * 10**9)
    assert [(each.currency, each.day_nano) for each in cost_by_user(connection, TODAY, NEWEST)] == [
        ("EUR", 2 * 10**9),
        ("USD", 10**9),
    ]
    found = totals(clusters(connection, NOW), unmapped(connection), NEWEST)
    assert [(each.currency, each.today_nano, each.unmapped_nano) for each in found] == [
        ("EUR", 6 * 10**9, 4 * 10**9),
        ("USD", 3 * 10**9, 2 * 10**9),
    ]
    assert [each.unmapped_namespaces for each in found] == [2, 1]


def test_a_user_with_cost_in_the_newest_hour_alone_is_listed(database: Database) -> None:
    """Just after midnight: the newest hour still belongs to yesterday."""
    connection = database.connect()
    eu, anna = add_cluster(connection), add_user(connection)
    add_window(connection, eu, NEWEST - DAY)
    add_allocation(connection, eu, NEWEST - DAY, user=anna)
    (line,) = cost_by_user(connection, TODAY, NEWEST - DAY)
    assert (line.day_nano, line.hour_nano) == (0, 10**9)


def test_a_namespace_shows_its_hours_and_each_hour_its_proof(database: Database) -> None:
    connection = database.connect()
    eu, anna = add_cluster(connection), add_user(connection)
    for hour in (NEWEST - HOUR, NEWEST):
        add_window(connection, eu, hour)
    add_allocation(connection, eu, NEWEST - HOUR)
    add_allocation(connection, eu, NEWEST, user=anna)
    newest, before = namespace_hours(connection, "eu-1", "ml-train", SINCE, NOW)
    assert (newest.email, newest.kind, before.email, before.kind) == (
        anna.email,
        "user",
        "",
        "unmapped",
    )
    found = one_hour(connection, "eu-1", "ml-train", NEWEST)
    assert (found.total_nano, found.charge_nano, found.plan) == (10**9, 10**9, "default")
    assert (found.hour_nano, len(found.sha256)) == (10**9, 64)
    nobodys = one_hour(connection, "eu-1", "ml-train", NEWEST - HOUR)
    assert (nobodys.user_id, nobodys.charge_nano) == (None, None)
    with pytest.raises(Unknown):
        one_hour(connection, "eu-1", "ml-train", SINCE)


def test_a_daemon_is_alive_silent_stopped_or_not_there(database: Database) -> None:
    connection = database.connect()
    assert life(daemons(connection), NOW) == "none"
    add_daemon(connection)
    assert life(daemons(connection), NOW) == "alive"
    assert life(daemons(connection), NOW + HOUR) == "silent"
    add_daemon(connection, "host-2", seen_at=NOW + HOUR, stopped_at=NOW + HOUR)
    assert life(daemons(connection), NOW + HOUR) == "stopped"


def test_a_session_says_who_and_where_it_is(database: Database) -> None:
    connection = database.connect()
    anna = add_user(connection, is_admin=True)
    role = session(connection).role
    connection.execute(
        "INSERT INTO hopsmeter.logins (role, user_id) VALUES (%s, %s)", [role, anna.id]
    )
    found = session(connection)
    assert (found.database, found.email, found.is_admin) == (database.name, anna.email, True)
    assert not found.read_only
    connection.execute("SET default_transaction_read_only = on")
    assert session(connection).read_only
