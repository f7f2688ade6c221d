"""The program itself, in a process of its own: what it loads, how it draws, how it ends."""

import os
import subprocess
import sys

import pytest

from tests.database import Database
from tests.factories import add_cluster
from tui.cli.hours import SIGNS
from tui.theme import HOURS

LIMIT_S = 30


def hopsmeter(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tui", *words],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_list_is_plain_in_a_pipe_and_never_cut(database: Database) -> None:
    name = "a-cluster-with-quite-a-long-name-that-no-narrow-table-would-hold"[:63]
    add_cluster(database.connect(), name, last_outcome="word " * 60)
    told = hopsmeter("cluster", "list", HOPSMETER_DATABASE_URL=database.url)
    assert told.returncode == 0, told.stderr
    assert "\x1b" not in told.stdout
    assert f"{name}  " in told.stdout
    assert ("word " * 60).rstrip() in told.stdout


def test_a_database_that_is_away_is_a_sentence(tmp_path: object) -> None:
    told = hopsmeter("cluster", "list", HOPSMETER_DATABASE_URL=f"postgresql:///x?host={tmp_path}")
    assert told.returncode == 1
    assert told.stderr.startswith("database x at ")
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["--help"], ["cluster", "list", "--help"], ["--version"]])
def test_help_loads_no_screen_and_no_client(words: list[str]) -> None:
    code = (
        "import sys\nfrom tui.__main__ import main\nsys.argv[1:] = sys.argv[1:]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "loaded = {'textual', 'kubernetes', 'sqlalchemy', 'alembic', 'stripe', 'numpy'}\n"
        "print(sorted(loaded & set(sys.modules)), file=sys.stderr)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert told.stderr.strip() == "[]"


def test_the_signs_are_those_of_the_dashboard() -> None:
    assert {name: sign.glyph for name, sign in HOURS.items()} == SIGNS
