"""The hourly run took minutes for a handful of clusters and was cut off half-way."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core.clusters.connection import ClusterAccess, Reach
from core.metering.collect import Collector
from core.secret import Secret
from tests.core.metering.site import OurReach, Site, away

WAIT_S = 20.0


class SlowReach(OurReach):
    """Says nothing until it is let go."""

    def __init__(self, access: ClusterAccess, site: Site, let_go: threading.Event) -> None:
        super().__init__(access, site)
        self._let_go = let_go

    def get(self, path: str) -> bytes:
        self._let_go.wait(WAIT_S)
        return super().get(path)


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def collector(site: Site, let_go: threading.Event) -> Iterator[Collector]:
    """Four at once; the cluster `slow` hangs until it is let go."""

    def reach(access: ClusterAccess) -> Reach:
        return (
            SlowReach(access, site, let_go) if access.cluster == "slow" else OurReach(access, site)
        )

    one = Collector(
        connect=site.open,
        access=lambda _, cluster_id: ClusterAccess(site._name_of(cluster_id), Secret("{}")),
        open_reach=reach,
        daemon="test",
        parallel=4,
        policy=site.policy,
        clock=lambda: site.now,
        tell=site._tell,
    )
    yield one
    let_go.set()
    one.stop(WAIT_S)


def wait_until(site: Site, true: Callable[[], bool]) -> None:
    for _ in range(int(WAIT_S / 0.02)):
        if true():
            return
        site.connection.execute("SELECT pg_sleep(0.02)")
    pytest.fail("it did not come about in time")


def test_the_others_are_collected_while_one_says_nothing(
    site: Site, collector: Collector, let_go: threading.Event
) -> None:
    names = [f"eu-{number}" for number in range(8)]
    for name in ("slow", *names):
        site.cluster(name)
        for number in range(6):
            site.say({"ml-train": 1}, number, name)
    site.until(5)

    def done(of: list[str]) -> bool:
        collector.look(site.connection)
        return all(set(site.states(name)) == {"collected"} for name in of)

    wait_until(site, lambda: done(names))
    assert site.states("slow") == ["due"] * 6
    let_go.set()
    wait_until(site, lambda: done(["slow"]))
    site.post()
    site.must_balance()


def test_one_that_is_gone_costs_the_others_nothing(site: Site, collector: Collector) -> None:
    for name in ("gone", "eu-1"):
        site.cluster(name)
    for number in range(6):
        site.say(away("gone"), number, "gone")
        site.say({"ml-train": 1}, number, "eu-1")
    site.until(5)
    collector.work_through(site.connection)
    assert site.states("eu-1") == ["collected"] * 6
    assert site.states("gone") == ["failed"] + ["due"] * 5
    asked = [cluster for cluster, _ in site.asked]
    assert (asked.count("gone"), asked.count("eu-1")) == (1, 6)


def test_a_cluster_is_visited_by_one_at_a_time(
    site: Site, collector: Collector, let_go: threading.Event
) -> None:
    site.cluster("slow")
    site.say(["ml-train"], 0, "slow")
    for _ in range(5):
        collector.look(site.connection)
    assert collector.visiting == 1
    let_go.set()
    found: list[Any] = []
    wait_until(site, lambda: site.states("slow") == ["collected"])
    found = site.asked
    assert len(found) == 1
