"""The world as others start it: in a thread, and as a process."""

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import yaml

from core.clock import floor_hour, utc_now
from sandbox.cluster import Cluster, ClusterSpec
from sandbox.remote import world_process
from sandbox.world import World
from tests.sandbox.clients import bearer, core_api, http_to, raw_path, run_in_pod, wget

ENDS_S = 10.0
SLOW_S = 0.3


def until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + ENDS_S
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.02)
    return False


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_world_stops_with_its_block() -> None:
    threads = threading.active_count()
    with World() as world:
        ports = [cluster.server.port for cluster in world]
        assert [cluster.name for cluster in world] == ["eu-prod", "us-gpu", "ap-dev"]
    assert threading.active_count() == threads
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_world_that_stops_as_clients_arrive_leaves_no_socket_open() -> None:
    with warnings.catch_warnings(record=True) as seen, contextlib.ExitStack() as stack:
        warnings.simplefilter("always")
        for _ in range(20):
            with World(clusters=1, namespaces=3) as world:
                for port in [world["eu-prod"].server.port, urlsplit(world.control_url).port]:
                    for _ in range(5):
                        stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        gc.collect()
    assert [str(warning.message) for warning in seen] == []


def test_worlds_are_made_of_numbers_names_and_specs() -> None:
    assert len(World(clusters=50).clusters) == 50
    named = World(clusters=["eu-prod", "other"], namespaces=12)
    assert [len(cluster.story.namespaces) for cluster in named] == [12, 12]
    spec = ClusterSpec("a", install="manifest")
    assert World(clusters=[spec])["a"].place.selector == "app=opencost"


def test_hours_of_the_real_clock_have_data_for_fifteen_days(tmp_path: Path) -> None:
    with World(clusters=["us-gpu"]) as world:
        cluster = world["us-gpu"]
        assert cluster.place.container == "hopsworks-release-opencost"
        with core_api(cluster, tmp_path) as core:
            for age in (timedelta(hours=1), timedelta(days=14)):
                done = run_in_pod(core, cluster, wget(floor_hour(utc_now()) - age))
                assert b"default-cluster/kube-system" in done.stdout
        starts = [ask.start for ask in cluster.asks if ask.start]
        assert len(starts) == 2
        assert starts[0] - starts[1] == timedelta(days=13, hours=23)


def test_ownership_stays_where_the_world_began() -> None:
    world = World(now=None)
    world.clock.freeze(datetime(2026, 3, 4, 12, 20, tzinfo=UTC))
    before = world.ownership
    world.clock.advance(timedelta(days=3))
    assert world.ownership == before
    assert {entry.cluster for entry in before} == set(world.clusters)


def test_bad_for_a_while_is_bad_for_so_many_asks() -> None:
    path = "/allocation?window=yesterday"
    with World(clusters=["ap-dev"]) as world, http_to(world["ap-dev"]) as http:
        world.scenario_bad_for_a_while("ap-dev", asks=3)
        statuses = [http.get(raw_path(world["ap-dev"], path)).status_code for _ in range(5)]
    assert statuses == [500, 500, 500, 200, 200]


def test_a_world_process_describes_itself_and_takes_orders(tmp_path: Path) -> None:
    with world_process("--clusters", "2", "--seed", "11") as remote:
        assert set(remote.clusters) == {"eu-prod", "us-gpu"}
        described = remote.clusters["eu-prod"]
        assert yaml.safe_load(described["kubeconfig"])["clusters"][0]["name"] == "eu-prod"
        assert described["unmapped"]
        users = {user["user_id"] for user in remote.description["users"]}
        assert {entry["user_id"] for entry in remote.description["ownership"]} <= users
        number = remote.add_fault("eu-prod", "slow", seconds=2.5, after=datetime.now(UTC))
        assert remote.faults()["eu-prod"][0]["id"] == number
        remote.clear_faults("us-gpu")
        assert remote.faults()["eu-prod"]
        remote.clear_faults()
        assert remote.faults() == {"eu-prod": [], "us-gpu": []}
        remote.freeze(datetime(2026, 3, 4, 12, 20, tzinfo=UTC))
        remote.advance(60)
        assert remote.asks() == {"eu-prod": [], "us-gpu": []}
        date = httpx.get(f"{remote.description['control_url']}/sandbox/world").headers["date"]
        assert date == "Wed, 04 Mar 2026 12:21:00 GMT"
        with pytest.raises(ValueError, match="no fault is called"):
            remote.add_fault("eu-prod", "nonsense")
        pid = remote.pid
    assert pid
    assert gone(pid)


def test_a_world_process_ends_with_its_killed_parent(tmp_path: Path) -> None:
    port_file = tmp_path / "world.json"
    script = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-m', 'sandbox', '--port-file', {str(port_file)!r},"
        " '--clusters', '1'], stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert until(port_file.exists)
        assert port_file.stat().st_mode & 0o077 == 0
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.communicate(timeout=ENDS_S)
    assert until(lambda: gone(child))


def test_what_a_killed_owner_of_a_world_left_goes_with_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import time\n"
        "from sandbox.remote import world_process\n"
        "with world_process('--clusters', '1'):\n"
        "    print('up', flush=True)\n"
        "    time.sleep(60)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        assert owner.stdout
        assert owner.stdout.readline()
        (left,) = tmp_path.iterdir()
        assert list(left.iterdir()) == [], "what it was told with the credentials is gone by now"
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.communicate(timeout=ENDS_S)
    (left / "world.json").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = {tmp_path / f"hopsmeter-world-{os.getpid()}-abc", tmp_path / "hopsmeter-world-12345678"}
    linked = tmp_path / f"hopsmeter-world-{owner.pid}-link"
    for folder in kept:
        folder.mkdir()
    linked.symlink_to(next(iter(kept)))
    with world_process("--clusters", "1"):
        assert not left.exists()
    assert set(tmp_path.iterdir()) == {*kept, linked}


def test_a_world_process_obeys_sigterm(tmp_path: Path) -> None:
    port_file = tmp_path / "world.json"
    command = [sys.executable, "-m", "sandbox", "--port-file", str(port_file), "--clusters", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    assert until(port_file.exists)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(ENDS_S) == 0


@pytest.mark.parametrize(
    "ended_by", [signal.SIGTERM, signal.SIGINT, None], ids=["SIGTERM", "SIGINT", "its lifeline"]
)
def test_a_world_process_ends_without_a_word_though_clients_hang_on(
    tmp_path: Path, ended_by: signal.Signals | None
) -> None:
    port_file = tmp_path / "world.json"
    command = [sys.executable, "-W", "always", "-m", "sandbox", "--port-file", str(port_file)]
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                [*command, "--clusters", "1", "--lifeline", "stdin"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(process.kill)
        assert until(port_file.exists)
        described = json.loads(port_file.read_text())
        (cluster,) = described["clusters"]
        trusted = ssl.create_default_context(cadata=cluster["ca_pem"])
        client = stack.enter_context(httpx.Client(verify=trusted, trust_env=False))
        assert client.get(f"{described['control_url']}/sandbox/asks").status_code == 200
        assert client.get(f"{cluster['api_url']}/version").status_code == 200
        address = ("127.0.0.1", int(cluster["api_url"].rpartition(":")[2]))
        stack.enter_context(socket.create_connection(address))  # never shakes hands
        if ended_by:
            process.send_signal(ended_by)
        assert process.stdin is not None
        process.stdin.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(ENDS_S) == 0


async def test_fifty_slow_clusters_answer_side_by_side() -> None:
    async def ask(cluster: Cluster) -> int:
        context = ssl.create_default_context(cadata=cluster.ca_pem)
        async with httpx.AsyncClient(verify=context, trust_env=False, timeout=ENDS_S) as http:
            url = cluster.api_url + raw_path(cluster, "/allocation?window=yesterday")
            return (await http.get(url, headers=bearer(cluster))).status_code

    with World(clusters=50, namespaces=10) as world:
        for cluster in world:
            cluster.faults.add("slow", seconds=SLOW_S)
        began = time.monotonic()
        statuses = await asyncio.gather(*map(ask, world))
        took_s = time.monotonic() - began
    assert statuses == [200] * 50
    assert took_s < 50 * SLOW_S / 2
