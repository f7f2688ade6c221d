"""Keeps the one Collector of this process: made at the first look, told to stop at the end."""

import hashlib
import threading
from datetime import timedelta
from typing import Any

import psycopg

from core.clusters.connection import ClusterAccess, Reach, VisitLimits, launcher
from core.clusters.opening import access_of
from core.db.connect import connect
from core.metering.collect import Collector
from core.metering.policy import Policy
from daemon import log
from daemon.deps import Deps, Lines

HOST_CHARS = 20
_STORED = frozenset({"stored", "revised"})
_TROUBLE = frozenset(
    {"hour_failed", "hour_refused", "hour_held", "hour_gap", "store_failed", "store_lost"}
)


class Collecting:
    """Shared by all runs of the job; visits go on between two of them."""

    def __init__(self, stored: threading.Event) -> None:
        self.stored = stored
        """Set by whoever changed what stored hours say: their days are then posted without delay."""
        self.asked = threading.Event()
        """Set by a command after which there may be hours to ask for: the next look is now."""
        self._lock = threading.Lock()
        self._lines = Lines()
        self._collector: Collector | None = None

    def collector(self, deps: Deps) -> Collector:
        """Return the collector; the first call frees what a killed daemon of our name had claimed."""
        with self._lock:
            if self._collector is None:
                self._collector = self._make(deps)
                if self._collector.freed_at_start:
                    log.get("hours").info(
                        "took back what was left claimed", hours=self._collector.freed_at_start
                    )
            return self._collector

    def stop(self, limit_s: float) -> bool:
        """Begin no more visits; tell whether those under way ended within the limit."""
        with self._lock:
            return self._collector is None or self._collector.stop(limit_s)

    def cut(self) -> None:
        """End what still runs: the processes that ask, and the connections that store."""
        launcher.stop()
        self._lines.cut()

    def _make(self, deps: Deps) -> Collector:
        settings = deps.settings
        limits = VisitLimits(
            answer_s=settings.answer_timeout_s, size_max_bytes=settings.answer_max_mib * 2**20
        )

        def open_line(name: str) -> psycopg.Connection[Any]:
            connection = connect(deps.url(), name=name)
            self._lines.add(connection)
            return connection

        def access(connection: psycopg.Connection[Any], cluster_id: int) -> ClusterAccess:
            return access_of(connection, deps.keyring, cluster_id)

        def tell(event: str, **facts: Any) -> None:
            self._tell(deps, event, facts)

        return Collector(
            connect=open_line,
            access=access,
            open_reach=lambda found: Reach(found, limits, launcher),
            daemon=short_name(deps.name),
            parallel=settings.collect_parallel,
            policy=Policy(
                delay=timedelta(minutes=settings.collect_delay_minutes),
                settle=timedelta(hours=settings.settle_hours),
                lease_s=settings.lease_s,
            ),
            clock=deps.clock,
            tell=tell,
        )

    def _tell(self, deps: Deps, event: str, facts: dict[str, Any]) -> None:
        kind, _, outcome = event.partition("_")
        if kind == "hour" and "cluster" in facts:
            deps.tally.asks.labels(facts["cluster"], outcome).inc()
        if outcome in _STORED:
            self.stored.set()
        logger = log.get("hours")
        tell = logger.warning if event in _TROUBLE else logger.info
        if event in ("hour_unchanged", "cluster_visited"):
            tell = logger.debug
        tell(event.replace("_", " "), **facts)


def short_name(name: str) -> str:
    """Return a name that fits pg_stat_activity, as it is, and tells two installations on a host apart."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    shown = name[:HOST_CHARS].encode("ascii", "replace").decode()
    return f"{shown} {digest}"
