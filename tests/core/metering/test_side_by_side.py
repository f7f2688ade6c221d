"""What people and daemons do at the same time ends, and in books that balance."""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from core.billing.posting.post import post_due
from core.errors import Conflict
from core.metering.decisions import ask_again
from core.metering.ownership import map_namespace, unmap_namespace
from tests.core.clusters.test_registry import edited
from tests.core.metering.site import ADMIN, Connection, Site, hour

HOURS, ROUNDS = 40, 25


def together(
    site: Site, jobs: list[Callable[[Connection], object]], rounds: int = ROUNDS
) -> list[str]:
    """Run each job so many times on a connection of its own, all at once; return what failed."""
    failed: list[str] = []

    def run(job: Callable[[Connection], object]) -> None:
        with site.open("side by side") as connection:
            for _ in range(rounds):
                try:
                    job(connection)
                except psycopg.Error as error:
                    failed.append(type(error).__name__)

    threads = [threading.Thread(target=run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    return failed


def test_owners_postings_and_questions_do_not_stand_in_each_others_way(site: Site) -> None:
    site.cluster()
    anna = site.user()
    for number in range(HOURS):
        site.say({"a": 1, "b": 1}, number)
    site.until(HOURS - 1)
    site.collect()

    def change(connection: Connection, namespace: str) -> None:
        place = {"cluster": "eu-1", "namespace": namespace, "from_hour": hour(0), "now": site.now}
        with connection.transaction():
            map_namespace(connection, ADMIN, user=anna.id, why="", **place)  # type: ignore[arg-type]  # as named
        with connection.transaction():
            unmap_namespace(connection, ADMIN, why="", **place)  # type: ignore[arg-type]  # as named

    def ask(connection: Connection) -> None:
        with connection.transaction():
            ask_again(connection, ADMIN, None, hour=None, since=hour(0), now=site.now)

    failed = together(
        site,
        [
            lambda connection: change(connection, "a"),
            lambda connection: change(connection, "b"),
            lambda connection: post_due(connection, site.now),
            lambda connection: post_due(connection, site.now),
            ask,
            ask,
        ],
    )
    assert failed == []
    site.post()
    site.must_balance()
    assert site.usage() == {}


def test_who_asks_for_hours_takes_the_cluster_before_its_windows(site: Site) -> None:
    """As a first store does, which learns of which OpenCost the cluster is: else each may wait for the
    other.
    """
    site.cluster()
    site.open_windows()
    failed: list[str] = []

    def ask() -> None:
        failed.extend(together(site, [ask_all], rounds=1))

    def ask_all(connection: Connection) -> None:
        with connection.transaction():
            ask_again(connection, ADMIN, "eu-1", hour=None, since=hour(0), now=site.now)

    asker = threading.Thread(target=ask)
    with site.open("first store") as first, first.transaction():
        first.execute("SELECT FROM hopsmeter.hopsworks_clusters FOR NO KEY UPDATE")
        asker.start()
        await_blocked(site)
        first.execute("SELECT FROM hopsmeter.collection_windows FOR UPDATE NOWAIT")
    asker.join(30)
    assert failed == []


def await_blocked(site: Site) -> None:
    """Wait until somebody waits for a lock."""
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    for _ in range(500):
        if site.value(waits):
            return
        site.connection.execute("SELECT pg_sleep(0.01)")
    raise AssertionError("nobody waits")


@pytest.mark.parametrize("first", ["the map", "the edit"])
def test_a_cluster_and_who_owns_something_of_it_have_one_currency(site: Site, first: str) -> None:
    site.cluster()
    anna = site.user()

    def edit(connection: Connection) -> None:
        with connection.transaction():
            edited(connection, {"currency": "EUR"})

    def give(connection: Connection) -> None:
        how: dict[str, Any] = {"from_hour": None, "why": "", "now": site.now}
        with connection.transaction():
            map_namespace(connection, ADMIN, cluster="eu-1", namespace="a", user=anna.id, **how)

    doing, waiting = (give, edit) if first == "the map" else (edit, give)

    def wait() -> None:
        with site.open("second") as connection, contextlib.suppress(Conflict):
            waiting(connection)

    waiter = threading.Thread(target=wait)
    with site.open("first") as connection, connection.transaction():
        doing(connection)
        waiter.start()
        await_blocked(site)
    waiter.join(30)
    currency = "USD" if first == "the map" else "EUR"
    assert site.value("SELECT currency FROM hopsworks_clusters") == currency
    assert site.value("SELECT currency FROM users WHERE no = %s", anna.no) == currency
