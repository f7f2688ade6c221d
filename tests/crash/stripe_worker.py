"""A daemon's work with Stripe, each order by a process of its own that may be told where it ends.

    python -m tests.crash.stripe_worker < orders

An order is a line of JSON, and so is what became of it. The process for each is forked from this one,
which has everything imported: so a series can end at every step there is. A step is: a statement is
about to be run, has been run, a request is about to be sent, has been answered.
"""

import asyncio
import contextlib
import json
import mmap
import os
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import psycopg

from core.billing.stripe.fetch import fetch_summaries
from core.billing.stripe.gateway import Door, Gateway
from core.billing.stripe.handlers import stripe_handlers
from core.billing.stripe.looking import look_at_purchases
from core.billing.stripe.reporting import send
from core.billing.stripe.reporting.run import report
from core.billing.stripe.shop import Shop
from core.billing.stripe.state import refresh
from core.clusters.vault import Keyring
from core.commands.carry_out import carry_out
from core.commands.kinds import Works
from core.db.connect import connect
from core.secret import Secret
from core.webhooks.handle import handle_due
from sandbox.clock import WorldClock
from tests.core.commands.carrier import works

NAME = "hopsmeterd stripe"
LIFE_LIMIT_S = 60
COUNTER = struct.Struct("q")

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Order:
    """`what` is done at the time `now`; at step `at` of these `kinds` the signal comes."""

    what: str
    url: str
    stripe_url: str
    key: str
    now: str
    at: int = 0
    signal: int = signal.SIGKILL
    kinds: tuple[str, ...] = ("statement", "request")
    lease_s: float = 0.0
    """How long reports are ours, where it is not as long as ever."""

    @property
    def clock(self) -> WorldClock:
        return WorldClock(datetime.fromisoformat(self.now))

    @property
    def door(self) -> Door:
        return Door(self.stripe_url, Secret(self.key))

    @property
    def shop(self) -> Shop:
        return Shop(lambda: self.door, "https://example.test/thanks")


class Steps:
    """Counts them where the parent sees it, and sends this very process the signal at the last."""

    def __init__(self, order: Order, count: mmap.mmap) -> None:
        self._order, self._count = order, count

    def step(self, kind: str) -> None:
        if kind not in self._order.kinds:
            return
        (before,) = COUNTER.unpack(self._count[: COUNTER.size])
        self._count[: COUNTER.size] = COUNTER.pack(before + 1)
        if before + 1 == self._order.at:
            os.kill(os.getpid(), self._order.signal)

    def of_statements(self, connection: Connection) -> None:
        steps = self

        class Cursor(psycopg.Cursor[Any]):
            def execute(self, *what: Any, **how: Any) -> "Cursor":
                steps.step("statement")
                super().execute(*what, **how)
                steps.step("statement")
                return self

        connection.cursor_factory = Cursor

    def of_requests(self) -> None:
        """Nothing is put back: the process ends with its order."""
        ask = httpx.AsyncClient.send

        async def asked(client: httpx.AsyncClient, *what: Any, **how: Any) -> httpx.Response:
            self.step("request")
            answer = await ask(client, *what, **how)
            self.step("request")
            return answer

        # Each way there leads by it.
        setattr(httpx.AsyncClient, "send", asked)  # noqa: B010 - of another type by its annotations


def _carry(connection: Connection, order: Order) -> None:
    lent: Works = works(Keyring.generate(), order.clock, order.shop)
    carry_out(connection, lent)
    carry_out(connection, lent, lane="slow")


def _report(connection: Connection, order: Order) -> None:
    if order.lease_s:
        send.LEASE_S, send.LEASE_MARGIN_S = order.lease_s, order.lease_s / 3
    asyncio.run(report(connection, order.door, order.clock))


def _with_gateway(
    ask: Callable[[Connection, Gateway, WorldClock], Any],
) -> Callable[[Connection, Order], None]:
    def work(connection: Connection, order: Order) -> None:
        async def go() -> None:
            async with Gateway(order.door) as gateway:
                await ask(connection, gateway, order.clock)

        asyncio.run(go())

    return work


WORK: dict[str, Callable[[Connection, Order], None]] = {
    "carry": _carry,
    "report": _report,
    "hear": _with_gateway(
        lambda connection, gateway, clock: handle_due(
            connection, "stripe", stripe_handlers(), gateway, clock
        )
    ),
    "look": _with_gateway(
        lambda connection, gateway, clock: look_at_purchases(connection, gateway, clock())
    ),
    "refresh": _with_gateway(
        lambda connection, gateway, clock: refresh(connection, gateway, clock(), Shop().grace)
    ),
    "fetch": _with_gateway(
        lambda connection, gateway, clock: fetch_summaries(connection, gateway, clock())
    ),
}


def _live(order: Order, count: mmap.mmap) -> int:
    steps = Steps(order, count)
    steps.of_requests()
    with connect(order.url, name=NAME) as connection:
        steps.of_statements(connection)
        WORK[order.what](connection, order)
    return 0


def _begin(order: Order, count: mmap.mmap) -> int:
    count[: COUNTER.size] = COUNTER.pack(0)
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            signal.alarm(LIFE_LIMIT_S)
            try:
                code = _live(order, count)
            except Exception:  # whatever it is: this process ends, and says of what
                traceback.print_exc()
        os._exit(code)
    return pid


def _await(pid: int) -> dict[str, Any]:
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return {"end": "frozen", "pid": pid}
    if os.WIFSIGNALED(status):
        return {"end": "killed" if os.WTERMSIG(status) == signal.SIGKILL else "too long"}
    return {"end": "failed" if os.WEXITSTATUS(status) else "done"}


@contextlib.contextmanager
def _ending(frozen: set[int]) -> Iterator[None]:
    """Leave nobody behind that was frozen and is not awaited any more."""
    try:
        yield
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def main() -> None:
    count = mmap.mmap(-1, COUNTER.size)
    frozen: set[int] = set()
    with _ending(frozen):
        for line in sys.stdin:
            given = json.loads(line)
            if "thaw" in given:
                pid = int(given["thaw"])
                frozen.discard(pid)
                os.kill(pid, signal.SIGCONT)
            else:
                pid = _begin(Order(**{**given, "kinds": tuple(given["kinds"])}), count)
            ended = _await(pid)
            if ended["end"] == "frozen":
                frozen.add(pid)
            steps = COUNTER.unpack(count[: COUNTER.size])[0]
            sys.stdout.write(json.dumps({**ended, "steps": steps}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
