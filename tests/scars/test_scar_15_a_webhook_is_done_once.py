"""The webhook was marked done after its work, errors of that mark ignored: two at once ran twice."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from core.db.connect import connect
from core.webhooks.store import store
from tests.core.webhooks.effects import Outside, delivery, handle, make_due, prepare
from tests.database import Connection, Database

AT_ONCE = 8


@pytest.fixture
def connection(database: Database) -> Connection:
    connection = database.connect()
    prepare(connection)
    return connection


def effects(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM public.effects").fetchone()
    assert row is not None
    return int(row[0])


def test_two_deliveries_at_once_have_one_effect(connection: Connection, database: Database) -> None:
    outside = Outside(fetch_s=0.05)

    def deliver_and_work(_: int) -> int:
        with connect(database.url, name="delivery") as line:
            store(line, [delivery()])
        return handle(database, outside).get("done", 0)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(deliver_and_work, range(AT_ONCE)))
    assert (sum(done), effects(connection)) == (1, 1)
    row = connection.execute("SELECT deliveries, state FROM webhook_events").fetchone()
    assert row == (AT_ONCE, "done")


def test_a_mark_that_fails_takes_its_effects_back(
    connection: Connection, database: Database
) -> None:
    store(connection, [delivery()])
    connection.execute("ALTER TABLE webhook_events ADD CONSTRAINT no_mark CHECK (state <> 'done')")
    assert handle(database) == {"failed": 1}
    assert effects(connection) == 0
    connection.execute("ALTER TABLE webhook_events DROP CONSTRAINT no_mark")
    make_due(connection)
    assert handle(database) == {"done": 1}
    assert effects(connection) == 1
