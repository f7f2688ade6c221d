"""Accounts from end to end: a real daemon, the real command line, and somebody who listens."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.clock import utc_now
from core.db.roles import DAEMON, ensure_roles
from tests.core.billing.listening import SECRET_TEXT, Listener, listening
from tests.core.commands.carrier import with_admin
from tests.daemon.process import Daemon, environment, once, state_folder
from tests.database import Connection, Database
from tests.factories import User, add_user

LIMIT_S = 60


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as found:
        yield found


@pytest.fixture
def anna(database: Database) -> User:
    """An account that pays prepaid since yesterday."""
    connection = with_admin(database)
    user = add_user(connection)
    prepaid(connection, user)
    return user


def prepaid(connection: Connection, user: User) -> None:
    connection.execute(
        "INSERT INTO billing_modes (account_no, mode, valid, created_by)"
        " VALUES (%s, 'prepaid', daterange(current_date - 1, NULL), 'boss')",
        [user.no],
    )


@pytest.fixture
def around(database: Database, tmp_path: Path, listener: Listener) -> dict[str, str]:
    ensure_roles(database.connect())
    secret = tmp_path / "webhook-secret"
    secret.write_text(SECRET_TEXT + "\n")
    secret.chmod(0o400)
    return environment(
        state_folder(tmp_path / "state"),
        database_url=database.url_for(DAEMON),
        webhook_url=listener.url,
        webhook_secret_file=str(secret),
        loopback_clusters="true",
        log_level="debug",
    )


def hopsmeter(database: Database, *words: str) -> str:
    told = subprocess.run(
        [sys.executable, "-m", "tui", *words],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={**os.environ, "HOPSMETER_DATABASE_URL": database.url},
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_credits_that_run_low_are_told_to_the_log_the_trail_and_whoever_listens(
    database: Database, around: dict[str, str], anna: User, listener: Listener
) -> None:
    why = ("--reason", "agreed")
    with Daemon(around) as daemon:
        daemon.ready()
        hopsmeter(database, "credits", "grant", anna.email, "50", "--currency", "EUR", *why)
        before = utc_now()
        hopsmeter(database, "account", "policy", anna.email, "--warn-below", "30", *why)
        hopsmeter(database, "credits", "adjust", anna.email, "-25.5", *why)
        daemon.until(lambda: listener.came)
        line = daemon.wait_for("credits low")
        assert daemon.end() == 0
    listener.must_be_signed()
    (event,) = listener.events
    assert event["type"] == "credits.low"
    assert event["data"] == {
        "account": anna.id,
        "currency": "EUR",
        "credits": "24.500000000",
        "arrears": "0.000000000",
    }
    assert (line["account"], line["credits"]) == (anna.id, "24.500000000")
    assert sum(each["event"] == "credits low" for each in daemon.log) == 1
    for hidden in (SECRET_TEXT, SECRET_TEXT[6:], "pa55word"):
        assert hidden not in daemon.text
    trail = database.connect().execute(
        "SELECT actor FROM audit_log WHERE action = 'credits.low' AND subject = %s",
        [f"account {anna.id}"],
    )
    assert trail.fetchall() == [("daemon",)]
    past = hopsmeter(database, "credits", "show", anna.email, "--at", before.isoformat(), "--json")
    assert json.loads(past)["credits_nano"] == 50 * 10**9


def test_lots_past_their_date_expire_by_the_hourly_job(
    database: Database, around: dict[str, str], anna: User
) -> None:
    connection = database.connect()
    connection.execute("UPDATE users SET currency = 'EUR' WHERE no = %s", [anna.no])
    connection.execute(
        "SELECT hopsmeter.add_credits(%s, 13::smallint, 7000000000, 'old', '2026-01-01',"
        " '2026-02-01', 50::smallint, 'a trial')",
        [anna.no],
    )
    ticked = once("tick", "expiry", around=around)
    assert ticked.returncode == 0, ticked.stderr
    shown = json.loads(hopsmeter(database, "credits", "show", anna.email, "--json"))
    assert (shown["expired_nano"], shown["credits_nano"]) == (7 * 10**9, 0)
    mirror = connection.execute("SELECT billing_mode FROM users WHERE no = %s", [anna.no])
    assert mirror.fetchone() == ("prepaid",)


def test_a_webhook_without_a_good_secret_stops_the_start(
    around: dict[str, str], tmp_path: Path, database: Database
) -> None:
    (tmp_path / "webhook-secret").chmod(0o644)
    refused = once("run", around=around)
    assert refused.returncode == 1
    assert "chmod 0400" in refused.stderr
    assert SECRET_TEXT[6:20] not in refused.stderr
