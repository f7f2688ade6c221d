"""Who kills the daemon, and when: at moments drawn from a seed, or in the middle of one statement."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg

from tests.crash.scene import HOURS, Scene

JITTER_S = 0.02
OPENING_S = 1.2
WHENEVER_S = (0.8, 2.5)
DEATHS = 3
FAULT_DEATHS = 2

Look = Callable[[Scene], bool]


@dataclass(frozen=True)
class Moment:
    name: str
    come: Look
    jitter_s: float = 0.0


class Plan:
    """A few moments, one after the other; each life of the daemon ends at the next of them."""

    def __init__(self, seed: int, deaths: int = DEATHS) -> None:
        dice = random.Random(seed)
        moments = _moments(dice)
        chosen = sorted(dice.sample(range(len(moments)), deaths))
        self.left = [moments[number] for number in chosen]

    def due(self, scene: Scene) -> str:
        if not self.left or not self.left[0].come(scene):
            return ""
        moment = self.left.pop(0)
        time.sleep(moment.jitter_s)
        return moment.name


def _moments(dice: random.Random) -> list[Moment]:
    """Return all kinds of moments, in the order in which they can come."""

    def jitter_s() -> float:
        return dice.uniform(0, JITTER_S)

    return [
        Moment("opening", _lived(dice.uniform(0, OPENING_S))),
        Moment("commands", _done_commands(dice.randrange(1, 20)), jitter_s()),
        Moment("storing", _stores_after(dice.randrange(HOURS)), jitter_s() / 4),
        Moment("whenever", _lived(dice.uniform(*WHENEVER_S))),
        Moment("posting", _in_transaction("hopsmeterd post"), jitter_s() / 4),
        Moment("mapping", _maps_late, jitter_s() / 4),
        Moment("storing late", _stores_after(dice.randrange(HOURS, 2 * HOURS)), jitter_s() / 4),
        Moment("closing", _in_transaction("hopsmeterd post", "%cost_daily%"), jitter_s() / 4),
        Moment("restating", _restates, jitter_s()),
    ]


def _lived(for_s: float) -> Look:
    return lambda scene: time.monotonic() - scene.begun_s >= for_s


def _done_commands(number: int) -> Look:
    done = "SELECT count(*) FROM commands WHERE state = 'done'"
    return lambda scene: scene.count(done) >= number


def _in_transaction(name: str, query: str = "%") -> Look:
    """Whether a backend of this name is in a transaction, at a statement like this."""
    found = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s AND query LIKE %s"
        " AND datname = current_database() AND state <> 'idle' AND xact_start IS NOT NULL"
    )
    return lambda scene: scene.count(found, name, query) > 0


def _stores_after(hours: int) -> Look:
    stores = _in_transaction("hopsmeter-store%")
    return lambda scene: scene.hours_stored >= hours and stores(scene)


def _maps_late(scene: Scene) -> bool:
    row = (
        scene.connection()
        .execute(
            "SELECT state <> 'submitted' FROM commands WHERE name = 'namespace.map'"
            " AND arguments = %s::jsonb",
            [scene.late_map_arguments],
        )
        .fetchone()
    )
    return row is not None and bool(row[0])


def _restates(scene: Scene) -> bool:
    again = "SELECT count(*) FROM collection_windows WHERE revision > 0 AND lease_token IS NOT NULL"
    return scene.count(again) > 0


@dataclass
class AtFault:
    """Kills while a cluster that was asked does not answer, or answers half; twice."""

    cluster: str
    number: int
    _seen: int = 0

    def due(self, scene: Scene) -> str:
        taken = scene.world[self.cluster].faults.taken(self.number)
        if taken == self._seen or len(scene.deaths) == FAULT_DEATHS:
            return ""
        self._seen = taken
        return f"at fault {taken}"


@dataclass
class Gate:
    """Holds a table until the daemon waits for it within a transaction, and kills it there.

    The server does not notice at once: it goes on with the statement that waited, and rolls back
    when it finds nobody there to tell.
    """

    table: str
    backend: str
    opens: Look
    """From when on the table is held."""
    _blocker: psycopg.Connection | None = field(default=None, repr=False)
    _over: bool = False

    def due(self, scene: Scene) -> str:
        if self._over:
            self.release()
            return ""
        if self._blocker is None:
            if self.opens(scene):
                self._hold(scene)
            return ""
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s"
            " AND datname = current_database() AND wait_event_type = 'Lock'"
        )
        self._over = scene.count(waiting, self.backend) > 0
        return f"at {self.table}" if self._over else ""

    def _hold(self, scene: Scene) -> None:
        self._blocker = psycopg.connect(scene.database_url, connect_timeout=5)
        self._blocker.execute("SET lock_timeout = '5s'")
        self._blocker.execute(f"LOCK TABLE hopsmeter.{self.table} IN EXCLUSIVE MODE")

    def release(self) -> None:
        if self._blocker is not None:
            self._blocker.close()


def after_hours(number: int) -> Look:
    return lambda scene: scene.hours_stored >= number


def at_late_map(scene: Scene) -> bool:
    return scene.late_map_next
