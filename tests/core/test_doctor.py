import shutil
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from core import doctor, settings
from core.billing.stripe.gateway import API_VERSION
from core.clock import HOUR, utc_now
from core.clusters.keys import check_keyring, prove_keyring
from core.clusters.vault import Keyring, init_keyring
from core.db.roles import DAEMON, ensure_login_role, ensure_roles
from core.doctor import Finding, examine, examine_start
from core.errors import SecretFault
from core.webhooks.store import store
from sandbox.stripe.world import StripeWorld
from tests.core.webhooks.effects import delivery
from tests.database import Connection, Database
from tests.factories import SINCE, add_cluster, add_user, add_window

NO_STRIPE = {"HOPSMETER_STRIPE_URL": "http://127.0.0.1:9", "HOPSMETER_LOOPBACK_CLUSTERS": "true"}
"""Where nothing answers."""


@pytest.fixture(autouse=True)
def _no_file_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "CONFIG_DEFAULT", tmp_path / "absent.toml")


@pytest.fixture
def around(database: Database, tmp_path: Path) -> dict[str, str]:
    """An installation that is well but has no daemon yet."""
    tmp_path.chmod(0o700)
    init_keyring(tmp_path / "keyring")
    return {"HOPSMETER_STATE_FOLDER": str(tmp_path), "HOPSMETER_DATABASE_URL": database.url}


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def beat(connection: Connection, *, age_s: int = 0, version: str | None = None) -> None:
    connection.execute(
        "INSERT INTO daemons (name, pid, version, started_at, seen_at)"
        " VALUES ('here', 1, %s, now(), now() - make_interval(secs => %s))",
        [version or metadata.version("hopsmeter"), age_s],
    )


def test_a_sound_installation_has_no_fault(around: dict[str, str], database: Database) -> None:
    beat(database.connect())
    found = examine(around)
    assert [each for each in found if each.verdict != "ok"] == []
    assert {"settings", "keyring", "database", "schema", "clock", "notices", "daemon"} <= set(
        by_name(found)
    )


def test_a_database_that_takes_no_writes_is_a_fault_with_its_cure(
    around: dict[str, str], database: Database
) -> None:
    database.connect().execute(
        sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(
            sql.Identifier(database.name)
        )
    )
    found = by_name(examine_start(settings.load(around)))["writes"]
    assert found.verdict == "fail"
    assert "default_transaction_read_only" in found.saw
    assert "HOPSMETER_DATABASE_URL" in found.cure


def test_faults_of_settings_are_all_shown(around: dict[str, str]) -> None:
    found = examine({**around, "HOPSMETER_LISTEN": "x", "HOPSMETER_NO_SUCH": "y"})
    assert [each.verdict for each in found] == ["fail", "fail"]
    assert "doctor --paths" in found[0].cure


def test_without_a_database_the_rest_is_still_looked_at(
    around: dict[str, str], tmp_path: Path
) -> None:
    url = f"postgresql://nobody@/none?host={tmp_path}"
    found = by_name(examine({**around, "HOPSMETER_DATABASE_URL": url}))
    assert found["database"].verdict == "fail"
    assert found["keyring"].verdict == "ok"
    assert "schema" not in found


def test_its_own_database_that_is_not_running_hinders_no_start(around: dict[str, str]) -> None:
    del around["HOPSMETER_DATABASE_URL"]
    found = by_name(examine_start(settings.load(around)))
    assert found["database"].verdict == "ok"
    assert "hopsmeterd run" in found["database"].cure


def test_where_its_own_database_is_not_running_no_daemon_is(around: dict[str, str]) -> None:
    del around["HOPSMETER_DATABASE_URL"]
    found = by_name(examine(around))["daemon"]
    assert found.verdict == "fail"
    assert "hopsmeterd run" in found.cure


def test_a_missing_keyring_is_named_with_its_cure(around: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "keyring").unlink()
    found = by_name(examine(around))["keyring"]
    assert found.verdict == "fail"
    assert "hopsmeter secrets init" in found.saw


def test_a_keyring_that_only_the_daemon_sees_is_no_fault(
    around: dict[str, str], database: Database, tmp_path: Path
) -> None:
    (tmp_path / "keyring").unlink()
    beat(database.connect())
    assert by_name(examine(around))["keyring"].verdict == "ok"
    around["HOPSMETER_KEYRING"] = str(tmp_path / "keyring")
    assert by_name(examine(around))["keyring"].verdict == "fail"


def test_a_secret_that_only_the_daemon_sees_is_called_by_its_name(
    around: dict[str, str], database: Database
) -> None:
    around["HOPSMETER_WEBHOOK_URL"] = "https://hooks.example.test/in"
    before = by_name(examine(around))
    assert before["webhook secret"].verdict == "fail"
    beat(database.connect())
    after = by_name(examine(around))
    assert after["webhook secret"].verdict == "ok"
    assert "the daemon that runs has proved its own" in after["webhook secret"].saw
    assert after["keyring"] == before["keyring"]


def test_a_keyring_of_another_database_is_found_by_its_canary(
    around: dict[str, str], database: Database
) -> None:
    prove_keyring(database.connect(), Keyring.generate())
    found = by_name(examine(around))["canary"]
    assert found.verdict == "fail"
    assert "not the one that this database was sealed with" in found.saw


def test_a_state_folder_that_others_may_write_to_is_a_fault(
    around: dict[str, str], tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    found = by_name(examine(around))["state folder"]
    assert found.verdict == "fail"
    assert f"chmod 0700 {tmp_path}" in found.cure


@pytest.mark.parametrize("place", ["file/state", "link"])
def test_a_state_folder_that_cannot_be_made_is_a_fault(
    around: dict[str, str], tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    found = by_name(examine({**around, "HOPSMETER_STATE_FOLDER": str(tmp_path / place)}))
    assert found["state folder"].verdict == "fail"
    found = by_name(examine({**around, "HOPSMETER_STATE_FOLDER": str(tmp_path / "new")}))
    assert found["state folder"].verdict == "ok"


def test_a_full_disk_is_a_fault_for_the_own_database(
    around: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=doctor.ROOM_FAIL_BYTES - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert by_name(examine(around))["state folder"].verdict == "ok"
    del around["HOPSMETER_DATABASE_URL"]
    assert by_name(examine(around))["state folder"].verdict == "fail"


@pytest.mark.parametrize(
    ("age_s", "version", "verdict", "saw"),
    [(3600, None, "fail", "silent"), (0, "0.0.1", "warn", "this program is")],
)
def test_a_daemon_that_is_silent_or_of_another_version_is_shown(
    around: dict[str, str],
    database: Database,
    age_s: int,
    version: str | None,
    verdict: str,
    saw: str,
) -> None:
    beat(database.connect(), age_s=age_s, version=version)
    found = by_name(examine(around))["daemon"]
    assert found.verdict == verdict
    assert saw in found.saw


def test_a_schema_of_another_version_is_a_fault(around: dict[str, str], database: Database) -> None:
    database.connect().execute("UPDATE alembic_version SET version_num = '9999'")
    assert by_name(examine(around))["schema"].verdict == "fail"


def test_the_rights_of_a_role_are_told(around: dict[str, str], database: Database) -> None:
    owner = database.connect()
    person, nobody = f"{database.name}_person", f"{database.name}_nobody"
    ensure_roles(owner)
    ensure_login_role(owner, person)
    owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(nobody)))
    owner.execute("GRANT USAGE ON SCHEMA hopsmeter TO PUBLIC")
    try:
        for role, verdict in ((DAEMON, "ok"), (person, "warn"), (nobody, "fail")):
            around["HOPSMETER_DATABASE_URL"] = database.url_for(role)
            found = by_name(examine(around))
            assert found["rights"].verdict == verdict, role
            assert found["canary"].verdict == "ok", role
            assert ("not for this role" in found["canary"].saw) is (role != DAEMON)
    finally:
        for role in (person, nobody):
            owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_a_cluster_that_needs_somebody_is_named(around: dict[str, str], database: Database) -> None:
    add_cluster(
        database.connect(),
        failures=7,
        last_outcome="the API server froze",
        credentials_expire_at=utc_now() - timedelta(days=1),
    )
    found = [each for each in examine(around) if each.name == "cluster eu-1"]
    assert [each.verdict for each in found] == ["warn", "fail"]
    assert "the API server froze" in found[0].saw
    assert "hopsmeter cluster check eu-1" in found[0].cure
    assert "--kubeconfig" in found[1].cure


def test_failed_undecided_and_lost_hours_are_warnings(
    around: dict[str, str], database: Database
) -> None:
    connection = database.connect()
    eu = add_cluster(connection, last_outcome="ok")
    states: list[tuple[int, str, dict[str, Any]]] = [
        *((number, "failed", {"fault": "no-data"}) for number in range(9)),
        (9, "gap", {}),
        (10, "collected", {"pending_sha256": b"x" * 32}),
    ]
    for number, state, changes in states:
        add_window(connection, eu, SINCE + number * HOUR, state, **changes)
    add_cluster(connection, "us-1")
    found = examine(around)
    told = [each for each in found if each.name == "cluster eu-1"]
    assert [(each.verdict, each.saw) for each in told] == [
        ("warn", "9 hours failed, the newest: no-data"),
        ("warn", "1 hour to be decided by a person"),
        ("warn", "1 hour lost (gaps), of which no cost is known"),
    ]
    assert all("`hopsmeter hours eu-1`" in each.cure for each in told)
    assert by_name(found)["clusters"].saw == "1 of 2 need nobody"


def test_the_webhook_and_what_waits_for_it_are_told(
    around: dict[str, str], database: Database, tmp_path: Path
) -> None:
    connection = database.connect()
    user = add_user(connection)
    for state, error in (("unsent", None), ("due", None), ("given_up", "it answered 404")):
        connection.execute(
            "INSERT INTO outgoing_events (type, account_no, payload, state, error)"
            " VALUES ('credits.low', %s, '{}', %s, %s)",
            [user.no, state, error],
        )
    unset = by_name(examine(around))["webhook"]
    assert (unset.verdict, "1 event is kept unsent" in unset.saw) == ("ok", True)
    secret = tmp_path / "webhook-secret"
    around |= {
        "HOPSMETER_WEBHOOK_URL": "https://a.test/hooks/pa55word",
        "HOPSMETER_WEBHOOK_SECRET_FILE": str(secret),
    }
    assert by_name(examine(around))["webhook secret"].verdict == "fail"
    secret.write_text(f"whsec_{'QUJD' * 8}\n")
    secret.chmod(0o400)
    found = [each for each in examine(around) if each.name.startswith("webhook")]
    assert [(each.verdict, each.name) for each in found] == [
        ("ok", "webhook secret"),
        ("warn", "webhook"),
        ("warn", "webhook"),
    ]
    assert "https://a.test: 1 event to be delivered, the oldest since" in found[1].saw
    assert "1 event given up in 14 days: it answered 404" in found[2].saw
    assert "pa55word" not in repr(found)
    connection.execute("UPDATE outgoing_events SET state = 'delivered', error = NULL")
    assert by_name(examine(around))["webhook"].verdict == "ok"


def test_a_rotated_keyring_becomes_the_databases_and_the_old_one_is_refused(
    database: Database,
) -> None:
    connection, first = database.connect(), Keyring.generate()
    assert prove_keyring(connection, first)
    assert not prove_keyring(connection, first)
    second = first.add_primary()
    assert prove_keyring(connection, second)
    assert check_keyring(connection, second) == second.primary.key_id
    with pytest.raises(SecretFault, match="not the one"):
        prove_keyring(connection, first)


def test_a_public_key_that_somebody_changed_stops_the_start(database: Database) -> None:
    connection, keyring = database.connect(), Keyring.generate()
    prove_keyring(connection, keyring)
    connection.execute(
        "UPDATE secret_keys SET public_key = %s", [Keyring.generate().public_key.text]
    )
    with pytest.raises(SecretFault, match="somebody changed it"):
        prove_keyring(connection, keyring)


def test_the_events_of_stripe_are_told_of_when_somebody_is_to_look(
    around: dict[str, str], database: Database, tmp_path: Path
) -> None:
    connection = database.connect()
    assert "Stripe's events" not in by_name(examine(around))
    store(connection, [delivery("evt_1"), delivery("evt_2")])
    assert "Stripe's events" not in by_name(examine(around))
    connection.execute("UPDATE webhook_events SET received_at = now() - interval '1 hour'")
    late = by_name(examine(around))["Stripe's events"]
    assert (late.verdict, "2 events of Stripe's to be handled" in late.saw) == ("warn", True)
    connection.execute("UPDATE webhook_events SET state = 'given up'")
    assert "2 events of Stripe's given up" in by_name(examine(around))["Stripe's events"].saw


def test_the_signing_secrets_are_counted_and_never_shown(
    around: dict[str, str], tmp_path: Path
) -> None:
    signing, key = tmp_path / "signing", tmp_path / "key"
    around |= NO_STRIPE | {
        "HOPSMETER_STRIPE_SIGNING_FILE": str(signing),
        "HOPSMETER_STRIPE_KEY_FILE": str(key),
    }
    assert by_name(examine(around))["signing secrets"].verdict == "fail"
    signing.write_text("whsec_hush_hush_hush\nwhsec_hush_hush_anew\n")
    signing.chmod(0o400)
    found = by_name(examine(around))["signing secrets"]
    assert (found.verdict, "has 2;" in found.saw) == ("ok", True)
    assert API_VERSION in found.saw
    assert "hush" not in repr(found)


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        (b"sk_test_hush0hush\n", "ok"),
        (b"sk_test_hush0hush \r\n\r\n", "ok"),
        (b"rk_live_hush0hush", "ok"),
        (b"sk_test_hush0hush\x00\n", "fail"),
        (b"sk_test_hush0\rhush\n", "fail"),
        (b"pk_test_hush0hush\n", "fail"),
        (b"hush\n", "fail"),
        (b"", "fail"),
    ],
)
def test_stripes_key_is_looked_at_and_never_shown(
    around: dict[str, str], tmp_path: Path, content: bytes, verdict: str
) -> None:
    key = tmp_path / "key"
    around |= NO_STRIPE | {"HOPSMETER_STRIPE_KEY_FILE": str(key)}
    assert by_name(examine(around))["Stripe's key"].verdict == "fail"
    key.write_bytes(content)
    key.chmod(0o400)
    found = by_name(examine(around))["Stripe's key"]
    assert found.verdict == verdict
    assert "hush" not in repr(found)


@pytest.mark.parametrize(
    ("ahead", "verdict"),
    [(timedelta(0), "ok"), (timedelta(seconds=20), "warn"), (timedelta(hours=-2), "fail")],
)
def test_this_clock_is_held_against_stripes(
    around: dict[str, str], tmp_path: Path, ahead: timedelta, verdict: str
) -> None:
    with StripeWorld(now=lambda: utc_now() + ahead, seed=1) as stripe:
        key = tmp_path / "key"
        key.write_text(stripe.api_key)
        key.chmod(0o400)
        around |= {
            "HOPSMETER_STRIPE_KEY_FILE": str(key),
            "HOPSMETER_STRIPE_URL": stripe.url,
            "HOPSMETER_LOOPBACK_CLUSTERS": "true",
        }
        found = by_name(examine(around))["clock of Stripe"]
        assert (found.verdict, found.saw.endswith("s between here and Stripe")) == (verdict, True)
    gone = by_name(examine(around))["clock of Stripe"]
    assert (gone.verdict, "gave no answer" in gone.saw) == ("warn", True)


def test_without_a_key_nothing_is_asked_of_stripe(around: dict[str, str]) -> None:
    assert "clock of Stripe" not in by_name(examine(around))
