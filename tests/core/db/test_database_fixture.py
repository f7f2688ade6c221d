"""The fixtures themselves: what every other test builds on."""

import socket
import subprocess
import time

import psycopg
import pytest

from tests import children
from tests.database import Database, Server, administer, cloned


def test_a_test_gets_the_whole_schema(database: Database) -> None:
    found = database.connect().execute("SELECT to_regclass('alembic_version') IS NOT NULL")
    assert found.fetchone() == (True,)


@pytest.mark.parametrize("_turn", [1, 2])
def test_a_test_sees_nothing_of_another(database: Database, _turn: int) -> None:
    connection = database.connect()
    connection.execute("CREATE TABLE hopsmeter.only_mine ()")
    found = connection.execute("SELECT count(*) FROM hopsmeter.only_mine").fetchone()
    assert found == (0,)


def test_a_database_goes_even_while_someone_is_connected(postgres: Server) -> None:
    with administer(postgres) as admin:
        with cloned(admin, postgres) as database:
            stranger = psycopg.connect(database.url)
        with stranger, pytest.raises(psycopg.OperationalError):
            stranger.execute("SELECT 1")
        gone = admin.execute("SELECT FROM pg_database WHERE datname = %s", [database.name])
        assert gone.fetchone() is None


def test_a_role_of_the_test_can_log_in(database: Database) -> None:
    database.connect().execute(f"CREATE ROLE {database.name}_clerk LOGIN")
    try:
        with psycopg.connect(database.url_for(f"{database.name}_clerk")) as clerk:
            assert clerk.execute("SELECT session_user").fetchone() == (f"{database.name}_clerk",)
    finally:
        database.connect().execute(f"DROP ROLE {database.name}_clerk")


def test_leaving_loopback_fails_the_test() -> None:
    with socket.socket() as outside, pytest.raises(pytest.fail.Exception, match=r"192\.0\.2\.1"):
        outside.connect(("192.0.2.1", 80))
    with pytest.raises(pytest.fail.Exception, match=r"example\.org"):
        socket.getaddrinfo("example.org", 80)
    assert socket.getaddrinfo("localhost", 80)


def test_a_process_left_behind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "GRACE_S", 0.1)
    before = children.living()
    with subprocess.Popen(["sleep", "30"]) as left:
        time.sleep(0.02)
        assert children.left_since(before) == {left.pid: "sleep 30"}
        left.kill()
    assert children.left_since(before) == {}
