"""A few weeks of a ledger, step by step from a seed, by a process that may be killed anywhere.

    python -m tests.crash.ledger_script DATABASE_URL SEED

Which step is done is written down after it, in a commit of its own: a process that starts again does
the last one once more.
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

from core.billing.credits import Lot, adjust, grant, purchase, refund
from core.billing.expiry import expire_due
from core.billing.marks import mark_accounts
from core.billing.modes import set_mode
from core.billing.posting.post import post_due
from core.clock import HOUR, day_of
from core.db.connect import connect
from core.errors import Conflict
from core.identity.principal import Principal
from core.money import NANO
from tests import factories

NAME = "ledger under test"
ADMIN = Principal("admin", "auth0|admin")
MODES = ("prepaid", "hybrid", "postpaid", "prepaid")
STEPS = 60
DAYS = 12
UNITS = (1, 2, 3, 5, 8)

Connection = psycopg.Connection[Any]
Step = tuple[datetime, str, dict[str, Any]]


@dataclass(frozen=True)
class _Fact:
    """What one hour is read as for the `revision`th time: units by account."""

    hour: datetime
    revision: int
    costs: tuple[int, ...]


def prepare(connection: Connection) -> None:
    """Add a cluster, accounts that each own a namespace, and the note of what is done."""
    connection.execute("CREATE TABLE public.done (step int NOT NULL)")
    connection.execute("INSERT INTO public.done VALUES (0)")
    cluster = factories.add_cluster(connection)
    for number, mode in enumerate(MODES):
        user = factories.add_user(connection, f"{number}@example.test", currency="USD")
        factories.add_namespace(connection, cluster, f"n{number}")
        connection.execute(
            "INSERT INTO hopsmeter.user_projects (cluster_id, namespace, user_no, valid, created_by)"
            " VALUES (%s, %s, %s, tstzrange(%s, NULL), 'test')",
            [cluster.id, f"n{number}", user.no, factories.SINCE],
        )
        before = factories.SINCE - timedelta(days=1)
        if mode != "postpaid":
            said: dict[str, Any] = {"since": None, "why": "test", "now": before}
            set_mode(connection, ADMIN, account=user.id, mode=mode, **said)


def script(seed: int) -> list[Step]:
    """Return what happens, and when; hours come in order and some are read again later."""
    dice = random.Random(seed)
    now, newest, steps = factories.SINCE + timedelta(hours=30), 0, []
    revisions: dict[int, int] = {}
    for number in range(STEPS):
        now += dice.choice((0, 1, 1, 6, 13)) * HOUR
        closed = min(int((now - factories.SINCE) / HOUR) - 1, DAYS * 24)
        newest = max(newest, closed)
        what = dice.choice(("fact", "fact", "again", "again", "post", "post", "credit", "expire"))
        if what in ("fact", "again"):
            known = sorted(revisions)
            at = dice.choice(known) if what == "again" and known else dice.randrange(newest)
            revisions[at] = revisions.get(at, 0) + 1
            costs = tuple(dice.choice((*UNITS, 0, -1)) for _ in MODES)
            fact = _Fact(factories.SINCE + at * HOUR, revisions[at], costs)
            steps.append((now, "fact", {"fact": fact}))
        elif what == "credit":
            steps += [(now, *_credit(dice, number, now)) for _ in range(2)]
        else:
            steps.append((now, what, {}))
    return [*steps, (now, "post", {}), (now, "expire", {})]


def _credit(dice: random.Random, number: int, now: datetime) -> tuple[str, dict[str, Any]]:
    account = f"auth0|{dice.randrange(len(MODES))}"
    key = f"{number} {dice.random()}"
    amount = dice.choice(UNITS) * NANO
    what = dice.choice(("grant", "grant", "purchase", "adjust", "refund"))
    if what == "refund":
        return what, {"account": account, "amount_nano": amount, "lot": None, "key": key}
    if what == "adjust":
        down = {"account": account, "amount_nano": -amount // 2, "currency": "USD", "key": key}
        return what, down
    expires = dice.choice((None, day_of(now) + timedelta(days=dice.choice((1, 2, 5)))))
    lot = Lot(amount, expires)
    return what, {"account": account, "lot": lot, "currency": "USD", "key": key}


CREDITS = {"grant": grant, "purchase": purchase, "adjust": adjust, "refund": refund}


def take(connection: Connection, step: Step) -> None:
    """Do one step, in the transactions that it always takes."""
    now, what, values = step
    if what == "fact":
        _store(connection, values["fact"])
    elif what == "post":
        post_due(connection, now)
        mark_accounts(connection, now)
    elif what == "expire":
        expire_due(connection, now)
    else:
        try:
            with connection.transaction():
                post: Any = CREDITS[what]
                post(connection, ADMIN, **values, why="test", now=now)
        except Conflict:
            return  # more than there is: refused each time


def _store(connection: Connection, fact: _Fact) -> None:
    """Store a reading of an hour as a store does: rows, and a number that posting compares."""
    with connection.transaction():
        row = connection.execute(
            "SELECT revision FROM hopsmeter.collection_windows WHERE hour = %s FOR UPDATE",
            [fact.hour],
        ).fetchone()
        if row is None:
            _first(connection, fact)
        elif row[0] < fact.revision:
            _again(connection, fact)


def _first(connection: Connection, fact: _Fact) -> None:
    cluster = factories.Cluster(1, "eu-1")
    factories.add_window(connection, cluster, fact.hour, stored_no=1)
    rows = connection.execute("SELECT no, id, email FROM hopsmeter.users ORDER BY no").fetchall()
    for (number, cost), user in zip(enumerate(fact.costs), _users(rows), strict=True):
        factories.add_allocation(
            connection, cluster, fact.hour, f"n{number}", user=user, cost_nano=cost * NANO
        )


def _users(rows: list[tuple[Any, ...]]) -> Iterator[factories.User]:
    return (factories.User(*row) for row in rows)


def _again(connection: Connection, fact: _Fact) -> None:
    for number, cost in enumerate(fact.costs):
        connection.execute(
            "UPDATE hopsmeter.allocations a SET cpu_nano = %(cost)s, ram_nano = 0,"
            " total_nano = %(cost)s, revision = %(revision)s FROM hopsmeter.namespaces n"
            " WHERE n.id = a.namespace_id AND n.name = %(name)s AND a.hour = %(hour)s",
            {
                "cost": cost * NANO,
                "revision": fact.revision,
                "name": f"n{number}",
                "hour": fact.hour,
            },
        )
    connection.execute(
        "UPDATE hopsmeter.collection_windows SET revision = %s, stored_no = stored_no + 1,"
        " total_nano = %s WHERE hour = %s",
        [fact.revision, sum(fact.costs) * NANO, fact.hour],
    )


def play(url: str, seed: int) -> None:
    """Go on with a script from the step that was written down last."""
    with connect(url, name=NAME) as connection:
        row = connection.execute("SELECT step FROM public.done").fetchone()
        assert row is not None
        steps = script(seed)
        for number in range(row[0], len(steps)):
            take(connection, steps[number])
            connection.execute("UPDATE public.done SET step = %s", [number + 1])


if __name__ == "__main__":
    play(sys.argv[1], int(sys.argv[2]))
