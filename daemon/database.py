"""The database that the daemon uses: one that it was given, or its own, which it keeps alive."""

import contextlib
import importlib
import os
import tempfile
from pathlib import Path

from core.db.binaries import find_binaries
from core.db.connect import connect
from core.db.embedded import EmbeddedServer, running_url, start
from core.db.version import require_current
from core.errors import DatabaseFault
from core.settings import Settings
from daemon import log


class Database:
    """`open` before the loop begins, `revive` whenever it does not answer, `close` last."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._server: EmbeddedServer | None = None
        self._borrowed = ""

    def url(self) -> str:
        """Return where it is now; DatabaseFault while our own does not run."""
        if not self._settings.own_database:
            return self._settings.database_url
        if self._server is not None and self._server.running:
            return self._server.url
        if self._borrowed:
            return self._borrowed
        raise DatabaseFault("The own database does not run; it is being started again.")

    def open(self, *, borrow: bool = False) -> None:
        """Start our own with its schema brought up; `borrow`: use the running daemon's if any."""
        if not self._settings.own_database:
            return
        if borrow:
            self._borrowed = running_url(self._settings.own_database_folder) or ""
            if self._borrowed:
                return
        self._start()

    def revive(self) -> None:
        """Start our own again where it has ended; a given one is not ours to start."""
        ours = self._settings.own_database and not self._borrowed
        if ours and (self._server is None or not self._server.running):
            self._start()

    def require_current(self) -> None:
        """Raise SchemaMismatch for a schema of another version than this program's."""
        with connect(self.url(), name="hopsmeterd schema") as connection:
            require_current(connection)

    def close(self) -> None:
        if self._server is not None:
            # Where it cannot be removed it does no harm: who reads it knocks first.
            with contextlib.suppress(OSError):
                self._settings.url_path.unlink(missing_ok=True)
            self._server.stop()

    def _start(self) -> None:
        settings = self._settings
        binaries = find_binaries(settings.postgres_bin)
        if self._server is not None:
            log.get("database").warning("the own database ended by itself and is started again")
            self._server.stop()
        self._server = start(settings.own_database_folder, binaries=binaries)
        # Alembic takes a third of a start to load, and a database that was given is not ours to bring up.
        migrate = importlib.import_module("core.db.migrate")
        migrate.upgrade(self._server.url)
        try:
            _write_private(settings.url_path, self._server.url + "\n")
        except OSError as fault:
            self._server.stop()  # nobody would find it; the next try starts it again
            raise DatabaseFault(
                f"{settings.url_path} cannot be written: {fault.strerror}. Mend that: make room where"
                " the disk is full."
            ) from None
        log.get("database").info(
            "own database started",
            version=binaries.version,
            programs=binaries.origin,
            folder=str(settings.own_database_folder),
        )


def _write_private(path: Path, content: str) -> None:
    """Put a file in place at once and whole, 0600."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    Path(draft).replace(path)
