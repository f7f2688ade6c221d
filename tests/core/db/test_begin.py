"""A transaction that begins with a question is one like any other."""

import psycopg
import pytest

from core.db.begin import beginning_with
from core.db.connect import connect
from core.db.locks import Lock, taking, trying
from tests.database import Database


def held(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT mode FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    )
    return [row[0] for row in rows]


def store_one_and_fail(connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO kept VALUES (1)")
    connection.execute("SELECT * FROM nowhere")


def end_and_ask(other: psycopg.Connection, pid: int, one: psycopg.Connection) -> None:
    other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    one.execute("SELECT 1")


def test_what_is_asked_first_is_answered_within_it(database: Database) -> None:
    with (
        connect(database.url, name="one") as one,
        connect(database.url, name="other") as other,
    ):
        one.execute("CREATE TABLE kept (n int)")
        with beginning_with(one, trying(Lock.POSTING) + b"SELECT 1;") as cursor:
            assert cursor.fetchone() == (True,)
            one.execute("INSERT INTO kept VALUES (1)")
            assert held(one) == ["ExclusiveLock"]
            with beginning_with(other, trying(Lock.POSTING)) as second:
                assert second.fetchone() == (False,)
                assert other.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        assert (held(one), held(other)) == ([], [])
        assert other.execute("SELECT count(*) FROM kept").fetchone() == (1,)


def test_an_error_rolls_everything_back_and_the_connection_goes_on(database: Database) -> None:
    with connect(database.url, name="one") as one:
        one.execute("CREATE TABLE kept (n int)")
        begun = beginning_with(one, taking(Lock.ATTRIBUTION, shared=True))
        with pytest.raises(psycopg.errors.UndefinedTable), begun:
            store_one_and_fail(one)
        with beginning_with(one, taking(Lock.ATTRIBUTION)):
            assert one.execute("SELECT count(*) FROM kept").fetchone() == (0,)
            with pytest.raises(psycopg.errors.DivisionByZero), one.transaction():
                one.execute("SELECT 1 / 0")
            one.execute("INSERT INTO kept VALUES (2)")
        assert one.execute("SELECT n FROM kept").fetchall() == [(2,)]


def test_a_lock_that_cannot_be_had_leaves_no_transaction(database: Database) -> None:
    with (
        connect(database.url, name="one") as one,
        connect(database.url, name="other") as other,
    ):
        other.execute("SET lock_timeout = '20ms'")
        with beginning_with(one, taking(Lock.ATTRIBUTION)):
            with (
                pytest.raises(psycopg.errors.LockNotAvailable),
                beginning_with(other, taking(Lock.ATTRIBUTION, shared=True)),
            ):
                raise AssertionError
            assert other.execute("SELECT 1").fetchone() == (1,)


def test_a_connection_that_is_lost_says_what_was_its_end(database: Database) -> None:
    with (
        connect(database.url, name="one") as one,
        connect(database.url, name="other") as other,
    ):
        begun, pid = beginning_with(one, taking(Lock.ATTRIBUTION)), one.info.backend_pid
        with pytest.raises(psycopg.errors.AdminShutdown), begun:
            end_and_ask(other, pid, one)
        assert one.closed
