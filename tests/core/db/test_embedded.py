"""The embedded server, on real processes: it starts fast, keeps data, dies with its owner.

The folder of each test lies below one that only we may enter, so that as root every start proves
that the server's account is let in without opening anything.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from core.db.binaries import Binaries, find_binaries
from core.db.embedded import EmbeddedServer, running_url, start
from core.errors import DatabaseFault
from tests.database import POSTGRES_BIN, private_folder

REPOSITORY = Path(__file__).parents[3]
COLD_LIMIT_S = 6.0  # 0.6 s when the machine is quiet
WARM_LIMIT_S = 1.5  # 0.05 s
DEATH_LIMIT_S = 1.0
IDLE_BYTES_MAX = 20_000_000
OWNER_SCRIPT = """
import sys, time
from pathlib import Path
from core.db.binaries import find_binaries
from core.db.embedded import start
server = start(Path(sys.argv[1]), binaries=find_binaries(Path(sys.argv[2])), durable=False)
print(server.pid, server.url, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="session")
def programs() -> Binaries:
    wished = os.environ.get(POSTGRES_BIN)
    return find_binaries(Path(wished) if wished else None)


@pytest.fixture
def folder() -> Iterator[Path]:
    with private_folder() as private:
        yield private / "server"


def ask(url: str, question: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(question).fetchone()
        return row and row[0]


def order(url: str, command: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(command)


def await_end(pid: int, limit_s: float) -> None:
    """Wait until the process has ended, whether or not somebody has reaped it."""
    begun_s = time.monotonic()
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() - begun_s < limit_s, f"process {pid} is still there"
        time.sleep(0.005)


def modes(*paths: Path) -> dict[Path, tuple[int, int, int]]:
    """Return mode and owners of these paths and of every folder above them."""
    above = {folder for path in paths for folder in (path, *path.parents)}
    return {
        path: (facts.st_mode, facts.st_uid, facts.st_gid)
        for path in sorted(above)
        if (facts := path.stat())
    }


def state_of(folder: Path, programs: Binaries) -> str:
    """Return what pg_controldata says of the cluster's state."""
    said = subprocess.run(
        [programs.folder / "pg_controldata", folder / "data"],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
        env={"LC_ALL": "C"},
    ).stdout
    return next(
        line.partition(":")[2].strip()
        for line in said.splitlines()
        if line.startswith("Database cluster state")
    )


def own_in_another_process(folder: Path, programs: Binaries) -> tuple["subprocess.Popen[str]", int]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER_SCRIPT, str(folder), str(programs.folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert owner.stdout is not None
    said = owner.stdout.readline().split()
    return owner, int(said[0])


def kill(owner: "subprocess.Popen[str]") -> None:
    owner.kill()
    owner.wait(10)
    assert owner.stdout is not None
    owner.stdout.close()


def test_a_new_server_answers_soon_and_sooner_the_next_time(
    folder: Path, programs: Binaries
) -> None:
    for limit_s in (COLD_LIMIT_S, WARM_LIMIT_S):
        begun_s = time.monotonic()
        with start(folder, binaries=programs) as server:
            assert ask(server.url, "SELECT current_database()") == "hopsmeter"
            assert time.monotonic() - begun_s < limit_s


def test_data_outlive_the_server(folder: Path, programs: Binaries) -> None:
    with start(folder, binaries=programs) as server:
        order(server.url, "CREATE TABLE kept AS SELECT 17 AS number")
    assert state_of(folder, programs) == "shut down"
    with start(folder, binaries=programs) as server:
        assert ask(server.url, "SELECT number FROM kept") == 17


def test_a_durable_server_waits_for_the_disk_and_the_other_does_not(
    folder: Path, programs: Binaries
) -> None:
    with start(folder, binaries=programs) as server:
        assert ask(server.url, "SHOW fsync") == ask(server.url, "SHOW full_page_writes") == "on"
        assert ask(server.url, "SHOW data_checksums") == "on"
    with start(folder, binaries=programs, durable=False, connections_max=77) as server:
        assert ask(server.url, "SHOW fsync") == ask(server.url, "SHOW synchronous_commit") == "off"
        assert ask(server.url, "SHOW max_connections") == "77"


def test_text_sorts_by_code_point(folder: Path, programs: Binaries) -> None:
    with start(folder, binaries=programs, durable=False) as server:
        assert ask(server.url, "SELECT 'B' < 'a' AND 'z' < 'ä' AND upper('ä') = 'Ä'") is True
        assert ask(server.url, "SHOW timezone") == "UTC"


def test_no_permission_outside_the_folder_is_changed(folder: Path, programs: Binaries) -> None:
    watched = (folder.parent, programs.folder / "postgres", Path(sys.prefix), Path.home())
    before = modes(*watched)
    with start(folder, binaries=programs, durable=False):
        assert modes(*watched) == before
    assert modes(*watched) == before
    assert folder.parent.stat().st_mode & 0o777 == 0o700


def test_killing_the_owner_ends_the_server_cleanly(folder: Path, programs: Binaries) -> None:
    owner, pid = own_in_another_process(folder, programs)
    url = running_url(folder)
    assert url is not None
    session = psycopg.connect(url)
    session.execute("CREATE TABLE held ()")  # even an open transaction holds nothing up
    kill(owner)
    await_end(pid, DEATH_LIMIT_S)
    with pytest.raises(psycopg.OperationalError):
        session.commit()
    session.close()
    assert state_of(folder, programs) == "shut down"
    assert running_url(folder) is None


def test_the_next_owner_can_start_at_once_after_a_kill(folder: Path, programs: Binaries) -> None:
    owner, pid = own_in_another_process(folder, programs)
    kill(owner)
    with start(folder, binaries=programs, durable=False) as server:
        assert server.pid != pid
        assert ask(server.url, "SELECT 1") == 1


def test_an_owner_that_just_exits_takes_the_server_along(folder: Path, programs: Binaries) -> None:
    script = OWNER_SCRIPT.replace("time.sleep(60)", "sys.exit()")
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), str(programs.folder)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=REPOSITORY,
    )
    await_end(int(done.stdout.split()[0]), DEATH_LIMIT_S)
    assert state_of(folder, programs) == "shut down"


def test_a_server_started_by_a_thread_outlives_the_thread(folder: Path, programs: Binaries) -> None:
    started: list[EmbeddedServer] = []
    thread = threading.Thread(
        target=lambda: started.append(start(folder, binaries=programs, durable=False))
    )
    thread.start()
    thread.join(30)
    time.sleep(0.2)
    with started[0] as server:
        assert ask(server.url, "SELECT 1") == 1


def test_a_second_start_is_refused_and_names_both_processes(
    folder: Path, programs: Binaries
) -> None:
    owner, pid = own_in_another_process(folder, programs)
    try:
        with pytest.raises(DatabaseFault, match=rf"process {pid}, started by process {owner.pid}"):
            start(folder, binaries=programs, durable=False)
        assert psutil.pid_exists(pid)
    finally:
        kill(owner)
        await_end(pid, DEATH_LIMIT_S)


def test_a_pid_file_whose_number_went_to_another_process_is_stale(
    folder: Path, programs: Binaries
) -> None:
    with start(folder, binaries=programs, durable=False) as server:
        data_owner = (folder / "data").stat().st_uid
        lines = (folder / "data/postmaster.pid").read_text().splitlines()
        server_pid = server.pid
    another = data_owner if os.geteuid() == 0 else None
    with subprocess.Popen(["sleep", "60"], user=another) as stranger:
        lines[0] = str(stranger.pid)
        (folder / "data/postmaster.pid").write_text("\n".join(lines) + "\n")
        with start(folder, binaries=programs, durable=False) as server:
            assert server.pid not in {server_pid, stranger.pid}
            assert ask(server.url, "SELECT 1") == 1
        stranger.kill()


def test_a_server_that_someone_else_started_there_is_left_alone(
    folder: Path, programs: Binaries
) -> None:
    with start(folder, binaries=programs, durable=False) as server:
        (folder / "lock").unlink()  # as if it had been started without us
        with pytest.raises(DatabaseFault, match=rf"did not start.*process {server.pid}"):
            start(folder, binaries=programs, durable=False)
        assert ask(server.url, "SELECT 1") == 1


def test_a_frozen_server_is_ended_all_the_same(
    folder: Path, programs: Binaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.db.embedded.STOP_LIMIT_S", 0.2)
    monkeypatch.setattr("core.db.embedded.QUIT_LIMIT_S", 0.2)
    server = start(folder, binaries=programs, durable=False)
    os.kill(server.pid, signal.SIGSTOP)
    server.stop()
    assert not server.running
    server.stop()  # twice is no harm
    with start(folder, binaries=programs, durable=False) as server:
        assert ask(server.url, "SELECT 1") == 1


def test_data_of_another_version_are_refused_with_what_to_do(
    folder: Path, programs: Binaries
) -> None:
    start(folder, binaries=programs, durable=False).stop()
    (folder / "data/PG_VERSION").write_text("14\n")
    with pytest.raises(DatabaseFault, match=r"written by PostgreSQL 14.*programs of PostgreSQL 14"):
        start(folder, binaries=programs, durable=False)


def test_a_set_up_that_was_cut_off_is_begun_anew(folder: Path, programs: Binaries) -> None:
    (folder / "data.new").mkdir(parents=True)
    (folder / "data.new/half").write_text("x")
    with start(folder, binaries=programs, durable=False) as server:
        assert ask(server.url, "SELECT 1") == 1
    assert not (folder / "data.new").exists()


def test_a_server_that_cannot_start_says_why(folder: Path, programs: Binaries) -> None:
    with pytest.raises(DatabaseFault, match=r"ended at its start: .*max_connections"):
        start(folder, binaries=programs, durable=False, connections_max=0)
    assert running_url(folder) is None


def test_a_folder_that_the_system_refuses_is_told_with_its_reason(
    folder: Path, programs: Binaries
) -> None:
    folder.touch()
    with pytest.raises(DatabaseFault, match=rf"cannot start: {folder}.*File exists"):
        start(folder, binaries=programs, durable=False)


def test_a_server_whose_address_cannot_be_written_down_is_stopped_again(
    folder: Path, programs: Binaries
) -> None:
    endpoint = folder / "endpoint"
    endpoint.mkdir(parents=True)
    with pytest.raises(DatabaseFault, match=rf"cannot start: {endpoint}: Is a directory"):
        start(folder, binaries=programs, durable=False)
    endpoint.rmdir()
    start(folder, binaries=programs, durable=False).stop()


def test_a_path_too_long_for_a_socket_gets_a_private_folder_for_it(
    folder: Path, programs: Binaries
) -> None:
    deep = folder / ("d" * 120) / "server"
    with start(deep, binaries=programs, durable=False) as server:
        place = Path(str(psycopg.conninfo.conninfo_to_dict(server.url)["host"]))
        assert place.stat().st_mode & 0o777 == 0o700
        assert ask(server.url, "SELECT 1") == 1
    assert not place.exists()


def test_others_find_the_server_while_it_runs(folder: Path, programs: Binaries) -> None:
    assert running_url(folder) is None
    with start(folder, binaries=programs, durable=False) as server:
        assert running_url(folder) == server.url
    assert running_url(folder) is None


def test_over_tcp_only_a_password_opens(folder: Path, programs: Binaries) -> None:
    with start(folder, binaries=programs, durable=False, tcp=True) as server:
        order(server.url, "CREATE ROLE clerk LOGIN PASSWORD 'made up'")
        where = f"host=127.0.0.1 port={server.port} dbname=hopsmeter"
        assert ask(f"{where} user=clerk password='made up'", "SELECT current_user") == "clerk"
        for wrong in ("user=clerk password=guessed", "user=postgres", "user=hopsmeter"):
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(f"{where} {wrong}")


def test_without_tcp_there_is_no_port(folder: Path, programs: Binaries) -> None:
    with start(folder, binaries=programs, durable=False) as server:
        assert not psutil.Process(server.pid).net_connections("inet")


def test_the_owner_of_the_database_is_no_superuser(folder: Path, programs: Binaries) -> None:
    with start(folder, binaries=programs, durable=False) as server:
        assert ask(server.url, "SHOW is_superuser") == "off"
        assert ask(server.superuser_url, "SHOW is_superuser") == "on"
        order(server.url, "CREATE EXTENSION btree_gist")


def test_an_idle_server_is_small(folder: Path, programs: Binaries) -> None:
    with start(folder, binaries=programs) as server:
        postmaster = psutil.Process(server.pid)
        time.sleep(0.5)  # the session that made the database is still ending
        processes = [postmaster, *postmaster.children()]
        assert sum(process.memory_full_info().pss for process in processes) <= IDLE_BYTES_MAX


def test_the_log_shows_no_rows_and_no_statements(folder: Path, programs: Binaries) -> None:
    with start(folder, binaries=programs, durable=False) as server:
        order(server.url, "CREATE TABLE secrets (word text PRIMARY KEY)")
        for _ in range(2):
            with psycopg.connect(server.url) as connection:
                try:
                    connection.execute("INSERT INTO secrets VALUES ('sesame')")
                except psycopg.errors.UniqueViolation:
                    continue
    log = (folder / "server.log").read_text()
    assert "duplicate key" in log
    assert "sesame" not in log


def test_a_long_log_is_put_aside(folder: Path, programs: Binaries) -> None:
    start(folder, binaries=programs, durable=False).stop()
    (folder / "server.log").write_bytes(b"x" * 1_000_001)
    start(folder, binaries=programs, durable=False).stop()
    assert (folder / "server.log.1").stat().st_size == 1_000_001
    assert (folder / "server.log").stat().st_size < 10_000


def test_removing_the_folder_removes_everything(folder: Path, programs: Binaries) -> None:
    start(folder, binaries=programs, durable=False).stop()
    shutil.rmtree(folder)
    with start(folder, binaries=programs, durable=False) as server:
        assert ask(server.url, "SELECT 1") == 1
