"""A collector or a poster in a process of its own that stops itself (SIGSTOP) at a chosen place.

`python -m tests.crash.stopping ROLE`, with what it needs as JSON in the first line of stdin; it
tells what happens as JSON lines, and ends when stdin does.
"""

import contextlib
import json
import select
import signal
import sys
import threading
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import psycopg

from core.billing.posting.post import post_due
from core.clock import utc_now
from core.clusters.connection import ClusterAccess, Reach, VisitLimits, launcher
from core.db.connect import connect
from core.metering import store
from core.metering.collect import Collector
from core.metering.policy import Policy
from core.metering.sink import Sink
from core.secret import Secret

LOOK_S = 0.1
LEASE_S = 2.0
ASK_S = 10.0
STOP_S = 10.0
FROZEN_S = 1.0
POSTED = "INSERT INTO hopsmeter.postings"
MUCH = b"SELECT repeat('x', 1000) FROM generate_series(1, 20000)"
"""More than a socket holds: its sender waits for a reader that is frozen."""

Connection = psycopg.Connection[Any]


def tell(event: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}, default=str) + "\n")
    sys.stdout.flush()


def stop_here() -> None:
    tell("stopping")
    # To this thread, so that it does not run on until another one has taken the signal.
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
    tell("going on")


class StoppingSink(Sink):
    """Stops in the middle of the first COPY of the process."""

    left = 1

    def write(self, *arguments: Any, **named: Any) -> None:
        super().write(*arguments, **named)
        if StoppingSink.left:
            StoppingSink.left -= 1
            stop_here()


class StoppingConnection(psycopg.Connection[Any]):
    """Stops before the last statements of a posting, or while it reads what it did not ask for."""

    reading = False

    def execute(self, query: Any, *arguments: Any, **named: Any) -> Any:
        if POSTED in str(query):
            if self.reading:
                self.pgconn.send_query(MUCH)
            stop_here()
            while self.reading and self.pgconn.get_result():
                pass
        return super().execute(query, *arguments, **named)


def collect(given: dict[str, Any]) -> None:
    accesses = {
        cluster: ClusterAccess(cluster, Secret(document), **place)
        for cluster, (document, place) in given["clusters"].items()
    }

    def open_line(name: str) -> Connection:
        return connect(given["url"], name=name)

    if given["stops"]:
        patch.object(store, "Sink", StoppingSink).start()

    def access(connection: Connection, cluster_id: int) -> ClusterAccess:
        row = connection.execute(
            "SELECT name FROM hopsmeter.hopsworks_clusters WHERE id = %s", [cluster_id]
        ).fetchone()
        assert row is not None
        return accesses[row[0]]

    collector = Collector(
        connect=open_line,
        access=access,
        open_reach=lambda found: Reach(found, VisitLimits(answer_s=ASK_S), launcher),
        daemon=given["daemon"],
        parallel=2,
        policy=Policy(lease_s=LEASE_S, delay=timedelta(minutes=given["delay_minutes"])),
        clock=utc_now,
        tell=tell,
    )
    with connect(given["url"], name="looks") as connection:
        while not select.select([sys.stdin], [], [], LOOK_S)[0]:
            report = collector.look(connection)
            if report.freed:
                tell("took over", backends=report.freed)
    tell("ended", whole=collector.stop(STOP_S))
    launcher.stop()


def post(given: dict[str, Any]) -> None:
    StoppingConnection.reading = given["reading"]
    with contextlib.closing(
        StoppingConnection.connect(given["url"], autocommit=True)
    ) as connection:
        try:
            tell("posted", hours=post_due(connection, utc_now(), frozen_s=FROZEN_S).hours)
        except psycopg.Error as error:
            tell("lost", why=type(error).__name__)


if __name__ == "__main__":
    {"collect": collect, "post": post}[sys.argv[1]](json.loads(sys.stdin.readline()))
