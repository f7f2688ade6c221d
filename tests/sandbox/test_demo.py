"""The demo's words: what a second start says of what it finds."""

from pathlib import Path

import psycopg
import pytest

from core.clock import HOUR
from sandbox.demo import __main__ as demo
from tests.database import Database
from tests.factories import SINCE, add_cluster


def test_a_second_demo_says_since_when_the_first_one_meters(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(demo, "say", said.append)
    connection = database.connect()
    demo.say_since(connection, SINCE)
    assert said == [], "a new demo begins where it was told to"
    add_cluster(connection, metering_since=SINCE)
    demo.say_since(connection, SINCE)
    assert said == ["Going on with what is there, metered since 2026-03-01T00Z."]
    demo.say_since(connection, SINCE - 42 * HOUR)
    assert "--fresh" in said[-1]


def test_a_demo_whose_daemon_is_killed_says_so_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def killed(*_: object) -> int:
        raise psycopg.errors.AdminShutdown("terminating connection due to administrator command")

    monkeypatch.setattr(demo, "say", said.append)
    monkeypatch.setattr(demo, "_demo", killed)
    assert demo.main(["--headless", "--state", str(tmp_path / "demo")]) == 1
    assert said == [
        "The demo's daemon or its database ended. Start it again and it goes on from here."
    ]
