"""`hopsmeter` as a test types it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from core.clock import HOUR, floor_hour
from core.commands import submit as submitting
from tests.database import Database
from tests.factories import NOW
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


def thin(text: str) -> str:
    return text.replace("\N{NARROW NO-BREAK SPACE}", " ")
