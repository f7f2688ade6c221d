"""Webhooks at the real endpoint: what is verified is stored and handled, and nothing else is anything."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg import sql

from core.clock import utc_now
from tests.core.webhooks.sender import SECRET, Sender, bytes_of, signature, snapshot, thin
from tests.daemon.hooked import private, sender_to
from tests.daemon.process import Daemon
from tests.database import Connection, Database, administer

HUGE = 256 * 1024 + 1


@pytest.fixture
def daemon(around: dict[str, str]) -> Iterator[Daemon]:
    with Daemon(around) as running:
        yield running.ready()


@pytest.fixture
def sender(daemon: Daemon) -> Sender:
    return sender_to(daemon)


@pytest.fixture
def connection(database: Database) -> Connection:
    return database.connect()


def rows(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT event_id, type, state, deliveries FROM webhook_events ORDER BY id"
    ).fetchall()


def is_done(connection: Connection, event_id: str) -> bool:
    row = connection.execute(
        "SELECT state = 'done' FROM webhook_events WHERE event_id = %s", [event_id]
    ).fetchone()
    return row is not None and bool(row[0])


def test_a_delivery_is_stored_answered_and_handled(
    daemon: Daemon, sender: Sender, connection: Connection
) -> None:
    answer = sender.send(snapshot())
    assert (answer.status_code, answer.content) == (204, b"")
    assert daemon.until(lambda: is_done(connection, "evt_1"))
    row = connection.execute(
        "SELECT subject, about, livemode, octet_length(body_sha256) FROM webhook_events"
    ).fetchone()
    about = {
        "object": "in_1",
        "object_type": "invoice",
        "customer": "cus_1",
        "subscription": "sub_1",
        "invoice": "in_1",
    }
    assert row == ("cus_1", about, False, 32)
    told = daemon.wait_for("event done")
    assert told["event_id"] == "evt_1"


def test_bad_deliveries_get_a_clear_answer_and_leave_nothing(
    daemon: Daemon, sender: Sender, connection: Connection
) -> None:
    body, now = bytes_of(snapshot()), utc_now()
    latin = '{"id": "evt_ä"}'.encode("latin-1")
    old, future = now - timedelta(seconds=330), now + timedelta(seconds=330)
    tries = [
        ("No signature fits", 400, body, signature(body, secret="whsec_somebody_elses_secret")),
        ("No signature fits", 400, body + b" ", signature(body)),
        ("s ago", 400, body, signature(body, at=old)),
        ("in the future", 400, body, signature(body, at=future)),
        ("no Stripe-Signature", 400, body, "v1=abc"),
        ("no Stripe-Signature", 400, body, "t=abc,v1=abc"),
        ("not UTF-8", 400, latin, signature(latin)),
        ("no JSON", 400, b"{", signature(b"{")),
        ("no event", 400, b"[" * 100_000, signature(b"[" * 100_000)),
        ("no event", 400, b"[]", signature(b"[]")),
        ("no event", 400, b"{}", signature(b"{}")),
        ("larger than", 413, b"x" * HUGE, signature(b"x" * HUGE)),
    ]
    for why, status, content, header in tries:
        answer = sender.post(content, {"Stripe-Signature": header})
        assert (answer.status_code, why in answer.text) == (status, True), answer.text
    assert sender.post(body).status_code == 400
    assert rows(connection) == []
    refused = [line for line in daemon.log if line["event"] == "a delivery was refused"]
    assert len(refused) == len(tries) + 1
    assert "whsec" not in daemon.text
    assert "hush" not in daemon.text


def test_a_huge_body_of_unknown_length_is_cut_off(sender: Sender) -> None:
    chunks = (b"x" * 65_536 for _ in range(64))
    answer = httpx.post(sender.url, content=chunks, headers={"Stripe-Signature": "t=1,v1=a"})
    assert answer.status_code == 413


def test_only_a_post_to_the_one_path_is_answered(sender: Sender) -> None:
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        answer = httpx.request(method, sender.url)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    for path in ("/", "/webhooks", "/webhooks/stripe/", "/healthz", "/metrics"):
        assert httpx.post(httpx.URL(sender.url).copy_with(path=path)).status_code == 404


def test_odd_deliveries_are_stored_and_said_to_be_odd(
    daemon: Daemon, sender: Sender, connection: Connection
) -> None:
    old = sender.send(snapshot("evt_old", api_version="2019-01-01"))
    assert (old.status_code, "2019-01-01" in old.text) == (200, True)
    strange = sender.send(snapshot("evt_strange", "radar.early_fraud_warning.created"))
    assert (strange.status_code, "nothing is done" in strange.text) == (200, True)
    live = sender.send(snapshot("evt_live", livemode=True))
    assert (live.status_code, "of live mode" in live.text) == (200, True)
    assert daemon.until(lambda: is_done(connection, "evt_old"))
    assert [(row[0], row[2]) for row in rows(connection)] == [
        ("evt_old", "done"),
        ("evt_strange", "unknown"),
        ("evt_live", "unknown"),
    ]
    told = [line for line in daemon.log if line["event"] == "a delivery is odd"]
    assert "2026-10-28.endive" in told[0]["why"]
    page = daemon.ask("/metrics")[1]
    assert 'hopsmeter_webhook_events{state="unknown"} 2.0' in page


def test_a_thin_event_is_taken(daemon: Daemon, sender: Sender, connection: Connection) -> None:
    assert sender.send(thin()).status_code == 204
    assert daemon.until(lambda: is_done(connection, "evt_test_1"))
    row = connection.execute("SELECT subject, about->>'object_type' FROM webhook_events").fetchone()
    assert row == ("mtr_1", "billing.meter")


def test_one_event_from_many_at_once_is_one_row(
    daemon: Daemon, sender: Sender, connection: Connection
) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: sender.send(snapshot()).status_code, range(64)))
    assert set(answers) == {204}
    assert daemon.until(lambda: is_done(connection, "evt_1"))
    assert rows(connection) == [("evt_1", "invoice.paid", "done", 64)]
    done = [line for line in daemon.log if line["event"] == "event done"]
    assert len(done) == 1


def test_a_secret_is_rotated_without_a_restart(
    daemon: Daemon, sender: Sender, around: dict[str, str]
) -> None:
    body = bytes_of(snapshot())
    fresh = "whsec_the_new_one_of_tomorrow"
    path = Path(around["HOPSMETER_STRIPE_SIGNING_FILE"])
    assert sender.send(body, header=signature(body, secret=fresh)).status_code == 400
    private(path, f"{SECRET}\n{fresh}\n")
    daemon.until(lambda: sender.send(body, header=signature(body, secret=fresh)).status_code == 204)
    assert sender.send(body).status_code == 204
    private(path, "nonsense\n")
    assert "whsec_" in daemon.until(lambda: _kept_secrets(daemon, sender))["why"]
    assert sender.send(body).status_code == 204


def _kept_secrets(daemon: Daemon, sender: Sender) -> dict[str, Any] | None:
    sender.send(snapshot())
    event = "the signing secrets stay as they were"
    return next((line for line in daemon.log if line["event"] == event), None)


def test_without_its_database_it_asks_to_be_sent_again(
    daemon: Daemon, sender: Sender, connection: Connection, database: Database
) -> None:
    name = database.name
    limit = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}")
    with administer(database.server) as admin:
        admin.execute(limit.format(sql.Identifier(name), 0))
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        answer = sender.send(snapshot())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        admin.execute(limit.format(sql.Identifier(name), -1))
    assert daemon.until(lambda: sender.send(snapshot()).status_code == 204)
    assert json.dumps(rows(database.connect())[0][:2]) == '["evt_1", "invoice.paid"]'


def test_without_a_key_there_is_no_start(around: dict[str, str]) -> None:
    del around["HOPSMETER_STRIPE_KEY_FILE"]
    with Daemon(around) as daemon:
        why = daemon.wait_for("it cannot go on")["why"]
        assert "stripe_key_file is not" in why
