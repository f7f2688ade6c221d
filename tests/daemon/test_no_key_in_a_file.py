"""A daemon that is killed in mid-visit leaves nothing of what it had opened in any file."""

import base64
import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Literal

import psutil
import pytest
import yaml

from core.clock import hour_text, last_closed_hour, utc_now
from core.commands.arguments import ClusterAdd
from core.commands.submit import submit, wait
from core.db.embedded_files import OWNER
from core.secret import Secret
from sandbox.cluster import Cluster
from sandbox.world import World
from tests.daemon.process import Daemon, environment, state_folder
from tests.database import Database

PLACES = ("/dev/shm", "/run", "/var/tmp", tempfile.gettempdir())
CTIME_SLACK_S = 1.0
END_LIMIT_S = 10.0
BIG_BYTES = 128 << 20


@pytest.fixture
def world() -> Iterator[World]:
    with World(clusters=["eu-prod"], namespaces=4) as world:
        world["eu-prod"].faults.add("slow", seconds=60)
        yield world


def register(database: Database, cluster: Cluster, kubeconfig: str) -> None:
    connection = database.connect()
    connection.execute("INSERT INTO users (id, email, is_admin) VALUES ('auth0|a', 'a@x', true)")
    connection.execute("INSERT INTO logins (role, user_id) VALUES (%s, 'auth0|a')", [OWNER])
    arguments = ClusterAdd(
        cluster=cluster.name,
        api_url="https://hopsworks.example.test",
        opencost_namespace=cluster.place.namespace,
        selector=cluster.place.selector,
        metering_since=hour_text(last_closed_hour(utc_now(), timedelta(minutes=1))),
    )
    sealed = {"kubeconfig": Secret(kubeconfig), "api_key": Secret("made-up-api-key-0123456789")}
    outcome = wait(connection, submit(connection, "cluster.add", arguments, sealed=sealed), 20)
    assert outcome.state == "done", outcome


def secrets_of(kubeconfig: str) -> list[bytes]:
    """Return what must not be found: the token, or the key as it is given and line by line."""
    user = yaml.safe_load(kubeconfig)["users"][0]["user"]
    if "token" in user:
        return [user["token"].encode(), user["token"].rpartition(".")[2].encode()]
    given = user["client-key-data"].encode()
    lines = base64.b64decode(given).splitlines()[1:-1]
    assert lines
    return [given, *lines]


def written_since(moment_s: float, state: Path) -> Iterator[tuple[Path, bytes]]:
    for place in {*PLACES, str(state)}:
        for folder, _, names in os.walk(place):
            for path in (Path(folder, name) for name in names):
                with contextlib.suppress(OSError):  # others come and go
                    facts = path.lstat()
                    if facts.st_ctime >= moment_s and facts.st_size < BIG_BYTES and path.is_file():
                        yield path, path.read_bytes()


@pytest.mark.parametrize(
    "credential", ["token", pytest.param("certificate", marks=pytest.mark.long)]
)
def test_a_killed_daemon_leaves_no_decrypted_byte_in_any_file(
    world: World,
    database: Database,
    tmp_path: Path,
    credential: Literal["token", "certificate"],
) -> None:
    cluster = world["eu-prod"]
    kubeconfig = cluster.kubeconfig(credential=credential)
    state = state_folder(tmp_path / "state")
    around = environment(
        state, database_url=database.url, loopback_clusters="true", collect_delay_minutes="1"
    )
    begun_s = utc_now().timestamp() - CTIME_SLACK_S
    with Daemon(around).ready() as daemon:
        register(database, cluster, kubeconfig)
        daemon.until(lambda: cluster.asks)  # it holds the line, and all that opened it
        family = psutil.Process(daemon.process.pid).children(recursive=True)
        assert len(family) >= 2, "the fork server and the visit"
        daemon.end(signal.SIGKILL)
    _, alive = psutil.wait_procs(family, END_LIMIT_S)
    assert not alive
    seen = 0
    for path, content in written_since(begun_s, state):
        seen += 1
        for secret in [*secrets_of(kubeconfig), b"made-up-api-key-0123456789"]:
            assert secret not in content, path
    assert seen > 10, "the database's own files at least"
