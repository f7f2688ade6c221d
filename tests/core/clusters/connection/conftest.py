"""One fork server for all tests of this folder, started before any of them counts processes."""

import socket
from collections.abc import Iterator

import pytest

from core.clusters.connection import Launcher


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    one = Launcher()
    one.pid()
    yield one
    one.stop()


@pytest.fixture
def frozen_server() -> Iterator[int]:
    """A port that accepts TCP (the kernel does) and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
