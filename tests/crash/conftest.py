"""One world per worker, and the books of one run over it that nothing disturbed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.world import World
from tests.crash.books import Books
from tests.crash.scene import CLUSTERS, Scene, Span
from tests.daemon.process import state_folder
from tests.database import Connection, Database, Server, administer, cloned, serving

SEED = 7

NewScene = Callable[..., Scene]


@pytest.fixture(scope="session")
def span() -> Span:
    return Span.now()


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    with World(SEED, CLUSTERS) as world:
        yield world


@pytest.fixture(autouse=True)
def _no_faults_left(world: World) -> None:
    for cluster in world:
        cluster.faults.clear()


@pytest.fixture(scope="session")
def undisturbed(
    world: World,
    span: Span,
    _admin: Connection,
    postgres: Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> Books:
    """The books that every run must come to."""
    state = state_folder(tmp_path_factory.mktemp("undisturbed") / "state")
    with cloned(_admin, postgres) as database:
        scene = Scene(world, span, state, database.url)
        try:
            scene.play()
        finally:
            scene.close()
    return scene.books


@pytest.fixture(scope="module")
def _server_apart() -> Iterator[tuple[Server, Connection]]:
    with serving() as server, administer(server) as admin:
        yield server, admin


@pytest.fixture
def database_apart(_server_apart: tuple[Server, Connection]) -> Iterator[Database]:
    """A test's database on a server of its own, for who freezes within a COPY or a long answer.

    Until it thaws, its backend takes no barrier, and every CREATE and DROP DATABASE of that
    server waits for one: the other workers' tests would stand still as long.
    """
    server, admin = _server_apart
    with cloned(admin, server) as database:
        yield database


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return state_folder(tmp_path / "state")


@pytest.fixture
def new_scene(world: World, span: Span, database: Database, state: Path) -> NewScene:
    """Make a scene on the test's database."""

    def make(**changes: Any) -> Scene:
        return Scene(world, span, state, database.url, **changes)

    return make
