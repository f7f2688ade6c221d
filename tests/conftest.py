"""What every test may ask for (`database`), and what none may do (leave loopback, leave processes)."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import hypothesis
import pytest

from tests import children, loopback
from tests.database import Connection, Database, Server, Templates, administer, cloned, serving

hypothesis.settings.register_profile("here", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.register_profile("deep", deadline=None, max_examples=2_000)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")

_RUN = pytest.StashKey[ExitStack]()
_SERVER = pytest.StashKey[Server]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the run's one server to each xdist worker."""
    server = _server_of(node.config)
    node.workerinput["postgres"] = [server.folder, server.url, server.superuser_url]


def pytest_unconfigure(config: pytest.Config) -> None:
    run = config.stash.get(_RUN, None)
    if run is not None:
        run.close()


def _server_of(config: pytest.Config) -> Server:
    """Return the run's server, started when the first asks for it."""
    if hasattr(config, "workerinput"):
        return Server(*config.workerinput["postgres"])
    if _SERVER not in config.stash:
        config.stash[_RUN] = ExitStack()
        config.stash[_SERVER] = config.stash[_RUN].enter_context(serving())
    return config.stash[_SERVER]


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Server:
    """The run's server; most tests want `database`."""
    return _server_of(pytestconfig)


@pytest.fixture(scope="session")
def _admin(postgres: Server) -> Iterator[Connection]:
    with administer(postgres) as connection:
        yield connection


@pytest.fixture
def database(_admin: Connection, postgres: Server) -> Iterator[Database]:
    """A database of this test alone, with the whole schema."""
    with cloned(_admin, postgres) as database:
        yield database


@pytest.fixture(scope="session")
def templates(_admin: Connection, postgres: Server) -> Templates:
    """Databases that are filled once and cloned for each test that begins with the same."""
    return Templates(_admin, postgres)


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        loopback.guard(patch)
        yield


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    before = children.living()
    yield
    left = children.left_since(before)
    if left:
        pytest.fail(f"the test left processes behind: {left}")
