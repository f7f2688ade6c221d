"""Runs jobs in threads of their own, at most one run of each, and watches their time.

A thread cannot be ended from outside. So a run over its limit has its database connections cut,
which ends whatever waits there, counts as failed at once, and is not begun again before its
thread is gone: nothing piles up, and the other jobs go on.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import psycopg

from core.clock import monotonic_s
from core.errors import DatabaseFault, DatabaseReadOnly, HopsmeterError
from daemon import log
from daemon.agenda import Job
from daemon.deps import Deps, Lines, Report
from daemon.threads import in_thread

CUT_LIMIT_S = 5.0
"""How long a run may take to end once its connections are cut."""


@dataclass
class _Run:
    job: Job
    lines: Lines
    ended: "asyncio.Future[Report]"
    begun_s: float
    late: bool = False


class Runner:
    """Belongs to one event loop; `on_lost` is told when a run lost the database."""

    def __init__(self, deps: Deps, *, on_lost: Callable[[], None]) -> None:
        self._deps = deps
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._running: dict[str, _Run] = {}

    @property
    def running(self) -> tuple[str, ...]:
        return tuple(self._running)

    def start(self, job: Job) -> asyncio.Future[Report] | None:
        """Begin a run unless one is under way or the daemon stops; the future is its report."""
        if job.name in self._running or self._deps.stopping.is_set():
            return None
        lines = Lines()
        deps = replace(self._deps, lines=lines)
        ended = in_thread(lambda: _report(job, deps), f"job {job.name}")
        run = _Run(job, lines, ended, monotonic_s())
        self._running[job.name] = run
        ended.add_done_callback(lambda _: self._ended(run))
        self._loop.call_later(job.limit_s, self._too_late, run)
        return ended

    async def drain(self, limit_s: float) -> tuple[str, ...]:
        """Wait for what runs; return the names of what did not end within the limit."""
        ends = [run.ended for run in self._running.values()]
        if ends:
            await asyncio.wait(ends, timeout=limit_s)
        return self.running

    async def cut(self) -> None:
        """End what runs by cutting its connections; what was not committed is rolled back."""
        for run in list(self._running.values()):
            self._cut(run)
        await self.drain(CUT_LIMIT_S)

    def _ended(self, run: _Run) -> None:
        del self._running[run.job.name]
        took_s = monotonic_s() - run.begun_s
        self._deps.tally.run_seconds.labels(run.job.name).observe(took_s)
        fault = run.ended.exception()
        if run.late:
            return  # counted and told of when its time was over
        if fault is not None:
            self._failed(run, fault)
            return
        self._deps.tally.runs.labels(run.job.name, "ok").inc()
        facts = run.ended.result().facts
        if facts:
            log.get("job").info(run.job.name, **facts, took_s=round(took_s, 3))

    def _failed(self, run: _Run, fault: BaseException) -> None:
        self._deps.tally.runs.labels(run.job.name, "failed").inc()
        lost = isinstance(fault, DatabaseFault | psycopg.OperationalError)
        if lost:
            self._on_lost()
        if run.job.quiet and lost:
            return  # the contact with the database is watched, and told of, in one place
        if isinstance(fault, HopsmeterError | psycopg.OperationalError):
            log.get("job").error(f"{run.job.name} failed", why=str(fault).strip())
        else:
            log.get("job").error(f"{run.job.name} failed unexpectedly", exc_info=fault)

    def _too_late(self, run: _Run) -> None:
        if run.ended.done() or self._running.get(run.job.name) is not run:
            return
        run.late = True
        self._deps.tally.runs.labels(run.job.name, "late").inc()
        log.get("job").error(
            f"{run.job.name} is over its time limit and is being ended", limit_s=run.job.limit_s
        )
        self._cut(run)

    def _cut(self, run: _Run) -> None:
        threading.Thread(target=run.lines.cut, name=f"cut {run.job.name}", daemon=True).start()


def _report(job: Job, deps: Deps) -> Report:
    """A database that takes no writes is as good as away: no job can end before it does again."""
    try:
        return job.run(deps)
    except psycopg.errors.ReadOnlySqlTransaction:
        raise DatabaseReadOnly from None
