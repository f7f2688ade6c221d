"""An installation beside a Stripe in a process of its own, and workers that die at any step."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from core.billing.stripe.reading import read_event
from core.books.checks import check_books
from core.clock import day_of
from core.webhooks.store import store
from sandbox.remote import RemoteStripe, RemoteWorld, world_process
from tests import factories
from tests.core.billing.stripe.reporting.till import UNIT, charge
from tests.core.commands.carrier import ask, with_admin
from tests.crash.stripe_worker import Order
from tests.database import Database

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 3, 10, 1, tzinfo=UTC)
TURNS_MAX = 40
POLL_S = 0.05
METERS = ("daily", "sum")


@dataclass(frozen=True)
class End:
    """What became of a process: done, killed, frozen, failed; after how many steps."""

    end: str
    steps: int
    pid: int = 0


class Worker:
    """Carries out orders, each in a process of its own; `begin` without waiting, `end` for the end."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def begin(self, order: Order) -> None:
        self._write(asdict(order))

    def thaw(self, pid: int) -> End:
        self._write({"thaw": pid})
        return self.end()

    def end(self) -> End:
        assert self._process.stdout is not None
        return End(**json.loads(self._process.stdout.readline()))

    def _write(self, what: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()


@contextlib.contextmanager
def worker() -> Iterator[Worker]:
    command = [sys.executable, "-m", "tests.crash.stripe_worker"]
    # Stripe's SDK hands httpx its form as httpx no longer likes it; nothing of ours.
    quiet = "ignore:Use 'content=<...>' to upload raw:DeprecationWarning"
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": quiet},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Worker(process)


@dataclass
class Scene:
    """`do` something in a process that may die of it, `go_on` until it is done, look at both sides."""

    database: Database
    world: RemoteWorld
    worker: Worker
    admin: psycopg.Connection[Any]
    dice: random.Random
    now: datetime = START
    users: list[factories.User] = field(default_factory=list)
    owed: dict[tuple[int, date], int] = field(default_factory=dict)
    deaths: int = 0
    heard: int = 0

    @property
    def stripe(self) -> RemoteStripe:
        return self.world.stripe

    # ── what is done ────────────────────────────────────────────────────────────────────────

    def order(self, what: str, **how: Any) -> Order:
        stripe = self.stripe
        now = self.now.isoformat()
        return Order(what, self.database.url, stripe.url, stripe.api_key, now, **how)

    def do(self, what: str, **how: Any) -> End:
        self.worker.begin(self.order(what, **how))
        ended = self.worker.end()
        assert ended.end in ("done", "killed", "frozen"), ended
        self.deaths += ended.end == "killed"
        return ended

    def ask(self, name: str, **given: Any) -> int:
        return ask(self.admin, name, why="test", **given)

    def carried(self, command: int) -> None:
        """Have a command carried out, whoever died of it before."""
        for _ in range(TURNS_MAX):
            self.do("carry")
            state, error = self.row("SELECT state, error FROM commands WHERE id = %s", command)
            if state not in ("submitted", "working"):
                assert state == "done", error
                return
            # The server has not noticed yet that whoever worked on it is gone.
            time.sleep(POLL_S)
        raise AssertionError("the command is never carried out")

    def later(self, **by: float) -> None:
        step = timedelta(**by)
        self.now += step
        self.world.advance(step.total_seconds())
        self.stripe.catch_up()

    def leases_end(self) -> None:
        """As when minutes have passed for those who died."""
        for table in ("stripe_reports", "webhook_events"):
            self.admin.execute(
                f"UPDATE {table} SET lease_until = clock_timestamp() WHERE lease_token IS NOT NULL"
            )

    def hear(self) -> None:
        """Take in what Stripe has to tell since the last time, each twice, in any order."""
        known = self.stripe.all("event")
        events = known[self.heard :] * 2
        self.heard = len(known)
        self.dice.shuffle(events)
        store(self.admin, [read_event(each, live=False) for each in events])

    # ── accounts and what they owe ──────────────────────────────────────────────────────────

    def user(self, name: str) -> factories.User:
        user = factories.add_user(self.admin, f"{name}@example.test", currency="USD")
        self.users.append(user)
        return user

    def linked(self, name: str, meter: str) -> factories.User:
        user = self.user(name)
        self.carried(self.ask("stripe.link", account=user.id, meter=meter))
        return user

    def charge(self, user: factories.User, day: date) -> None:
        """Charge it something, or take something of it back; never below nothing."""
        held = self.owed.get((user.no, day), 0)
        nano = self.dice.choice((1, 999, 1_000, 1_001, 123_456_789, 10**12))
        if held and self.dice.random() < 0.3:
            nano = -min(held, self.dice.choice((1, 500, 10**6, held)))
        self.owed[user.no, day] = held + nano
        charge(self.admin, self.now, user, day, nano)

    def charge_some(self, times: int) -> None:
        for _ in range(times):
            day = day_of(self.now) - timedelta(days=self.dice.choice((0, 1, 1)))
            self.charge(self.dice.choice(self.users), day)

    # ── what is seen ────────────────────────────────────────────────────────────────────────

    def row(self, query: str, *values: Any) -> Any:
        return self.admin.execute(query, values).fetchone()

    def rows(self, query: str, *values: Any) -> list[Any]:
        return self.admin.execute(query, values).fetchall()

    def must_balance(self) -> None:
        """The books about money and Stripe; of the hours, a scene stores none."""
        lines = check_books(self.admin, self.now)
        assert [
            (line.number, line.rows) for line in lines if line.number in (5, 6, 8) if line.rows
        ] == []

    def must_have_told_all(self) -> None:
        """Each unit owed is told once: by plain sums, by our rows, by what Stripe says it has."""
        self.leases_end()
        for _ in range(4):
            self.later(hours=25)
            self.do("report")
        self.do("fetch")
        self.later(hours=2)
        assert (
            self.rows("SELECT id FROM stripe_reports WHERE state NOT IN ('accepted', 'superseded')")
            == []
        )
        assert (
            self.rows("SELECT * FROM stripe_due(%s)", day_of(self.now) - timedelta(days=34)) == []
        )
        for user in self.users:
            owed = sum(nano for (no, _), nano in self.owed.items() if no == user.no)
            (units,) = self.row(
                "SELECT coalesce(sum(units), 0) FROM stripe_days WHERE account_no = %s", user.no
            )
            assert units == owed // UNIT
        differ = (
            "SELECT account_no, day, coalesce(d.units, 0), coalesce(s.units, 0) FROM stripe_days d"
            " FULL JOIN stripe_summaries s USING (account_no, day)"
            " WHERE coalesce(d.units, 0) <> coalesce(s.units, 0)"
        )
        assert self.rows(differ) == []
        self.must_balance()


@contextlib.contextmanager
def playing(database: Database, seed: int) -> Iterator[Scene]:
    """Begin a scene: a Stripe that is set up, and nobody linked to it."""
    arguments = ("--stripe", "--clusters", "1", "--namespaces", "1", "--now", START.isoformat())
    with world_process(*arguments) as world, worker() as works:
        scene = Scene(database, world, works, with_admin(database), random.Random(seed))
        scene.carried(scene.ask("stripe.setup", currencies=["USD"]))
        yield scene


FROZEN = signal.SIGSTOP
