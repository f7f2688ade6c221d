"""The demo's words: what a second start says of what it finds."""

import sys
from pathlib import Path

import psycopg
import pytest

from core.clock import HOUR
from sandbox.demo import __main__ as demo
from sandbox.demo import house, watch
from sandbox.demo.house import DemoFailed
from tests.database import Database
from tests.factories import SINCE, add_cluster, add_window


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


def test_a_cluster_that_somebody_added_meanwhile_is_not_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "CATCH_UP_S", 1.0)
    connection = database.connect()
    for name, state in (("eu-prod", "settled"), ("of-a-tour", "due")):
        add_window(connection, add_cluster(connection, name), SINCE, state)
    assert watch.catch_up(connection, ["eu-prod"], lambda _: None) < 1
    with pytest.raises(DemoFailed):
        watch.catch_up(connection, ["eu-prod", "us-gpu"], lambda _: None)


def test_a_daemon_that_ends_at_its_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = 'import sys; sys.exit(\'{"event": "it cannot go on", "why": "Another works."}\')'
    program = tmp_path / "hopsmeterd"
    program.write_text(f"#!{sys.executable}\n{said}\n")
    program.chmod(0o755)
    monkeypatch.setattr(house, "program", lambda _: str(program))
    with (
        pytest.raises(DemoFailed, match=r"hopsmeterd ended at its start: Another works\. See "),
        house.daemon(house.make_house(tmp_path / "demo")),
    ):
        pass


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
