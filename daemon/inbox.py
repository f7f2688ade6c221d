"""Takes commands up the moment they are submitted, and carries them out.

A few threads wait on LISTEN, each with a connection of its own: quick ones and, so that they make
nobody wait, others for the commands that ask a cluster. A notice that was missed costs POLL_S.
"""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace

import psycopg

from core.billing.stripe.shop import shop_of
from core.clock import monotonic_s
from core.clusters.connection import VisitLimits, visit
from core.clusters.connection.access import CheckStep, ClusterAccess
from core.commands.carry_out import Carried, carry_out
from core.commands.kinds import Lane, Works
from core.db.notify import COMMANDS, listen, wait
from core.errors import DatabaseFault
from core.metering.checkup import Patient, check_cluster
from daemon import log
from daemon.deps import Deps, Lines

WORKERS: Sequence[Lane] = ("quick", "quick", "slow", "slow")
ASKING = frozenset({"collect", "cluster.add", "cluster.edit", "cluster.resume"})
"""After these a cluster may have hours to be asked for, and somebody waits for them."""
MOVING = frozenset(
    {
        "cluster.edit",
        "hours.accept",
        "hours.gap",
        "hours.keep",
        "namespace.map",
        "namespace.unmap",
    }
)
"""After these stored hours may say something else, which their days are to say as well."""
CHECK_ANSWER_S = 90.0
"""Of a check, which walks, asks and looks back: all of it must end within a command's lease."""
POLL_S = 5.0
HEAR_STOP_S = 0.5
PAUSE_S = 1.0
JOIN_POLL_S = 0.02


def works_of(deps: Deps) -> Works:
    """Return what the daemon lends to commands."""
    settings = deps.settings
    limits = VisitLimits(
        answer_s=min(settings.answer_timeout_s, CHECK_ANSWER_S),
        size_max_bytes=settings.answer_max_mib * 2**20,
    )

    def check(access: ClusterAccess, of: Patient) -> list[CheckStep]:
        with visit(access, limits) as reach:
            return check_cluster(reach, of, deps.clock())

    return Works(
        keyring=deps.keyring,
        check_cluster=check,
        clock=deps.clock,
        allow_loopback=deps.settings.loopback_clusters,
        stripe=shop_of(settings),
    )


def drain(connection: psycopg.Connection, deps: Deps, lane: Lane) -> list[Carried]:
    """Carry out what waits in a lane, count it and log how each ended."""
    carried = carry_out(connection, works_of(deps), lane=lane)
    for each in carried:
        deps.tally.commands.labels(each.end).inc()
        _wake(deps, each)
        tell = log.get("commands").error if each.end == "failed" else log.get("commands").info
        facts = {"bug": each.bug} if each.bug else {}
        tell(
            f"command {each.end}",
            command=each.command_id,
            name=each.name,
            asker=each.asker,
            dry_run=each.dry_run,
            said=each.said,
            took_s=round(each.took_s, 3),
            **facts,
        )
    return carried


def _wake(deps: Deps, carried: Carried) -> None:
    """Have what follows from a command done now, and not when its clock rings next."""
    if carried.end != "done" or carried.dry_run:
        return
    if carried.name in ASKING:
        deps.collecting.asked.set()
    if carried.name in MOVING:
        deps.collecting.stored.set()
    if carried.name == "webhooks.replay":
        deps.arrived.set()


class Inbox:
    """The threads; `begin` once the database was reached, `end` before the process leaves."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._lines = [Lines() for _ in WORKERS]
        self._threads: list[threading.Thread] = []

    def begin(self) -> None:
        if self._threads:
            return
        for number, lane in enumerate(WORKERS):
            deps = replace(self._deps, lines=self._lines[number])
            name = f"{lane} commands {number}"
            thread = threading.Thread(target=_work, args=(deps, lane), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    async def end(self, limit_s: float) -> bool:
        """Wait until each has finished its command; tell whether all did within the limit."""
        deadline_s = monotonic_s() + limit_s
        while any(thread.is_alive() for thread in self._threads):
            if monotonic_s() > deadline_s:
                return False
            await asyncio.sleep(JOIN_POLL_S)
        return True

    def cut(self) -> None:
        """End what still runs by cutting its connections."""
        for line in self._lines:
            threading.Thread(target=line.cut, daemon=True).start()


def _work(deps: Deps, lane: Lane) -> None:
    """One thread: begin anew, after a pause, whenever the database was lost."""
    while not deps.stopping.is_set():
        try:
            with deps.connect(f"{lane} commands") as connection:
                listen(connection, COMMANDS)
                _serve(connection, deps, lane)
        except (DatabaseFault, psycopg.Error):
            # The contact with the database is watched, and told of, in one place.
            deps.stopping.wait(PAUSE_S)
        except Exception:  # noqa: BLE001 - the edge of a thread: it must live on, its fault be seen
            log.get("commands").exception("a worker failed unexpectedly and begins anew")
            deps.stopping.wait(PAUSE_S)


def _serve(connection: psycopg.Connection, deps: Deps, lane: Lane) -> None:
    looked_at_s = float("-inf")
    told = False
    while not deps.stopping.is_set():
        if told or monotonic_s() - looked_at_s >= POLL_S:
            drain(connection, deps, lane)
            looked_at_s = monotonic_s()
        told = bool(wait(connection, HEAR_STOP_S))
