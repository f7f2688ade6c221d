"""What people and daemons do at the same time ends, and in books that balance."""

import threading
from collections.abc import Callable

import psycopg

from core.billing.post import post_due
from core.metering.decisions import ask_again
from core.metering.ownership import map_namespace, unmap_namespace
from tests.core.metering.site import ADMIN, Connection, Site, hour

HOURS, ROUNDS = 40, 25


def together(site: Site, jobs: list[Callable[[Connection], object]]) -> list[str]:
    """Run each job ROUNDS times on a connection of its own, all at once; return what failed."""
    failed: list[str] = []

    def run(job: Callable[[Connection], object]) -> None:
        with site.open("side by side") as connection:
            for _ in range(ROUNDS):
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
