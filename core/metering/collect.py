"""Collect: many clusters side by side, each at its own pace; one that is slow holds up nobody."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import psycopg

from core.clock import Clock
from core.clusters.connection import ClusterAccess, Reach
from core.metering import windows
from core.metering.policy import Policy
from core.metering.visits import Teller, Tools, first_line, visit_cluster
from core.metering.windows import ClusterWork
from core.metering.writer import Writer

WAITING_MAX = 5_000
"""Clusters that wait for their turn; a visit begins as soon as another ends."""
ROUND_TIMEOUT_S = 24 * 3600.0
"""How long `wait_idle` waits at most; each visit has its own, far shorter limits."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class RoundReport:
    """What one look found: new windows, leases taken from frozen owners, visits begun."""

    opened: int
    freed: int
    begun: int


class Collector:
    """The collecting half of a daemon: at most `parallel` visits at once, never two to a cluster.

    `connect(name)` opens an autocommit connection whose application_name is `name`; `daemon`
    names this installation and stays the same over restarts.
    """

    def __init__(
        self,
        *,
        connect: Callable[[str], Connection],
        access: Callable[[Connection, int], ClusterAccess],
        open_reach: Callable[[ClusterAccess], Reach],
        daemon: str,
        parallel: int,
        policy: Policy,
        clock: Clock,
        tell: Teller,
    ) -> None:
        self._policy, self._clock = policy, clock
        self._name = f"hopsmeter-store {daemon}"[:63]
        self._open = connect
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._visiting: dict[int, Future[int]] = {}
        self._lost: set[int] = set()
        self._answered = 0
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="hopsmeter-visit")
        with self._connect() as connection:
            self.freed_at_start = windows.free_own(connection, self._name)
        writer = Writer(self._connect_to_store, self._name, policy, clock)
        self._tools = Tools(
            self._connect, access, open_reach, writer, policy, clock, tell, self._stopping
        )

    def _connect(self) -> Connection:
        return self._open("hopsmeter-collect")

    def _connect_to_store(self) -> Connection:
        return self._open(self._name)

    def look(self, connection: Connection) -> RoundReport:
        """Open what is due, take over what was left, and begin visits; never waits for one."""
        now = self._clock()
        opened = windows.open_windows(connection, now, self._policy)
        freed = windows.end_frozen_owners(connection) + self._free_lost(connection)
        begun = 0
        if not self._stopping.is_set():
            for work in windows.clusters_with_work(connection, now, WAITING_MAX):
                begun += self._begin(work)
        return RoundReport(opened, freed, begun)

    def _free_lost(self, connection: Connection) -> int:
        """Give back what visits had claimed that lost the database; leases would take minutes."""
        with self._lock:
            lost = self._lost - self._visiting.keys()
        freed = windows.free_lost(connection, self._name, sorted(lost)) if lost else 0
        self._lost -= lost
        return freed

    def _begin(self, work: ClusterWork) -> bool:
        with self._lock:
            if work.cluster_id in self._visiting:
                return False
            future = self._pool.submit(self._visit, work)
            self._visiting[work.cluster_id] = future
        return True

    def _visit(self, work: ClusterWork) -> int:
        answered = 0
        try:
            answered = visit_cluster(self._tools, work)
        except psycopg.Error as error:
            # The database went away: the first look when it is back begins again.
            self._lost.add(work.cluster_id)
            self._tools.tell("visit_lost", cluster=work.cluster, why=first_line(error))
        except Exception as error:
            self._tools.tell("visit_failed", cluster=work.cluster, why=repr(error))
            raise
        finally:
            with self._lock:
                self._answered += answered
                self._visiting.pop(work.cluster_id, None)
        return answered

    @property
    def visiting(self) -> int:
        """Return how many clusters are being visited, or wait for their turn."""
        with self._lock:
            return len(self._visiting)

    def work_through(self, connection: Connection) -> int:
        """Look and wait, until no cluster has work that can be done now; return hours answered."""
        answered_before = self._answered
        while True:
            self.look(connection)
            with self._lock:
                running = list(self._visiting.values())
            if not running:
                return self._answered - answered_before
            wait(running, ROUND_TIMEOUT_S, return_when="FIRST_COMPLETED")

    def stop(self, timeout_s: float) -> bool:
        """Begin no more, let the running asks end; return whether all did within `timeout_s`."""
        self._stopping.set()
        with self._lock:
            running = list(self._visiting.values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        finished = not wait(running, timeout_s).not_done
        if finished:
            self._tools.writer.close()
        return finished
