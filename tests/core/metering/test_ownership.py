"""Whose a namespace is, by whole hours; every change revises the stored hours it touches."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from core.clock import HOUR
from core.clusters.registry import Vault, edit_cluster
from core.clusters.vault.keyring import Keyring
from core.db.connect import connect
from core.db.locks import Lock, take
from core.errors import Conflict, Forbidden, InputFault, Unknown
from core.identity.principal import Principal
from core.metering import ownership
from tests import factories
from tests.core.metering.site import ADMIN, Begun, Row, Site, hour
from tests.database import Connection
from tests.factories import NOW

COST = 1_018_330_000
"""Of one hour of a namespace whose CPU costs 1."""


@pytest.fixture
def six(begun: Begun) -> Iterator[Site]:
    with begun.after(six_hours) as (site, _):
        yield site


def six_hours(site: Site) -> None:
    """Six stored hours of the namespaces a and b, which nobody owns."""
    site.cluster()
    for number in range(7):
        site.say({"a": 1, "b": 2}, number)
    site.until(5)
    site.collect()
    site.post()


def owners(site: Site, namespace: str = "a", hours: int = 6) -> str:
    """Who has each hour: the first letter of his name, `.` for nobody."""
    found = ""
    for number in range(hours):
        user = site.rows(number)[namespace].user
        found += user.partition("|")[2][0] if user else "."
    return found


def settle(site: Site) -> None:
    site.post()
    site.must_balance()


def test_the_hours_of_a_removed_cluster_are_charged_to_whoever_is_named_later(six: Site) -> None:
    six.connection.execute("UPDATE hopsworks_clusters SET status = 'removed'")
    assert six.map("a", six.user()).cost_nano == 6 * COST
    assert six.map("b", six.user("bert")).hours == 6
    assert (owners(six), owners(six, "b")) == ("aaaaaa", "bbbbbb")
    settle(six)
    assert six.unmap("b", 3).hours == 3
    assert owners(six, "b") == "bbb..."
    settle(six)


def test_nothing_becomes_a_team_members_while_nobody_would_pay_for_it(six: Site) -> None:
    anna = six.user()
    mia = six.user("mia", account_owner_id=anna.id)
    with pytest.raises(Conflict, match=r"mia .* is a team member.*Map it to auth0\|anna"):
        six.map("a", mia)
    assert owners(six) == "......"
    settle(six)


def test_late_charges_begin_with_the_first_hour_that_was_nobodys(six: Site) -> None:
    anna = six.user()
    change = six.map("a", anna)
    assert owners(six) == "aaaaaa"
    assert (change.hours, change.cost_nano, change.currency) == (6, 6 * COST, "USD")
    assert (change.from_hour, change.until_hour, change.replaced) == (hour(0), None, ())
    settle(six)
    assert sum(six.usage().values()) == 6 * COST
    assert six.rows()["a"] == Row("user", anna.id, COST, revision=2)
    assert six.rows()["b"] == Row("unmapped", None, 2_018_330_000, revision=1)


def test_the_hours_to_come_are_the_owners_too(six: Site) -> None:
    six.map("a", six.user())
    six.until(6)
    six.collect()
    assert owners(six, hours=7) == "aaaaaaa"
    settle(six)


def test_an_admin_says_how_far_back(six: Site) -> None:
    change = six.map("a", six.user(), 4)
    assert owners(six) == "....aa"
    assert (change.hours, change.cost_nano) == (2, 2 * COST)
    settle(six)


def test_a_namespace_nobody_has_seen_is_mapped_from_now_on(six: Site) -> None:
    change = six.map("new", six.user())
    assert (change.from_hour, change.hours, change.cost_nano) == (hour(6), 0, 0)
    settle(six)


def test_a_new_owner_takes_over_from_an_hour(six: Site) -> None:
    anna, ben = six.user(), six.user("ben")
    six.map("a", anna, 0)
    change = six.map("a", ben, 4)
    assert owners(six) == "aaaabb"
    assert (change.replaced, change.hours) == ((anna.id,), 2)
    settle(six)


def test_a_new_owner_without_an_hour_takes_over_now(six: Site) -> None:
    """Hours before the last owner came were nobody's, and are not what was meant."""
    anna, ben = six.user(), six.user("ben")
    six.map("a", anna, 4)
    change = six.map("a", ben)
    assert (change.from_hour, change.hours, change.replaced) == (hour(6), 0, (anna.id,))
    six.until(6)
    six.collect()
    assert owners(six, hours=7) == "....aab"
    settle(six)


def test_an_owner_after_a_pause_pays_from_its_first_unowned_hour(six: Site) -> None:
    anna, ben = six.user(), six.user("ben")
    six.map("a", anna, 1)
    six.unmap("a", 3)
    change = six.map("a", ben)
    assert change.from_hour == hour(3)
    assert owners(six) == ".aabbb"
    settle(six)


def test_a_period_that_begins_later_stays(six: Site) -> None:
    anna, ben = six.user(), six.user("ben")
    six.map("a", ben, 4)
    change = six.map("a", anna, 1)
    assert change.until_hour == hour(4)
    assert owners(six) == ".aaabb"
    settle(six)


def test_a_map_over_the_whole_period_replaces_it(six: Site) -> None:
    anna, ben = six.user(), six.user("ben")
    six.map("a", anna, 2)
    six.map("a", ben, 2)
    assert owners(six) == "..bbbb"
    assert six.value("SELECT count(*) FROM user_projects") == 1
    settle(six)


def test_mapping_to_the_same_owner_again_is_a_conflict(six: Site) -> None:
    anna = six.user()
    six.map("a", anna, 2)
    with pytest.raises(Conflict, match=r"belongs to auth0\|anna at 2026-03-01T04Z already"):
        six.map("a", anna, 4)
    assert owners(six) == "..aaaa"


def test_unmapping_gives_the_hours_back_to_nobody(six: Site) -> None:
    anna = six.user()
    six.map("a", anna, 0)
    change = six.unmap("a", 4)
    assert (change.user, change.hours, change.replaced) == (None, 2, (anna.id,))
    assert owners(six) == "aaaa.."
    settle(six)
    six.until(6)
    six.collect()
    assert owners(six, hours=7) == "aaaa..."


def test_unmapping_ends_what_was_to_begin_later_as_well(six: Site) -> None:
    six.map("a", six.user(), 1)
    six.map("a", six.user("ben"), 4)
    assert six.unmap("a", 3).replaced == ("auth0|anna", "auth0|ben")
    assert owners(six) == ".aa..."
    with pytest.raises(Unknown, match="belongs to nobody"):
        six.unmap("a", 3)
    settle(six)


def test_the_same_name_on_two_clusters_is_two_namespaces(six: Site) -> None:
    six.cluster("eu-2")
    six.say({"a": 1}, 0, "eu-2")
    six.collect()
    six.map("a", six.user(), 0)
    six.map("a", six.user("ben"), 0, "eu-2")
    assert six.rows(0)["a"].user == "auth0|anna"
    assert six.rows(0, "eu-2")["a"].user == "auth0|ben"
    settle(six)


def test_periods_of_a_namespace_never_overlap(six: Site) -> None:
    six.map("a", six.user(), 0)
    with pytest.raises(psycopg.errors.ExclusionViolation):
        six.connection.execute(
            "INSERT INTO user_projects (cluster_id, namespace, user_no, valid, created_by)"
            " VALUES (1, 'a', 1, tstzrange(%s, NULL), 'test')",
            [hour(3)],
        )


def test_an_owner_is_found_by_address_too(six: Site) -> None:
    six.user("Anna.B", id="auth0|b")

    def by(user: str) -> ownership.OwnershipChange:
        return ownership.map_namespace(
            six.connection,
            ADMIN,
            cluster="eu-1",
            namespace="a",
            user=user,
            from_hour=hour(2),
            why="",
            now=six.now,
        )

    assert by("anna.b@EXAMPLE.test").user == "auth0|b"
    with pytest.raises(Unknown, match="no user 'nobody'"):
        by("nobody")
    six.user("anna.b", id="google|b")
    with pytest.raises(Conflict, match="2 users have the address"):
        by("anna.b@example.test")
    six.connection.execute("UPDATE users SET status = 'deleted' WHERE id = 'google|b'")
    with pytest.raises(Unknown):
        by("google|b")


def test_a_currency_that_changed_while_one_waited_is_the_accounts(site: Site) -> None:
    cluster, anna = site.cluster(), site.user()
    with site.open() as other, ThreadPoolExecutor(1) as pool:
        with other.transaction():
            take(other, Lock.ATTRIBUTION)
            done = pool.submit(site.map, "a", anna, 0)
            site.until_somebody_waits()
            other.execute(
                "UPDATE hopsmeter.hopsworks_clusters SET currency = 'EUR' WHERE id = %s",
                [cluster.id],
            )
        assert done.result().currency == "EUR"
    assert site.value("SELECT currency FROM users WHERE no = %s", anna.no) == "EUR"


def test_a_currency_waits_for_who_is_giving_a_namespace_away(site: Site) -> None:
    site.cluster()
    anna = site.user()
    with site.open() as other, site.open() as editor, ThreadPoolExecutor(1) as pool:
        with other.transaction():
            take(other, Lock.ATTRIBUTION)
            done = pool.submit(_edit_currency, editor, "EUR")
            site.until_somebody_waits()
            ownership.map_namespace(
                other,
                ADMIN,
                cluster="eu-1",
                namespace="a",
                user=anna.id,
                from_hour=hour(0),
                why="",
                now=site.now,
            )
        with pytest.raises(Conflict, match=r"auth0\|anna owns namespaces of eu-1"):
            done.result()


def _edit_currency(connection: Connection, currency: str) -> None:
    with connection.transaction():
        edit_cluster(
            connection,
            ADMIN,
            "eu-1",
            {"currency": currency},
            vault=Vault(Keyring.generate()),
            why="",
            now=NOW,
        )


WRONG: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "a system namespace": ({"namespace": "kube-system"}, Conflict),
    "OpenCost's own row": ({"namespace": "__idle__"}, InputFault),
    "no name": ({"namespace": ""}, InputFault),
    "part of an hour": ({"from_hour": hour(2) + timedelta(minutes=1)}, InputFault),
    "no cluster": ({"cluster": "eu-9"}, Unknown),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_owned_is_refused(six: Site, what: str) -> None:
    wrong, fault = WRONG[what]
    anna = six.user()
    asked = {"cluster": "eu-1", "namespace": "a", "user": anna.id, "from_hour": hour(2), **wrong}
    with pytest.raises(fault, match="Nothing was changed"):
        ownership.map_namespace(six.connection, ADMIN, why="", now=six.now, **asked)
    assert six.versions("user_projects") == []


def test_only_an_admin_may_say_whose_a_namespace_is(six: Site) -> None:
    anna = six.user()
    with pytest.raises(Forbidden):
        ownership.map_namespace(
            six.connection,
            Principal("owner", anna.id),
            cluster="eu-1",
            namespace="a",
            user=anna.id,
            from_hour=None,
            why="mine",
            now=six.now,
        )


def test_each_change_stands_in_the_trail_with_its_money(six: Site) -> None:
    six.map("a", six.user(), 4)
    six.map("a", six.user("ben"), 5)
    (_, row) = six.all("SELECT * FROM audit_log WHERE action = 'namespace.map' ORDER BY id")
    assert row["subject"] == "namespace eu-1/a"
    assert row["before"] == {"owners": ["auth0|anna"]}
    assert row["after"]["cost_nano"] == COST
    assert row["after"]["from"] == "2026-03-01T05Z"


def test_a_change_keeps_the_replaced_revisions(six: Site) -> None:
    anna, ben = six.user(), six.user("ben")
    six.map("a", anna, 4)
    six.map("a", ben, 5)
    history = six.all("SELECT * FROM allocation_history ORDER BY hour, revision")
    assert [(row["hour"], row["revision"], row["user_no"]) for row in history] == [
        (hour(4), 1, None),
        (hour(5), 1, None),
        (hour(5), 2, anna.no),
    ]
    assert history[2]["replaced_why"] == f"owner: {ben.id}"
    assert history[0]["raw_sha256"] == six.window(4)["raw_sha256"]
    settle(six)


def test_a_vanished_row_changes_hands_like_any_other(six: Site) -> None:
    six.say({"a": 1}, 2)
    six.again(2)
    six.collect()
    six.decide("accept", 2)
    assert six.rows(2)["b"].total_nano == 0
    six.map("b", six.user(), 0)
    assert owners(six, "b") == "aaaaaa"
    settle(six)


# ── system namespaces ───────────────────────────────────────────────────────────────────────


def make_system(site: Site, *names: str) -> tuple[int, int]:
    with site.connection.transaction():
        site.connection.execute(
            "UPDATE hopsworks_clusters SET system_namespaces = %s", [list(names)]
        )
        return ownership.reattribute_cluster(site.connection, ADMIN, 1, why="system namespaces")


def test_a_namespace_made_system_is_absorbed_in_all_its_hours(six: Site) -> None:
    anna = six.user()
    six.map("a", anna, 2)
    hours, moved = make_system(six, "kube-system", "a")
    assert (hours, moved) == (6, 6 * COST)
    assert owners(six) == "......"
    assert six.rows(3)["a"].kind == "system"
    settle(six)
    assert six.usage() == {}
    assert make_system(six, "kube-system", "a") == (0, 0)
    make_system(six, "kube-system")
    assert owners(six) == "..aaaa"
    settle(six)


def test_a_changed_list_holds_for_the_hours_to_come(six: Site) -> None:
    make_system(six, "kube-system", "b")
    six.until(6)
    six.collect()
    assert six.rows(6)["b"].kind == "system"
    settle(six)


# ── at the same time ────────────────────────────────────────────────────────────────────────


def test_no_hour_is_stored_by_the_old_rule_after_a_change(six: Site) -> None:
    """A store that began first is revised by the change; one that begins later waits for it."""
    anna = six.user()
    six.until(6)
    changing = connect(six.database.url, name="changing")
    stored = threading.Thread(target=six.collect)
    with changing, changing.transaction():
        take(changing, Lock.ATTRIBUTION)
        stored.start()
        stored.join(0.3)
        assert stored.is_alive(), "the store waits for the change"
        ownership.map_namespace(
            changing,
            ADMIN,
            cluster="eu-1",
            namespace="a",
            user=anna.id,
            from_hour=hour(6),
            why="",
            now=six.now,
        )
    stored.join(30)
    assert six.rows(6)["a"].user == anna.id
    settle(six)


def test_two_admins_at_once_agree_on_one_owner(six: Site) -> None:
    users = [six.user(name) for name in ("anna", "ben", "carl", "dora")]

    def give_to(user: factories.User) -> None:
        with connect(six.database.url, name="admin") as connection, connection.transaction():
            ownership.map_namespace(
                connection,
                ADMIN,
                cluster="eu-1",
                namespace="a",
                user=user.id,
                from_hour=hour(2),
                why="",
                now=six.now,
            )

    admins = [threading.Thread(target=give_to, args=[user]) for user in users]
    for admin in admins:
        admin.start()
    for admin in admins:
        admin.join(30)
    assert six.value("SELECT count(*) FROM user_projects") == 1
    assert len(set(owners(six)[2:])) == 1
    assert six.now - hour(6) < HOUR
    settle(six)
