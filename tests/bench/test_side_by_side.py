"""Collectors beside each other: four against one, and fifty slow clusters ten at a time."""

import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import psutil
import psycopg
import pytest

from core.clock import HOUR, floor_hour, utc_now
from core.clusters.connection import ClusterAccess, Reach, VisitLimits, launcher
from core.clusters.kubeconfig import read_kubeconfig
from core.db.connect import connect
from core.db.embedded import start
from core.db.migrate import upgrade
from core.metering.collect import Collector
from core.metering.policy import Policy
from core.opencost.shape import decode
from sandbox.remote import RemoteWorld, world_process
from tests.bench.bodies import template
from tests.bench.fleet import Fleet, add_cluster

pytestmark = pytest.mark.bench

CLUSTERS, NAMESPACES, ROUNDS = 200, 100, 5
FOUR_AGAINST_ONE = 1.6
"""On two cores that are two: where two processes that share nothing reach less than twice of one,
as on threads of one core, the same part of that is asked for."""
DECODES = 3_000
SLOW_CLUSTERS, AT_ONCE, ANSWER_S = 50, 10, 1.0
SLOW_BOUND = 1.3
GROWTH_MAX_BYTES = 4 * 2**20
START_S = 60.0

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, start(Path(folder) / "postgres") as running:
        upgrade(running.url)
        yield running.url


def _collector(url: str, name: str, clusters: int, meet: Barrier) -> None:
    """Store an hour of `clusters` clusters a round, each in a commit of its own."""
    bodies = [template(NAMESPACES, seed) for seed in range(clusters)]
    with connect(url, name=name) as connection:
        fleet = Fleet(connection, name, bodies)
        fleet.next_hour()
        fleet.store(raw=True)
        for _ in range(ROUNDS):
            fleet.next_hour()
            meet.wait(START_S)
            fleet.store_apart()
            meet.wait(START_S)


def _seconds(url: str, collectors: int, tag: str) -> list[float]:
    context = multiprocessing.get_context("spawn")
    meet = context.Barrier(collectors + 1)
    share = CLUSTERS // collectors
    workers = [
        context.Process(target=_collector, args=(url, f"{tag}-{number}", share, meet))
        for number in range(collectors)
    ]
    return _rounds_of(meet, workers)


def _rounds_of(meet: Barrier, workers: Sequence[BaseProcess]) -> list[float]:
    for worker in workers:
        worker.start()
    taken = []
    for _ in range(ROUNDS):
        meet.wait(START_S)
        began_s = perf_counter()
        meet.wait(START_S)
        taken.append(perf_counter() - began_s)
    for worker in workers:
        worker.join(START_S)
        assert worker.exitcode == 0
    return taken


def _decoder(meet: Barrier) -> None:
    """Work that shares nothing, not even the memory of what it reads."""
    bodies = [template(NAMESPACES, seed) for seed in range(20)]
    for _ in range(ROUNDS):
        meet.wait(START_S)
        for number in range(DECODES):
            decode(bodies[number % len(bodies)])
        meet.wait(START_S)


def _two_cores() -> float:
    """Return how much more two processes that share nothing do than one; 2 is what one hopes for."""
    context = multiprocessing.get_context("spawn")
    taken = []
    for processes in (1, 2):
        meet = context.Barrier(processes + 1)
        workers = [context.Process(target=_decoder, args=(meet,)) for _ in range(processes)]
        taken.append(median(_rounds_of(meet, workers)))
    return 2 * taken[0] / taken[1]


def _deadlocks(url: str) -> int:
    with connect(url, name="bench") as connection:
        row = connection.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    return int(row[0]) if row else 0


def test_four_collectors_beat_one(server: str) -> None:
    one = _seconds(server, 1, "alone")
    four = _seconds(server, 4, "four")
    faster, possible = median(one) / median(four), min(_two_cores(), 2.0)
    bound = FOUR_AGAINST_ONE * possible / 2
    print(  # noqa: T201  # what a benchmark is for
        f"\n{CLUSTERS} clusters × {NAMESPACES}: one collector {median(one) * 1000:.0f} ms,"
        f" four {median(four) * 1000:.0f} ms: {faster:.2f} × (bound {bound:.2f}:"
        f" {FOUR_AGAINST_ONE} on two cores that do twice of one; these do {possible:.2f} ×)"
    )
    assert _deadlocks(server) == 0
    assert faster >= bound


def test_slow_clusters_cost_only_their_own_time(server: str) -> None:
    # In a process of its own: the sandbox remembers what it answered, and that is not our memory.
    with world_process("--clusters", str(SLOW_CLUSTERS), "--namespaces", "20") as world:
        access = _register(server, world)
        for name in world.clusters:
            world.add_fault(name, "slow", seconds=ANSWER_S)
        took, memory = _rounds(server, access)
    launcher.stop()
    allowed_s = SLOW_CLUSTERS / AT_ONCE * ANSWER_S
    grown = memory[-1] - memory[1]
    print(  # noqa: T201  # what a benchmark is for
        f"\n{SLOW_CLUSTERS} clusters of {ANSWER_S:g} s, {AT_ONCE} at once: {median(took):.2f} s,"
        f" {median(took) / allowed_s:.2f} × what that allows (bound {SLOW_BOUND});"
        f" memory {memory[1] / 2**20:.0f} MiB, {ROUNDS - 1} rounds later {grown / 2**20:+.1f} MiB"
    )
    assert median(took) <= allowed_s * SLOW_BOUND
    assert grown <= GROWTH_MAX_BYTES


def _register(url: str, world: RemoteWorld) -> dict[int, ClusterAccess]:
    now = utc_now()
    with connect(url, name="bench") as connection:
        connection.execute("UPDATE hopsmeter.hopsworks_clusters SET status = 'removed'")
        return {
            add_cluster(connection, f"slow-{name}", floor_hour(now)): ClusterAccess(
                name,
                read_kubeconfig(
                    found["kubeconfig"], now=now, allow_loopback=True
                ).minimal_document(),
            )
            for name, found in world.clusters.items()
        }


def _rounds(url: str, access: dict[int, ClusterAccess]) -> tuple[list[float], list[int]]:
    """Collect one further hour of every cluster a round; the clock goes on by an hour each."""
    at = [floor_hour(utc_now()) - HOUR * (ROUNDS + 2)]
    collector = Collector(
        connect=lambda name: connect(url, name=name),
        access=lambda _, cluster_id: access[cluster_id],
        open_reach=lambda found: Reach(found, VisitLimits(), launcher),
        daemon="bench",
        parallel=AT_ONCE,
        policy=Policy(),
        clock=lambda: at[0] + timedelta(minutes=15),
        tell=_silent,
    )
    me = psutil.Process()
    taken, memory = [], [me.memory_info().rss]
    with connect(url, name="bench") as connection:
        for _ in range(ROUNDS):
            at[0] += HOUR
            _due(connection, list(access), at[0] - HOUR)
            began_s = perf_counter()
            answered = collector.work_through(connection)
            taken.append(perf_counter() - began_s)
            assert answered == len(access)
            memory.append(me.memory_info().rss)
    assert collector.stop(START_S)
    return taken, memory


def _due(connection: Connection, clusters: list[int], hour: datetime) -> None:
    connection.execute(
        "UPDATE hopsmeter.hopsworks_clusters SET metering_since = %s WHERE id = ANY (%s)"
        " AND NOT EXISTS (SELECT FROM hopsmeter.collection_windows WHERE cluster_id = id)",
        [hour, clusters],
    )


def _silent(event: str, **facts: Any) -> None:
    assert event in ("hour_stored", "cluster_visited"), f"{event}: {facts}"
