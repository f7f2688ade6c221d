"""The only module of the terminal that touches the database.

One thread, one connection. It answers the question of the screen that is shown with one frozen
snapshot of one moment, posts it, and waits: for the daemon's word that the books changed, for
another question, or for the interval. It never touches a widget. A plain thread and not one of
Textual's workers: those are waited for at exit, and a connection attempt may take seconds.
"""

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from textual.message import Message

from core.clock import DAY, HOUR, Clock, day_of, floor_hour, monotonic_s
from core.db.connect import connect, place
from core.db.notify import listen
from core.errors import DatabaseFault, HopsmeterError
from core.reports.clusters import ClusterLine, clusters
from core.reports.costs import (
    NamespaceCost,
    NamespaceHour,
    OneHour,
    PersonCost,
    Totals,
    Unmapped,
    cost_by_user,
    namespace_hours,
    namespaces,
    one_hour,
    totals,
    unmapped,
)
from core.reports.hours import HourLine, HourStrip, cluster_hours, hours_map
from core.reports.session import Life, Session, daemons, life, session
from tui.present.overview import MAP_HOURS, UNMAPPED_DAYS, map_since

NAME = "hopsmeter dashboard"
BOOKS = "hopsmeter_books"
INTERVAL_S = 3.0
SHARE_OF_TIME = 10.0
"""A read that takes long is repeated more rarely: at most a tenth of the time goes into reading."""
SETTLE_S = 0.3
"""After the word that the books changed: hours arrive in bursts, one read serves many."""
REST_MAX_S = 30.0
"""However long it took: a read may have stood still with its server."""
READ_TIMEOUT_MS = 20_000
RETRY_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)
JOIN_S = 0.5
_ADMIN = (
    "SELECT EXISTS (SELECT FROM hopsmeter.logins l JOIN hopsmeter.users u ON u.id = l.user_id"
    " WHERE u.is_admin AND u.status = 'active')"
)
CLUSTER_DAYS = 7
NAMESPACE_DAYS = 14


@dataclass(frozen=True)
class OverviewPage:
    """The first screen's question."""


@dataclass(frozen=True)
class ClusterPage:
    cluster: str


@dataclass(frozen=True)
class UserPage:
    user_id: str
    email: str


@dataclass(frozen=True)
class NamespacePage:
    cluster: str
    namespace: str


@dataclass(frozen=True)
class HourPage:
    cluster: str
    namespace: str
    hour: datetime


Question = OverviewPage | ClusterPage | UserPage | NamespacePage | HourPage


@dataclass(frozen=True)
class Overview:
    clusters: tuple[ClusterLine, ...]
    strips: tuple[HourStrip, ...]
    since: datetime
    users: tuple[PersonCost, ...]
    unmapped: tuple[Unmapped, ...]
    totals: tuple[Totals, ...]
    newest_hour: datetime | None
    life: Life
    has_admin: bool = True


@dataclass(frozen=True)
class ClusterAnswer:
    line: ClusterLine | None
    hours: tuple[HourLine, ...]
    namespaces: tuple[NamespaceCost, ...]


@dataclass(frozen=True)
class UserAnswer:
    namespaces: tuple[NamespaceCost, ...]


@dataclass(frozen=True)
class NamespaceAnswer:
    hours: tuple[NamespaceHour, ...]


@dataclass(frozen=True)
class HourAnswer:
    hour: OneHour


Answer = Overview | ClusterAnswer | UserAnswer | NamespaceAnswer | HourAnswer
Connection = psycopg.Connection[Any]


class Answered(Message):
    """What the database holds, as of one moment."""

    def __init__(self, question: Question, answer: Answer, as_of: datetime) -> None:
        self.question, self.answer, self.as_of = question, answer, as_of
        super().__init__()


class Unanswered(Message):
    """The database is there, but this question has no answer; the sentence says why."""

    def __init__(self, question: Question, why: str) -> None:
        self.question, self.why = question, why
        super().__init__()


class Linked(Message):
    """The database is there (again)."""

    def __init__(self, who: Session) -> None:
        self.who = who
        super().__init__()


class Lost(Message):
    """The database is away; it is tried again at `retry_at`."""

    def __init__(self, why: str, retry_at: datetime) -> None:
        self.why, self.retry_at = why, retry_at
        super().__init__()


class Broken(Message):
    """A bug in the feed: the app ends with its traceback instead of showing old figures for ever."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        super().__init__()


def ask(connection: Connection, question: Question, now: datetime) -> Answer:
    """Answer a question from one snapshot of the database."""
    with connection.transaction():
        match question:
            case OverviewPage():
                return _overview(connection, now)
            case ClusterPage(cluster):
                return _cluster(connection, cluster, now)
            case UserPage(user_id):
                day = day_of(now)
                since = day - (CLUSTER_DAYS - 1) * DAY
                return UserAnswer(namespaces(connection, since, day, user_id=user_id))
            case NamespacePage(cluster, namespace):
                since_at = floor_hour(now) - NAMESPACE_DAYS * DAY
                return NamespaceAnswer(
                    namespace_hours(connection, cluster, namespace, since_at, now)
                )
            case HourPage(cluster, namespace, hour):
                return HourAnswer(one_hour(connection, cluster, namespace, hour))


def _overview(connection: Connection, now: datetime) -> Overview:
    lines = clusters(connection, now)
    newest = max((line.newest_hour for line in lines if line.newest_hour), default=None)
    nobodys = unmapped(connection, day_of(now) - timedelta(days=UNMAPPED_DAYS - 1))
    since = map_since(now)
    return Overview(
        clusters=lines,
        strips=hours_map(connection, since, since + MAP_HOURS * HOUR, now),
        since=since,
        users=cost_by_user(connection, day_of(now), newest),
        unmapped=nobodys,
        totals=totals(lines, nobodys, newest),
        newest_hour=newest,
        life=life(daemons(connection), now),
        has_admin=bool(lines) or _has_admin(connection),
    )


def _has_admin(connection: Connection) -> bool:
    """Tell whether anybody may add a cluster: asked only while there is none."""
    row = connection.execute(_ADMIN).fetchone()
    return row is not None and row[0]


def _cluster(connection: Connection, cluster: str, now: datetime) -> ClusterAnswer:
    day = day_of(now)
    found = clusters(connection, now, cluster=cluster)
    return ClusterAnswer(
        line=found[0] if found else None,
        hours=cluster_hours(connection, cluster, floor_hour(now) - CLUSTER_DAYS * DAY, now, now),
        namespaces=namespaces(connection, day - (CLUSTER_DAYS - 1) * DAY, day, cluster=cluster),
    )


class Feed(threading.Thread):
    """Answers one question at a time until it is stopped; survives the database."""

    def __init__(
        self,
        dsn: str,
        post: Callable[[Message], object],
        *,
        read_only: bool,
        now: Clock,
        interval_s: float = INTERVAL_S,
    ) -> None:
        super().__init__(name="feed", daemon=True)
        self._dsn, self._post, self._now = dsn, post, now
        self._read_only, self._interval_s = read_only, interval_s
        self._question: Question | None = None
        self._is_behind = self._is_due = False
        """Whether the last answer waits to be taken; whether another question waits for that."""
        self._ended = threading.Event()
        self._woken, self._waker = socket.socketpair()

    def ask(self, question: Question) -> None:
        """Answer this question from now on, beginning at once."""
        self._question = question
        self._wake()

    def taken(self) -> None:
        """Say that the last answer is painted: until then no other one is read.

        Answers that come faster than a terminal paints them would pile up without a limit.
        """
        self._is_behind = False
        if self._is_due:
            self._wake()

    def stop(self) -> None:
        """End; a connection attempt under way is left to itself."""
        self._ended.set()
        self._wake()
        if self.is_alive():
            self.join(JOIN_S)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # the thread has ended, and closed it
            self._waker.send(b".")

    def run(self) -> None:
        try:
            self._keep_serving()
        except Exception as error:  # noqa: BLE001 - a thread's bug would end it silently; the app raises it
            self._post(Broken(error))
        finally:
            self._woken.close()
            self._waker.close()

    def _keep_serving(self) -> None:
        failures = 0
        while not self._ended.is_set():
            try:
                with connect(self._dsn, name=NAME, read_only=self._read_only) as connection:
                    self._greet(connection)
                    failures = 0
                    self._serve(connection)
            except (psycopg.Error, DatabaseFault) as error:
                pause = RETRY_PAUSES_S[min(failures, len(RETRY_PAUSES_S) - 1)]
                failures += 1
                retry_at = self._now() + timedelta(seconds=pause)
                self._post(Lost(_sentence(error, self._dsn), retry_at))
                self._wait(pause)

    def _greet(self, connection: Connection) -> None:
        connection.execute(
            "SELECT set_config('statement_timeout', %s, false)", [str(READ_TIMEOUT_MS)]
        )
        with connection.transaction():
            who = session(connection)
        self._post(Linked(who))

    def _serve(self, connection: Connection) -> None:
        """Answer until stopped. One transaction reads one moment, and can never write."""
        listen(connection, BOOKS)
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        while not self._ended.is_set():
            began = monotonic_s()
            # In this order: who takes the last answer in between sees that one is due, and wakes us.
            self._is_due = self._question is not None
            if not self._is_behind and (question := self._question) is not None:
                self._is_due = False
                self._answer(connection, question)
            rest = min((monotonic_s() - began) * SHARE_OF_TIME, REST_MAX_S)
            self._wait(max(self._interval_s, rest), connection)

    def _answer(self, connection: Connection, question: Question) -> None:
        now = self._now()
        try:
            answer = ask(connection, question, now)
            self._is_behind = True
            self._post(Answered(question, answer, now))
        except HopsmeterError as error:
            self._post(Unanswered(question, error.message))
        except psycopg.Error as error:
            if connection.closed or connection.broken:
                raise
            self._post(Unanswered(question, _sentence(error, self._dsn)))

    def _wait(self, seconds: float, connection: Connection | None = None) -> None:
        """Wait for time, for a question, or for word from the daemon, whichever is first."""
        watched = [self._woken.fileno()]
        if connection is not None:
            if _told(connection):  # it came while we read
                seconds = SETTLE_S
            else:
                watched.append(connection.fileno())
        ready, _, _ = select.select(watched, [], [], seconds)
        if self._woken.fileno() in ready:
            self._woken.recv(4096)
        elif ready and connection is not None:
            _told(connection)
            select.select(watched[:1], [], [], SETTLE_S)


def _told(connection: Connection) -> bool:
    """Take in what the daemon told; psycopg.OperationalError where the connection is gone."""
    return len(list(connection.notifies(timeout=0))) > 0


def _sentence(error: Exception, dsn: str) -> str:
    """Say what went wrong to a person who cannot read tracebacks, without the password."""
    if isinstance(error, HopsmeterError):
        return error.message
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
        return "There is no hopsmeter schema of this version; run `hopsmeter db upgrade`."
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return "This role may not read all of it; an admin runs `hopsmeter db roles`."
    lines = str(error).strip().splitlines()
    return f"{place(dsn)}: {lines[0].strip() if lines else type(error).__name__}"
