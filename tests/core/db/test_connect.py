"""A connection says why it cannot be opened, and notices a server that is gone."""

import contextlib
import re
import socket
import threading
from collections.abc import Iterator

import psycopg
import pytest
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
