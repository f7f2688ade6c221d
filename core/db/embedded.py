"""A private PostgreSQL server that lives and dies with the process that starts it.

What it promises, and what the layers around such wheels do not: a kill -9 of the owner leaves
nothing running (the kernel sends the server its fast shutdown), no permission is changed outside
its own folder, and nobody logs in but the account that started it and root.

The folder: `data` is PostgreSQL's own, `etc` our three files, `run` the socket, `lock` is held by
the server's processes themselves, so that it is free exactly when the last of them is gone.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from core.clock import monotonic_s
from core.db import embedded_files
from core.db.account import Account, server_account
from core.db.binaries import CACHE_FOLDER, Binaries, find_binaries, readable_by_all
from core.db.connect import NO_OPTIONS, OURS
from core.db.embedded_files import DATABASE, OWNER, SUPERUSER, Layout, Wishes
from core.db.keeper import Keeper, Passage, launched
from core.errors import DatabaseFault

INITDB_LIMIT_S = 60.0
START_LIMIT_S = 60.0
"""Long enough to replay the log after a power cut; an ordinary start takes 0.05 s."""
STOP_LIMIT_S = 20.0
QUIT_LIMIT_S = 5.0
LOCK_LIMIT_S = STOP_LIMIT_S
"""A server whose owner was killed is still writing its last checkpoint: the next waits for it."""
LOCK_OWNER_GRACE_S = 0.2
POLL_S = 0.005
CONNECT_LIMIT_S = 10
SOCKET_PATH_MAX = 107
CONNECTIONS_MAX = 50
PORT = 5432  # only a part of the socket's name, unless TCP is wished


class EmbeddedServer:
    """A running server; `stop` it, or use it as a context."""

    def __init__(self, keeper: Keeper, layout: Layout, socket_folder: Path, port: int) -> None:
        self._keeper = keeper
        self._layout = layout
        self._socket_folder = socket_folder
        self.port = port
        self.url = _url(OWNER, DATABASE, socket_folder, port)
        self.superuser_url = _url(SUPERUSER, "postgres", socket_folder, port)

    @property
    def pid(self) -> int:
        return self._keeper.process.pid

    @property
    def running(self) -> bool:
        return self._keeper.is_alive()

    def admit(self, role: str) -> None:
        """Let our account log in as `role`: PostgreSQL 15 knows no `all` in its map of names."""
        admit(self._layout.folder, self.superuser_url, role)

    def stop(self) -> None:
        """End all sessions, write everything, and end; harder where that takes too long."""
        for order, limit_s in (
            (signal.SIGINT, STOP_LIMIT_S),
            (signal.SIGQUIT, QUIT_LIMIT_S),
            (signal.SIGKILL, QUIT_LIMIT_S),
        ):
            if not self._keeper.is_alive():
                break
            self._keeper.process.send_signal(order)
            self._keeper.join(limit_s)
        # Where it cannot be removed it does no harm: who reads it knocks first.
        with contextlib.suppress(OSError):
            self._layout.endpoint.unlink(missing_ok=True)
        if self._socket_folder != self._layout.run:
            shutil.rmtree(self._socket_folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def start(
    data_folder: Path,
    *,
    tcp: bool = False,
    durable: bool = True,
    binaries: Binaries | None = None,
    connections_max: int = CONNECTIONS_MAX,
    cache_folder: Path = CACHE_FOLDER,
) -> EmbeddedServer:
    """Start the server of this folder, made new where it is missing; from any thread.

    `durable=False` is for tests: a power cut then loses data. `tcp` opens a port on 127.0.0.1 for
    roles with a password, beside the socket. Raises DatabaseFault with what to do.
    """
    if sys.platform != "linux":
        raise DatabaseFault(
            "The embedded PostgreSQL runs on Linux only; set HOPSMETER_DATABASE_URL to a server."
        )
    programs = binaries or find_binaries()
    layout = Layout(Path(os.path.abspath(data_folder)))  # noqa: PTH100 - resolve() follows links
    try:
        layout.folder.mkdir(parents=True, exist_ok=True)
        lock = _take_lock(layout)
        try:
            account = server_account(layout.data)
            if account.dropped:
                programs = readable_by_all(programs, cache_folder)
            layout.prepare(account)
            if not layout.data.exists():
                _initdb(layout, account, programs, durable=durable)
            layout.require_major(programs)
            _clear_stale_pid(layout)
            wishes = Wishes(_free_port() if tcp else PORT, tcp, durable, connections_max)
            return _run(layout, account, programs, wishes, lock)
        finally:
            os.close(lock)
    except PermissionError as fault:
        raise DatabaseFault(
            f"{fault.filename or layout.folder} belongs to another account. Start as that one, or "
            "use another folder for the embedded PostgreSQL."
        ) from fault
    except OSError as fault:
        raise DatabaseFault(
            f"The embedded PostgreSQL cannot start: {fault.filename or layout.folder}:"
            f" {fault.strerror or fault}. Mend that (make room where the disk is full), and start"
            " again."
        ) from fault


def running_url(data_folder: Path) -> str | None:
    """Return the URL of the server that runs in this folder, None where none answers."""
    endpoint = Layout(data_folder).endpoint
    try:
        socket_path, url = endpoint.read_text().splitlines()
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(CONNECT_LIMIT_S)
            probe.connect(socket_path)
    except (OSError, ValueError):
        return None
    return url


def admit(data_folder: Path, superuser_url: str, role: str) -> None:
    """Let the account that runs the server in this folder log in as `role` on PostgreSQL 15, too.

    From 16 on every role is admitted by the one word `all`, and nothing needs to be done.
    """
    with _superuser(superuser_url) as connection:
        if connection.info.server_version < embedded_files.IDENT_ALL_SINCE * 10_000:
            embedded_files.append_role(Layout(data_folder).ident, role)
            connection.execute("SELECT pg_reload_conf()")


def _superuser(url: str) -> psycopg.Connection[TupleRow]:
    said = make_conninfo(url, **NO_OPTIONS, **OURS)
    return psycopg.connect(said, autocommit=True, connect_timeout=CONNECT_LIMIT_S)


def _take_lock(layout: Layout) -> int:
    """Return the descriptor of the folder's lock, which the server's processes will hold."""
    lock = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    begun_s = monotonic_s()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited_s = monotonic_s() - begun_s
            owner = os.pread(lock, 20, 0).decode().strip()
            owned = owner.isdigit() and _alive(int(owner))
            if waited_s > (LOCK_OWNER_GRACE_S if owned else LOCK_LIMIT_S):
                os.close(lock)
                raise DatabaseFault(
                    f"The embedded PostgreSQL in {layout.folder} is already running: process "
                    f"{layout.server_pid() or '?'}, started by process {owner or '?'}. Stop that "
                    "one, or use another folder."
                ) from None
            time.sleep(POLL_S)
        else:
            _sign(lock)
            return lock


def _sign(lock: int) -> None:
    """Write into the lock who holds it; one that cannot be signed is let go, for the next try."""
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except OSError:
        os.close(lock)
        raise


def _alive(pid: int) -> bool:
    """Say whether a process still runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _clear_stale_pid(layout: Layout) -> None:
    """Remove the pid file of a server that is gone; refuse where somebody started one by hand.

    We hold the lock, so no server of ours is alive; PostgreSQL itself would believe any process
    that was given the same pid since.
    """
    pid = layout.server_pid()
    if pid is None:
        return
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pid}/cwd").samefile(layout.data):
            raise DatabaseFault(
                f"A PostgreSQL that hopsmeter did not start runs in {layout.data}: process {pid}. "
                "Stop it first."
            )
    (layout.data / "postmaster.pid").unlink(missing_ok=True)


def _initdb(layout: Layout, account: Account, programs: Binaries, *, durable: bool) -> None:
    """Make a new data folder beside, and move it into place when it is whole."""
    half = layout.folder / "data.new"
    shutil.rmtree(half, ignore_errors=True)
    account.make_folder(half)
    passage = Passage.through(account, half)
    command = [
        *launched(account, programs.folder / "initdb"),
        *embedded_files.initdb_options(programs.major, durable=durable),
        f"--pgdata={passage.paths[0]}",
    ]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=INITDB_LIMIT_S,
            pass_fds=passage.descriptors,
            cwd="/",
            env=embedded_files.ENVIRONMENT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DatabaseFault(
            f"PostgreSQL's initdb did not end within {INITDB_LIMIT_S:.0f} s in {half}; "
            "is the disk very slow or full? Try again."
        ) from None
    finally:
        passage.close()
    if done.returncode != 0:
        raise DatabaseFault(f"PostgreSQL's initdb failed in {half}: {done.stderr.strip()}")
    half.rename(layout.data)
    if durable:
        _sync(layout.folder)


def _run(
    layout: Layout, account: Account, programs: Binaries, wishes: Wishes, lock: int
) -> EmbeddedServer:
    socket_folder = _socket_folder(layout, account, wishes.port)
    passage = Passage.through(account, layout.data, layout.etc, socket_folder)
    data, etc, run = passage.paths
    embedded_files.write(layout, account, programs.major, wishes, etc=etc, run=run)
    log = os.open(layout.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    command = launched(account, programs.folder / "postgres")
    command += ["-D", data, "-c", f"config_file={etc}/{layout.conf.name}"]
    keeper = Keeper(command, (lock, *passage.descriptors), log)
    try:
        keeper.launch()
    finally:
        os.close(log)
        passage.close()
    server = EmbeddedServer(keeper, layout, socket_folder, wishes.port)
    try:
        _await_ready(server, layout)
        _ensure_database(server)
        layout.endpoint.write_text(f"{_socket_path(socket_folder, wishes.port)}\n{server.url}\n")
    except BaseException:
        server.stop()
        raise
    return server


def _await_ready(server: EmbeddedServer, layout: Layout) -> None:
    deadline_s = monotonic_s() + START_LIMIT_S
    while not layout.server_ready(server.pid):
        if not server.running:
            raise DatabaseFault(
                f"The embedded PostgreSQL in {layout.folder} ended at its start: {layout.log_tail()}"
            )
        if monotonic_s() > deadline_s:
            raise DatabaseFault(
                f"The embedded PostgreSQL in {layout.folder} was not ready within "
                f"{START_LIMIT_S:.0f} s; see {layout.log}."
            )
        time.sleep(POLL_S)


def _ensure_database(server: EmbeddedServer) -> None:
    """Make role and database where they are missing; it also proves that we may log in."""
    with _superuser(server.superuser_url) as connection:
        role, database = connection.execute(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = %s),"
            " EXISTS (SELECT FROM pg_database WHERE datname = %s)",
            [OWNER, DATABASE],
        ).fetchone() or (False, False)
        if not role:
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN CREATEROLE").format(sql.Identifier(OWNER))
            )
        if not database:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(DATABASE), sql.Identifier(OWNER)
                )
            )


def _sync(folder: Path) -> None:
    """Make the names in a folder last: a power cut must not take a data folder back out of it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)


def _socket_folder(layout: Layout, account: Account, port: int) -> Path:
    """Return our `run`, or where its path is too long for a socket a private folder in /tmp."""
    if len(os.fsencode(_socket_path(layout.run, port))) <= SOCKET_PATH_MAX:
        return layout.run
    folder = Path(tempfile.mkdtemp(prefix="hopsmeter-", dir="/tmp"))
    account.give(folder)
    return folder


def _socket_path(folder: Path, port: int) -> Path:
    return folder / f".s.PGSQL.{port}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _url(role: str, database: str, folder: Path, port: int) -> str:
    return f"postgresql://{role}@/{database}?host={quote(str(folder), safe='')}&port={port}"
