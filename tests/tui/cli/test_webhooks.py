"""`hopsmeter webhooks`: what came, what became of it, and having it handled again."""

import csv
import io
import json
from datetime import timedelta

import pytest

from core.db.roles import ensure_roles
from core.webhooks.store import store
from tests.core.commands.carrier import carrying, publish, with_admin
from tests.core.webhooks.effects import delivery
from tests.database import Connection, Database
from tests.factories import NOW
from tests.tui.cli.conftest import Run


@pytest.fixture
def connection(database: Database) -> Connection:
    """Three events: one done, one given up, one of a type for which nothing is done."""
    connection = with_admin(database)
    store(
        connection, [delivery("evt_done", "cus_1", about={"object": "in_1", "customer": "cus_1"})]
    )
    store(connection, [delivery("evt_lost", "cus_2", type="charge.refunded")])
    unknown = {"known": False, "note": "nothing is done for radar.warning"}
    store(connection, [delivery("evt_odd", "cus_3", type="radar.warning", **unknown)])
    connection.execute(
        "UPDATE webhook_events SET state = 'done', tries = 1, said = 'the invoice is paid',"
        " done_at = %s WHERE event_id = 'evt_done'",
        [NOW],
    )
    connection.execute(
        "UPDATE webhook_events SET state = 'given up', tries = 23, error = 'Stripe refuses: no'"
        " WHERE event_id = 'evt_lost'"
    )
    connection.execute("UPDATE webhook_events SET received_at = %s", [NOW - timedelta(hours=1)])
    return connection


def test_the_list_tells_the_newest_and_what_became_of_them(
    run: Run, connection: Connection
) -> None:
    lines = run("webhooks", "list").stdout.splitlines()
    assert [line.split()[2] for line in lines if "evt_" in line] == [
        "evt_odd",
        "evt_lost",
        "evt_done",
    ]
    assert "Stripe refuses: no" in lines[3]
    assert "nothing is done for radar.warning" in lines[2]
    assert "the invoice is paid" in lines[4]


def test_the_list_is_narrowed_by_state_type_and_time(run: Run, connection: Connection) -> None:
    def ids(*words: str) -> list[str]:
        return [
            each["event_id"]
            for each in json.loads(run("webhooks", "list", *words, "--json").stdout)
        ]

    assert ids("--state", "given up") == ["evt_lost"]
    assert ids("--type", "invoice.*") == ["evt_done"]
    assert ids("--type", "charge_refunded") == []
    assert ids("--since", "2026-03-03T13:13Z") == ["evt_odd", "evt_lost", "evt_done"]
    assert ids("--since", "2026-03-03T14:00Z") == []
    assert ids("--limit", "1") == ["evt_odd"]
    assert run("webhooks", "list", "--state", "due").stdout == "No such event came.\n"
    rows = list(csv.DictReader(io.StringIO(run("webhooks", "list", "--csv").stdout)))
    assert [row["state"] for row in rows] == ["unknown", "given up", "done"]


def test_one_event_is_shown_with_all_that_is_kept(run: Run, connection: Connection) -> None:
    shown = run("webhooks", "show", "evt_done").stdout
    for part in (
        "invoice.paid",
        "object in_1, customer cus_1",
        "delivered once",
        "2026-03-03 14:13Z",
    ):
        assert part in shown
    assert json.loads(run("webhooks", "show", "evt_odd", "--json").stdout)["state"] == "unknown"
    missing = run("webhooks", "show", "evt_none", exit_code=1)
    assert "hopsmeter webhooks list" in missing.output


def test_an_event_is_replayed_by_the_daemon(
    run: Run, connection: Connection, database: Database
) -> None:
    ensure_roles(connection)

    def state() -> str:
        row = connection.execute(
            "SELECT state || ' ' || tries FROM webhook_events WHERE event_id = 'evt_lost'"
        ).fetchone()
        assert row is not None
        return str(row[0])

    with carrying(database, publish(database)):
        tried = run("webhooks", "replay", "evt_lost", "--dry-run").stdout
        assert "state: given up → due" in tried
        assert "nothing was changed" in tried
        assert state() == "given up 23"
        assert "is handled again" in run("webhooks", "replay", "evt_lost").stdout
        assert state() == "due 0"
        many = run("webhooks", "replay", "--since", "2026-03-01").stdout
        assert many.startswith("3 events (1 done, 1 due, 1 unknown) are handled again.")
        assert "no event 'evt_none'" in run("webhooks", "replay", "evt_none", exit_code=1).output
    trail = connection.execute(
        "SELECT count(*) FROM audit_log WHERE action = 'webhooks.replay'"
    ).fetchone()
    assert trail == (2,)


def test_a_replay_says_which_events(run: Run, connection: Connection) -> None:
    assert "Name an event" in run("webhooks", "replay", exit_code=2).output
    both = run("webhooks", "replay", "evt_done", "--state", "due", exit_code=2)
    assert "choose one" in both.output
