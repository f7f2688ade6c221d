"""What went wrong outside of us is a sentence with what to do, and never a traceback."""

from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from tests.core.commands.carrier import with_admin
from tests.database import Database
from tests.tui.cli.conftest import Run
from tui.cli.app import cli


@pytest.mark.parametrize(
    "words",
    [
        ("user", "add", "anna", "anna@example.com"),
        ("collect",),
        ("admin", "login", "anna", "admin"),
        ("db", "roles"),
        ("db", "upgrade"),
    ],
)
def test_a_database_that_takes_no_writes_is_named_as_such(
    run: Run, database: Database, words: tuple[str, ...]
) -> None:
    connection = with_admin(database)
    if words == ("db", "upgrade"):
        connection.execute("DROP SCHEMA hopsmeter CASCADE")
    _take_no_writes(connection, database)
    told = run(*words, exit_code=1).stderr
    assert "takes no writes" in told
    assert "standby" in told
    assert "full" in told
    assert told.count("\n") == 1


def test_what_a_database_refuses_otherwise_is_told_in_its_words(
    run: Run, database: Database
) -> None:
    connection = with_admin(database)
    connection.execute(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'the house is closed' USING DETAIL = 'hunter2'; END $$;"
        " CREATE TRIGGER no BEFORE INSERT ON commands EXECUTE FUNCTION no()"
    )
    told = run("user", "add", "anna", "anna@example.com", exit_code=1).stderr
    assert "the house is closed" in told
    assert "hunter2" not in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("place", ["a file/state", "dangling", "/proc/state"])
def test_a_folder_that_cannot_be_made_for_the_keyring_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "a file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "absent" / "folder")
    folder = tmp_path / place
    runner = CliRunner(env={"HOPSMETER_STATE_FOLDER": str(folder)})
    ended = runner.invoke(cli, ["secrets", "init"], catch_exceptions=False)
    assert ended.exit_code == 1
    assert ended.stderr.startswith(f"The state folder {folder} cannot be made: ")
    assert "HOPSMETER_STATE_FOLDER" in ended.stderr
    assert ended.stderr.count("\n") == 1


def _take_no_writes(connection: psycopg.Connection, database: Database) -> None:
    connection.execute(
        sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(
            sql.Identifier(database.name)
        )
    )
