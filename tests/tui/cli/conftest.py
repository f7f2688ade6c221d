"""`hopsmeter` as a test types it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.cells import cell_len

from core.clock import HOUR, floor_hour
from core.commands import submit as submitting
from tests.database import Database
from tests.factories import NOW
from tui.cli import output
from tui.cli import session as sessions
from tui.cli.app import cli

NEWEST = floor_hour(NOW) - HOUR
Run = Callable[..., Result]


@pytest.fixture
def run(database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `hopsmeter` with these words, on this test's database and at NOW."""
    monkeypatch.setattr(sessions, "utc_now", lambda: NOW)
    monkeypatch.setattr(submitting, "TAKEN_UP_S", 0.2)
    environment = {
        "HOPSMETER_DATABASE_URL": database.url,
        "HOPSMETER_STATE_FOLDER": str(tmp_path),
    }

    def invoke(*words: str, given: str | bytes | None = None, exit_code: int = 0) -> Result:
        ended = CliRunner(env=environment).invoke(cli, words, input=given, catch_exceptions=False)
        assert ended.exit_code == exit_code, ended.output
        return ended

    return invoke


@pytest.fixture
def eighty(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return what a terminal of 80 columns shows of an output, after a look at its width."""
    monkeypatch.setattr(output, "terminal_cells", lambda: 80)

    def seen(shown: Result, *, but: str = "\x00") -> str:
        """`but` begins lines that are for programs; a word that has no room is left whole."""
        lines = [line for line in shown.stdout.splitlines() if not line.startswith(but)]
        assert [line for line in lines if cell_len(line) > 80 and len(line.split()) > 1] == []
        return " ".join(thin(shown.stdout).split())

    return seen


def thin(text: str) -> str:
    return text.replace("\N{NARROW NO-BREAK SPACE}", " ")
