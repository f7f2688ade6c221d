"""What commands do, and what they say of it: to clusters, hours and people."""

from typing import Any
from uuid import uuid4

import pytest

from core.clock import HOUR, floor_hour, hour_text, utc_now
from core.commands.submit import wait
from tests.core.commands.carrier import (
    JOIN_S,
    ask,
    asked,
    carrying,
    config,
    publish,
    with_admin,
)
from tests.database import Database
from tests.factories import NOW, Cluster, add_allocation, add_cluster, add_user, add_window


def test_two_daemons_give_no_address_to_two_users(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    with carrying(database, keyring), carrying(database, keyring):
        ids = [
            ask(person, "user.add", user=f"auth0|{number}", email="a@example.test")
            for number in range(10)
        ]
        ends = sorted(wait(person, command_id, JOIN_S).state for command_id in ids)
    assert ends == ["done"] + ["refused"] * 9
    rows = person.execute("SELECT FROM users WHERE email = 'a@example.test'").fetchall()
    assert len(rows) == 1


def test_hours_from_before_metering_began_are_not_asked_for_without_a_word(
    database: Database,
) -> None:
    person, keyring = with_admin(database), publish(database)
    first = floor_hour(NOW) - 3 * HOUR
    for name, began in (("eu-1", first), ("us-1", first - 2 * HOUR)):
        cluster = add_cluster(person, name)
        add_window(person, cluster, began)
        add_window(person, cluster, began + HOUR)
    with carrying(database, keyring):
        early = asked(person, "collect", since=hour_text(first - 2 * HOUR))
        in_time = asked(person, "collect", cluster="eu-1", since=hour_text(first))
    assert early.summary == (
        "4 hours are asked for now (all clusters). No hour from before metering began is asked"
        f" for: eu-1 from {hour_text(first)} on."
    )
    assert in_time.summary == "2 hours are asked for now (eu-1)."


def test_a_dry_run_refuses_the_same_kubernetes_as_the_real_one_does(database: Database) -> None:
    person, keyring = with_admin(database), publish(database)
    given: dict[str, Any] = {"api_url": "https://a.test", "sealed": {"kubeconfig": config()}}
    elsewhere = {**given, "sealed": {"kubeconfig": config("https://10.0.0.7:6443")}}
    with carrying(database, keyring):
        asked(person, "cluster.add", cluster="eu-1", **given)
        for dry_run in (True, False):
            refused = asked(
                person, "cluster.add", cluster="eu-2", selector="app=x", dry_run=dry_run, **given
            )
            assert refused.state == "refused"
            assert refused.error
            assert "the same server" in refused.error
        shared = asked(
            person, "cluster.add", cluster="eu-2", other_cluster=True, dry_run=True, **elsewhere
        )
        assert shared.result is not None
        assert shared.result["difference"]["other_cluster"] == [None, ["eu-1"]]
        row = person.execute("SELECT id FROM hopsworks_clusters WHERE name = 'eu-1'").fetchone()
        assert row is not None
        hour = floor_hour(NOW) - 3 * HOUR
        add_window(person, Cluster(row[0], "eu-1"), hour)
        asked(person, "cluster.remove", cluster="eu-1", why="by mistake")
        again = asked(
            person,
            "cluster.add",
            cluster="eu-2",
            metering_since=hour_text(hour),
            dry_run=True,
            **given,
        )
    assert again.state == "refused"
    assert again.error
    assert f"--metering-since {hour_text(hour + HOUR)}" in again.error


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_removal_says_what_money_stays_unmapped_and_how_it_is_mapped(
    database: Database, dry_run: bool
) -> None:
    person, keyring = with_admin(database), publish(database)
    eu, hour = add_cluster(person), floor_hour(NOW) - 3 * HOUR
    add_window(person, eu, hour)
    for namespace in ("lost", "stray"):
        add_allocation(person, eu, hour, namespace)
    anna = add_user(person)
    with carrying(database, keyring):
        removed = asked(person, "cluster.remove", cluster="eu-1", why="sold", dry_run=dry_run)
        mapped = asked(person, "namespace.map", cluster="eu-1", namespace="lost", user=anna.id)
    assert removed.result
    assert removed.result["unmapped_nano"] == 2 * 10**9
    assert "2.00 USD of 2 namespaces stays unmapped" in removed.summary
    assert "`hopsmeter namespace map eu-1 NAMESPACE USER` charges it later" in removed.summary
    assert "1.00 USD" in mapped.summary


def test_a_visit_that_is_under_way_stores_nothing_once_its_cluster_is_removed(
    database: Database,
) -> None:
    """Another registration of the same Kubernetes may meter that hour from then on."""
    person, keyring = with_admin(database), publish(database)
    lease: dict[str, Any] = {
        "lease_token": uuid4(),
        "lease_until": utc_now() + HOUR,
        "lease_by": "a daemon",
    }
    eu, hour = add_cluster(person), floor_hour(NOW) - 2 * HOUR
    add_window(person, eu, hour, "due", lease_pid=1, **lease)
    add_window(person, eu, hour - HOUR, lease_pid=1, **lease)
    with carrying(database, keyring):
        asked(person, "cluster.remove", cluster="eu-1", why="sold")
    rows = person.execute("SELECT state, lease_token FROM collection_windows ORDER BY hour")
    assert rows.fetchall() == [("settled", None), ("waived", None)]


def test_hours_that_wait_to_be_read_again_are_settled_when_their_cluster_is_removed(
    database: Database,
) -> None:
    """Nobody reads them again, and no month with an hour that is not settled can be closed."""
    person, keyring = with_admin(database), publish(database)
    eu, hour = add_cluster(person), floor_hour(NOW) - 3 * HOUR
    other = add_cluster(person, "us-1")
    for number, state in enumerate(("settled", "collected", "held")):
        add_window(person, eu, hour + number * HOUR, state)
    add_window(person, other, hour, "collected")
    with carrying(database, keyring):
        asked(person, "cluster.remove", cluster="eu-1", why="sold")
    rows = person.execute(
        "SELECT state, flags, settled_at IS NOT NULL FROM collection_windows"
        " ORDER BY cluster_id, hour"
    ).fetchall()
    assert rows[1:] == [
        ("settled", ["not-read-again"], True),
        ("held", [], False),
        ("collected", [], False),
    ]
    assert rows[0][:2] == ("settled", [])


def test_no_answer_waits_for_a_person_once_its_cluster_is_removed(database: Database) -> None:
    """Nobody is shown it any more, and its month's answers would be kept for ever."""
    person, keyring = with_admin(database), publish(database)
    eu, hour = add_cluster(person), floor_hour(NOW) - 3 * HOUR
    for number, state in enumerate(("refused", "collected", "held")):
        add_window(person, eu, hour + number * HOUR, state, pending_sha256=b"x" * 32)
    with carrying(database, keyring):
        asked(person, "cluster.remove", cluster="eu-1", why="sold")
    rows = person.execute(
        "SELECT state, pending_sha256 IS NOT NULL FROM collection_windows ORDER BY hour"
    ).fetchall()
    assert rows == [("waived", False), ("settled", False), ("held", True)]
