"""Stores what was delivered, before it is answered: what waits shares one statement and one commit.

One thread has the one connection. While it waits for a commit the next ones gather, so the harder the
endpoint is pressed, the more of them share the next one.
"""

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from core.clock import monotonic_s
from core.errors import DatabaseFault
from core.webhooks.event import Delivery
from core.webhooks.store import store
from daemon import log

WAITING_MAX: Final = 1_000
BATCH_MAX: Final = 256
KEEP_MAX_S: Final = 5.0
"""Within it a delivery is durable, or its sender is told to come again."""
SWEEP_S: Final = 0.5
DRAIN_MAX_S, DRAIN_LOOK_S = 2.0, 0.01
STATEMENT_MAX_MS: Final = 3_000
LOCK_MAX_MS: Final = 1_000
"""An event that comes again while its mark is being written waits that long at most."""

Answer = Callable[[bool], None]


@dataclass(slots=True)
class _Letter:
    """A delivery that waits; `answer` is None once it was given."""

    delivery: Delivery
    answer: Answer | None
    since_s: float


class Keeper:
    """All but the storing itself runs in the loop that it was made in."""

    def __init__(
        self, open_line: Callable[[], psycopg.Connection[Any]], kept: Callable[[], None]
    ) -> None:
        """`kept` is called, in the thread, after each commit."""
        self._open, self._kept = open_line, kept
        self._loop = asyncio.get_running_loop()
        self._batches: queue.SimpleQueue[list[_Letter] | None] = queue.SimpleQueue()
        self._gathered: list[_Letter] = []
        self._busy = False
        """Whether the thread has a batch; what comes meanwhile is the next one."""
        self._waiting: deque[_Letter] = deque()
        self._thread = threading.Thread(target=self._work, name="webhooks kept", daemon=True)
        self._line: psycopg.Connection[Any] | None = None
        self._sweep: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        self._thread.start()
        self._sweep = self._loop.call_later(SWEEP_S, self._give_up_old)

    async def drain(self) -> None:
        """Store and answer what waits, within a limit, and let the thread leave."""
        if self._sweep is not None:
            self._sweep.cancel()
        until_s = monotonic_s() + DRAIN_MAX_S
        while self._waiting and monotonic_s() < until_s:  # noqa: ASYNC110 - the end, once, and short
            await asyncio.sleep(DRAIN_LOOK_S)
        self._batches.put(None)

    def keep(self, delivery: Delivery, answer: Answer) -> None:
        """Answer True once it is durable; False where it may not be, and is to be sent again."""
        if len(self._waiting) >= WAITING_MAX:
            answer(False)
            return
        letter = _Letter(delivery, answer, monotonic_s())
        self._waiting.append(letter)
        self._gathered.append(letter)
        if len(self._gathered) == 1 and not self._busy:
            # Not yet: what else this turn of the loop reads goes with it.
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        if self._gathered and not self._busy:
            batch, self._gathered = self._gathered[:BATCH_MAX], self._gathered[BATCH_MAX:]
            self._busy = True
            self._batches.put(batch)

    def _give_up_old(self) -> None:
        """Who waited too long is told so; it may be stored all the same, and coming again is safe."""
        now_s = monotonic_s()
        while self._waiting and now_s - self._waiting[0].since_s > KEEP_MAX_S:
            _answer(self._waiting.popleft(), good=False)
        self._sweep = self._loop.call_later(SWEEP_S, self._give_up_old)

    def _settle(self, batch: Sequence[_Letter], durable: Sequence[bool]) -> None:
        self._busy = False
        self._hand_over()
        for letter, good in zip(batch, durable, strict=True):
            _answer(letter, good=good)
        while self._waiting and self._waiting[0].answer is None:
            self._waiting.popleft()

    # ── in the thread ───────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            durable = self._store([letter.delivery for letter in batch])
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._settle, batch, durable)
        if self._line is not None:
            self._line.close()

    def _store(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """Return of each whether it is durable; where all of them fail together, one by one."""
        if self._store_these(deliveries):
            return [True] * len(deliveries)
        if len(deliveries) == 1:
            return [False]
        until_s = monotonic_s() + KEEP_MAX_S
        return [
            self._line is not None and monotonic_s() < until_s and self._store_these([each])
            for each in deliveries
        ]

    def _store_these(self, deliveries: Sequence[Delivery]) -> bool:
        try:
            if self._line is None or self._line.closed:
                self._line = self._open_line()
            store(self._line, deliveries)
        except (DatabaseFault, psycopg.Error) as fault:
            # Types alone: a message of the database quotes values.
            log.get("webhooks").warning(
                "deliveries could not be stored",
                deliveries=len(deliveries),
                why=type(fault).__name__,
            )
            if self._line is not None and self._line.closed:
                self._line = None
            return False
        self._kept()
        return True

    def _open_line(self) -> psycopg.Connection[Any]:
        line = self._open()
        line.execute(
            "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false)",
            [str(STATEMENT_MAX_MS), str(LOCK_MAX_MS)],
        )
        return line


def _answer(letter: _Letter, *, good: bool) -> None:
    answer, letter.answer = letter.answer, None
    if answer is not None:
        answer(good)
