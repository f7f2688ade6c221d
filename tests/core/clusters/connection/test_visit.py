"""The process of a visit: its deadline, its end, and what it leaves behind (nothing)."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.clusters.connection import ClusterAccess, Launcher, VisitLimits, visit
from core.clusters.connection.client import _hidden_file
from core.errors import ClusterFault, ClusterTimeout

VISITS = 200
HELD_WITHIN_S = 0.5


def visits_of(launcher: Launcher) -> list[int]:
    pid = launcher.pid()
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(condition: object, within_s: float = 5.0) -> None:
    assert callable(condition)
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, "it did not come true in time"
        time.sleep(0.01)


def test_a_frozen_handshake_is_cut_at_the_deadline(
    launcher: Launcher, frozen: ClusterAccess
) -> None:
    limits = VisitLimits(answer_s=1.0)
    begin = time.monotonic()
    with (
        visit(frozen, limits, launcher) as reach,
        pytest.raises(ClusterTimeout, match="eu-1, connect: no answer within 1 s"),
    ):
        reach.get("/healthz")
    assert 1.0 <= time.monotonic() - begin < 1.0 + HELD_WITHIN_S
    assert not visits_of(launcher)


def test_connecting_has_a_shorter_limit_of_its_own(
    launcher: Launcher, frozen: ClusterAccess
) -> None:
    limits = VisitLimits(answer_s=20, connect_s=0.5)
    begin = time.monotonic()
    with (
        visit(frozen, limits, launcher) as reach,
        pytest.raises(ClusterTimeout, match="eu-1, connect: the API server does not answer"),
    ):
        reach.get("/healthz")
    assert time.monotonic() - begin < 0.5 + HELD_WITHIN_S


def test_a_stopped_visit_is_killed_at_the_deadline(
    launcher: Launcher, frozen: ClusterAccess
) -> None:
    limits = VisitLimits(answer_s=1.0)
    with visit(frozen, limits, launcher) as reach:
        freezer = threading.Timer(0.3, lambda: os.kill(visits_of(launcher)[0], signal.SIGSTOP))
        freezer.start()
        begin = time.monotonic()
        with pytest.raises(ClusterTimeout):
            reach.get("/healthz")
        assert time.monotonic() - begin < 1.0 + HELD_WITHIN_S
        freezer.join()
    assert not visits_of(launcher)


def test_a_visit_can_be_used_again_after_its_process_was_killed(
    launcher: Launcher, frozen: ClusterAccess
) -> None:
    with visit(frozen, VisitLimits(answer_s=0.3), launcher) as reach:
        for _ in range(2):
            with pytest.raises(ClusterTimeout):
                reach.get("/healthz")


def test_many_visits_leave_no_descriptor_no_process_and_no_memory(
    launcher: Launcher, access_to: Callable[[int], ClusterAccess]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        refusing = access_to(server.getsockname()[1])  # closed below: what connects is refused
    limits = VisitLimits(retries_max=0)

    def once() -> None:
        with (
            visit(refusing, limits, launcher) as reach,
            pytest.raises(ClusterFault, match="refuses the connection"),
        ):
            reach.get("/healthz")

    def held() -> tuple[int, int, int]:
        pid = launcher.pid()
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
        fds = len(list(Path("/proc/self/fd").iterdir()))
        return fds, resident, len(visits_of(launcher))

    for _ in range(20):
        once()
    before = held()
    for _ in range(VISITS):
        once()
    after = held()
    assert after[0] == before[0]
    assert after[1] - before[1] < 1024 * 1024
    assert after[2] == 0


def test_no_visit_outlives_a_killed_daemon(frozen: ClusterAccess) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(Path.cwd())!r})
from core.clusters.connection import ClusterAccess, launcher, visit
from core.secret import Secret
access = ClusterAccess("eu-1", Secret({frozen.kubeconfig.reveal()!r}))
print(launcher.pid(), flush=True)
with visit(access) as reach:
    reach.get("/healthz")
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout
        server = int(daemon.stdout.readline())
        children = Path(f"/proc/{server}/task/{server}/children")
        wait_until(lambda: children.read_text().strip())
        (child,) = [int(pid) for pid in children.read_text().split()]
        daemon.kill()
    wait_until(lambda: gone(server) and gone(child))


def test_signals_meant_for_the_daemon_do_not_end_a_visit(
    launcher: Launcher, frozen: ClusterAccess
) -> None:
    assert os.getsid(launcher.pid()) != os.getsid(0)
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def send() -> None:
        for pid in (launcher.pid(), *visits_of(launcher)):
            for number in signals:
                os.kill(pid, number)

    with visit(frozen, VisitLimits(answer_s=1), launcher) as reach:
        sender = threading.Timer(0.4, send)
        sender.start()
        with pytest.raises(ClusterTimeout):  # no fault before: it lived on to its deadline
            reach.get("/healthz")
        sender.join()


def test_a_killed_fork_server_is_started_again(frozen: ClusterAccess) -> None:
    own = Launcher()
    first = own.pid()
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: gone(first))
    with (
        visit(frozen, VisitLimits(answer_s=1), own) as reach,
        pytest.raises(ClusterTimeout),
    ):
        reach.get("/healthz")
    assert own.pid() != first
    own.stop()


def test_stopping_the_fork_server_ends_an_ask_under_way(frozen: ClusterAccess) -> None:
    own = Launcher()
    own.pid()
    with visit(frozen, VisitLimits(answer_s=20), own) as reach:
        stopper = threading.Timer(0.5, own.stop)
        stopper.start()
        with pytest.raises(ClusterFault, match="ended unexpectedly"):
            reach.get("/healthz")
        stopper.join()


def test_neither_arguments_nor_environment_tell_a_secret(
    monkeypatch: pytest.MonkeyPatch, frozen: ClusterAccess
) -> None:
    monkeypatch.setenv("HOPSMETER_DATABASE_URL", "very-secret-url")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    own = Launcher()
    seen: list[bytes] = []

    def look() -> None:
        # The ask waits for a frozen server until we stop it: whoever is looked at is there.
        wait_until(lambda: visits_of(own))
        for pid in (own.pid(), *visits_of(own)):
            for name in ("cmdline", "environ", "comm"):
                try:
                    seen.append(Path(f"/proc/{pid}/{name}").read_bytes())
                except PermissionError:
                    assert name == "environ"  # not even our own user may look
        own.stop()

    with visit(frozen, VisitLimits(answer_s=20), own) as reach:
        looker = threading.Timer(0.1, look)
        looker.start()
        with pytest.raises(ClusterFault, match="ended unexpectedly"):
            reach.get("/healthz")
        looker.join()
    assert len(seen) >= 4
    assert not any(b"secret" in text or b"PROXY" in text for text in seen)


def test_a_key_handed_to_the_tls_library_has_no_name_in_any_file_system() -> None:
    path = _hidden_file(b"key")
    assert path
    assert path.startswith("/proc/self/fd/")
    assert Path(path).read_bytes() == b"key"
    assert Path(path).stat().st_nlink == 0
    os.close(int(path.rpartition("/")[2]))


def test_access_and_its_faults_show_no_secret(launcher: Launcher, frozen: ClusterAccess) -> None:
    access = frozen
    assert "secret" not in repr(access)
    with (
        visit(access, VisitLimits(answer_s=0.2), launcher) as reach,
        pytest.raises(ClusterTimeout) as raised,
    ):
        reach.get("/healthz")
    assert "secret" not in str(raised.value)


def test_a_check_of_a_silent_server_names_the_step_and_leaves_the_rest_open(
    launcher: Launcher, frozen: ClusterAccess
) -> None:
    with visit(frozen, VisitLimits(answer_s=0.5), launcher) as reach:
        steps = reach.check()
    outcomes = {step.name: step.outcome for step in steps}
    assert outcomes["connect"] == "ok"
    assert outcomes["tls"] == "fail"
    assert outcomes["exec"] == "not reached"
    assert all(step.cure for step in steps if step.outcome == "fail")
