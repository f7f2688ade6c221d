"""The command line, from typed words to exit codes, on a real database with a real carrier."""

import contextlib
import csv
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from core.clock import HOUR, hour_text, monotonic_s, utc_now
from core.commands import submit as submitting
from core.db import notify
from core.settings import load
from daemon.__main__ import main as daemon_main
from tests.core.commands.carrier import JOIN_S, carrying, config, publish, set_up_roles, with_admin
from tests.database import Database
from tests.factories import (
    NOW,
    add_allocation,
    add_cluster,
    add_daemon,
    add_user,
    add_window,
    close_day,
)
from tests.tui.cli.conftest import NEWEST, Run, thin
from tui.cli import asking
from tui.cli import session as sessions
from tui.cli.app import COMMANDS, Hopsmeter, cli

HELP_WIDTH = 80


@pytest.fixture
def kubeconfig_file(tmp_path: Path) -> str:
    path = tmp_path / "eu-1.yaml"
    path.write_bytes(config().reveal())
    return str(path)


def test_a_cluster_is_added_shown_and_checked(
    run: Run, database: Database, kubeconfig_file: str, tmp_path: Path
) -> None:
    with_admin(database)
    key = tmp_path / "key"
    key.write_text("hunter2\n")
    words = ("cluster", "add", "eu-1", "--kubeconfig", kubeconfig_file)
    with carrying(database, publish(database)):
        tried = run(*words, "--api-url", "https://a.test", "--api-key-file", str(key), "--dry-run")
        added = run(*words, "--api-url", "https://a.test", "--api-key-file", str(key))
        checked = run("cluster", "check", "eu-1", exit_code=1)
    assert tried.stdout.splitlines()[-1] == "A dry run: nothing was changed."
    assert added.stdout.splitlines()[0] in tried.stdout
    assert added.stdout.startswith("Cluster eu-1 added (https://api.eu-1.example.com:6443)")
    assert checked.stdout.splitlines() == [
        "✓ tls         TLS 1.3",
        "✗ permission  pods/exec is forbidden",
        "              → Add the rule.",
        "Cluster eu-1 fails at permission.",
    ]
    shown = run("cluster", "show", "eu-1").stdout
    for part in ("https://a.test", "exec, namespace opencost, port 9003", "2026-03-03T13Z"):
        assert part in shown
    assert "hunter2" not in shown + added.output


def test_an_edit_prints_what_differs(run: Run, database: Database) -> None:
    add_cluster(with_admin(database))
    with carrying(database, publish(database)):
        edited = run(
            "cluster", "edit", "eu-1", "--seats", "40", "--system-namespace", "kube-public"
        )
        unlimited = run("cluster", "edit", "eu-1", "--seats", "none")
        dearer = run("cluster", "edit", "eu-1", "--cost-max", "250.5")
    assert "  cost_max: 1 000 000.00 → 250.50" in thin(dearer.stdout)
    assert dearer.stdout.startswith("Cluster eu-1 changed: cost_max.\n")
    assert "  seats: (none) → 40" in edited.stdout
    assert "  seats: 40 → (none)" in unlimited.stdout
    assert "  system_namespaces: kube-system → kube-public" in edited.stdout
    for seats in ("many", "-1"):
        ended = run("cluster", "edit", "eu-1", "--seats", seats, exit_code=2)
        assert "0 or more" in ended.stderr


def test_why_a_cluster_is_paused_is_not_its_last_outcome(run: Run, database: Database) -> None:
    connection = with_admin(database)
    add_cluster(connection, "eu-1", last_outcome="2 hours collected")
    assert "paused because" not in run("cluster", "list").stdout
    add_cluster(
        connection, "eu-2", status="paused", status_why="upgrade", last_outcome="3 hours collected"
    )
    told = run("cluster", "list").stdout.splitlines()
    assert told[0].split()[-4:] == ["paused", "because", "last", "outcome"]
    (paused,) = [line for line in told if line.startswith("eu-2")]
    assert paused.split()[-4:] == ["upgrade", "3", "hours", "collected"]


def test_what_a_visit_came_to_is_read_on_a_narrow_terminal(
    run: Run, database: Database, eighty: Callable[..., str]
) -> None:
    connection = with_admin(database)
    why = (
        'permission: forbidden (403): services "opencost:9003" is forbidden, in namespace opencost'
    )
    add_cluster(connection, "eu-1", last_outcome=why, failures=1)
    add_cluster(connection, "eu-2", status="paused", status_why="an upgrade of Kubernetes to 1.36")
    listed = eighty(run("cluster", "list"))
    assert f"last outcome: {why}" in listed
    assert "paused because: an upgrade of Kubernetes to 1.36" in listed
    assert f"eu-1 is left alone: {why}" in eighty(run("hours", "eu-1"))


def test_an_edit_of_what_had_no_value_shows_the_value(run: Run, database: Database) -> None:
    add_cluster(with_admin(database))
    with carrying(database, publish(database)):
        tried = run("cluster", "edit", "eu-1", "--seats", "40", "--dry-run")
    assert "  seats: (none) → 40" in tried.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("usage", "--all", "--month", "2026-13"),
        ("books", "check", "--month", "March"),
        ("hours", "gap", "eu-1", "2026-03-01T25Z", "--reason", "x"),
        ("collect", "--since", "yesterday"),
        ("explain", "eu-1", "a", "noon"),
        ("rates", "new", "a", "--factor", "1", "--from", "2026-03-01T14:30"),
        ("rates", "quote", "a", "--at", "soon"),
        ("namespace", "unmapped", "--since", "2026-02-30"),
        ("namespace", "map", "eu-1", "a", "b", "--from", "14:00"),
        ("cluster", "add", "a", "--kubeconfig", "-", "--api-url", "x", "--metering-since", "now"),
    ],
)
def test_a_time_that_is_none_is_a_misuse(run: Run, words: tuple[str, ...]) -> None:
    ended = run(*words, exit_code=2)
    assert "write it like 2026-03" in ended.stderr


def test_a_long_wait_is_told_once_on_stderr(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitting, "TELL_S", 0.1)
    connection = with_admin(database)
    add_daemon(connection, seen_at=utc_now())
    monkeypatch.setattr(asking, "WAIT_S", 1.0)
    ended = run("collect", "--no-wait", exit_code=3)
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        "Command 1 is not taken by a daemon yet; it is carried out as soon as one does. Waiting …",
        "Command 1 is submitted: it is not finished after 1 s; it goes on.",
    ]


def test_a_refusal_is_a_sentence_on_stderr_and_exit_code_1(run: Run, database: Database) -> None:
    with_admin(database)
    with carrying(database, publish(database)):
        refused = run("cluster", "pause", "eu-9", "--reason", "gone", exit_code=1)
    assert refused.stdout == ""
    assert refused.stderr == "There is no cluster 'eu-9'; `hopsmeter cluster list` shows all.\n"


def test_speaking_for_another_is_believed_only_of_a_login_that_may(
    run: Run, database: Database
) -> None:
    connection = with_admin(database)
    add_user(connection, "root@example.test", is_admin=True)
    with carrying(database, publish(database)):
        refused = run("--as", "auth0|root", "collect", exit_code=1)
        connection.execute("UPDATE logins SET may_assert = true")
        run("--as", "auth0|root", "collect", "--no-wait")
    assert refused.stderr == (
        "The role 'hopsmeter' may not act for auth0|root. Nothing was changed.\n"
    )


def test_without_a_daemon_it_waits_with_exit_code_3(run: Run, database: Database) -> None:
    with_admin(database)
    waits = run("collect", exit_code=3)
    assert waits.stderr == "Command 1 is submitted: it waits; start hopsmeterd.\n"


@pytest.mark.parametrize("own", [True, False])
def test_a_command_outlives_the_database_that_it_waited_on(
    run: Run, database: Database, monkeypatch: pytest.MonkeyPatch, *, own: bool
) -> None:
    connection = with_admin(database)
    add_daemon(connection, seen_at=utc_now())

    def lost(*_: object, **__: object) -> None:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'hopsmeter' AND datname = current_database()"
        )

    monkeypatch.setattr(notify, "wait", lost)
    if own:
        settings = load({})
        monkeypatch.setattr(sessions.Session, "url", lambda _: database.url)
        monkeypatch.setattr(sessions.Session, "settings", lambda _: settings)
        ended = run("collect", exit_code=1)
        assert "carried out when hopsmeterd runs again" in ended.stderr
    else:
        ended = run("collect", exit_code=1)
        assert "Command 1 is kept, and goes on without you." in ended.stderr
    assert ended.stderr.startswith("The database was lost: ")
    assert "(command=1)" in ended.stderr
    with carrying(database, publish(database)):
        assert submitting.wait(connection, 1).ended


def test_a_secret_is_not_sent_before_the_daemon_has_a_key(
    run: Run, database: Database, kubeconfig_file: str
) -> None:
    with_admin(database)
    words = (
        "cluster",
        "add",
        "eu-1",
        "--kubeconfig",
        kubeconfig_file,
        "--api-url",
        "https://a.test",
    )
    assert "has not published its public key" in run(*words, exit_code=1).stderr
    assert database.connect().execute("SELECT count(*) FROM commands").fetchone() == (0,)


def test_a_namespace_is_mapped_after_its_money_was_shown(run: Run, database: Database) -> None:
    connection = with_admin(database)
    cluster = add_cluster(connection)
    add_user(connection)
    add_window(connection, cluster, NEWEST)
    add_allocation(connection, cluster, NEWEST, cost_nano=2_500_000_000)
    listed = json.loads(run("namespace", "unmapped", "--json").stdout)
    assert [(each["namespace"], each["total_nano"]) for each in listed] == [
        ("ml-train", 2_500_000_000)
    ]
    words = ("namespace", "map", "eu-1", "ml-train", "anna@example.test")
    with carrying(database, publish(database)):
        assert "2.50 USD" in run(*words, "--dry-run").stdout
        assert "2.50 USD" in run(*words).stdout
        assert run("namespace", "unmapped").stdout == "Every namespace that costs has an owner.\n"
        unseen = run("namespace", "map", "eu-1", "ml-trian", "anna@example.test")
        run("namespace", "unmap", "eu-1", "ml-train", "--from", hour_text(NEWEST))
    assert "2.50 USD" in run("namespace", "unmapped").stdout
    later = run("namespace", "unmapped", "--since", "2030-01-01").stdout
    assert later == "No namespace without an owner costs anything since 2030-01-01.\n"
    assert "is it the right name?" in unseen.stdout
    for since in ("March", "2026-03-01T14Z"):
        assert "is no day" in run("namespace", "unmapped", "--since", since, exit_code=2).stderr


def test_an_hour_is_given_up_with_a_reason(run: Run, database: Database) -> None:
    connection = with_admin(database)
    add_window(connection, add_cluster(connection), NEWEST, "failed")
    run("hours", "gap", "eu-1", hour_text(NEWEST), exit_code=2)
    with carrying(database, publish(database)):
        told = run("hours", "gap", "eu-1", hour_text(NEWEST), "--reason", "the disk is lost")
        run("hours", "accept", "eu-1", hour_text(NEWEST), "--reason", "no", exit_code=1)
    assert told.stdout.startswith("eu-1 2026-03-03T13Z: failed → gap; the books do not change.")


def test_collect_asks_for_what_is_missing(run: Run, database: Database) -> None:
    connection = with_admin(database)
    cluster = add_cluster(connection)
    for back in range(3):
        add_window(connection, cluster, NEWEST - HOUR * back, "due")
    with carrying(database, publish(database)):
        asked = run("collect", "--no-wait").stdout
        assert asked == "3 hours are asked for now (all clusters).\n"
        words = ("collect", "eu-1", "--hour", hour_text(NEWEST))
        assert run(*words, "--no-wait").stdout.startswith("1 hour is")
        assert run(*words, "--dry-run").stdout.endswith("A dry run: nothing was changed.\n")
        left = run(*words, exit_code=3).stderr
        connection.execute("UPDATE collection_windows SET state = 'collected', revision = 1")
        assert run("collect").stdout.startswith("No hour is missing")
    assert left == "1 hour is not answered, and no daemon runs; start hopsmeterd.\n"
    run("collect", "--hour", "2026-03-01", "--since", "2026-03-01", exit_code=2)
    assert "is no hour" in run("collect", "--hour", "noon", exit_code=2).stderr


@contextlib.contextmanager
def answering(database: Database, *answers: str) -> Iterator[None]:
    """Do a daemon's part: answer what is asked for, oldest hour first, by these assignments."""
    connection = database.connect()
    add_daemon(connection, seen_at=utc_now() + timedelta(hours=1))

    def work() -> None:
        asked = "SELECT hour FROM collection_windows WHERE next_try_at = %s ORDER BY hour"
        deadline_s = monotonic_s() + JOIN_S
        while len(hours := connection.execute(asked, [NOW]).fetchall()) < len(answers):
            assert monotonic_s() < deadline_s
            time.sleep(0.05)
        for (hour,), answer in zip(hours, answers, strict=True):
            assignment = f"next_try_at = now() + interval '1 d', {answer}"
            connection.execute(
                f"UPDATE collection_windows SET {assignment} WHERE hour = %s", [hour]
            )

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(JOIN_S)
        assert not thread.is_alive()


KEPT = "state = 'collected', revision = 1, fault = NULL, why = ''"
REFUSED = "state = 'refused', fault = 'minutes', why = 'too \x1b[2J long', pending_sha256 = '\\x01'"
FAILED = "state = 'failed', fault = 'no-answer-exec', why = 'it was killed'"


def test_collect_waits_until_all_is_in_the_books(run: Run, database: Database) -> None:
    connection = with_admin(database)
    cluster = add_cluster(connection)
    for back in range(2):
        add_window(connection, cluster, NEWEST - HOUR * back, "due")
    with carrying(database, publish(database)), answering(database, KEPT, KEPT):
        told = run("collect", "eu-1").stdout
    assert told.splitlines()[-1] == "eu-1: 2 in the books"


def test_collect_says_what_is_not_in_the_books_and_why(run: Run, database: Database) -> None:
    connection = with_admin(database)
    cluster = add_cluster(connection)
    for back in range(4, 7):
        add_window(connection, cluster, NEWEST - HOUR * back, "due")
    with carrying(database, publish(database)), answering(database, FAILED, REFUSED, KEPT):
        ended = run("collect", "eu-1", exit_code=1)
    assert ended.stdout.splitlines()[1:] == [
        "eu-1: 1 failed: asked again later (from 2026-03-03T07Z)",
        "  it was killed",
        "eu-1: 1 refused: a person decides (from 2026-03-03T08Z)",
        "  too \N{REPLACEMENT CHARACTER}[2J long",
        "eu-1: 1 in the books",
    ]
    assert (
        ended.stderr
        == "Not all could be read; what the books had of them stays, and `hopsmeter hours eu-1` tells more.\n"
    )


def test_usage_is_told_by_user_and_by_all(run: Run, database: Database) -> None:
    connection = database.connect()
    cluster, anna = add_cluster(connection), add_user(connection)
    add_window(connection, cluster, NEWEST)
    add_allocation(connection, cluster, NEWEST, user=anna, cost_nano=1_250_000_000)
    close_day(connection, cluster, NEWEST)
    connection.execute(
        "INSERT INTO usage_daily (user_no, account_no, cluster_id, date, opencost_cpu_nano,"
        " opencost_gpu_nano, opencost_ram_nano, opencost_pv_nano, opencost_network_nano,"
        " opencost_other_nano, opencost_total_nano, charge_nano)"
        " VALUES (%s, %s, %s, '2026-03-03', 1250000000, 0, 0, 0, 0, 0, 1250000000, 1250000000)",
        [anna.no, anna.no, cluster.id],
    )
    connection.execute("UPDATE collection_windows SET stored_no = 2, posted_no = 1")
    told = run("usage", "anna@example.test")
    assert told.stderr == "Stored hours that are not in these figures yet: 1.\n"
    one = told.stdout
    assert "charge   1.25 USD" in one
    assert "ml-train" in one
    (row,) = csv.DictReader(
        io.StringIO(run("usage", "--all", "--month", "2026-03", "--csv").stdout)
    )
    assert (row["email"], row["charge"], row["currency"]) == (
        "anna@example.test",
        "1.250000000",
        "USD",
    )
    assert run("usage", "--all", "--month", "2026-02").stdout == "Nothing was used in 2026-02.\n"
    run("usage", exit_code=2)
    both = run("usage", "anna@example.test", "--all", exit_code=2)
    assert "Both a user (anna@example.test) and --all were given" in both.stderr
    assert "is no month" in run("usage", "--all", "--month", "March", exit_code=2).stderr
    shown = json.loads(run("user", "show", "auth0|anna", "--json").stdout)
    assert shown["namespaces"][0]["total_nano"] == 1_250_000_000


def test_users_are_added_and_listed(run: Run, database: Database) -> None:
    with_admin(database)
    with carrying(database, publish(database)):
        run("user", "add", "auth0|anna", "anna@example.test", "--name", "Anna")
        run("user", "add", "auth0|bob", "bob@example.test", "--owner", "anna@example.test")
    rows = list(csv.reader(io.StringIO(run("user", "list", "--csv").stdout)))
    assert [row[2] for row in rows] == [
        "email", "anna@example.test", "bob@example.test", "boss@example.test"
    ]  # fmt: skip
    assert "auth0|anna" in run("user", "show", "bob@example.test").stdout


def test_explain_says_why_there_is_nothing(run: Run, database: Database) -> None:
    connection = with_admin(database)
    add_window(connection, add_cluster(connection), NEWEST, "gap", why="it was lost")
    told = run("explain", "eu-1", "ml-train", hour_text(NEWEST), exit_code=1)
    assert told.stderr == (
        "eu-1 2026-03-03T13Z is gap, so nothing of it is in the books: it was lost\n"
    )
    elsewhere = run("explain", "eu-9", "ml-train", hour_text(NEWEST), exit_code=1)
    assert elsewhere.stderr.startswith("There is no cluster 'eu-9'")


def test_the_first_admin_sets_up_and_lets_others_in(run: Run, database: Database) -> None:
    set_up_roles(database)
    made = run("admin", "bootstrap", "auth0|boss", "boss@example.test").stdout
    assert made == "auth0|boss (boss@example.test) is the first admin, and logs in as hopsmeter.\n"
    assert "an admin already" in run("admin", "bootstrap", "a|b", "c@d", exit_code=1).stderr
    role = f"{database.name}_anna"
    with carrying(database, publish(database)):
        run("user", "add", "auth0|anna", "anna@example.test", "--admin")
    run("admin", "login", role, "anna@example.test")
    roles = [each["role"] for each in json.loads(run("admin", "logins", "--json").stdout)]
    assert roles == ["hopsmeter", role]
    database.connect().execute(f"DROP ROLE {role}")


def test_the_books_of_an_empty_database_balance(run: Run) -> None:
    checked = run("books", "check").stdout.splitlines()
    assert checked[-1] == "The books balance."
    assert all(line.startswith("✓") for line in checked[:-1])


def test_the_database_says_whether_it_fits(run: Run, database: Database) -> None:
    assert "not set up" in run("db", "status").stdout
    run("db", "roles")
    assert json.loads(run("db", "status", "--json").stdout)["roles"] is True
    assert run("db", "upgrade").stdout.startswith("The schema is at version")
    database.connect().execute("DROP SCHEMA hopsmeter CASCADE")
    assert "none yet" in run("db", "status", exit_code=1).stdout
    assert "another version" in run("cluster", "list", exit_code=1).stderr


def test_a_keyring_is_made_once_and_told_of_without_its_keys(run: Run, tmp_path: Path) -> None:
    assert "Keep a copy offline" in run("secrets", "init").stdout
    keyring = tmp_path / "keyring"
    assert keyring.stat().st_mode & 0o777 == 0o400
    assert "already there" in run("secrets", "init", exit_code=1).stderr
    told = run("secrets", "status").stdout
    assert "knows no key yet" in told
    for key in json.loads(keyring.read_text())["keys"]:
        assert key["key"] not in told
    paths = run("doctor", "--paths").stdout
    assert "keyring" in paths
    assert "\N{REPLACEMENT CHARACTER}" not in paths


def test_the_keyring_is_told_of_where_no_database_runs(tmp_path: Path) -> None:
    runner = CliRunner(env={"HOPSMETER_STATE_FOLDER": str(tmp_path)})
    assert runner.invoke(cli, ["secrets", "init"], catch_exceptions=False).exit_code == 0
    told = runner.invoke(cli, ["secrets", "status"], catch_exceptions=False)
    assert told.exit_code == 0
    assert "fingerprint" in told.stdout
    assert "does not run" in told.stdout


def test_doctor_looks_at_everything(run: Run) -> None:
    findings = json.loads(run("doctor", "--json", exit_code=1).stdout)
    assert {"keyring", "schema", "daemon"} <= {each["name"] for each in findings}


def test_doctor_keeps_to_eighty_columns(
    run: Run, database: Database, eighty: Callable[..., str]
) -> None:
    with_admin(database)
    eighty(run("doctor", exit_code=1))
    assert "HOPSMETER_DATABASE_URL" in eighty(run("doctor", "--paths")).upper()


def test_a_recorded_answer_is_read_without_a_database() -> None:
    data = Path(__file__).parents[2] / "data"
    recorded = sorted(data.rglob("*website*.json")) + sorted(data.rglob("*negative-idle*.json"))
    assert recorded
    for path in recorded:
        words = ["opencost", "read", str(path), "--json", "--sentinel", ""]
        ended = CliRunner().invoke(cli, words, catch_exceptions=False)
        told: dict[str, Any] = json.loads(ended.stdout)
        assert ended.exit_code == (1 if told["complaints"] else 0)
        assert told["total_nano"] == sum(row["total_nano"] for row in told["rows"])
    refused = CliRunner().invoke(cli, ["opencost", "read", "-"], input=b"<html>")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("refused (not-json)")


def test_every_command_has_help_with_an_example() -> None:
    runner = CliRunner()
    for name in COMMANDS:
        command = cli.get_command(None, name)  # type: ignore[arg-type]  # it needs no context
        for words in [[name], *([name, sub] for sub in getattr(command, "commands", {}))]:
            told = runner.invoke(cli, [*words, "--help"])
            assert told.exit_code == 0
            assert "..." not in told.output.replace("[ARGS]...", ""), words
            assert max(map(len, told.output.splitlines())) <= HELP_WIDTH, words
            if len(words) == 2 or not hasattr(command, "commands"):
                assert "Example" in told.output, words
    assert isinstance(cli, Hopsmeter)
    for program in (cli, daemon_main):
        for flag in ("-h", "--help"):
            told = runner.invoke(program, [flag], terminal_width=HELP_WIDTH)
            assert told.exit_code == 0
            assert "..." not in told.output.replace("[ARGS]...", "")
    assert runner.invoke(cli, ["frobnicate"]).exit_code == 2


@pytest.mark.parametrize("words", ["hours gap", "cluster pause", "cluster remove"])
def test_a_reason_that_customers_read_is_said_to_be_one(words: str) -> None:
    told = CliRunner().invoke(cli, [*words.split(), "--help"]).stdout
    assert "statements tell its reason" in " ".join(told.split())


def test_the_manual_has_a_row_for_every_command() -> None:
    manual = (Path(__file__).parents[3] / "docs/operate.md").read_text()
    for name in COMMANDS:
        command = cli.get_command(None, name)  # type: ignore[arg-type]  # it needs no context
        for sub in getattr(command, "commands", {"": None}):
            assert f"`hopsmeter {name} {sub}".rstrip() + "`" in manual, (name, sub)


def test_the_dashboard_needs_a_terminal() -> None:
    told = CliRunner().invoke(cli, [])
    assert (told.exit_code, told.stderr) == (
        2,
        "The dashboard needs a terminal; `hopsmeter --help` lists the commands.\n",
    )


def test_a_setting_that_is_wrong_is_named(tmp_path: Path) -> None:
    told = CliRunner(env={"HOPSMETER_LISTEN": "everywhere"}).invoke(cli, ["cluster", "list"])
    assert told.exit_code == 1
    assert "HOPSMETER_LISTEN" in told.stderr


def test_what_a_removed_cluster_left_unmapped_is_marked_and_its_map_drawn(
    run: Run, database: Database
) -> None:
    connection = with_admin(database)
    gone = add_cluster(connection, status="removed", status_why="sold")
    add_window(connection, gone, NEWEST)
    add_allocation(connection, gone, NEWEST, "lost")
    assert "\neu-1 (removed)   lost " in run("namespace", "unmapped").stdout
    (told,) = json.loads(run("namespace", "unmapped", "--json").stdout)
    assert (told["cluster"], told["removed"]) == ("eu-1", True)
    assert "settled 1" in run("hours", "eu-1").stdout
    refused = run("cluster", "show", "eu-1", exit_code=1).stderr
    assert "The cluster eu-1 was removed (sold)" in refused
    assert "`hopsmeter hours eu-1`" in refused
    assert "No cluster yet" in run("hours").stdout
