"""One fork server for all tests of this folder, started before any of them counts processes."""

import base64
import json
import socket
from collections.abc import Callable, Iterator

import pytest

from core.clusters.connection import ClusterAccess, Launcher
from core.secret import Secret
from sandbox.kube.authority import Authority

AccessTo = Callable[[int], ClusterAccess]


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    one = Launcher()
    one.pid()
    yield one
    one.stop()


@pytest.fixture(scope="session")
def access_to() -> AccessTo:
    """Access to whatever listens on a port of ours, with a token and a CA."""
    authority = base64.b64encode(Authority("eu-1").pem).decode()

    def to(port: int) -> ClusterAccess:
        cluster = {
            "server": f"https://127.0.0.1:{port}",
            "certificate-authority-data": authority,
        }
        document = {
            "clusters": [{"cluster": cluster}],
            "users": [{"user": {"token": "very-secret-token"}}],
        }
        return ClusterAccess("eu-1", Secret(json.dumps(document)))

    return to


@pytest.fixture
def frozen(access_to: AccessTo) -> Iterator[ClusterAccess]:
    """An API server whose kernel accepts TCP and that never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield access_to(server.getsockname()[1])
