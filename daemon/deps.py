"""What a job stands on, and what it says when it ends."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psycopg

from core.clock import Clock
from core.clusters.vault import Keyring
from core.db.connect import connect
from core.settings import Settings
from daemon.tally import Tally

if TYPE_CHECKING:
    from daemon.collecting import Collecting

CANCEL_LIMIT_S = 2.0


@dataclass(frozen=True)
class Report:
    """What a job did, for the log; nothing: it found nothing to do."""

    facts: Mapping[str, Any] = field(default_factory=dict)


class Lines:
    """The connections of one run, so that one that takes too long can be cut from outside.

    A thread cannot be ended; a statement can be cancelled, and a socket shut, and then it returns.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[psycopg.Connection[Any]] = []
        self._cut = False

    def add(self, connection: psycopg.Connection[Any]) -> None:
        with self._lock:
            self._open = [line for line in self._open if not line.closed]
            self._open.append(connection)
            cut = self._cut
        if cut:
            _shut(connection)

    def cut(self) -> None:
        """Cancel what runs, then shut the sockets; what was not committed is rolled back."""
        with self._lock:
            self._cut = True
            lines = [line for line in self._open if not line.closed]
        for line in lines:
            with contextlib.suppress(psycopg.Error):
                line.cancel_safe(timeout=CANCEL_LIMIT_S)
            _shut(line)


def _shut(connection: psycopg.Connection[Any]) -> None:
    with (
        contextlib.suppress(psycopg.Error, OSError),
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Deps:
    """The daemon as a job sees it; `for_run` gives each run its own lines."""

    settings: Settings
    name: str
    version: str
    started_at: datetime
    clock: Clock
    keyring: Keyring
    tally: Tally
    url: Callable[[], str]
    """The database's URL at this moment; DatabaseFault while the own one does not run."""
    collecting: "Collecting"
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when no new work shall be begun; long jobs look at it between two pieces of work."""
    arrived: threading.Event = field(default_factory=threading.Event)
    """Set when events from outside were stored: they are handled without delay."""
    lines: Lines = field(default_factory=Lines)

    def connect(self, purpose: str) -> psycopg.Connection[Any]:
        """Open a connection whose name in pg_stat_activity says what it is for."""
        connection = connect(self.url(), name=f"hopsmeterd {purpose}")
        self.lines.add(connection)
        return connection
