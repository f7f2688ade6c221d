"""From a sealed kubeconfig to posted days, through real processes and the real transport."""

import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from core.clock import HOUR, hour_text, last_closed_hour, utc_now
from core.commands.arguments import ClusterAdd, ClusterNamed, Collect, NamespaceMap, UserAdd
from core.commands.submit import submit, wait
from core.db.embedded_files import OWNER
from core.secret import Secret
from sandbox.cluster import Cluster
from sandbox.world import World
from tests.daemon.process import Daemon, environment, state_folder
from tests.database import Connection, Database

HOURS = 6
NAMESPACES = 12
STOP_LIMIT_S = 25.0
ASKED_AGAIN = 3
POSTED_LIMIT_S = 10.0
"""Left to the clock it would take up to a minute."""
ASKED_AGAIN_LIMIT_S = 8.0
"""Were each left to the clock, which looks every 5 s, they would take twice that and more."""


@pytest.fixture
def world() -> Iterator[World]:
    with World(clusters=["eu-prod", "us-gpu"], namespaces=NAMESPACES) as world:
        yield world


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return state_folder(tmp_path / "state")


def start(database: Database, state: Path, **settings: str) -> Daemon:
    settings |= {"loopback_clusters": "true", "collect_delay_minutes": "1", "log_level": "debug"}
    return Daemon(environment(state, database_url=database.url, **settings)).ready()


def register(connection: Connection, cluster: Cluster) -> str:
    """Add a cluster as a person does, sealed in the terminal; return the token of its kubeconfig."""
    kubeconfig = cluster.kubeconfig()
    since = last_closed_hour(utc_now(), timedelta(minutes=1)) - (HOURS - 1) * HOUR
    arguments = ClusterAdd(
        cluster=cluster.name,
        api_url="https://hopsworks.example.test",
        opencost_namespace=cluster.place.namespace,
        selector=cluster.place.selector,
        metering_since=hour_text(since),
    )
    sealed = {"kubeconfig": Secret(kubeconfig)}
    outcome = wait(connection, submit(connection, "cluster.add", arguments, sealed=sealed), 20)
    assert outcome.state == "done", outcome
    return str(yaml.safe_load(kubeconfig)["users"][0]["user"]["token"])


def admin(database: Database) -> psycopg.Connection:
    connection = database.connect()
    connection.execute("INSERT INTO users (id, email, is_admin) VALUES ('auth0|a', 'a@x', true)")
    connection.execute("INSERT INTO logins (role, user_id) VALUES (%s, 'auth0|a')", [OWNER])
    return connection


def figures(page: str) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#")]
    return {name: float(figure) for name, figure in lines}


def collected(connection: Connection, cluster: str) -> int:
    row = connection.execute(
        "SELECT count(*) FROM collection_windows w JOIN hopsworks_clusters c ON c.id = cluster_id"
        " WHERE c.name = %s AND w.state = 'collected' AND stored_no = posted_no",
        [cluster],
    ).fetchone()
    assert row is not None
    return int(row[0])


def asked_again(connection: Connection, cluster: Cluster, before: int) -> bool:
    """Say whether there was one more ask, and what came of it is written down."""
    working = "SELECT FROM collection_windows WHERE lease_token IS NOT NULL"
    return len(cluster.asks) > before and connection.execute(working).fetchone() is None


def one(connection: Connection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def charged(connection: Connection) -> int:
    return int(one(connection, "SELECT coalesce(sum(charge_nano), 0) FROM usage_daily"))


def dearest(connection: Connection) -> str:
    """Name the unmapped namespace that costs most."""
    return str(
        one(
            connection,
            "SELECT n.name FROM allocations a JOIN namespaces n ON n.id = a.namespace_id"
            " WHERE a.kind = 0 GROUP BY n.name ORDER BY sum(a.total_nano) DESC LIMIT 1",
        )
    )


def test_a_frozen_cluster_holds_up_no_other_and_no_stop(
    world: World, database: Database, state: Path
) -> None:
    world["us-gpu"].faults.add("frozen_handshake")
    connection = admin(database)
    with start(database, state, collect_parallel="2", answer_timeout_s="5") as daemon:
        for cluster in world:
            register(connection, cluster)
        daemon.until(lambda: collected(connection, "eu-prod") >= HOURS)
        assert collected(connection, "us-gpu") == 0
        page = daemon.ask("/metrics")[1]
        for figure in (
            'hopsmeter_cluster_asks_total{cluster="eu-prod",outcome="stored"}',
            'hopsmeter_hours{cluster="eu-prod",state="collected"}',
        ):
            assert figures(page)[figure] >= HOURS
        assert "hopsmeter_unposted_hours 0.0" in page
        begun_s = time.monotonic()
        assert daemon.end() == 0
        assert time.monotonic() - begun_s < STOP_LIMIT_S


@pytest.mark.long
def test_hours_that_a_killed_daemon_had_claimed_are_taken_up_at_the_next_start(
    world: World, database: Database, state: Path
) -> None:
    world["eu-prod"].faults.add("slow", seconds=60, times=1)
    connection = admin(database)
    with start(database, state) as killed:
        register(connection, world["eu-prod"])
        killed.until(lambda: world["eu-prod"].asks)
    with start(database, state) as daemon:
        assert daemon.wait_for("took back what was left claimed")["hours"] == 1
        daemon.until(lambda: collected(connection, "eu-prod") >= HOURS)
        assert daemon.end() == 0


def test_what_a_person_wants_asked_is_asked_at_once(
    world: World, database: Database, state: Path
) -> None:
    connection = admin(database)
    with start(database, state) as daemon:
        register(connection, world["eu-prod"])
        daemon.until(lambda: collected(connection, "eu-prod") >= HOURS)
        hour = hour_text(last_closed_hour(utc_now(), timedelta(minutes=1)) - 2 * HOUR)
        begun_s = time.monotonic()
        for _ in range(ASKED_AGAIN):
            asked = len(world["eu-prod"].asks)
            submit(connection, "collect", Collect("eu-prod", hour=hour))
            daemon.until(partial(asked_again, connection, world["eu-prod"], asked))
        assert time.monotonic() - begun_s < ASKED_AGAIN_LIMIT_S
        assert daemon.end() == 0


def test_a_mapping_is_in_the_daily_rows_at_once(
    world: World, database: Database, state: Path
) -> None:
    connection = admin(database)
    with start(database, state) as daemon:
        register(connection, world["eu-prod"])
        daemon.until(lambda: collected(connection, "eu-prod") >= HOURS)
        wait(connection, submit(connection, "user.add", UserAdd("auth0|anna", "anna@x.test")), 20)
        assert charged(connection) == 0
        begun_s = time.monotonic()
        given = NamespaceMap("eu-prod", dearest(connection), "auth0|anna")
        ended = wait(connection, submit(connection, "namespace.map", given), 20)
        assert ended.state == "done", ended
        daemon.until(lambda: charged(connection) > 0)
        assert time.monotonic() - begun_s < POSTED_LIMIT_S
        assert daemon.end() == 0


def test_a_check_has_opencost_answer_beside_the_collection(
    world: World, database: Database, state: Path
) -> None:
    world["us-gpu"].faults.add("two_clusters")
    connection = admin(database)
    with start(database, state, answer_timeout_s="20") as daemon:
        ends = {}
        for cluster in world:
            register(connection, cluster)
            checked = submit(connection, "cluster.check", ClusterNamed(cluster.name))
            ends[cluster.name] = wait(connection, checked, 60).result or {}
        assert daemon.end() == 0
    steps = {step["name"]: step for step in ends["eu-prod"]["steps"]}
    assert [name for name, step in steps.items() if step["outcome"] != "ok"] == []
    assert "back to" in steps["history"]["saw"]
    assert ends["us-gpu"]["summary"] == "Cluster us-gpu fails at cluster id."


def test_no_secret_of_a_cluster_is_in_the_log(
    world: World, database: Database, state: Path
) -> None:
    world["eu-prod"].faults.add("unauthorized", times=1)
    connection = admin(database)
    with start(database, state) as daemon:
        token = register(connection, world["eu-prod"])
        daemon.wait_for("hour failed")
        daemon.end()
    assert len(token) > 20
    assert token not in daemon.text
    assert token.split(".")[-1] not in daemon.text
