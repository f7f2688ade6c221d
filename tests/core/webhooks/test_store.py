"""Deliveries are kept once, whoever brings them and however often."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from core.db.connect import connect
from core.webhooks.store import store
from tests.core.webhooks.effects import delivery
from tests.database import Connection, Database


def counted(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT event_id, deliveries, came, state FROM webhook_events ORDER BY event_id"
    ).fetchall()


def test_an_event_that_comes_again_is_only_counted(connection: Connection) -> None:
    assert store(connection, [delivery(), delivery("evt_2")]) == 2
    connection.execute("UPDATE webhook_events SET state = 'done' WHERE event_id = 'evt_1'")
    assert store(connection, [delivery(type="other.type"), delivery("evt_3")]) == 1
    assert counted(connection) == [
        ("evt_1", 2, "delivered", "done"),
        ("evt_2", 1, "delivered", "due"),
        ("evt_3", 1, "delivered", "due"),
    ]


def test_an_event_twice_in_one_batch_is_one_row(connection: Connection) -> None:
    assert store(connection, [delivery(), delivery(), delivery()]) == 1
    assert counted(connection) == [("evt_1", 3, "delivered", "due")]
    assert store(connection, []) == 0


def test_a_fetched_event_counts_no_delivery(connection: Connection) -> None:
    assert store(connection, [delivery(came="fetched")]) == 1
    assert store(connection, [delivery(came="fetched")]) == 0
    assert counted(connection) == [("evt_1", 0, "fetched", "due")]
    store(connection, [delivery()])
    assert counted(connection) == [("evt_1", 1, "fetched", "due")]


def test_an_unknown_type_is_stored_and_left_alone(connection: Connection) -> None:
    store(connection, [delivery(type="radar.warning", known=False, note="nothing is done")])
    row = connection.execute("SELECT state, note FROM webhook_events").fetchone()
    assert row == ("unknown", "nothing is done")


def test_writers_with_the_same_events_in_any_order_never_lock_each_other_out(
    connection: Connection, database: Database
) -> None:
    names = [f"evt_{number}" for number in range(60)]

    def write(turn: int) -> int:
        with connect(database.url, name="writer") as line:
            ordered = names if turn % 2 else names[::-1]
            return sum(
                store(line, [delivery(name) for name in ordered[at : at + 30]])
                for at in (0, 30, 15)
            )

    with ThreadPoolExecutor(8) as pool:
        new = list(pool.map(write, range(8)))
    assert sum(new) == len(names)
    assert sum(row[1] for row in counted(connection)) == 8 * 90
