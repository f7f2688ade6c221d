"""SIGSTOP: a process that is frozen holds up nobody, and thawed it changes nothing."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from core.billing.posting.post import post_due
from core.books.checks import check_books
from core.clock import HOUR, utc_now
from core.clusters.kubeconfig import read_kubeconfig
from core.db.connect import connect
from core.db.locks import Lock, take
from core.identity.principal import Principal
from core.metering.ownership import map_namespace
from sandbox.world import World
from tests.crash.scene import Span
from tests.crash.stopping import FROZEN_S
from tests.database import Connection, Database
from tests.factories import SINCE, add_cluster, add_user, add_window

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 30.0
POLL_S = 0.02
HOURS = 6
WORK_S = 1.0
LOST = {"store_failed", "store_lost", "lease_lost"}
"""What a collector may tell of a store that was taken from it."""


class Child:
    """A process of tests.crash.stopping, and what it tells."""

    def __init__(self, role: str, **given: Any) -> None:
        self._lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.stopping", role],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(given) + "\n")
        self.process.stdin.flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)

    @property
    def told(self) -> list[str]:
        return [json.loads(line)["event"] for line in list(self._lines)]

    @property
    def frozen(self) -> bool:
        stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "T"

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def until(so: Callable[[], Any], told: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not so():
        assert time.monotonic() < deadline_s, told()
        time.sleep(POLL_S)


@pytest.fixture
def connection(database_apart: Database) -> Iterator[Connection]:
    with connect(database_apart.url, name="test") as connection:
        connection.execute("SET search_path = hopsmeter")
        yield connection


@pytest.fixture
def given(
    connection: Connection, database_apart: Database, world: World, span: Span
) -> dict[str, Any]:
    """A cluster with a few hours to ask for, one owner, and what a collector needs to know."""
    cluster, user = world["eu-prod"], add_user(connection)
    since = span.newest - (HOURS - 1) * HOUR
    add_cluster(connection, cluster.name, metering_since=since)
    owned = next(each for each in cluster.story.projects if each.kind != "system")
    with connection.transaction():
        map_namespace(
            connection,
            Principal("admin", user.id),
            cluster=cluster.name,
            namespace=owned.namespace,
            user=user.id,
            from_hour=since,
            why="a test",
            now=utc_now(),
        )
    read = read_kubeconfig(cluster.kubeconfig(), now=utc_now(), allow_loopback=True)
    place = {"opencost_namespace": cluster.place.namespace, "selector": cluster.place.selector}
    return {
        "url": database_apart.url,
        "delay_minutes": span.delay_minutes,
        "clusters": {cluster.name: (read.minimal_document().reveal_text(), place)},
    }


def stored(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT w.hour, w.state, w.revision, w.stored_no, w.total_nano, w.raw_sha256, count(a.hour)"
        " FROM collection_windows w LEFT JOIN allocations a USING (hour, cluster_id)"
        " WHERE w.revision > 0 GROUP BY w.cluster_id, w.hour ORDER BY w.hour"
    ).fetchall()


def require_balance(connection: Connection, span: Span) -> None:
    lines = check_books(connection, utc_now(), delay=timedelta(minutes=span.delay_minutes))
    assert [line for line in lines if not line.ok] == []


def test_a_collector_frozen_within_copy_is_taken_over_and_changes_nothing_when_it_thaws(
    given: dict[str, Any], connection: Connection, span: Span
) -> None:
    with Child("collect", daemon="frozen", stops=True, **given) as frozen:
        until(lambda: frozen.frozen, lambda: frozen.told)
        begun_s = time.monotonic()
        with Child("collect", daemon="beside", stops=False, **given) as beside:
            until(lambda: len(stored(connection)) == HOURS, lambda: beside.told)
            # Told when the look ends that began the visits, which may be quicker.
            until(lambda: "took over" in beside.told, lambda: beside.told)
            assert time.monotonic() - begun_s < LIMIT_S / 2
            assert frozen.told[-1] == "stopping"
            kept = stored(connection)
            post_due(connection, utc_now())
            frozen.thaw()
            until(lambda: LOST & set(frozen.told), lambda: frozen.told)
            assert (beside.end(), frozen.end()) == (0, 0)
    assert "hour_stored" not in frozen.told
    assert stored(connection) == kept
    assert {(revision, stored_no) for _, _, revision, stored_no, *_ in kept} == {(1, 1)}
    require_balance(connection, span)


@pytest.mark.parametrize(
    "reading",
    [False, pytest.param(True, marks=pytest.mark.long)],
    ids=["between statements", "while reading"],
)
def test_a_poster_frozen_with_the_lock_is_taken_over_and_changes_nothing_when_it_thaws(
    reading: bool, given: dict[str, Any], connection: Connection, span: Span
) -> None:
    with Child("collect", daemon="one", stops=False, **given) as collector:
        until(lambda: len(stored(connection)) == HOURS, lambda: collector.told)
        assert collector.end() == 0
    with Child("post", url=given["url"], reading=reading) as frozen:
        until(lambda: frozen.frozen, lambda: frozen.told)
        time.sleep(FROZEN_S)
        begun_s = time.monotonic()
        assert post_due(connection, utc_now(), frozen_s=FROZEN_S).hours == HOURS
        assert time.monotonic() - begun_s < LIMIT_S / 2
        frozen.thaw()
        assert frozen.end() == 0
    assert frozen.told == ["stopping", "going on", "lost"]
    require_balance(connection, span)


def test_a_poster_that_works_is_waited_for(
    database_apart: Database, connection: Connection
) -> None:
    working = threading.Event()

    def work() -> bool:
        with connect(database_apart.url, name="works") as other, other.transaction():
            take(other, Lock.POSTING)
            working.set()
            other.execute("SELECT pg_sleep(%s)", [WORK_S])
        return True

    add_window(connection, add_cluster(connection), SINCE, stored_no=1)
    with ThreadPoolExecutor(1) as thread:
        works = thread.submit(work)
        assert working.wait(LIMIT_S)
        time.sleep(WORK_S / 2)
        assert post_due(connection, utc_now(), frozen_s=WORK_S / 4).hours == 1
        assert works.result(LIMIT_S)
