"""A catch-up of a small world by a real daemon that may be killed anywhere, and what it must give."""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid5

import psycopg

from core.books.checks import check_books
from core.clock import HOUR, day_of, hour_text, last_closed_hour, utc_now
from core.commands.arguments import (
    Arguments,
    ClusterAdd,
    Collect,
    NamespaceMap,
    UserAdd,
    plain,
)
from core.commands.submit import submit
from core.db.embedded_files import OWNER
from core.secret import Secret
from sandbox.cluster import ClusterSpec
from sandbox.world import World
from tests.crash.books import Books, read_books, require_equal
from tests.crash.processes import await_gone, descendants
from tests.daemon.process import Daemon, environment

CLUSTERS = (
    ClusterSpec("eu-prod", cluster_id="eu-prod", namespaces=16),
    ClusterSpec("us-gpu", version="1.34", install="subchart", namespaces=14, shift_h=-6),
)
HOURS = 25
"""More than a day: whenever the tests run, a day that is over is among them, and is closed."""
SETTLE_HOURS = 72
"""None of them settles while the tests run: one that does would be kept otherwise."""
RESTATED_HOURS = 3
RESTATED_FACTOR = 1.25
USERS = 6
LIMIT_S = 60.0
POLL_S = 0.005
"""Between two looks of a killer; whether a part is done may be seen later."""
DONE_LOOKS_S = 0.03
ADMIN = "auth0|admin"
_KEYS = UUID("3f0e0c8e-6a4b-4f43-9a6b-60b1d9f1c6a1")

Connection = psycopg.Connection[Any]
Command = tuple[str, Arguments, dict[str, Secret]]


@dataclass(frozen=True)
class Span:
    """The hours of all runs. The delay is such that no hour becomes due while the tests run."""

    delay_minutes: int
    since: datetime
    newest: datetime
    today: date

    @classmethod
    def now(cls) -> "Span":
        at = utc_now()
        delay_minutes = (at.minute - 2) % 60 or 59
        newest = last_closed_hour(at, timedelta(minutes=delay_minutes))
        return cls(delay_minutes, newest - (HOURS - 1) * HOUR, newest, day_of(at))


class Killer(Protocol):
    """Looks on while a scene works, and says when the daemon dies."""

    def due(self, scene: "Scene") -> str:
        """Return what is being cut off, empty while nothing is."""


class Mercy:
    """Kills nobody."""

    def due(self, scene: "Scene") -> str:
        del scene
        return ""


@dataclass
class Scene:
    """One run: `play` works through it, beginning anew after each death."""

    world: World
    span: Span
    state: Path
    database_url: str = ""
    """Empty: the daemon keeps its own, which dies with it."""
    killer: Killer = field(default_factory=Mercy)
    settings: dict[str, str] = field(default_factory=dict)
    deaths: list[str] = field(default_factory=list)
    begun_s: float = 0.0
    """When the daemon that lives was started."""
    late_map_next: bool = False
    """Whether the mapping is asked for now that comes while its hours are stored."""
    books: Books = field(default_factory=dict)
    """What it came to."""
    _daemon: Daemon | None = None
    _connection: Connection | None = None

    # ── the processes ───────────────────────────────────────────────────────────────────────

    @property
    def daemon(self) -> Daemon:
        assert self._daemon is not None
        return self._daemon

    def start(self) -> Daemon:
        settings = {
            "loopback_clusters": "true",
            "collect_delay_minutes": str(self.span.delay_minutes),
            "settle_hours": str(SETTLE_HOURS),
            "answer_timeout_s": "5",
            **({"database_url": self.database_url} if self.database_url else {}),
            **self.settings,
        }
        self.begun_s = time.monotonic()
        self._daemon = Daemon(environment(self.state, **settings))
        return self._daemon

    def kill(self, what: str) -> None:
        """Kill -9; nothing that the daemon had started may live on."""
        self.deaths.append(what)
        family = descendants(self.daemon.process.pid)
        self.daemon.process.kill()
        self.daemon.end()
        require_no_bug(self.daemon)
        await_gone(family)

    def connection(self) -> Connection:
        """Return a connection to the run's database; OperationalError while it is down."""
        if self._connection is None or self._connection.closed or self._connection.broken:
            url = self.database_url or (self.state / "database.url").read_text().strip()
            self._connection = psycopg.connect(
                url, autocommit=True, connect_timeout=5, options="-c search_path=hopsmeter"
            )
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._daemon is not None:
            self._daemon.__exit__()

    # ── the story ───────────────────────────────────────────────────────────────────────────

    def play(self) -> None:
        """Work through the story and keep its books; then its daemon ends well."""
        self.start()
        self.work_through()
        self.keep_books()
        assert self.daemon.end() == 0
        require_no_bug(self.daemon)

    def work_through(self) -> None:
        """Set up, catch up, map late, restate; each part waits until the one before is done."""
        self.until(self._admin)
        self.carry_out(self._clusters())
        self.carry_out([_user(each.user_id, each.email) for each in self.users])
        self.carry_out(self._maps())
        self.until(lambda: self.hours_stored >= HOURS // 2)
        self.late_map_next = True
        self.carry_out([self.late_map()])
        self.until(self._caught_up)
        self.restate()
        self.until(self._posted)
        self.daemon.ready()

    def keep_books(self) -> None:
        """Read what it came to, which must balance."""
        self.require_balance()
        self.books = read_books(self.connection(), self.span.today)

    def restate(self) -> None:
        """Let OpenCost say other costs for a few hours, and ask for them again."""
        fault = self.world["eu-prod"].faults.add(
            "restated",
            factor=RESTATED_FACTOR,
            from_hour=self.span.since,
            to_hour=self.span.since + RESTATED_HOURS * HOUR,
        )
        hours = [hour_text(self.span.since + n * HOUR) for n in range(RESTATED_HOURS)]
        self.carry_out([("collect", Collect("eu-prod", hour=hour), {}) for hour in hours])
        self.until(self._restated)
        self.world["eu-prod"].faults.remove(fault)

    def until(self, done: Callable[[], Any]) -> None:
        """Wait until it is so; a daemon that the killer takes is started again."""
        deadline_s = time.monotonic() + LIMIT_S
        next_look_s = 0.0
        while True:
            # Its own database is away while it starts, or dies under our eyes.
            with contextlib.suppress(psycopg.OperationalError, FileNotFoundError):
                what = self.killer.due(self)
                if what:
                    self.kill(what)
                    self.start()
                if time.monotonic() >= next_look_s:
                    if done():
                        return
                    next_look_s = time.monotonic() + DONE_LOOKS_S
            assert self.daemon.process.poll() is None, self.daemon.text
            assert time.monotonic() < deadline_s, f"{self.deaths}\n{self.daemon.text}"
            time.sleep(POLL_S)

    def carry_out(self, commands: list[Command]) -> list[int]:
        """Submit, each once whatever dies meanwhile, and wait until all are done."""
        ids: list[int] = []

        def submitted() -> bool:
            ids[:] = [self._submit(*command) for command in commands]
            return True

        def ended() -> bool:
            rows = self.connection().execute(
                "SELECT name, state, error FROM commands WHERE id = ANY (%s)", [ids]
            )
            found = rows.fetchall()
            assert not [row for row in found if row[1] in ("refused", "failed")], found
            return len(found) == len(ids) and all(row[1] == "done" for row in found)

        self.until(lambda: self.published)
        self.until(submitted)
        self.until(ended)
        return ids

    def _submit(self, name: str, arguments: Arguments, sealed: dict[str, Secret]) -> int:
        key = uuid5(_KEYS, f"{name} {arguments!r}")
        row = self.connection().execute("SELECT id FROM commands WHERE key = %s", [key]).fetchone()
        if row is not None:
            return int(row[0])
        return submit(self.connection(), name, arguments, why="a test", sealed=sealed, key=key)

    # ── what is asked for ───────────────────────────────────────────────────────────────────

    @property
    def users(self) -> list[Any]:
        return self.world.users[:USERS]

    def _admin(self) -> bool:
        connection = self.connection()
        connection.execute(
            "INSERT INTO users (id, email, is_admin) VALUES (%s, 'admin@example.test', true)"
            " ON CONFLICT DO NOTHING",
            [ADMIN],
        )
        connection.execute(
            "INSERT INTO logins (role, user_id) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            [OWNER, ADMIN],
        )
        return True

    def _clusters(self) -> list[Command]:
        return [
            (
                "cluster.add",
                ClusterAdd(
                    cluster=cluster.name,
                    api_url=f"https://{cluster.name}.example.test",
                    opencost_namespace=cluster.place.namespace,
                    selector=cluster.place.selector,
                    metering_since=hour_text(self.span.since),
                ),
                {"kubeconfig": Secret(cluster.kubeconfig())},
            )
            for cluster in self.world
        ]

    def _namespaces(self, cluster: str) -> list[str]:
        projects = self.world[cluster].story.projects
        return [project.namespace for project in projects if project.kind != "system"]

    def _maps(self) -> list[Command]:
        """Give every namespace but the last of each cluster an owner."""
        owners = [each.user_id for each in self.users]
        return [
            _map(cluster, namespace, owners[(number + at) % USERS], self.span.since)
            for at, cluster in enumerate(self.world.clusters)
            for number, namespace in enumerate(self._namespaces(cluster)[:-1])
        ]

    def late_map(self) -> Command:
        """Return the mapping that comes while hours of its namespace are being stored."""
        first = self._namespaces("eu-prod")[0]
        return _map("eu-prod", first, self.users[-1].user_id, self.span.since + 2 * HOUR)

    @property
    def late_map_arguments(self) -> str:
        return json.dumps(plain(self.late_map()[1]))

    # ── how far it is ───────────────────────────────────────────────────────────────────────

    def count(self, query: str, *values: Any) -> int:
        row = self.connection().execute(query, values).fetchone()
        assert row is not None
        return int(row[0])

    @property
    def published(self) -> bool:
        return bool(self.count("SELECT count(*) FROM secret_keys"))

    @property
    def hours_stored(self) -> int:
        return self.count("SELECT count(*) FROM collection_windows WHERE revision > 0")

    def _caught_up(self) -> bool:
        """Say whether all is stored and posted; that a bad cluster is left alone a while is skipped."""
        self.connection().execute(
            "UPDATE hopsworks_clusters SET next_visit_at = NULL WHERE next_visit_at IS NOT NULL"
        )
        return self.hours_stored == HOURS * len(self.world.clusters) and self._posted()

    def _posted(self) -> bool:
        waiting = "SELECT count(*) FROM collection_windows WHERE stored_no <> posted_no"
        open_days = "SELECT count(*) FROM cluster_days WHERE closed_at IS NULL AND day < %s"
        return not self.count(waiting) and not self.count(open_days, self.span.today)

    def _restated(self) -> bool:
        restated = "SELECT count(DISTINCT hour) FROM allocation_history WHERE replaced_why = %s"
        return self.count(restated, "restated") == RESTATED_HOURS and self._posted()

    def require_balance(self) -> None:
        """Assert that the proof holds, line by line."""
        delay = timedelta(minutes=self.span.delay_minutes)
        lines = check_books(self.connection(), utc_now(), delay=delay)
        assert [line for line in lines if not line.ok] == []
        assert "wait to be posted" not in lines[2].detail


def _user(user: str, email: str) -> Command:
    return "user.add", UserAdd(user=user, email=email), {}


def _map(cluster: str, namespace: str, user: str, since: datetime) -> Command:
    arguments = NamespaceMap(cluster, namespace, user, from_hour=hour_text(since))
    return "namespace.map", arguments, {}


def require_no_bug(daemon: Daemon) -> None:
    """Assert that a daemon met nothing that it had not foreseen."""
    told = [json.loads(line) for line in daemon.text.splitlines() if line.endswith("}")]
    unforeseen = [line for line in told if "exception" in line or "unexpectedly" in line["event"]]
    assert not unforeseen, unforeseen


def play(scene: Scene, undisturbed: Books) -> None:
    """Play a scene; its books must balance and be those of the run that nothing disturbed."""
    try:
        scene.play()
    finally:
        scene.close()
    require_equal(scene.books, undisturbed)
