"""The process: signals, what systemd is told, the run cycle. Nothing else stands here."""

import asyncio
import contextlib
import signal
import threading
from dataclasses import replace

from core.clock import monotonic_s
from core.errors import HopsmeterError, SchemaMismatch, SecretFault
from daemon import log
from daemon.agenda import AGENDA, HEARTBEAT, HOURS, POST, WEBHOOKS, Alarm, Job
from daemon.contact import Contact
from daemon.database import Database
from daemon.deps import Deps
from daemon.inbox import Inbox
from daemon.jobs import heartbeat
from daemon.opening import first_contact, later_contact
from daemon.runner import Runner
from daemon.supervisor import Supervisor
from daemon.threads import in_thread
from daemon.web.hooks import receiving
from daemon.web.server import pages

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""SIGHUP as well: a terminal that is closed is no reason to leave without a farewell."""
TICK_S = 0.25
BEAT_S = 5.0
STOP_LIMIT_S = 20.0
"""How long running transactions may take to end; TimeoutStopSec in the unit is above all of it."""
FAREWELL_LIMIT_S = 3.0


class Service:
    """One run from start to stop; made inside the event loop that it runs in."""

    def __init__(
        self, deps: Deps, database: Database, supervisor: Supervisor, stored: threading.Event
    ) -> None:
        """`stored` is set by whoever stored an hour: its day is then posted without delay."""
        self._deps, self._database, self._supervisor = deps, database, supervisor
        self._stored = stored
        self._contact = Contact()
        self._look = asyncio.Event()  # the database may be lost: look now
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        self._fatal: HopsmeterError | None = None
        self._opened = False
        self._runner = Runner(deps, on_lost=self._look.set)
        self._alarm = Alarm(AGENDA, self._runner.start)
        self._inbox = Inbox(deps)

    async def run(self) -> int:
        """Serve until told to stop; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._told_to_stop, signal.Signals(number).name)
        async with (
            pages(self._deps, self._contact, self._runner) as page,
            receiving(self._deps) as hooks,
        ):
            log.get("service").info("listening", address=page.address)
            if hooks:
                log.get("service").info("taking webhooks", address=hooks)
            self._supervisor.ready("waiting for the database")
            cycle = [asyncio.create_task(self._keep_contact()), asyncio.create_task(self._tick())]
            await self._until_stopped(cycle)
            await self._leave()
        if self._fatal is None:
            log.get("service").info("stopped")
            return 0
        log.get("service").error("it cannot go on", why=self._fatal.message)
        return 1

    async def _until_stopped(self, cycle: list["asyncio.Task[None]"]) -> None:
        """Wait for the stop; a part of the cycle that breaks is one, for a supervisor to mend."""
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({stop, *cycle}, return_when=asyncio.FIRST_COMPLETED)
        self._stop.set()
        for task in cycle:
            task.cancel()
        for broken in await asyncio.gather(*cycle, return_exceptions=True):
            if isinstance(broken, Exception):
                log.get("service").critical("the run cycle broke", exc_info=broken)
                self._fatal = HopsmeterError("The run cycle broke; see the line before.")

    def _told_to_stop(self, name: str) -> None:
        if self._stop.is_set():
            log.get("service").warning("told again to stop: not waiting any longer", signal=name)
            self._hurry.set()
            return
        log.get("service").info("told to stop", signal=name, running=self._runner.running)
        self._stop.set()

    async def _tick(self) -> None:
        """Begin what is due, and show systemd that this loop and the threads still turn."""
        watched_s = self._supervisor.watchdog_s
        told_at_s = float("-inf")
        while not self._stop.is_set():
            if self._contact.ready:
                self._alarm.ring()
                self._begin_if_told(self._stored, POST)
                self._begin_if_told(self._deps.collecting.asked, HOURS)
                self._begin_if_told(self._deps.arrived, WEBHOOKS)
            if watched_s and self._contact.alive and monotonic_s() - told_at_s >= watched_s / 3:
                self._supervisor.alive()
                told_at_s = monotonic_s()
            await asyncio.sleep(TICK_S)

    def _begin_if_told(self, told: threading.Event, job: Job) -> None:
        """Clear first: what is told while the job begins is another run's."""
        if told.is_set():
            told.clear()
            if self._runner.start(job) is None:
                told.set()

    async def _keep_contact(self) -> None:
        """Beat; where the database is away, wait longer each time, and go on when it is back."""
        while not self._stop.is_set():
            self._look.clear()
            fault = await self._beat()
            if isinstance(fault, SchemaMismatch | SecretFault) and not self._opened:
                self._fatal = fault
                self._stop.set()
                return
            if fault is None:
                self._reached()
                pause_s = BEAT_S
            else:
                self._unreached(fault)
                pause_s = self._contact.pause_s()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), pause_s)
                await asyncio.sleep(TICK_S)  # several that lost it at once are one look

    async def _beat(self) -> Exception | None:
        beat = later_contact if self._opened else first_contact
        job = replace(HEARTBEAT, run=beat(self._database))
        ended = self._runner.start(job)
        if ended is None:
            return HopsmeterError("The last try to reach the database still hangs.")
        done, _ = await asyncio.wait([ended], timeout=job.limit_s)
        if not done:
            return HopsmeterError(f"The database did not answer within {job.limit_s:g} s.")
        fault = ended.exception()
        return fault if isinstance(fault, Exception) else None

    def _reached(self) -> None:
        self._opened = True
        if self._contact.made():
            log.get("service").info("the database answers; work begins")
            self._supervisor.status("working")
            self._inbox.begin()
            self._alarm.ring_all()

    def _unreached(self, fault: Exception) -> None:
        why = fault.message if isinstance(fault, HopsmeterError) else str(fault).strip()
        if self._contact.lost(why):
            log.get("service").warning("the database is away; trying again", why=why)
            self._supervisor.status(f"waiting: {why}")

    async def _leave(self) -> None:
        """Take no more work, let running transactions end within the limit, then cut them."""
        self._supervisor.stopping()
        self._deps.stopping.set()
        if not await self._ended_in_time():
            log.get("service").warning("cutting what still runs", jobs=self._runner.running)
            self._inbox.cut()
            self._deps.collecting.cut()
            await self._runner.cut()
        if self._contact.ready:
            # Only a courtesy: without it, doctor and dashboard see the beat grow old.
            with contextlib.suppress(Exception):
                farewell = in_thread(lambda: heartbeat.farewell(self._deps), "farewell")
                await asyncio.wait_for(farewell, FAREWELL_LIMIT_S)

    async def _ended_in_time(self) -> bool:
        hurry = asyncio.create_task(self._hurry.wait())
        ends = asyncio.create_task(self._all_ended())
        await asyncio.wait({hurry, ends}, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if ends.done():
            return ends.result()
        ends.cancel()
        return False

    async def _all_ended(self) -> bool:
        visits = in_thread(lambda: self._deps.collecting.stop(STOP_LIMIT_S), "stop collecting")
        left, commands_ended, visits_ended = await asyncio.gather(
            self._runner.drain(STOP_LIMIT_S), self._inbox.end(STOP_LIMIT_S), visits
        )
        return not left and commands_ended and visits_ended
