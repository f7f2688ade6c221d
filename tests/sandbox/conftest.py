from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from sandbox.clock import WorldClock
from sandbox.cluster import Cluster
from sandbox.world import World

NOW = datetime(2026, 3, 4, 12, 20, 30, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def world(now: datetime) -> Iterator[World]:
    with World(clusters=["eu-prod"], now=WorldClock(now)) as world:
        yield world


@pytest.fixture
def cluster(world: World) -> Cluster:
    return world["eu-prod"]
