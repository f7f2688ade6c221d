"""A connection says why it cannot be opened, and notices a server that is gone."""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from core.db.connect import (
    KEEPALIVE_IDLE_S,
    KEEPALIVE_INTERVAL_S,
    KEEPALIVE_TRIES_MAX,
    UNANSWERED_MAX_MS,
    connect,
)
from core.errors import DatabaseFault
from tests.database import Database

CHUNK_BYTES = 65536


def forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK_BYTES):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def by_tcp(database: Database) -> Iterator[str]:
    """The test's database over TCP: a door in front of its socket, for one caller."""
    parts = conninfo_to_dict(database.url)
    inside = f"{parts['host']}/.s.PGSQL.{parts.get('port', 5432)}"
    with (
        socket.create_server(("127.0.0.1", 0)) as door,
        socket.socket(socket.AF_UNIX) as server,
    ):

        def serve() -> None:
            caller, _ = door.accept()
            with caller:
                server.connect(inside)
                back = threading.Thread(target=forward, args=[server, caller])
                back.start()
                forward(caller, server)
                back.join(10)

        keeper = threading.Thread(target=serve)
        keeper.start()
        port = str(door.getsockname()[1])
        yield make_conninfo(database.url, host="127.0.0.1", port=port, sslmode="disable")
        keeper.join(10)
    assert not keeper.is_alive()


def options_of(connection: psycopg.Connection) -> tuple[int, ...]:
    with socket.socket(fileno=connection.fileno()) as line:
        names = (
            socket.TCP_KEEPIDLE,
            socket.TCP_KEEPINTVL,
            socket.TCP_KEEPCNT,
            socket.TCP_USER_TIMEOUT,
        )
        found = tuple(line.getsockopt(socket.IPPROTO_TCP, name) for name in names)
        assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        line.detach()
    return found


def test_a_server_that_vanishes_is_noticed_in_half_a_minute(by_tcp: str) -> None:
    wanted = (
        KEEPALIVE_IDLE_S,
        KEEPALIVE_INTERVAL_S,
        KEEPALIVE_TRIES_MAX,
        UNANSWERED_MAX_MS,
    )
    with connect(by_tcp, name="test") as connection:
        assert options_of(connection) == wanted
    assert KEEPALIVE_IDLE_S + KEEPALIVE_TRIES_MAX * KEEPALIVE_INTERVAL_S <= 30


def test_what_the_url_says_of_a_lost_server_goes_first(by_tcp: str) -> None:
    with connect(make_conninfo(by_tcp, keepalives_idle="77"), name="test") as connection:
        assert options_of(connection)[:2] == (77, KEEPALIVE_INTERVAL_S)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PGDATESTYLE", "German"),
        ("PGCLIENTENCODING", "SQL_ASCII"),
        ("PGTZ", "Asia/Tokyo"),
        ("PGOPTIONS", "-c default_transaction_read_only=on -c intervalstyle=iso_8601"),
        ("PGOPTIONS", "-c no.such_thing"),
    ],
)
def test_the_environment_decides_nothing(
    monkeypatch: pytest.MonkeyPatch, database: Database, variable: str, value: str
) -> None:
    asked = (
        "SELECT '2026-03-01T14:00Z'::timestamptz, '2026-03-02'::date, '26 h'::interval, 'Köln',"
        " current_setting('transaction_read_only')"
    )
    with connect(database.url, name="test") as connection:
        wanted = connection.execute(asked).fetchone()
    assert wanted is not None
    assert wanted[3:] == ("Köln", "off")
    monkeypatch.setenv(variable, value)
    with connect(database.url, name="test") as connection:
        assert connection.execute(asked).fetchone() == wanted


def test_who_only_reads_writes_nothing_outside_a_transaction_either(database: Database) -> None:
    with connect(database.url, name="reader", read_only=True) as connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("DELETE FROM hopsmeter.users")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), connection.transaction():
            connection.execute("DELETE FROM hopsmeter.users")


def test_the_options_of_the_url_are_kept(database: Database) -> None:
    url = make_conninfo(database.url, options="-c search_path=hopsmeter")
    with connect(url, name="test") as connection:
        assert connection.execute("SHOW search_path").fetchone() == ("hopsmeter",)


def test_a_role_that_writes_intervals_and_dates_otherwise_is_read_all_the_same(
    database: Database,
) -> None:
    database.connect().execute(
        sql.SQL(
            "ALTER DATABASE {0} SET intervalstyle = sql_standard;"
            " ALTER DATABASE {0} SET datestyle = German"
        ).format(sql.Identifier(database.name))
    )
    with connect(database.url, name="test") as connection:
        row = connection.execute("SELECT '-26 h'::interval, now()::date = current_date").fetchone()
    assert row == (timedelta(hours=-26), True)


def test_a_refused_connection_says_what_was_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    url = f"host=127.0.0.1 port={port} dbname=books user=anna password=hunter2"
    with pytest.raises(DatabaseFault) as fault:
        connect(url, name="test")
    assert str(fault.value) == (
        "database books at 127.0.0.1 cannot be reached: connection to server at"
        f' "127.0.0.1", port {port} failed: Connection refused'
    )


def test_a_missing_database_is_named(database: Database) -> None:
    with pytest.raises(DatabaseFault, match=r'FATAL: +database "nowhere" does not exist$'):
        connect(make_conninfo(database.url, dbname="nowhere"), name="test")


@pytest.mark.parametrize(
    "url", ["postgresql://anna:hun%ter2@db/books", "postgresql://anna@db/books?hunter2"]
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(DatabaseFault) as fault:
        connect(url, name="test")
    assert re.search("cannot be read", str(fault.value))
    assert "ter2" not in str(fault.value)
    assert fault.value.__suppress_context__
