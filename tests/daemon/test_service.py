import errno
import json
import os
import signal
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from core.commands.arguments import Collect
from core.commands.submit import submit, wait
from core.db.embedded_files import OWNER
from core.db.migrate import upgrade
from core.db.roles import DAEMON, ensure_roles
from core.settings import load
from daemon.database import Database as OurDatabase
from daemon.opening import make_deps
from daemon.service import Service
from daemon.supervisor import Supervisor
from tests.daemon.process import Daemon, environment, once, state_folder
from tests.database import Database, start_for_tests

STOP_LIMIT_S = 3.0
TAKEN_UP_MEDIAN_LIMIT_S = 0.1


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return state_folder(tmp_path / "state")


@pytest.fixture
def daemon(database: Database, state: Path) -> Iterator[Daemon]:
    """A daemon that works on the test's database."""
    with Daemon(environment(state, database_url=database.url)) as running:
        yield running.ready()


def test_sigterm_ends_it_with_zero_and_says_farewell(daemon: Daemon, database: Database) -> None:
    begun_s = time.monotonic()
    assert daemon.end(signal.SIGTERM) == 0
    assert time.monotonic() - begun_s < STOP_LIMIT_S
    assert daemon.log[-1]["event"] == "stopped"
    row = database.connect().execute("SELECT stopped_at IS NOT NULL, pid FROM daemons").fetchone()
    assert row == (True, daemon.process.pid)


def test_systemd_is_told_ready_alive_and_stopping(
    database: Database, state: Path, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(20)
        around = environment(state, database_url=database.url)
        around |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"}
        with Daemon(around) as daemon:
            assert supervisor.recv(500).startswith(b"READY=1\n")
            said = {supervisor.recv(500) for _ in range(3)}
            assert {b"WATCHDOG=1", b"STATUS=working"} <= said
            daemon.process.send_signal(signal.SIGTERM)
            while not (told := supervisor.recv(500)).startswith(b"STOPPING=1"):
                assert told == b"WATCHDOG=1"
            assert daemon.end() == 0


async def test_a_broken_run_cycle_ends_the_process_with_one(
    database: Database, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load({"HOPSMETER_STATE_FOLDER": str(state), "HOPSMETER_LISTEN": "127.0.0.1:0"})
    given = replace(settings, database_url=database.url)
    stored, own = threading.Event(), OurDatabase(given)
    service = Service(make_deps(given, own, stored=stored), own, Supervisor({}), stored)
    monkeypatch.setattr(service, "_beat", explode)
    assert await service.run() == 1


async def explode() -> None:
    raise ZeroDivisionError


def test_it_works_as_the_narrow_role_of_the_daemon(database: Database, state: Path) -> None:
    ensure_roles(database.connect())
    around = environment(state, database_url=database.url_for(DAEMON))
    with Daemon(around) as daemon:
        daemon.ready()
        connection = database.connect()
        make_admin(connection)
        assert wait(connection, submit(connection, "collect", Collect()), 10).state == "done"
        assert daemon.end() == 0
    assert [line for line in daemon.log if line["level"] in ("error", "critical")] == []
    done = once("tick", "books", around=around)
    assert done.returncode == 0, done.stderr


def test_ctrl_c_ends_it_as_sigterm_does(daemon: Daemon) -> None:
    assert daemon.end(signal.SIGINT) == 0


def test_every_line_of_the_log_is_json_with_its_time_and_level(daemon: Daemon) -> None:
    daemon.end()
    assert len(daemon.log) >= 4
    for line in daemon.log:
        assert {"timestamp", "level", "logger", "event"} <= line.keys()


def test_the_pages_say_alive_ready_and_figures(daemon: Daemon) -> None:
    assert daemon.ask("/healthz")[0] == 200
    assert json.loads(daemon.ask("/readyz")[1])["ready"] is True
    status, page = daemon.ask("/metrics")
    assert status == 200
    assert "hopsmeter_database_up 1.0" in page
    assert "hopsmeter_unposted_hours 0.0" in page
    assert 'hopsmeter_job_runs_total{job="heartbeat",outcome="ok"}' in page


def make_admin(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO hopsmeter.users (id, email, is_admin) VALUES ('auth0|a', 'a@x', true)"
    )
    connection.execute(
        "INSERT INTO hopsmeter.logins (role, user_id) VALUES (%s, 'auth0|a')", [OWNER]
    )


def test_commands_are_taken_up_in_milliseconds(daemon: Daemon, database: Database) -> None:
    connection = database.connect()
    make_admin(connection)
    took_s = []
    for _ in range(9):
        begun_s = time.monotonic()
        outcome = wait(connection, submit(connection, "collect", Collect()), 10)
        took_s.append(time.monotonic() - begun_s)
        assert outcome.state == "done", outcome
    assert statistics.median(took_s) < TAKEN_UP_MEDIAN_LIMIT_S
    daemon.until(lambda: sum(line["event"] == "command done" for line in daemon.log) == 9)


def test_a_command_that_breaks_a_rule_is_refused_and_told(
    daemon: Daemon, database: Database
) -> None:
    connection = database.connect()
    outcome = wait(connection, submit(connection, "collect", Collect()), 10)
    assert outcome.state == "refused"
    assert "belongs to no user" in outcome.error
    assert daemon.wait_for("command refused")["name"] == "collect"


def test_a_statement_that_runs_too_long_does_not_hold_up_the_stop(
    daemon: Daemon, database: Database
) -> None:
    blocker = psycopg.connect(database.url)
    blocker.execute("LOCK TABLE hopsmeter.collection_windows IN ACCESS EXCLUSIVE MODE")
    daemon.until(lambda: "hours" in json.loads(daemon.ask("/readyz")[1])["running"])
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_for("told to stop")
    begun_s = time.monotonic()
    assert daemon.end(signal.SIGTERM) == 0  # the second one: not waiting any longer
    assert time.monotonic() - begun_s < STOP_LIMIT_S
    daemon.wait_for("cutting what still runs")
    blocker.close()


def test_a_second_daemon_in_one_state_folder_is_refused(daemon: Daemon, state: Path) -> None:
    done = once("run", around=environment(state))
    assert done.returncode == 1
    assert f"process {daemon.process.pid}" in json.loads(done.stderr)["why"]


def test_a_port_in_use_is_named(daemon: Daemon, database: Database, tmp_path: Path) -> None:
    address = daemon.wait_for("listening")["address"]
    other = state_folder(tmp_path / "other")
    done = once("run", around=environment(other, database_url=database.url, listen=address))
    assert done.returncode == 1
    assert "HOPSMETER_LISTEN" in done.stderr


def test_a_port_in_use_and_a_missing_keyring_are_told_together(
    database: Database, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        done = once("run", around=environment(tmp_path, database_url=database.url, listen=listen))
    assert done.returncode == 1
    keyring, port = (json.loads(line)["why"] for line in done.stderr.splitlines())
    assert "hopsmeter secrets init" in keyring
    assert port.startswith(f"{listen} cannot be listened on")
    assert "HOPSMETER_LISTEN" in port


def test_a_device_that_takes_nothing_is_a_sentence_with_its_reason(state: Path) -> None:
    (state / "daemon.lock").symlink_to("/dev/full")
    done = once("run", around=environment(state))
    assert done.returncode == 1
    why = json.loads(done.stderr)["why"]
    assert why.startswith(f"The system refuses the state folder {state}")
    assert os.strerror(errno.EINVAL) in why


@pytest.mark.parametrize("name", ["daemon.lock", "postgres", "database.url"])
def test_what_the_system_refuses_is_a_sentence_with_path_and_reason(state: Path, name: str) -> None:
    place = state / name
    if name == "postgres":
        place.touch()
    else:
        place.mkdir()
    done = once("run", around=environment(state))
    assert done.returncode == 1
    last = json.loads(done.stderr.splitlines()[-1])
    assert str(place if name != "daemon.lock" else state) in last["why"]
    assert "exists" in last["why"] or "Is a directory" in last["why"]
    assert "Traceback" not in done.stderr
    assert "exception" not in last


def test_one_job_can_be_run_beside_a_running_daemon(
    daemon: Daemon, database: Database, state: Path
) -> None:
    done = once("tick", "hours", around=environment(state, database_url=database.url))
    assert done.returncode == 0, done.stderr
    row = database.connect().execute("SELECT pid FROM daemons").fetchall()
    assert row == [(daemon.process.pid,)]


def test_a_job_that_fails_exits_with_one(database: Database, state: Path) -> None:
    database.connect().execute("DROP TABLE cluster_days CASCADE")
    done = once("tick", "post", around=environment(state, database_url=database.url))
    assert done.returncode == 1
    assert "cluster_days" in json.loads(done.stderr.splitlines()[-1])["why"]


def test_a_schema_of_another_version_is_refused(database: Database, state: Path) -> None:
    database.connect().execute("UPDATE alembic_version SET version_num = '9999'")
    with Daemon(environment(state, database_url=database.url)) as refused:
        assert refused.process.wait(20) == 1
        refused.end()
    assert "newer than this program" in refused.log[-1]["why"]


def test_it_waits_for_a_database_and_goes_on_when_it_comes(tmp_path: Path, state: Path) -> None:
    folder = tmp_path / "pg"
    with start_for_tests(folder) as server:
        url = server.url
    with Daemon(environment(state, database_url=url)) as daemon:
        daemon.wait_for("the database is away; trying again")
        status, said = daemon.ask("/readyz")
        assert status == 503
        assert "cannot be reached" in said
        assert daemon.ask("/healthz")[0] == 200
        assert "hopsmeter_database_up 0.0" in daemon.ask("/metrics")[1]
        with start_for_tests(folder) as server:
            assert server.url == url
            assert daemon.process.wait(20) == 1  # it has no schema: for an outside one, a person's
            daemon.end()
        assert "hopsmeter db upgrade" in daemon.log[-1]["why"]


def test_it_goes_on_when_a_database_comes_back(tmp_path: Path, state: Path) -> None:
    folder = tmp_path / "pg"
    with start_for_tests(folder) as server:
        upgrade(server.url)
        daemon = Daemon(environment(state, database_url=server.url)).ready()
    with daemon:
        daemon.until(lambda: daemon.ask("/readyz")[0] == 503)
        seen = len(daemon.log)
        with start_for_tests(folder) as server:
            daemon.wait_for("the database answers; work begins", after=seen)
            assert daemon.ask("/readyz")[0] == 200
            with psycopg.connect(server.url, autocommit=True) as connection:
                make_admin(connection)
                outcome = wait(connection, submit(connection, "collect", Collect()), 10)
                assert outcome.state == "done"
            assert daemon.end() == 0


def test_its_own_database_is_started_again_when_it_dies(state: Path) -> None:
    with Daemon(environment(state)) as daemon:
        daemon.ready()
        assert (state / "database.url").stat().st_mode & 0o777 == 0o600
        postmaster = int((state / "postgres/data/postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGQUIT)
        daemon.wait_for("the own database ended by itself and is started again")
        daemon.until(
            lambda: len([at for at in daemon.log if at["event"] == "own database started"]) == 2
        )
        daemon.until(lambda: daemon.ask("/readyz")[0] == 200)
        with psycopg.connect((state / "database.url").read_text().strip()) as connection:
            connection.execute("SELECT FROM hopsmeter.daemons")
        assert daemon.end() == 0
    assert not (state / "database.url").exists()
    assert not Path(f"/proc/{postmaster}").exists()
