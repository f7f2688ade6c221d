"""Stores what was delivered, before it is answered: what waits shares one statement and one commit.

One thread has the one connection. While it waits for a commit the next ones gather, so the harder the
endpoint is pressed, the more of them share the next one.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg

from core.errors import DatabaseFault
from core.webhooks.event import Delivery
from core.webhooks.store import store
from daemon import log

WAITING_MAX: Final = 1_000
BATCH_MAX: Final = 256
KEEP_MAX_S: Final = 5.0
"""Within it a delivery is durable, or its sender is told to come again."""
STATEMENT_MAX_MS: Final = 3_000
LOCK_MAX_MS: Final = 1_000
"""An event that comes again while its mark is being written waits that long at most."""

Kept = asyncio.Future[bool]


class Keeper:
    """`begin` and `end` in the loop that `keep` is awaited in."""

    def __init__(
        self, open_line: Callable[[], psycopg.Connection[Any]], kept: Callable[[], None]
    ) -> None:
        """`kept` is called, in the thread, after each commit."""
        self._open, self._kept = open_line, kept
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[tuple[Delivery, Kept] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="webhooks kept", daemon=True)
        self._line: psycopg.Connection[Any] | None = None

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Let the thread leave, once it has stored what waits; nobody waits for it."""
        self._waiting.put(None)

    async def keep(self, delivery: Delivery) -> bool:
        """Return True once it is durable; False where it may not be, and is to be sent again."""
        if self._waiting.qsize() >= WAITING_MAX:
            return False
        kept: Kept = self._loop.create_future()
        self._waiting.put((delivery, kept))
        try:
            async with asyncio.timeout(KEEP_MAX_S):
                return await kept
        except TimeoutError:
            return False

    def _work(self) -> None:
        while True:
            first = self._waiting.get()
            if first is None:
                break
            batch, last = self._gather(first)
            self._settle(batch, self._store(batch))
            if last:
                break
        if self._line is not None:
            self._line.close()

    def _gather(self, first: tuple[Delivery, Kept]) -> tuple[list[tuple[Delivery, Kept]], bool]:
        """Take what waits beside the first; tell whether it was the last that will come."""
        batch = [first]
        with contextlib.suppress(queue.Empty):
            while len(batch) < BATCH_MAX:
                more = self._waiting.get_nowait()
                if more is None:
                    return batch, True
                batch.append(more)
        return batch, False

    def _store(self, batch: Sequence[tuple[Delivery, Kept]]) -> list[bool]:
        """Return of each whether it is durable; where all of them fail together, one by one."""
        deliveries = [delivery for delivery, _ in batch]
        if self._store_these(deliveries):
            return [True] * len(batch)
        if len(batch) == 1 or self._line is None:
            return [False] * len(batch)
        return [self._line is not None and self._store_these([each]) for each in deliveries]

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
            if isinstance(fault, DatabaseFault) or self._line is None or self._line.closed:
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

    def _settle(self, batch: Sequence[tuple[Delivery, Kept]], durable: Sequence[bool]) -> None:
        def settle() -> None:
            for (_, kept), good in zip(batch, durable, strict=True):
                if not kept.done():
                    kept.set_result(good)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any longer
            self._loop.call_soon_threadsafe(settle)
