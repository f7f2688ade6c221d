"""Two whole daemons on one database: one is frozen, and the other one works on beside it."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from core.clock import hour_text
from core.commands.arguments import Collect
from sandbox.world import World
from tests.crash.books import Books, require_equal
from tests.crash.killers import Gate
from tests.crash.processes import descendants
from tests.crash.scene import POLL_S, Scene, Span, require_no_bug
from tests.daemon.process import Daemon
from tests.database import Database

LEASE_S = 35
"""The shortest that is taken."""
SLOW_S = 0.3
"""For one cluster's answers, so that it is not done when there is something to be cut off."""
SETTLE_S = 0.05
COPY_LIMIT_S = 5.0
LOST = {"store failed", "store lost", "lease lost"}
WRITTEN_BY_ASKING = {"commands", "audit"}

_STORES = "datname = current_database() AND application_name LIKE 'hopsmeter-store%%'"
_WITHIN_COPY = (
    f"SELECT count(*) FROM pg_stat_activity WHERE {_STORES} AND state = 'active'"
    " AND query LIKE 'COPY hopsmeter.allocations %%' AND wait_event = 'ClientRead'"
)
_OTHERS_AT_WORK = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name LIKE 'hopsmeter%%' AND application_name NOT LIKE 'hopsmeter-store%%'"
    " AND xact_start IS NOT NULL"
)
_MAPPED_LATE = (
    "SELECT count(*) FROM commands WHERE name = 'namespace.map' AND arguments = %s::jsonb"
    " AND state = 'done'"
)
_NO_PAUSES = (
    "UPDATE collection_windows SET next_try_at = now() WHERE fault = 'not-stored'"
    " AND next_try_at > now() AND lease_token IS NULL"
)
_WAITING = (
    "SELECT count(*) FROM collection_windows WHERE next_try_at <= now() OR lease_token IS NOT NULL"
)


@dataclass
class Pair(Scene):
    """What its killer strikes is frozen and not killed; another daemon goes on beside it."""

    frozen: Daemon | None = None
    _family: tuple[int, ...] = ()

    def kill(self, what: str) -> None:
        assert isinstance(self.killer, Gate)
        self.deaths.append(what)
        self._freeze()
        self.killer.release()
        self._await_copy()
        self.world["us-gpu"].faults.clear()
        self.frozen = self.daemon
        # As an operator sets up a second one: the same keyring, a state folder of its own.
        self.settings["keyring"] = str(self.state / "keyring")
        self.state = self.state.with_name("beside")
        self.state.mkdir(mode=0o700)

    def _freeze(self) -> None:
        """Stop all its processes, as a machine does that stops, with one store under way alone.

        A posting or a command that is frozen as well would be taken over, too, but later.
        """
        pid = self.daemon.process.pid
        while True:
            os.kill(pid, signal.SIGSTOP)
            self._family = (pid, *(child for child, _ in descendants(pid)))
            self._signal(signal.SIGSTOP)
            time.sleep(SETTLE_S)
            if not self.count(_OTHERS_AT_WORK):
                return
            self._signal(signal.SIGCONT)
            time.sleep(SETTLE_S)

    def _await_copy(self) -> None:
        deadline_s = time.monotonic() + COPY_LIMIT_S
        while not self.count(_WITHIN_COPY):
            assert time.monotonic() < deadline_s, self.daemon.text
            time.sleep(POLL_S)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._family:
            # A visit may end before it is stopped.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def thaw(self) -> Daemon:
        """Let the first one run on, and from now on it is the scene's."""
        assert self.frozen is not None
        self._daemon, self.frozen = self.frozen, None
        self._signal(signal.SIGCONT)
        return self.daemon

    def _caught_up(self) -> bool:
        """Skip the pauses of hours, too: a frozen store holds up those with the same new namespace."""
        self.connection().execute(_NO_PAUSES)
        return super()._caught_up()

    def close(self) -> None:
        super().close()
        if self.frozen is not None:
            self.frozen.__exit__()


def test_a_daemon_frozen_within_copy_is_taken_over_by_another_and_goes_on_when_it_thaws(
    world: World, span: Span, database_apart: Database, state: Path, undisturbed: Books
) -> None:
    world["us-gpu"].faults.add("slow", seconds=SLOW_S)
    gate = Gate("allocations", "hopsmeter-store%", mapped_late)
    lease = {"lease_s": str(LEASE_S)}
    pair = Pair(world, span, state, database_apart.url, killer=gate, settings=lease)
    with contextlib.ExitStack() as stack:
        stack.callback(pair.close)
        stack.callback(gate.release)
        pair.start()
        pair.work_through()
        pair.keep_books()
        beside = stack.enter_context(pair.daemon)
        assert [line for line in beside.log if line.get("freed")], beside.text
        require_equal(pair.books, undisturbed)
        thawed = pair.thaw()
        thawed.until(lambda: LOST & {line["event"] for line in thawed.log})
        assert beside.end() == 0
        require_no_bug(beside)
        require_goes_on(pair)


def mapped_late(scene: Scene) -> bool:
    return scene.late_map_next and bool(scene.count(_MAPPED_LATE, scene.late_map_arguments))


def require_goes_on(pair: Pair) -> None:
    """Assert that its daemon collects, alone again, and that no figure is another for it."""
    cluster, before = pair.world["us-gpu"], pair.books
    asked = len(cluster.asks)
    pair.carry_out([("collect", Collect(cluster.name, hour=hour_text(pair.span.newest)), {})])
    pair.until(lambda: len(cluster.asks) > asked and not pair.count(_WAITING))
    pair.keep_books()
    kept = {part: rows for part, rows in before.items() if part not in WRITTEN_BY_ASKING}
    require_equal(pair.books, kept)
    assert pair.daemon.end() == 0
    require_no_bug(pair.daemon)
