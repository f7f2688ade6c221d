"""A month of hours, lived through one after the other: `make demo DEMO="--headless --month"`.

The daemon's own jobs run here, in this process, under the world's clock, which stands in a month that
is over; each hour is asked for when it has ended, through the real transport, and read again a day
later. What people do meanwhile is submitted as commands and carried out as ever.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import uuid5

import psycopg

from core.books.checks import check_books
from core.clock import HOUR, hour_text, utc_now
from core.clusters.keys import prove_keyring
from core.commands.arguments import (
    AccountMode,
    Arguments,
    BooksClose,
    ClusterAdd,
    CreditsGrant,
    HourDecide,
    NamespaceMap,
    RatesAssign,
    RatesNew,
    UserAdd,
)
from core.commands.submit import outcome, submit
from core.identity.enrol import bootstrap
from core.secret import Secret
from core.settings import load
from daemon import log
from daemon.database import Database
from daemon.deps import Deps
from daemon.jobs import commands, expiry, heartbeat, hours, post
from daemon.opening import make_deps, sole_owner
from sandbox.clock import WorldClock
from sandbox.demo.house import DemoFailed, House, arguments_of_world
from sandbox.demo.month_stripe import Billing, prepare, taking_webhooks
from sandbox.demo.setup import ADMIN_EMAIL, ADMIN_ID, KEYS
from sandbox.demo.watch import console, say, summary
from sandbox.remote import RemoteWorld, world_process

AFTER_HOUR = timedelta(minutes=12)
"""When an hour is asked for: past the ten minutes that late samples get."""
TAIL = timedelta(days=4)
"""Lived on after the month, so that its last hours are read again and its invoices become final."""
SAY_EVERY_S = 10.0
NAMESPACES, SEED = 40, 7
STOP_S = 20.0

Connection = psycopg.Connection[Any]


def month_before(now: datetime) -> datetime:
    """Return the start of the last month that is over, with its tail."""
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while first + TAIL > now:
        first = (first - timedelta(days=1)).replace(day=1)
    return (first - timedelta(days=1)).replace(day=1)


@dataclass
class Month:
    """One run: `clock` is the daemon's and the world's; `connection` is a person's."""

    start: datetime
    deps: Deps
    world: RemoteWorld
    connection: Connection
    clock: WorldClock

    @cached_property
    def billing(self) -> Billing:
        return Billing(self)

    @property
    def end(self) -> datetime:
        return (self.start + timedelta(days=32)).replace(day=1)

    @property
    def hours(self) -> int:
        """How many are lived through: the month's, and its tail's."""
        return (self.end + TAIL - self.start) // HOUR

    @property
    def cluster(self) -> str:
        return next(iter(self.world.clusters))

    def at(self, day: int, hour: int = 0) -> datetime:
        """Return an hour of the month; its first day is 1."""
        return self.start + timedelta(days=day - 1, hours=hour)

    def move(self, now: datetime) -> None:
        self.clock.freeze(now)
        self.world.freeze(now)

    def do(self, name: str, arguments: Arguments, why: str = "demo", **sealed: Secret) -> None:
        """Submit a command, and carry it out."""
        key = uuid5(KEYS, f"{self.start} {name} {arguments!r}")
        number = submit(self.connection, name, arguments, why=why, sealed=sealed, key=key)
        commands.run(self.deps)
        ended = outcome(self.connection, number)
        if ended.state != "done":
            raise DemoFailed(f"{name} was not done: {ended.error or ended.state}")

    def live(self, hour: datetime) -> None:
        """Let an hour end: collect what is due, post it, and let expire what is past its date."""
        self.move(hour + HOUR + AFTER_HOUR)
        hours.run_through(self.deps)
        post.run(self.deps)
        expiry.run(self.deps)
        self.billing.live(hour + HOUR)


@contextlib.contextmanager
def opened(house: House, world: RemoteWorld, start: datetime) -> Iterator[Month]:
    """Run the daemon's parts in this process, on its own database."""
    settings = load(house.environment)
    log.configure("json", "error")
    clock = WorldClock(start)
    with contextlib.ExitStack() as stack:
        stack.enter_context(sole_owner(settings))
        database = Database(settings)
        stack.callback(database.close)
        deps = make_deps(settings, database, stored=threading.Event())
        deps = replace(deps, clock=clock, started_at=start)
        database.open()
        with deps.connect("keyring") as line:
            prove_keyring(line, deps.keyring)
        heartbeat.run(deps)
        stack.callback(deps.collecting.stop, STOP_S)
        connection = stack.enter_context(deps.connect("demo"))
        stack.enter_context(taking_webhooks(deps))
        yield Month(start, deps, world, connection, clock)


def tell(house: House) -> int:
    """Live through a month, print what became of each account, and prove it; 0 if all balances."""
    start, began_s = month_before(utc_now()), time.monotonic()
    say(f"A month of one cluster, {start:%B %Y}, hour by hour; state in {house.folder.name}/")
    house.run("secrets", "init")
    world = ("--stripe", "--now", start.isoformat(), *arguments_of_world(1, NAMESPACES, SEED))
    with contextlib.ExitStack() as stack:
        remote = stack.enter_context(world_process(*world))
        prepare(house, remote.stripe)
        month = stack.enter_context(opened(house, remote, start))
        took_s = _live_through(month)
        month.billing.settle()
        say(f"Lived through {month.hours} hours in {took_s:.1f} s.")
        month.do("books.close", BooksClose(month=f"{start:%Y-%m}"), why="the month is over")
        say(f"{start:%B %Y} is closed: its statements are frozen.")
        summary(month.connection)
        code = _prove(month, house) or month.billing.compare()
    words = "The books balance" if code == 0 else "THE BOOKS DO NOT BALANCE"
    say(f"\n{words}; {time.monotonic() - began_s:.1f} s in all.")
    return code


def _prove(month: Month, house: House) -> int:
    """Print the statements, and prove all there is by the clock of the world."""
    named = f"{month.start:%Y-%m}"
    accounts = month.connection.execute(
        "SELECT u.id FROM hopsmeter.users u WHERE EXISTS ("
        " SELECT FROM hopsmeter.ledger_entries e WHERE e.account_no = u.no) ORDER BY u.email"
    ).fetchall()
    for (account,) in accounts:
        _show(house, "statement", account, "--month", named)
    _show(house, "credits", "show", "--all")
    code = _show(house, "books", "check", "--month", named)
    wrong = [line for line in check_books(month.connection, month.clock()) if not line.ok]
    for line in wrong:
        say(f"{line.number} {line.title}: {'; '.join(line.rows)}")
    return code or bool(wrong)


def _show(house: House, *command: str) -> int:
    say(f"\n$ hopsmeter {' '.join(command)}")
    console.file.flush()
    return house.run(*command, quiet=False).returncode


def _live_through(month: Month) -> float:
    began_s = said_s = time.monotonic()
    month.move(month.start + timedelta(minutes=1))
    # This host's clock is the real one, which the asking side compares with the API server's.
    month.world.add_fault(month.cluster, "host_date")
    people = _move_in(month)
    events = _events(month, people)
    hour = month.start
    for _ in range(month.hours):
        for at, words, event in events:
            if at == hour:
                event()
                say(f"  {hour_text(hour)}  {words}")
        month.live(hour)
        hour += HOUR
        if time.monotonic() - said_s >= SAY_EVERY_S:
            said_s = time.monotonic()
            say(f"  {hour_text(hour)}")
    return time.monotonic() - began_s


def _move_in(month: Month) -> list[str]:
    """Register the cluster, its users and whose namespaces are; one namespace's owner comes late."""
    if not month.connection.execute("SELECT 1 FROM hopsmeter.logins").fetchone():
        with month.connection.transaction():
            bootstrap(month.connection, ADMIN_ID, ADMIN_EMAIL, name="You")
    described = month.world.clusters[month.cluster]
    month.do(
        "cluster.add",
        ClusterAdd(
            cluster=month.cluster,
            api_url=f"https://{month.cluster}.hopsworks.example",
            metering_since=hour_text(month.start),
        ),
        kubeconfig=Secret(described["kubeconfig"]),
    )
    for each in month.world.description["users"]:
        month.do("user.add", UserAdd(user=each["user_id"], email=each["email"], name=each["name"]))
    _, *others = owned = _owned(month)
    for entry in others:
        month.do("namespace.map", _mapped(entry, month.start))
    people = [each["user_id"] for each in owned]
    month.billing.move_in(sorted({*people[1:]}))
    return people


def _owned(month: Month) -> list[dict[str, Any]]:
    """Return whose each namespace is at first; that of the first one is told late."""
    every = month.world.description["ownership"]
    found = {
        each["namespace"]: each for each in reversed(every) if each["cluster"] == month.cluster
    }
    return list(found.values())


def _mapped(entry: dict[str, Any], since: datetime) -> NamespaceMap:
    return NamespaceMap(
        cluster=entry["cluster"],
        namespace=entry["namespace"],
        user=entry["user_id"],
        project=entry["project"],
        from_hour=hour_text(since),
    )


Event = tuple[datetime, str, Callable[[], None]]


def _events(month: Month, people: list[str]) -> list[Event]:
    """What happens in the month, oldest first, beside what each hour costs."""
    prepaid, hybrid, partner = people[1:4]
    return [
        *_credit_events(month, prepaid, hybrid),
        *month.billing.events(prepaid, hybrid),
        *_cost_events(month, partner),
    ]


def _credit_events(month: Month, prepaid: str, hybrid: str) -> list[Event]:
    def pay(account: str, mode: str) -> Callable[[], None]:
        first = str(month.at(3).date())
        return lambda: month.do(
            "account.mode", AccountMode(account=account, mode=mode, from_day=first)
        )

    def grant(account: str, amount: str, expires: int | None = None) -> Callable[[], None]:
        day = str(month.at(expires).date()) if expires else None
        given = CreditsGrant(account=account, amount=amount, expires_on=day)
        return lambda: month.do("credits.grant", given)

    return [
        (month.at(1, 3), "one account will pay ahead", pay(prepaid, "prepaid")),
        (month.at(1, 4), "another one by credits first", pay(hybrid, "hybrid")),
        (month.at(2), "the first is granted 30", grant(prepaid, "30")),
        (month.at(2, 1), "the second 40, until the 12th", grant(hybrid, "40", 12)),
        (month.at(20), "the first, which owes by now, another 60.5", grant(prepaid, "60.5")),
    ]


def _cost_events(month: Month, partner: str) -> list[Event]:
    cluster, late = month.cluster, _owned(month)[0]

    def restate() -> None:
        span = {"from_hour": month.at(6), "to_hour": month.at(6, 9)}
        month.world.add_fault(cluster, "restated", factor=1.07, age_s_min=20 * 3600, **span)

    def forget() -> None:
        span = {"from_hour": month.at(14, 5), "to_hour": month.at(14, 6)}
        month.world.add_fault(cluster, "shrunken", age_s_min=20 * 3600, **span)

    def keep() -> None:
        hour = hour_text(month.at(14, 5))
        month.do("hours.keep", HourDecide(cluster=cluster, hour=hour))

    def plan() -> None:
        month.do("rates.new", RatesNew(plan="partner", factor="0.8"))
        month.do("rates.assign", RatesAssign(account=partner, plan="partner"))

    return [
        (month.at(6), "nine hours will be restated a day later", restate),
        (
            month.at(9, 15),
            f"{late['namespace']} gets its owner, from the first hour on",
            lambda: month.do("namespace.map", _mapped(late, month.start)),
        ),
        (month.at(14), "one hour will be read again with projects missing", forget),
        (month.at(16, 2), "that hour was held; its first reading is kept", keep),
        (month.at(18, 7), "a partner pays × 0.8 from now on", plan),
        (
            month.at(23),
            "OpenCost answers badly for a while",
            lambda: _bad(month),
        ),
    ]


def _bad(month: Month) -> None:
    month.world.add_fault(month.cluster, "error_500", times=5)
