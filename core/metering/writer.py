"""One thread that reads and stores what the visits bring: those that are ready together share a commit.

A commit costs a flush to disk; 200 clusters that each commit by themselves cost more than twice
what they cost together. A batch that fails is stored one by one, so that a bad cluster blocks no
other.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from core.clock import Clock
from core.errors import AnswerRefused
from core.metering.attribution import Attribution
from core.metering.hours import Asked, Stored
from core.metering.policy import Policy
from core.metering.store import store_answers

WAITING_MAX = 64
WAITING_BYTES_MAX = 128 * 2**20
"""Answers that wait to be stored; a visit that brings one more waits for room."""
BATCH_MAX = 256
BATCH_BYTES_MAX = 64 * 2**20
"""Of answers as they came: what one transaction's COPY is held in memory for."""
ROOM_TIMEOUT_S = 300.0
CLOSE_TIMEOUT_S = 30.0

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class _Order:
    asked: Asked
    done: "Future[Stored]"

    @property
    def size_bytes(self) -> int:
        return len(self.asked.body)


class Writer:
    """Stores in the order of arrival; `connect` opens its connection, named `name`."""

    def __init__(
        self, connect: Callable[[], Connection], name: str, policy: Policy, clock: Clock
    ) -> None:
        self._connect, self._name, self._policy, self._clock = connect, name, policy, clock
        self._orders: deque[_Order] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._attribution = Attribution()
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name="hopsmeter-store", daemon=True)
        self._thread.start()

    @property
    def backend(self) -> tuple[int, str]:
        """Return (pid, name) of the connection that stores; pid 0 before it is open."""
        connection = self._connection
        alive = connection is not None and not connection.closed
        return (connection.info.backend_pid if connection and alive else 0), self._name

    def store(self, asked: Asked) -> "Future[Stored]":
        """Hand over one answer; the future holds what storing it did, or the error.

        AnswerRefused is the error of an answer that cannot be believed; nothing of it was kept.
        """
        order = _Order(asked, Future())
        with self._changed:
            if self._changed.wait_for(lambda: self._has_room(order), ROOM_TIMEOUT_S):
                self._orders.append(order)
                self._changed.notify_all()
            else:
                no_room = "nothing was stored for minutes, and too many answers wait"
                order.done.set_exception(TimeoutError(no_room))
        return order.done

    def _has_room(self, order: _Order) -> bool:
        """One answer alone always has room."""
        waiting = sum(each.size_bytes for each in self._orders)
        fits = len(self._orders) < WAITING_MAX and waiting + order.size_bytes <= WAITING_BYTES_MAX
        return fits or not self._orders

    def close(self) -> None:
        """Store what waits, then end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._connection is not None:
            self._connection.close()

    def _run(self) -> None:
        while True:
            batch = self._next()
            if batch is None:
                return
            try:
                self._store(batch)
            except Exception as error:  # noqa: BLE001  # a bug too is that of one answer
                if len(batch) == 1:
                    batch[0].done.set_exception(error)
                else:
                    self._one_by_one(batch)
            except BaseException as error:
                for order in batch:
                    order.done.set_exception(error)
                raise

    def _next(self) -> list[_Order] | None:
        """Take what waits, up to what one transaction should hold; None once all is stored."""
        batch: list[_Order] = []
        size = 0
        with self._changed:
            # No limit: an idle writer waits for as long as its daemon lives.
            self._changed.wait_for(lambda: self._orders or self._closing)
            while self._orders and len(batch) < BATCH_MAX and size < BATCH_BYTES_MAX:
                batch.append(self._orders.popleft())
                size += batch[-1].size_bytes
            self._changed.notify_all()
        return batch or None

    def _store(self, batch: list[_Order]) -> None:
        connection = self._clean_connection()
        came = store_answers(
            connection,
            [order.asked for order in batch],
            attribution=self._attribution,
            policy=self._policy,
            now=self._clock(),
        )
        for order in batch:
            outcome = came[order.asked.claim.token]
            if isinstance(outcome, AnswerRefused):
                order.done.set_exception(outcome)
            else:
                order.done.set_result(outcome)

    def _clean_connection(self) -> Connection:
        """Return one that is in no transaction: what a bug left open is the last of its connection."""
        connection = self._connection
        if connection is not None and connection.info.transaction_status != TransactionStatus.IDLE:
            connection.close()
        if connection is None or connection.closed:
            connection = self._connection = self._connect()
            self._attribution.forget()
        return connection

    def _one_by_one(self, batch: list[_Order]) -> None:
        for order in batch:
            try:
                self._store([order])
            except Exception as error:  # noqa: BLE001  # told to whoever waits for this one
                order.done.set_exception(error)
