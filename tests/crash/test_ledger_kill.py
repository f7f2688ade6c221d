"""Kill -9 whoever posts, between two commits and within statements: the ledger is the same."""

import contextlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from core.books.checks import check_books
from tests.crash.books import Books, require_equal
from tests.crash.ledger_script import NAME, play, prepare, script
from tests.database import Connection, Database, Server, cloned

ROOT = Path(__file__).resolve().parents[2]
QUICK, LONG = range(1), range(100, 140)
KILLS = 4
LIFE_LIMIT_S = 60.0
EVERY_HOUR = 7
"""The invariant that every hour has its row."""
POLL_S = 0.002
CHAOS = pytest.mark.chaos
WITHIN = (
    "ledger_entries",
    pytest.param("credit_draws", marks=CHAOS),
    pytest.param("postings", marks=CHAOS),
    pytest.param("ledger_balances", marks=CHAOS),
    pytest.param("credit_lots", marks=CHAOS),
    pytest.param("user_credits", marks=CHAOS),
    pytest.param("outgoing_events", marks=CHAOS),
    pytest.param("audit_log", marks=CHAOS),
    pytest.param("usage_daily", marks=CHAOS),
)
_PARTS = {
    "entries": (
        "SELECT e.account_no, e.book, e.contra, e.amount_nano, e.posted_on, e.usage_day,"
        " e.posting_no, e.ref, (SELECT array_agg((o.ref, o.usage_day, o.posting_no, d.amount_nano)"
        " ORDER BY d.amount_nano, o.ref) FROM credit_draws d JOIN credit_lots l ON l.id = d.lot_id"
        " JOIN ledger_entries o ON o.id = l.entry_id WHERE d.entry_id = e.id)::text"
        " FROM ledger_entries e"
    ),
    "balances": "SELECT account_no, book, balance_nano FROM ledger_balances",
    "lots": (
        "SELECT l.account_no, e.ref, l.amount_nano, l.remaining_nano, l.expires_on, l.priority,"
        " l.expired_at IS NOT NULL FROM credit_lots l JOIN ledger_entries e ON e.id = l.entry_id"
    ),
    "usage": "SELECT account_no, date, opencost_total_nano, charge_nano FROM usage_daily",
    "postings": "SELECT day, no, entries FROM postings",
    "marks": "SELECT account_no, low_at, empty_at, beyond_at FROM user_credits",
    "events": "SELECT account_no, type, payload::text FROM outgoing_events",
    "trail": "SELECT actor, action, subject, before::text, after::text FROM audit_log",
}
Look = Callable[[Connection], bool]


def ledger_of(connection: Connection) -> Books:
    # An expiry's reference bears the number of its lot, which a rolled-back one uses up.
    plain = {"e.ref, (": "regexp_replace(e.ref, '^expiry:.*', 'expiry'), ("}
    books = {}
    for part, query in _PARTS.items():
        for word, other in plain.items():
            query = query.replace(word, other)  # noqa: PLW2901 - the query as it is asked
        books[part] = Counter(connection.execute(query).fetchall())
    return books


@pytest.fixture(scope="session")
def undisturbed(_admin: Connection, postgres: Server) -> Callable[[int], Books]:
    """The ledger of a script that nobody killed."""
    known: dict[int, Books] = {}

    def find(seed: int) -> Books:
        if seed not in known:
            with cloned(_admin, postgres) as database:
                connection = database.connect()
                prepare(connection)
                play(database.url, seed)
                known[seed] = ledger_of(connection)
        return known[seed]

    return find


@contextlib.contextmanager
def living(url: str, seed: int) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "tests.crash.ledger_script", url, str(seed)]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def live_until(process: "subprocess.Popen[bytes]", come: Look, connection: Connection) -> bool:
    """Let it live until a moment has come; whether that was before its end."""
    deadline_s = time.monotonic() + LIFE_LIMIT_S
    while process.poll() is None:
        assert time.monotonic() < deadline_s, "it neither ends nor comes to that"
        if come(connection):
            return True
        time.sleep(POLL_S)
    assert process.returncode == 0
    return False


def finish(database: Database, seed: int) -> None:
    with living(database.url, seed) as process:
        live_until(process, lambda _: False, database.connect())


def require_books(database: Database, seed: int, wanted: Books) -> None:
    """Assert that the books are these, and true; of the hours, a script stores but a few."""
    connection = database.connect()
    require_equal(ledger_of(connection), wanted)
    ended_at, *_ = script(seed)[-1]
    lines = check_books(connection, ended_at)
    assert [line.rows for line in lines if not line.ok and line.number != EVERY_HOUR] == []


def done(step: int) -> Look:
    return lambda connection: number(connection, "SELECT step FROM public.done") >= step


def number(connection: Connection, query: str, *parameters: str) -> int:
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return int(row[0])


def kill_and_go_on(database: Database, seed: int, wanted: Books, kills: int) -> None:
    connection = database.connect()
    prepare(connection)
    dice = random.Random(seed)
    moments = sorted(dice.sample(range(len(script(seed))), kills))
    for step in moments:
        with living(database.url, seed) as process:
            live_until(process, done(step), connection)
            time.sleep(dice.uniform(0, 0.02))
    finish(database, seed)
    require_books(database, seed, wanted)


@pytest.mark.parametrize("seed", QUICK)
def test_the_ledger_is_the_same_after_kills(
    seed: int, database: Database, undisturbed: Callable[[int], Books]
) -> None:
    kill_and_go_on(database, seed, undisturbed(seed), KILLS)


@pytest.mark.chaos
@pytest.mark.parametrize("seed", LONG)
def test_the_ledger_is_the_same_after_many_kills(
    seed: int, database: Database, undisturbed: Callable[[int], Books]
) -> None:
    kill_and_go_on(database, seed, undisturbed(seed), 3 * KILLS)


@pytest.mark.parametrize("table", WITHIN)
def test_the_ledger_is_the_same_after_a_kill_within_a_statement(
    table: str, database: Database, undisturbed: Callable[[int], Books]
) -> None:
    """Whoever waits for a table that we hold is killed there, in the middle of its transaction."""
    seed = QUICK[0]
    connection = database.connect()
    prepare(connection)
    waits = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        " AND datname = current_database() AND wait_event_type = 'Lock'"
    )
    with living(database.url, seed) as process:
        assert live_until(process, done(8), connection)
        with psycopg.connect(database.url, connect_timeout=5) as holder:
            holder.execute(f"LOCK TABLE hopsmeter.{table} IN EXCLUSIVE MODE")
            come = live_until(process, lambda own: number(own, waits, NAME) > 0, connection)
            process.kill()
            process.wait()
    assert come, f"nothing was written to {table}"
    finish(database, seed)
    require_books(database, seed, undisturbed(seed))
