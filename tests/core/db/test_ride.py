"""A session on somebody else's connection writes within that one's transaction, and no further."""

import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg
import pytest
from psycopg.errors import InFailedSqlTransaction, LockNotAvailable, UniqueViolation
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from sqlalchemy.exc import StatementError
from sqlmodel import SQLModel, select, update

from core.db.connect import connect
from core.db.ride import session_on
from core.identity.tables import Login, User
from tests.database import Connection, Database


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with connect(database.url, name="ride") as connection:
        yield connection


def someone(name: str = "anna") -> User:
    return User(id=f"auth0|{name}", email=f"{name}@example.test")


def ids(connection: psycopg.Connection[Any]) -> list[str]:
    return [row[0] for row in connection.execute("SELECT id FROM hopsmeter.users ORDER BY 1")]


def write(connection: Connection, *rows: SQLModel) -> None:
    """Write each after the other in one transaction."""
    with connection.transaction(), session_on(connection) as session:
        for row in rows:
            session.add(row)
            session.flush()


def test_what_a_session_wrote_comes_and_goes_with_its_owner(
    connection: Connection, database: Database
) -> None:
    other = database.connect()
    with connection.transaction():
        with session_on(connection) as session:
            session.add(someone())
        assert ids(connection) == ["auth0|anna"]
        assert ids(other) == []
    assert ids(other) == ["auth0|anna"]
    with connection.transaction(force_rollback=True), session_on(connection) as session:
        session.add(someone("olaf"))
    assert ids(other) == ["auth0|anna"]


def test_a_session_sees_what_its_owner_wrote(connection: Connection) -> None:
    with connection.transaction():
        connection.execute(
            "INSERT INTO hopsmeter.users (id, email) VALUES ('auth0|anna', 'a@b.test')"
        )
        with session_on(connection) as session:
            found = session.exec(select(User)).one()
            assert (found.id, found.no, found.status) == ("auth0|anna", 1, "active")
            session.exec(update(User).values(name="Anna"))
    assert connection.execute("SELECT name FROM hopsmeter.users").fetchone() == ("Anna",)


def test_what_the_database_fills_in_comes_back(connection: Connection) -> None:
    with connection.transaction(), session_on(connection) as session:
        user = someone()
        session.add(user)
        session.flush()
        assert user.no == 1
        assert user.created_at is not None
        assert user.created_at.tzinfo is not None


def test_rides_work_within_savepoints_and_around_them(connection: Connection) -> None:
    with connection.transaction():
        with session_on(connection) as session:
            session.add(someone("kept"))
        with connection.transaction(force_rollback=True), session_on(connection) as session:
            session.add(someone("dry"))
        with session_on(connection) as session:
            with session.begin_nested() as savepoint:
                session.add(someone("nested"))
                session.flush()
                savepoint.rollback()
            with connection.transaction(force_rollback=True):
                session.add(someone("inner"))
                session.flush()
            session.expunge_all()
            session.add(someone("after"))
    assert ids(connection) == ["auth0|after", "auth0|kept"]


def test_a_failed_write_is_psycopgs_own_error_and_leaves_nothing(connection: Connection) -> None:
    with connection.transaction(), session_on(connection) as session:
        session.add(someone())
    with pytest.raises(UniqueViolation) as fault:
        write(connection, someone("olaf"), someone())
    assert fault.value.diag.constraint_name == "users_pkey"
    assert fault.value.__cause__ is None
    assert connection.info.transaction_status == TransactionStatus.IDLE
    assert ids(connection) == ["auth0|anna"]


def test_an_error_of_ours_goes_through_and_writes_nothing(connection: Connection) -> None:
    def fail() -> None:
        with connection.transaction(), session_on(connection) as session:
            session.add(someone())
            raise KeyError("ours")

    with pytest.raises(KeyError):
        fail()
    assert ids(connection) == []


def test_a_caught_failure_leaves_the_owner_to_roll_back(connection: Connection) -> None:
    with connection.transaction():
        with session_on(connection) as session:
            session.add(someone())
        with (
            pytest.raises(UniqueViolation),
            connection.transaction(),
            session_on(connection) as session,
        ):
            session.add(someone())
        with session_on(connection) as session:
            session.add(someone("olaf"))
    assert ids(connection) == ["auth0|anna", "auth0|olaf"]
    with connection.transaction(force_rollback=True):
        with pytest.raises(UniqueViolation), session_on(connection) as session:
            session.add(someone())
        with pytest.raises(InFailedSqlTransaction):
            ids(connection)


def test_a_session_cannot_end_the_transaction(connection: Connection) -> None:
    with connection.transaction(), session_on(connection) as session:
        session.add(someone())
        for end in (session.commit, session.rollback):
            with pytest.raises(AssertionError, match="owner of the connection"):
                end()
    assert ids(connection) == ["auth0|anna"]


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_ride_changes_nothing_about_the_connection(
    connection: Connection, autocommit: bool
) -> None:
    connection.autocommit = autocommit
    before = settings_of(connection)
    connection.rollback()
    with session_on(connection) as session:
        session.add(someone())
    wanted = TransactionStatus.IDLE if autocommit else TransactionStatus.INTRANS
    assert connection.info.transaction_status == wanted
    assert settings_of(connection) == before
    connection.rollback()
    assert ids(connection) == (["auth0|anna"] if autocommit else [])


def settings_of(connection: Connection) -> list[Any]:
    shown = connection.execute(
        "SELECT name, setting FROM pg_settings WHERE source = 'session' ORDER BY name"
    ).fetchall()
    handlers = len(connection._notice_handlers)
    own = [connection.autocommit, connection.isolation_level, connection.read_only]
    return [*own, connection.prepare_threshold, connection.row_factory, handlers, shown]


def test_the_owners_rows_may_be_of_any_make(database: Database) -> None:
    with psycopg.connect(database.url, row_factory=dict_row) as connection:
        with session_on(connection) as session:
            session.add(someone())
            session.flush()
            session.add(Login(role="anna", user_id="auth0|anna"))
        with session_on(connection) as session:
            assert session.get_one(Login, "anna").user_id == "auth0|anna"


@pytest.mark.parametrize("threshold", [0, 5, None])
def test_prepared_statements_stay_the_connections_affair(
    connection: Connection, threshold: int | None
) -> None:
    connection.prepare_threshold = threshold
    for turn in range(8):
        with connection.transaction(), session_on(connection) as session:
            session.add(someone(f"u{turn}"))
    row = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
    assert row is not None
    assert (row[0] > 0) is (threshold is not None)
    assert len(ids(connection)) == 8


def test_an_error_before_the_database_shows_no_values(connection: Connection) -> None:
    user = User(id="auth0|anna", email="hunter2", created_at=datetime(2026, 3, 1))  # noqa: DTZ001 - the fault
    with (
        pytest.raises(StatementError, match="timezone") as fault,
        session_on(connection) as session,
    ):
        session.add(user)
    assert "hunter2" not in str(fault.value)


def test_a_lost_connection_is_psycopgs_error_and_harms_no_other(
    connection: Connection, database: Database
) -> None:
    other = database.connect()

    def lose() -> None:
        with connection.transaction(), session_on(connection) as session:
            session.add(someone())
            session.flush()
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])
            session.add(someone("olaf"))

    with pytest.raises(psycopg.OperationalError):
        lose()
    assert connection.closed
    with session_on(other) as session:
        session.add(someone())
    assert ids(other) == ["auth0|anna"]


def test_timeouts_of_the_owner_hold(connection: Connection, database: Database) -> None:
    other = database.connect()
    connection.execute("SET lock_timeout = '50ms'")
    with other.transaction():
        other.execute("LOCK TABLE hopsmeter.users")
        with pytest.raises(LockNotAvailable), session_on(connection) as session:
            session.add(someone())


def test_threads_with_connections_of_their_own_ride_side_by_side(database: Database) -> None:
    faults: list[BaseException] = []

    def work(name: str) -> None:
        try:
            with connect(database.url, name=name) as connection:
                for turn in range(20):
                    with connection.transaction(), session_on(connection) as session:
                        session.add(someone(f"{name}-{turn:02}"))
        except BaseException as fault:  # a thread's failure is told by the test itself
            faults.append(fault)

    threads = [threading.Thread(target=work, args=[f"t{number}"]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert faults == []
    assert len(ids(database.connect())) == 80
